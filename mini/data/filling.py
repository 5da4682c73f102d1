"""Samples that a background thread makes, one after the other, while others already read what is there."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(kw_only=True)
class Filling:
    """How far the thread is.

    Attributes:
        ready: how many samples are there. failure: what ended the thread early.
        stopped: whether the thread should make no more.
    """

    ready: int = 0
    failure: BaseException | None = None
    stopped: bool = False
    _thread: threading.Thread | None = None
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def wait_for(self, count: int, seconds: float = math.inf) -> None:
        """Block until `count` samples are there, or so long; raises what ended the thread, if anything."""
        limit = None if math.isinf(seconds) else seconds
        with self._changed:
            self._changed.wait_for(lambda: self.ready >= count or self.failure is not None, limit)
        if self.failure is not None:
            raise self.failure

    def advance(self, ready: int) -> None:
        """Tell those who wait that `ready` samples are there."""
        with self._changed:
            self.ready = ready
            self._changed.notify_all()

    def fill(self, work: Callable[[], None]) -> None:
        """Run `work` in a thread of its own; its failure reaches whoever waits for samples."""
        self._thread = threading.Thread(target=self._guarded, args=(work,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Have the thread make no more, and wait until it has ended."""
        self.stopped = True
        if self._thread is not None:
            self._thread.join()

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            with self._changed:
                self.failure = error
                self._changed.notify_all()
            raise
