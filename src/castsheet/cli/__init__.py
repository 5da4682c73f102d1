"""The command line: thin commands over the same dataclasses that Python users have.

Importing this package imports next to nothing, so that a signal of the first moment finds its handler.
`castsheet.cli.app` then imports the command that was asked for, and each command what it needs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command line; `castsheet.machine.edge` says how it ends.

    Args:
        arguments: the command line without the program's name; None takes the process's own.
    """
    from castsheet.machine.edge import at_edge

    given = list(sys.argv[1:] if arguments is None else arguments)

    def work() -> int:
        from castsheet.cli.app import run

        return run(given)

    at_edge(work, given)


def program() -> NoReturn:
    """Entry point of the process: as `main`, and signals that come while the process ends are ignored."""
    from castsheet.machine.edge import ignore_signals

    try:
        main()
    finally:
        ignore_signals()
