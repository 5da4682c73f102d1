"""How mini's scripts end and start others: an error that a user can mend is one message and exit code 2."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from castsheet.errors import CastsheetError


def finish(work: Callable[[], Any]) -> None:
    """Do the work, and exit as the command line does."""
    try:
        work()
    except CastsheetError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


_THREAD_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@contextmanager
def one_thread_each(**more: str) -> Iterator[None]:
    """Processes started inside the block compute in one thread each; `more` is added to their environment.

    With a process on every core, several threads in each make the work take many times as long.
    """
    inherited = dict.fromkeys(_THREAD_LIMITS, "1") | more
    before = {name: os.environ.get(name) for name in inherited}
    os.environ.update(inherited)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
