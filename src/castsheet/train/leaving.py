"""A run that is asked to end: SIGTERM and Ctrl-C are noted, and heeded between two blocks of the model.

A step that is left undone changed nothing: parameters, moments and the count of steps are those of the step
before. Every draw is a function of the step's number, so the same command makes that step again, bit for bit.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from castsheet.machine.stopping import PAIR_S, SIGNALS, handled


class LeftError(Exception):
    """The run was asked to end within a step, which is not made."""


class Wish:
    """Whether the run was asked to end, and by which signal."""

    def __init__(self) -> None:
        self._came = threading.Event()
        self._number, self._at = int(signal.SIGTERM), 0.0

    def __call__(self) -> bool:
        """Whether it was."""
        return self._came.is_set()

    @property
    def code(self) -> int:
        """The exit code that the signal asks for."""
        return 128 + self._number

    def note(self, number: int) -> bool:
        """Note a signal; False if it is Ctrl-C once more, by one who does not want to wait."""
        now = time.monotonic()
        if not self._came.is_set():
            self._number, self._at = number, now
            self._came.set()
        return number != signal.SIGINT or now - self._at <= PAIR_S


@contextmanager
def noted() -> Iterator[Wish]:
    """Notes SIGTERM and SIGINT instead of ending at once; a second Ctrl-C ends at once all the same."""
    wish = Wish()
    if threading.current_thread() is not threading.main_thread():
        yield wish
        return
    before = {int(number): signal.getsignal(number) for number in SIGNALS}

    def handle(number: int, frame: Any) -> None:
        if not wish.note(number):
            usual = before[number]
            if callable(usual):
                usual(number, frame)

    with handled(handle):
        yield wish


def leave_between(blocks: nn.ModuleList, asked: Callable[[], bool]) -> None:
    """Raise `LeftError` before a block's forward pass, or after its backward pass, once `asked` says so.

    A step of a large batch takes minutes on a CPU, a block of it seconds. For one process alone: several must
    leave at the same place, which they agree upon once a step.
    """

    def check() -> None:
        if asked():
            raise LeftError

    def forward(_: nn.Module, given: tuple[Any, ...]) -> None:
        check()
        if torch.is_grad_enabled() and given[0].requires_grad:
            given[0].register_hook(backward)

    def backward(_: Tensor) -> None:
        check()

    for block in blocks:
        block.register_forward_pre_hook(forward)
