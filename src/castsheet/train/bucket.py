"""A block's adapters as slices of one tensor: one sum over processes, one norm, one update for all of them.

AdamW works number by number, so nothing changes but the count of kernels: 48 in place of 960 at full size.
With 8-bit moments it also bounds what an update needs besides.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

BLOCK = 256  # numbers that share a scale in 8-bit moments


class Bucket:
    """Parameters and their gradients, side by side.

    Attributes:
        whole: all of them; its `grad` is always there and all gradients are slices of it.
        parts: the parameters, now views of `whole`.
    """

    @torch.no_grad()
    def __init__(self, parts: Sequence[nn.Parameter], device: torch.device) -> None:
        self.parts = list(parts)
        sizes = [part.numel() for part in parts]
        count = -(-sum(sizes) // BLOCK) * BLOCK
        self.whole = nn.Parameter(torch.zeros(count, device=device))
        self.whole.grad = torch.zeros_like(self.whole)
        start = 0
        for part, size in zip(self.parts, sizes, strict=True):
            values = self.whole[start : start + size].view(part.shape)
            values.copy_(part)
            part.data, part.grad = values, self.whole.grad[start : start + size].view(part.shape)
            start += size

    @property
    def gradient(self) -> Tensor:
        """Of all parameters."""
        assert self.whole.grad is not None
        return self.whole.grad
