"""How mini's scripts read settings, end, and start others. A user's mistake is one message, exit code 2."""

from __future__ import annotations

import argparse
import json
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


def add_settings(parser: argparse.ArgumentParser) -> None:
    """The option `--set`, which may be given again: pairs of a setting's name and its value."""
    parser.add_argument(
        "--set",
        type=_setting,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="another setting than the bundle's, such as guidance=4 or reference=still",
    )


def _setting(text: str) -> tuple[str, Any]:
    """NAME=VALUE of a command line; a value that is no JSON is a word, such as still."""
    name, _, value = text.partition("=")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


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
