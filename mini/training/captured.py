"""A training step's forward and backward pass as one CUDA graph: a thousand launches cost what one costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

WARM = 3  # passes before capturing: libraries choose their kernels there


class Captured:
    """Loss and gradients of fixed shapes, replayed.

    Gradients lie in the parameters' `grad` after each call; they are written anew, not added to, and must
    not be set to None.

    Args:
        loss_of: called with `inputs`; waits for nothing.
        inputs: of the shapes and kinds that all later ones have.
    """

    def __init__(
        self,
        loss_of: Callable[..., Tensor],
        inputs: Sequence[Tensor],
        parameters: Sequence[nn.Parameter],
    ) -> None:
        self.parameters = parameters
        self.inputs = [one.clone() for one in inputs]
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM):
                self._forget()
                loss_of(*self.inputs).backward()
        torch.cuda.current_stream().wait_stream(aside)
        self._forget()
        self.graph = torch.cuda.CUDAGraph()
        # Another thread may be putting stories into memory meanwhile.
        with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
            self.loss = loss_of(*self.inputs)
            self.loss.backward()

    def __call__(self, inputs: Sequence[Tensor]) -> Tensor:
        """The loss; gradients are in place."""
        for own, given in zip(self.inputs, inputs, strict=True):
            own.copy_(given)
        self.graph.replay()
        return self.loss.detach().clone()

    def release(self) -> None:
        """Give the graph's memory back, the gradients' too."""
        self._forget()
        self.graph.reset()
        del self.loss

    def _forget(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None
