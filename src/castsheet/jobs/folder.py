"""The folder of a shot list's results: a finished shot is there whole, or not at all.

    FOLDER/.castsheet                  the mark: this folder is ours
    FOLDER/index.html                  one page over all shots
    FOLDER/film.mp4                    all shots in a row, if the list asks for it
    FOLDER/ID/ID.mp4 ...               a shot's files, among them shot.json: its key and the judge's choice

A shot's files are replaced as a set (`castsheet.machine.replace`). Whatever kills the program leaves finished
shots as they are, and of others nothing that the next run would keep. Nothing is ever removed: files that
somebody put beside a shot's own stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from castsheet.errors import OutputError
from castsheet.machine.locks import Say
from castsheet.machine.marks import Kind, owned, refuse_foreign
from castsheet.machine.outputs import Output, try_outputs
from castsheet.machine.replace import replacing
from castsheet.machine.text import TextReader

RECORD = "shot.json"
PAGE = "index.html"
FILM = "film.mp4"
LAST = ".last.png"  # after a shot's id: its last frame, for the shot that goes on from there
_RECORDS = TextReader(OutputError, "the shot is made again")

Files = Mapping[str, bytes]  # name -> content


def _known(folder: Path) -> bool:
    """Whether an earlier version made the folder: it holds a finished shot."""
    return any(_record(path) is not None for path in folder.glob(f"*/{RECORD}"))


SHOTS = Kind("shots", _known)


class ShotFolder:
    """A folder of shots that is marked and locked; `open` gives one."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    @contextmanager
    def open(cls, path: Path, say: Say) -> Iterator[ShotFolder]:
        """Mark the folder as ours, and keep other processes waiting for as long as the block lasts.

        Raises:
            OutputError: it is somebody else's, or cannot be written.
        """
        with owned(path, SHOTS, say):
            yield cls(path)

    def record(self, shot: str, key: str) -> dict[str, Any] | None:
        """What is known of a finished shot; None when it is not finished, or was made from something else."""
        content = _record(self.path / shot / RECORD)
        if content is None or content["key"] != key:
            return None
        # Somebody may have deleted a file of a finished shot by hand; then it is made again.
        whole = all((self.path / shot / name).is_file() for name in content["files"])
        return content if whole else None

    def publish(self, shot: str, files: Files) -> None:
        """Store a shot's files, among them its record, in place of those that were there.

        Raises:
            OutputError: the disk refused.
        """
        target = self.path / shot
        with replacing(self.path, target) as change:
            if target.exists():
                for name, content in sorted(files.items(), key=lambda one: one[0] == RECORD):
                    change.new(f"{shot}/{name}").write_bytes(content)
            else:
                folder = change.new(shot)
                folder.mkdir()
                for name, content in files.items():
                    (folder / name).write_bytes(content)

    def write(self, files: Files) -> None:
        """Store files beside the shots, as a set.

        Raises:
            OutputError: the disk refused.
        """
        with replacing(self.path) as change:
            for name, content in files.items():
                change.new(name).write_bytes(content)

    def film(self, write: Callable[[Path], None]) -> Path:
        """Store the film; `write` fills the file that it is given.

        Raises:
            OutputError: the disk refused.
        """
        with replacing(self.path) as change:
            write(change.new(FILM))
        return self.path / FILM

    def strangers(self, shots: Iterable[str]) -> list[str]:
        """Finished shots in the folder that are not of this list; they are left alone."""
        known = set(shots)
        found = (path.parent.name for path in self.path.glob(f"*/{RECORD}"))
        return sorted(name for name in found if name not in known)


def refuse_shots(path: Path, shots: Iterable[str], beside: Iterable[Output]) -> None:
    """Refuse, before the work, a folder in which these shots cannot be put; changes nothing.

    Args:
        beside: what else goes into the folder.

    Raises:
        OutputError: the folder, or one that has a shot's name in it, is somebody else's; or it cannot be
            written.
    """
    refuse_foreign(path, SHOTS)
    for shot in shots:
        folder = path / shot
        if folder.exists() and _record(folder / RECORD) is None:
            filled = not folder.is_dir() or any(not one.name.startswith(".") for one in folder.iterdir())
            if filled:
                raise OutputError(
                    f"{folder} is there, and is not a shot that Castsheet made",
                    remedy="give the shot another id, or choose another folder with -o",
                )
    longest = max(shots, key=len, default="")
    names = [
        Output(path / PAGE, lambda _: True),
        Output(path / longest / f"{longest}.contact.png", lambda _: True),
    ]
    try_outputs([*names, *beside])


def _record(path: Path) -> dict[str, Any] | None:
    """A shot's record; None where the file is none."""
    try:
        content = _RECORDS.json(path)
    except OutputError:
        return None
    files = content.get("files") if isinstance(content, dict) else None
    named = isinstance(files, list) and all(isinstance(name, str) for name in files)
    return content if named and isinstance(content.get("key"), str) else None
