"""What native libraries print to the terminal on their own, and nobody can use."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

_STDERR = 2
_TURN = Lock()


@contextmanager
def without_notices(start: str) -> Iterator[None]:
    """Drop lines that begin with `start` from what is written to standard error inside the block.

    Native code writes to the descriptor, past `sys.stderr`. All other lines, also of other threads, are
    written at the block's end.
    """
    with _TURN, tempfile.TemporaryFile() as held:
        try:
            usual = os.dup(_STDERR)
        except OSError:  # closed: nothing is printed
            yield
            return
        os.dup2(held.fileno(), _STDERR)
        try:
            yield
        finally:
            os.dup2(usual, _STDERR)
            os.close(usual)
            held.seek(0)
            for line in held:
                if not line.startswith(start.encode()):
                    _pass_on(line)


def _pass_on(line: bytes) -> None:
    try:
        os.write(_STDERR, line)
    except OSError:  # the reader has gone, or the disk is full: a notice is not worth a failure
        return
