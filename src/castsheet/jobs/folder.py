"""The folder of a shot list's results. It holds a finished shot whole, or not at all.

    FOLDER/index.html                  one page over all shots
    FOLDER/ID/ID.mp4 ...               a shot's files, among them shot.json: its key and the judge's choice
    FOLDER/.unfinished/                what is being written; removed when a run starts and ends

A shot's files are written below `.unfinished`, and one rename of their folder moves them into place. If the
program is killed, finished shots stay as they are, and the next run removes what was unfinished.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from castsheet.errors import OutputError
from castsheet.machine.text import TextReader

RECORD = "shot.json"
_UNFINISHED = ".unfinished"
_RECORDS = TextReader(OutputError, "the shot is made again")

Files = Mapping[str, bytes]  # name -> content


class ShotFolder:
    """The results of one shot list in `path`, a folder that is made if it is not there.

    Raises:
        OutputError: the folder cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._unfinished = path / _UNFINISHED
        self.sweep()

    def record(self, shot: str, key: str) -> dict[str, Any] | None:
        """The record of a finished shot; None if it is not finished, or was made from other inputs."""
        try:
            content = _RECORDS.json(self.path / shot / RECORD)
        except OutputError:
            return None
        same = isinstance(content, dict) and content.get("key") == key
        files = content.get("files", []) if same else []
        # If somebody deleted a file of a finished shot by hand, the shot is made again.
        return content if same and all((self.path / shot / name).is_file() for name in files) else None

    def publish(self, shot: str, files: Files) -> None:
        """Store a shot's files, among them its record; they replace the shot's earlier files.

        Raises:
            OutputError: the disk refused.
        """
        half, target = self._unfinished / shot, self.path / shot
        try:
            shutil.rmtree(half, ignore_errors=True)
            half.mkdir(parents=True)
            for name, content in files.items():
                (half / name).write_bytes(content)
            if target.exists():
                os.replace(target, self._unfinished / f"{shot}.old")
            os.replace(half, target)
            shutil.rmtree(self._unfinished / f"{shot}.old", ignore_errors=True)
        except OSError as error:
            raise OutputError(
                f"cannot write {target}: {error.strerror or error}",
                remedy="free disk space or choose another folder, then run again: finished shots are kept",
            ) from error

    def write(self, files: Files) -> None:
        """Store files beside the shots, each whole or unchanged.

        Raises:
            OutputError: the disk refused.
        """
        try:
            self._unfinished.mkdir(parents=True, exist_ok=True)
            for name, content in files.items():
                half = self._unfinished / name
                half.write_bytes(content)
                os.replace(half, self.path / name)
        except OSError as error:
            raise OutputError(
                f"cannot write into {self.path}: {error.strerror or error}",
                remedy="free disk space or choose another folder, then run again",
            ) from error

    def sweep(self) -> None:
        """Remove the unfinished files of a run that was killed."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if self._unfinished.exists():
                shutil.rmtree(self._unfinished)
        except OSError as error:
            raise OutputError(
                f"cannot write into {self.path}: {error.strerror or error}", remedy="choose another folder"
            ) from error

    def strangers(self, shots: Iterable[str]) -> list[str]:
        """Finished shots in the folder that this list does not name; nobody touches them."""
        known = set(shots)
        found = (path.parent.name for path in self.path.glob(f"*/{RECORD}"))
        return sorted(name for name in found if name not in known)
