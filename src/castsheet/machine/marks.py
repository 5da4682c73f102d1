"""Folders that Castsheet fills carry its mark, `FOLDER/.castsheet`. Other people's folders are refused.

Nothing is ever removed from a folder without the mark.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from castsheet.errors import OutputError
from castsheet.machine.files import write_text
from castsheet.machine.json_text import parse_json
from castsheet.machine.locks import Say, locked
from castsheet.machine.refusals import cannot_write
from castsheet.machine.regular import is_file, read_regular
from castsheet.machine.replace import PREFIX, settle
from castsheet.machine.stopping import deferred

MARK = ".castsheet"


@dataclass(frozen=True)
class Kind:
    """A kind of folder that Castsheet fills.

    Args:
        name: what the mark says: "shots".
        known: whether a folder without a mark was filled by an earlier version, by what it holds.
    """

    name: str
    known: Callable[[Path], bool]


def refuse_foreign(folder: Path, kind: Kind) -> bool:
    """Refuse a folder that holds something and is not ours; changes nothing.

    Returns:
        Whether the folder carries the mark.

    Raises:
        OutputError: it is somebody else's, of another kind, or no folder.
    """
    try:
        if not folder.exists():
            return False
        stated = _stated(folder / MARK)
        # Hidden files, such as a desktop's own, make nobody the owner.
        filled = any(not path.name.startswith(".") for path in folder.iterdir())
    except OSError as error:
        raise cannot_write(folder, error) from error
    if stated is not None and stated != kind.name:
        raise OutputError(
            f"{folder} is Castsheet's folder of {stated}, not of {kind.name}", remedy="choose another folder"
        )
    if stated is None and filled and not kind.known(folder):
        raise OutputError(
            f"{folder} holds files, and is not Castsheet's folder of {kind.name}",
            remedy="choose a new or an empty folder",
        )
    return stated is not None


def claim(folder: Path, kind: Kind, say: Say) -> None:
    """Make a folder ours: a new or empty one is marked, and so is one of an earlier version, with a line.

    Raises:
        OutputError: it is somebody else's, or cannot be written.
    """
    settle(folder)
    if refuse_foreign(folder, kind):
        return
    try:
        if folder.exists() and kind.known(folder):
            say(f"{folder} was made by an earlier version: marked as {kind.name}")
    except OSError as error:
        raise cannot_write(folder, error) from error
    write_text(folder / MARK, json.dumps({"castsheet": kind.name}) + "\n")


@contextmanager
def owned(folder: Path, kind: Kind, say: Say, *, part: str = "", wait: bool = True) -> Iterator[None]:
    """Have a folder of ours to oneself, marked, for as long as the block lasts.

    Args:
        say: told when the folder is adopted, and when another process is waited for.
        part: what of the folder is locked, such as an element of a library; by default the whole folder.
        wait: whether to wait for another process, or to refuse.

    Raises:
        OutputError: the folder is somebody else's, in use, or cannot be written.
    """
    refuse_foreign(folder, kind)
    new = not folder.exists()
    try:
        what = f"{part} in {folder}" if part else str(folder)
        with locked(folder / f"{PREFIX}{part or kind.name}.lock", what, say if wait else None):
            try:
                claim(folder, kind, say)
                yield
            except BaseException:
                with deferred():
                    if new and _bare(folder):
                        (folder / MARK).unlink()
                raise
    except BaseException:
        if new:
            with suppress(OSError):
                folder.rmdir()
        raise


def _bare(folder: Path) -> bool:
    """Whether a folder holds its mark and nothing else but locks."""
    names = {path.name for path in folder.iterdir() if not path.name.startswith(PREFIX)}
    return names == {MARK}


def _stated(mark: Path) -> str | None:
    """What a mark says; None where there is none, or a damaged one."""
    if not is_file(mark):  # what may not be looked at is refused, not taken for unmarked
        return None
    try:
        content = parse_json(read_regular(mark, OutputError, limit=4096).decode())
    except ValueError:
        return None
    found = content.get("castsheet") if isinstance(content, dict) else None
    return found if isinstance(found, str) else None
