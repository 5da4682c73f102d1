"""The edge of a program: whatever happens inside ends in an exit code, and in at most one error in words.

    0    done
    1    done, and the answer is no (`judge`, `lint`)
    2    refused, by an error that says what to do
    70   a fault of Castsheet; a report is saved
    130  SIGINT (Ctrl-C)
    143  SIGTERM

The library knows nothing of this: only programs call `at_edge`.
"""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NoReturn

from castsheet.machine import streams
from castsheet.machine.causes import known_cause
from castsheet.machine.stopping import Stop, stoppable

REFUSED, FAULT = 2, 70
DEBUG = "--debug"


def at_edge(work: Callable[[], int | None], arguments: Sequence[str]) -> NoReturn:
    """Run a program's work, and end the process.

    Args:
        work: returns the exit code; None is 0.
        arguments: the command line without the program's name; with `--debug`, errors show their traceback.

    Raises:
        SystemExit: always.
    """
    guarded = streams.guard()
    with stoppable() as stop:
        code = _ended(work, arguments, stop)
        # From here on a signal changes nothing: the work is done, or undone.
        stop.end()
        lost = guarded.failure()
        if lost is not None and stop.code is None:
            _say(f"error: {lost}\n")
            code = max(code, REFUSED)
    sys.exit(code)


def ignore_signals() -> None:
    """For the last moments of a process: its exit code stands."""
    with suppress(ValueError):  # not the main thread
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)


def _ended(work: Callable[[], int | None], arguments: Sequence[str], stop: Stop) -> int:
    try:
        return work() or 0
    except SystemExit as left:
        if stop.code is not None:
            return stop.code
        if isinstance(left.code, str):
            _say(f"{left.code}\n")
            return 1
        return left.code or 0
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BaseException as error:  # noqa: BLE001  (this is where all of them end)
        if stop.code is not None:
            return stop.code
        return _told(error, arguments)


def _told(error: BaseException, arguments: Sequence[str]) -> int:
    debug = DEBUG in arguments
    if not debug:
        # The frames hold the tensors for which there was no memory.
        traceback.clear_frames(error.__traceback__)
    known = known_cause(error)
    if debug:
        _say("".join(traceback.format_exception(error)))
    if known is not None:
        _say(f"error: {known}\n")
        return REFUSED
    from castsheet.machine import fault

    _say(fault.told(error, arguments))
    return FAULT


def _say(text: str) -> None:
    with suppress(OSError, ValueError):
        sys.stderr.write(text)
        sys.stderr.flush()
