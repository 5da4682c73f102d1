"""Threads that judge side by side, each on one core."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager

import torch

MOST = 8  # threads: six frames that are looked at, and what is measured beside them
_SETTING = threading.Lock()


@contextmanager
def crew() -> Iterator[Executor]:
    """As many threads as there are cores, 8 at most; torch uses one core in each of them.

    One picture is too little for many cores: torch's threads wait for each other by spinning, and beside
    other work that takes more time than the work itself. Side by side, pictures need no waiting.
    """
    count = min(MOST, _cores())
    begun, opened = threading.Semaphore(0), threading.Event()

    def alone() -> None:
        torch.get_num_threads()  # a thread takes the default when it first needs it: before, not after
        torch.set_num_threads(1)
        begun.release()
        # A thread that has nothing to do would be given the next one's first task, and that never begin.
        opened.wait()

    hands = ThreadPoolExecutor(count, "castsheet-judge", alone)
    try:
        with _SETTING:
            # The number is the thread's own, and the default of threads that begin later: they get it back.
            before = torch.get_num_threads()
            for _ in range(count):
                hands.submit(int)
            for _ in range(count):
                begun.acquire()
            torch.set_num_threads(before)
        opened.set()
        yield hands
    finally:
        opened.set()  # should not all have begun
        hands.shutdown(cancel_futures=True)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
