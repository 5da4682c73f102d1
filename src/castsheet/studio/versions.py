"""Versions of what may be edited: a file's hash is its ETag; a change names the version it is of."""

from __future__ import annotations

from pathlib import Path

from castsheet.machine.files import sha256
from castsheet.studio.problems import Stale, Unstated


def version(file: Path) -> str:
    """The ETag of a file as it is now."""
    return f'"{sha256(file)[:32]}"'


def check_version(file: Path, if_match: str | None, if_none_match: str | None = None) -> None:
    """Refuse a change of another version than the one that is there.

    Args:
        if_match: the version that the change is of.
        if_none_match: "*" for what is to be new.

    Raises:
        Unstated: neither is given, where one is needed.
        Stale: the file has changed since, has gone, or is there already.
    """
    if if_match is None and if_none_match != "*":
        raise Unstated(
            "the change does not say which version it is of",
            remedy="send If-Match with the ETag that was read, or If-None-Match: * for something new",
        )
    if if_match is None:
        if file.exists():
            raise Stale("there is one of this name already", remedy="choose another name, or open that one")
        return
    if not file.exists() or version(file) != if_match:
        raise Stale("it was changed since it was read", remedy="load it again, and make the change again")
