"""SIGINT and SIGTERM: noted, raised as an exception so that everything is cleaned up, and never lost.

Python runs a signal's handler wherever the main thread happens to be. Within native code that calls back into
Python, or within the import of a package, the handler's exception may become another one, or be dropped. So
the edge asks `Stop.code` what came, whatever exception arrives there, and a dropped one is raised again.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Wrappers send a signal on that the terminal has sent to all processes: the second of a pair is no new wish.
PAIR_S = 1.0
_AGAIN_S = 10.0
_SOON_S = 0.05


class Stopped(SystemExit):
    """A signal asks the process to end; its code is 128 and the signal's number."""


class Stop:
    """What is known of the signals that came since `stoppable` began."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self.ended = False
        self._last = 0.0
        self._timer: threading.Timer | None = None

    @property
    def code(self) -> int | None:
        """The exit code that the first signal asks for; None if none came."""
        return None if self.signal is None else 128 + self.signal

    def handle(self, number: int, _frame: object = None) -> None:
        """The handler of both signals: raises `Stopped`, at the end of a `deferred` block if one is open."""
        now = time.monotonic()
        pair = self.signal is not None and now - self._last < PAIR_S
        self.signal = self.signal or number
        if self.ended or pair:
            return
        self._last = now
        if _deferring.depth:
            _deferring.waiting = self.raise_now
        else:
            self.raise_now()

    def raise_now(self) -> None:
        """Raise, and once more later if the edge has not been reached by then."""
        self.send_later(_AGAIN_S)
        raise Stopped(self.code)

    def send_later(self, seconds: float) -> None:
        """Send the signal again after some seconds, unless the edge was reached."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = threading.Timer(seconds, self._send)
        self._timer.daemon = True
        with suppress(RuntimeError):  # no further thread may be started: then it is not sent again
            self._timer.start()

    def end(self) -> None:
        """The edge was reached: signals are of no more use."""
        self.ended = True
        if self._timer is not None:
            self._timer.cancel()

    def _send(self) -> None:
        if not self.ended and self.signal is not None:
            self._last = 0.0
            os.kill(os.getpid(), self.signal)


class _Deferring(threading.local):
    """Of this thread: how many `deferred` blocks are open, and what to do at the end of the outermost."""

    depth = 0
    waiting: Callable[[], None] | None = None


_deferring = _Deferring()


@contextmanager
def deferred() -> Iterator[None]:
    """A short block that a signal must not tear apart: the exception comes at its end.

    Has an effect where `stoppable` handles the signals, which is in the command line and not in the library.
    """
    _deferring.depth += 1
    try:
        yield
    finally:
        _deferring.depth -= 1
        if not _deferring.depth and (waiting := _deferring.waiting) is not None:
            _deferring.waiting = None
            waiting()


@contextmanager
def handled(handle: Callable[[int, Any], None]) -> Iterator[None]:
    """Give SIGINT and SIGTERM to `handle` inside the block, where they are not ignored (by nohup, say)."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        if handler not in (signal.SIG_IGN, None):
            signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # native code's own
                signal.signal(number, handler)


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Handle SIGINT and SIGTERM inside the block, where they are not ignored."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    hook = sys.unraisablehook

    def dropped(unraisable: Any) -> None:
        # A destructor or a callback of native code cannot raise: Python would print the exception and go on.
        if issubclass(unraisable.exc_type, Stopped):
            stop.send_later(_SOON_S)
        else:
            hook(unraisable)

    with handled(stop.handle):
        sys.unraisablehook = dropped
        try:
            yield stop
        finally:
            stop.end()
            sys.unraisablehook = hook
