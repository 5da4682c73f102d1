"""Standard streams that never stop the work: closed ones swallow, and what cannot be written is noted.

A run that took an hour must not be lost because its log's disk is full, or because the terminal has gone.
"""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from dataclasses import dataclass
from typing import IO, TextIO

from castsheet.errors import OutputError
from castsheet.machine.refusals import cannot_write

# The reader has gone (`| head -1`), or the terminal was closed: nobody wants the rest.
_UNWANTED = (errno.EPIPE, errno.EBADF, errno.ENXIO)


class _Kept(io.FileIO):
    """A file whose writes always succeed; the first failure is kept, and all that follows is dropped."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.failure: OSError | None = None

    def write(self, content: object) -> int:
        """Write, or drop what cannot be written."""
        if self.failure is None:
            try:
                while (written := super().write(content)) is None:  # type: ignore[arg-type]
                    select.select([], [self], [])  # a pipe that never blocks, and is full
                return written
            except OSError as error:
                self.failure = error
        return memoryview(content).nbytes  # type: ignore[arg-type]


@dataclass(frozen=True)
class Streams:
    """The process's streams, as `guarded` made them; None where somebody else has put his own in place."""

    out: _Kept | None
    err: _Kept | None

    def failure(self) -> OutputError | None:
        """Why results for standard output were lost, if they were. A reader that went away lost nothing."""
        if sys.stdout is not None:
            sys.stdout.flush()
        if sys.stderr is not None:
            sys.stderr.flush()
        error = self.out.failure if self.out is not None else None
        if error is None or error.errno in _UNWANTED:
            return None
        told = cannot_write("to standard output", error)
        return OutputError(f"{told.what} (the files that the command makes are whole)", remedy=told.remedy)


def guard() -> Streams:
    """Put streams that never fail in the place of the process's own.

    A stream that is closed (`>&-`) leads nowhere from here on. Else the next file that is opened would take
    its number, and libraries that print would print into that file.
    """
    _fill_gaps()
    out = _kept(sys.stdout, sys.__stdout__, 1)
    err = _kept(sys.stderr, sys.__stderr__, 2)
    if out is not None:
        _put("stdout", out)
    if err is not None:
        _put("stderr", err)
    return Streams(out, err)


def _fill_gaps() -> None:
    while True:
        opened = os.open(os.devnull, os.O_RDWR)
        if opened > 2:
            os.close(opened)
            return


def _kept(stream: IO[str] | None, own: IO[str] | None, descriptor: int) -> _Kept | None:
    if stream is not own or (stream is not None and not _leads_to(stream, descriptor)):
        return None
    if stream is not None:
        stream.flush()
    return _Kept(descriptor)


def _leads_to(stream: IO[str], descriptor: int) -> bool:
    try:
        return stream.fileno() == descriptor
    except (OSError, ValueError):
        return False


def _put(name: str, raw: _Kept) -> None:
    """As Python makes its streams; but letters that the terminal does not know are written out."""
    before: TextIO | None = getattr(sys, name)
    stream = io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=before.encoding if before is not None else "utf-8",
        errors="backslashreplace",
        line_buffering=raw.isatty() or name == "stderr",
    )
    # The interpreter flushes the second one when it ends.
    setattr(sys, name, stream)
    setattr(sys, f"__{name}__", stream)
