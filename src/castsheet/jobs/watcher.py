"""What a face is told while a request is carried out. No torch.

A face overrides the methods whose news it shows: a terminal draws bars, a page stores events, a node moves
its host's bar. To cancel between two steps, raise an exception in a method: the caller gets it as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from castsheet.run import Run

Tone = Literal["plain", "quiet", "look", "bad"]


class Watcher:
    """Is told everything and shows nothing."""

    def working(self, _what: str, _total: int | None = None) -> AbstractContextManager[Callable[[int], None]]:
        """Work lasts as long as the `with` block, which calls the function with the amount done so far."""
        return nullcontext(lambda _done: None)

    def prepared(self, run: Run) -> None:
        """A run is settled: its settings, words, sheet and findings are known."""

    def stepped(self, step: int, steps: int, latents_BCFHW: Tensor) -> None:
        """Sampling step `step` (from 1) is done; the latents are the clean clip as it predicts them."""

    def drawn(self, step: int, steps: int, picture: Callable[[], Image.Image]) -> None:
        """The same step again, for faces that show pictures: `picture()` draws how the clip looks by now.

        The picture is the clip's last frame as the VAE decodes it; it costs a few frames' decoding.
        """

    def said(self, line: str, tone: Tone = "plain") -> None:
        """A line for people."""
