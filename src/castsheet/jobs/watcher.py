"""What a face hears while a request is carried out. No torch.

A face overrides what it shows: a terminal draws bars, a page stores events, a node moves its host's bar. A
method may raise an exception, which ends the work and comes through as it is: that is how to cancel between
two steps.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

    from castsheet.run import Run

Tone = Literal["plain", "quiet", "look", "bad"]


class Watcher:
    """Hears of everything and shows nothing."""

    def working(self, _what: str, _total: int | None = None) -> AbstractContextManager[Callable[[int], None]]:
        """Work begins and lasts as long as the block; it calls the function with the amount done so far."""
        return nullcontext(lambda _done: None)

    def prepared(self, run: Run) -> None:
        """A run is settled: its settings, words, sheet and findings can be shown."""

    def stepped(self, step: int, steps: int, latents_BCFHW: Tensor) -> None:
        """A sampling step (from 1) is done; the latents predict the clean clip, for a preview."""

    def said(self, line: str, tone: Tone = "plain") -> None:
        """A line for people."""
