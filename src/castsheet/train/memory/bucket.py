"""A block's adapters as slices of one tensor: one sum over processes, one norm, one update for all of them.

AdamW works number by number, so only the count of kernels changes: 48 in place of 960 at full size. With
8-bit moments a bucket also limits the working memory of an update.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from castsheet.train.memory.host import Leaving

BLOCK = 256  # numbers that share a scale in 8-bit moments


class Bucket:
    """Parameters side by side in one tensor, and their gradients in another.

    The gradients take memory only from the block's backward pass until the update. At the end of the forward
    pass, when activations take most, there are none. `rest` moves them to host memory until the update.

    Attributes:
        whole: all parameters; between `open` and `close`, all gradients are slices of its `grad`.
        parts: the parameters, now views of `whole`.
        norm: of the gradients when `rest` moved them.
    """

    @torch.no_grad()
    def __init__(self, parts: Sequence[nn.Parameter], device: torch.device) -> None:
        self.parts = list(parts)
        self._host: Tensor | None = None
        self._leaving: Leaving | None = None  # while the gradients are in host memory
        self.norm: Tensor | None = None
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
        """Prepare the gradients: keep those on the device, else fetch them from the host, else start at 0."""
        if self.whole.grad is None:
            self.whole.grad = self._fetched()
            for part, gradient in zip(self.parts, self._slices(self.whole.grad), strict=True):
                part.grad = gradient

    def _fetched(self) -> Tensor:
        gradient = torch.empty_like(self.whole)
        if self._host is None or self._leaving is None:
            return gradient.zero_()
        self._leaving.let_go()
        self._leaving = None
        return gradient.copy_(self._host, non_blocking=True)

    @property
    def gradient(self) -> Tensor:
        """The gradients of all parameters; only while they are open."""
        assert self.whole.grad is not None
        return self.whole.grad

    def rest(self, leaving: Leaving) -> None:
        """Note the gradients' norm and move them to host memory; `open` fetches them again."""
        if self.whole.grad is None:
            return  # moved already: a single bucket is asked after each round and at the end
        # The same operations as in `get_total_norm`: the norm of a run's norms is then the same bit for bit.
        self.norm = torch._foreach_norm([self.gradient])[0]
        if self._host is None:
            self._host = leaving.room(self.whole)
        leaving.send(self.gradient, self._host)
        self.close()
        self._leaving = leaving

    def close(self) -> None:
        """Free the gradients."""
        for one in (self.whole, *self.parts):
            one.grad = None
