"""Where clips' figures are kept: files of JSON lines, one a process, so that many may write at a time.

Every run adds a line that says what makes its clips, `{"made": {...}}`, and then a line a clip. A run that is
killed loses at most the line that it was writing; who reads leaves torn lines out.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from castsheet.errors import OutputError
from castsheet.machine.marks import Kind, claim
from castsheet.machine.progress import stderr_console
from mini.studies.measure import Row

SUFFIX = ".jsonl"
Place = tuple[str, str, int, int]  # study, condition, identity, take


@dataclass(frozen=True)
class Entry:
    """One clip of a study.

    Attributes:
        place: study, condition, identity's index, take.
        key: a hash of all that decides the clip and its figures.
        row: the figures. strip: three frames side by side as JPEG, of the first identities.
    """

    place: Place
    key: str
    row: Row
    strip: bytes | None = None

    @property
    def picture(self) -> Image.Image | None:
        """The strip as a picture."""
        return None if self.strip is None else Image.open(io.BytesIO(self.strip)).convert("RGB")


@dataclass(frozen=True)
class Made:
    """What makes a run's clips: enough to lay out the studies and to say so on a page.

    Attributes:
        commit, device: of the source and the graphics card; clips that differ in these alone may stand on
            one page.
        kind: "cuda" or "cpu".
    """

    version: int
    castsheet: str
    commit: str
    device: str
    kind: str
    dtype: str
    model: str
    weights: str
    settings: str
    blocks: int
    still: bool

    @property
    def alike(self) -> Made:
        """Equal for all runs whose clips may stand on one page."""
        return replace(self, castsheet="", commit="", device="")


STUDIES = Kind("studies", lambda folder: any(folder.glob(f"*{SUFFIX}")))


class Journal:
    """Adds lines to one file, in a folder that is marked as one of studies.

    Raises:
        OutputError: the folder is somebody else's, or the disk refused.
    """

    def __init__(self, path: Path, made: Made) -> None:
        self._path = path
        claim(path.parent, STUDIES, stderr_console().print)
        self._add({"made": asdict(made)})

    def add(self, entry: Entry) -> None:
        """One more clip."""
        line: dict[str, Any] = {"place": entry.place, "key": entry.key, "row": asdict(entry.row)}
        if entry.strip is not None:
            line["strip"] = base64.b64encode(entry.strip).decode()
        self._add(line)

    def _add(self, line: Mapping[str, Any]) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                # The line before may be torn: a new one starts every time.
                file.write(f"\n{json.dumps(line)}\n")
        except OSError as error:
            raise OutputError(
                f"cannot write {self._path}: {error.strerror}", remedy="free space, then run again"
            ) from error


def read(folders: Iterable[Path]) -> Iterator[tuple[Made, Entry]]:
    """Every clip of every file, older runs of a file first; damaged lines are left out."""
    for path in sorted(path for folder in folders for path in folder.glob(f"*{SUFFIX}")):
        made: Made | None = None
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                content = json.loads(line or "{}")
                if "made" in content:
                    made = Made(**content["made"])
                elif content and made is not None:
                    yield made, _entry(content)
            except (ValueError, TypeError, KeyError, binascii.Error):
                continue


def _entry(content: Mapping[str, Any]) -> Entry:
    study, condition, index, take = content["place"]
    strip = base64.b64decode(content["strip"], validate=True) if "strip" in content else None
    return Entry((study, condition, index, take), content["key"], Row(**content["row"]), strip)
