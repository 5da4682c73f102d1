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
    """Parameters side by side in one tensor, and their gradients in another.

    The gradients take memory from the block's backward pass until the update only: when activations are at
    their most, at the end of the forward pass, there are none.

    Attributes:
        whole: all parameters; between `open` and `close`, all gradients are slices of its `grad`.
        parts: the parameters, now views of `whole`.
    """

    @torch.no_grad()
    def __init__(self, parts: Sequence[nn.Parameter], device: torch.device) -> None:
        self.parts = list(parts)
        self._sizes = [part.numel() for part in parts]
        count = -(-sum(self._sizes) // BLOCK) * BLOCK
        self.whole = nn.Parameter(torch.zeros(count, device=device))
        for part, values in zip(self.parts, self._slices(self.whole), strict=True):
            values.copy_(part)
            part.data = values

    def _slices(self, whole: Tensor) -> list[Tensor]:
        """Views of `whole` in the parameters' shapes."""
        flat = whole.detach()[: sum(self._sizes)].split(self._sizes)
        return [values.view(part.shape) for part, values in zip(self.parts, flat, strict=True)]

    def watch(self, block: nn.Module) -> None:
        """Open before the backward pass of the block that the parameters belong to."""

        def ran(_: nn.Module, __: object, result: tuple[Tensor, Tensor | None]) -> None:
            if result[0].requires_grad:
                result[0].register_hook(self.open)

        block.register_forward_hook(ran)

    def open(self, _: object = None) -> None:
        """Make gradients of zero, unless there are some already."""
        if self.whole.grad is None:
            self.whole.grad = torch.zeros_like(self.whole)
            for part, gradient in zip(self.parts, self._slices(self.whole.grad), strict=True):
                part.grad = gradient

    @property
    def gradient(self) -> Tensor:
        """Of all parameters; only while they are open."""
        assert self.whole.grad is not None
        return self.whole.grad

    def close(self) -> None:
        """Let the gradients go."""
        for one in (self.whole, *self.parts):
            one.grad = None
