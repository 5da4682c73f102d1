"""A base that is listened to while it learns: what its words and tokens say of the sheet's elements.

Legend: B batch, N or T tokens, D their width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from castsheet.ltx.model.dit import Transformer
from mini.data.naming import Naming
from mini.data.showing import Showing

# Early enough for the blocks after them to act on it, late enough for those before them to read the words.
LISTENED = (2, 4)
ELEMENT, LOOKS = 0.2, 0.5  # weights of their losses beside the pictures'


class Watched(Transformer):
    """The denoiser, with the same parameters and the same results.

    Attributes:
        said: while it is a list, the video tokens (B,T,D) after each block of `LISTENED` are added to it.
    """

    said: list[Tensor] | None = None

    def _step(self, flow: Any, index: int, *rest: Any) -> Any:
        after = super()._step(flow, index, *rest)
        if self.said is not None and index in LISTENED:
            self.said.append(after.video_BTC)
        return after

    def hear(self) -> list[Tensor]:
        """What was said since the last call. Before the first call nothing is kept."""
        heard, self.said = self.said or [], []
        return heard


class Readers(nn.Module):
    """Read whom words name and what tokens show. They are thrown away; what they taught stays.

    Args:
        width: of the denoiser's tokens, and of the contexts that they attend to.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.naming = Naming(width)
        self.showing: list[Showing] = [Showing(width) for _ in LISTENED]
        for number, reader in enumerate(self.showing):
            self.add_module(f"showing_{number}", reader)

    def shown(
        self, said: list[Tensor], shown_BN: Tensor, looks_BEL: Tensor, weights_BN: Tensor | None = None
    ) -> Tensor:
        """The weighed loss of elements and looks, a mean over the blocks that are listened to."""
        heard = zip(self.showing, said, strict=True)
        losses = [one.losses(tokens, shown_BN, looks_BEL, weights_BN) for one, tokens in heard]
        return torch.stack([ELEMENT * element + LOOKS * looks for element, looks in losses]).mean()
