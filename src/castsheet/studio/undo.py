"""Taking a change back: what a look, a scene or a list was before the change, kept beside the queue.

    FOLDER/.studio/undo/ID/record.json    what was changed and by whom, with the hashes of the files after it
                           was/           the files before it

A change is taken back only while its files are still as it left them: else somebody's later work, on the
page or on the command line, would go with it.
"""

from __future__ import annotations

import json
import re
import shutil
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from castsheet.authoring.shelf import LIBRARY, is_ours
from castsheet.errors import CastsheetError, OutputError
from castsheet.machine.files import sha256, write_text
from castsheet.machine.marks import owned
from castsheet.machine.replace import replacing
from castsheet.machine.text import TextReader
from castsheet.studio.folder import JOB_ID, Folder, new_id
from castsheet.studio.problems import Conflict

KEPT = 30
_RECORD = "record.json"
_RECORDS = TextReader(OutputError, "delete .studio/undo: only taking changes back is lost")


class Undo:
    """The changes of one studio that can be taken back.

    A thing that can change is a look's folder, or one file of scenes or of shots.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder, self._place = folder, folder.private / "undo"
        self._locks: defaultdict[Path, threading.Lock] = defaultdict(threading.Lock)

    @contextmanager
    def kept(self, what: str, thing: Path, by: str) -> Iterator[None]:
        """Keep what a thing was before the block changed it. A block that fails keeps nothing.

        Args:
            what: the change in a few words: "hero: the view of a picture".
        """
        with self._locks[thing]:
            entry = self._place / new_id(int(time.time() * 1000))
            (entry / "was").mkdir(parents=True)
            try:
                before = _files(thing)
                for path in before:
                    shutil.copyfile(path, entry / "was" / path.name)
                yield
            except BaseException:
                shutil.rmtree(entry)
                raise
            record = {"what": what, "by": by, "thing": thing.relative_to(self._folder.root).as_posix()}
            write_text(entry / _RECORD, json.dumps({**record, "after": _hashes(thing)}) + "\n")
        for old in self._names()[:-KEPT]:
            shutil.rmtree(self._place / old, ignore_errors=True)

    def last(self, by: str) -> dict[str, str] | None:
        """Somebody's latest change that can still be taken back: its id, and what it was."""
        for name in reversed(self._names()):
            record = self._record(name)
            if record is not None and record["by"] == by:
                same = record["after"] == _hashes(self._thing(record))
                return {"id": name, "what": record["what"]} if same else None
        return None

    def take_back(self, name: str, by: str) -> None:
        """Put the files back as they were before a change.

        Raises:
            Conflict: it is not somebody's latest change, or its files have changed since.
            OutputError: the disk refused.
        """
        last = self.last(by)
        if last is None or last["id"] != name:
            raise Conflict(
                "it cannot be taken back any more", remedy="something was changed since: look again"
            )
        entry = self._place / name
        record = self._record(name)
        assert record is not None
        thing = self._thing(record)
        with self._locks[thing]:
            was = {path.name: path for path in (entry / "was").iterdir()}
            if thing.is_relative_to(self._folder.library):
                with owned(self._folder.library, LIBRARY, lambda _: None, part=thing.parent.name):
                    self._put(thing, was, {path.name for path in _files(thing)})
            else:
                self._put(thing.parent, was, {path.name for path in _files(thing)})
        shutil.rmtree(entry)

    def _put(self, folder: Path, was: dict[str, Path], there: set[str]) -> None:
        with replacing(self._folder.root) as change:
            place = folder.relative_to(self._folder.root).as_posix()
            for name, kept in was.items():
                shutil.copyfile(kept, change.new(f"{place}/{name}"))
            for name in there - set(was):
                change.drop(f"{place}/{name}")

    def _names(self) -> list[str]:
        found = self._place.iterdir() if self._place.is_dir() else ()
        return sorted(path.name for path in found if re.fullmatch(JOB_ID, path.name))

    def _thing(self, record: dict[str, Any]) -> Path:
        return self._folder.root / str(record["thing"])

    def _record(self, name: str) -> dict[str, Any] | None:
        """None for a change that is not ended, or whose studio was killed on the way."""
        try:
            return _RECORDS.json_object(self._place / name / _RECORD)
        except CastsheetError:
            return None


def _files(thing: Path) -> list[Path]:
    """The files of a look that are the library's, or the one file."""
    if thing.is_dir():
        return sorted(path for path in thing.iterdir() if is_ours(path.name) and path.is_file())
    return [thing] if thing.is_file() else []


def _hashes(thing: Path) -> dict[str, str]:
    return {path.name: sha256(path) for path in _files(thing)}
