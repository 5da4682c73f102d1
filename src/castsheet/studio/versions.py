"""Versions of what may be edited: a file's hash is its ETag; a change names the version it is of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Header, Response

from castsheet.machine.files import sha256
from castsheet.studio.problems import Stale, Unstated
from castsheet.studio.state import Asker, Here

IfMatch = Annotated[str | None, Header(alias="If-Match", max_length=100)]
IfNoneMatch = Annotated[str | None, Header(alias="If-None-Match", max_length=100)]


class Change:
    """A change that somebody asks for, of the version that the request's headers name."""

    def __init__(
        self,
        studio: Here,
        who: Asker,
        response: Response,
        if_match: IfMatch = None,
        if_none_match: IfNoneMatch = None,
    ) -> None:
        self._undo, self._who, self._response = studio.undo, who, response
        self._stated = if_match, if_none_match

    @contextmanager
    def of(self, file: Path, what: str, thing: Path | None = None) -> Iterator[None]:
        """Check the version, let the block change the file, and tell the new version as ETag.

        One change of a thing at a time: of two that name the same version, the second is refused.

        Args:
            what: the change in a few words, for whoever takes it back.
            thing: what a taken-back change puts back; by default the file.

        Raises:
            Unstated, Stale: see `check_version`.
        """
        with self._undo.kept(what, thing or file, self._who.name):
            check_version(file, *self._stated)
            yield
            if file.exists():
                self._response.headers["etag"] = version(file)

    def removes(self, file: Path, what: str) -> Response:
        """Delete the file; the answer to it.

        Raises:
            Unstated, Stale: see `check_version`.
        """
        with self.of(file, what):
            file.unlink()
        return Response(status_code=204)


Versioned = Annotated[Change, Depends()]


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
