"""Muon: momentum whose matrix updates are made orthogonal, with AdamW for everything that is no matrix.

From Keller Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024), with the update's
size matched to AdamW's as in Liu et al., "Muon is scalable for LLM training" (arXiv:2502.16982), section 2.2.
Convolution kernels count as matrices (out, in * kernel). PyTorch's own Muon takes 2-D parameters only.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic Newton-Schulz iteration


def orthogonalise(matrix_MN: Tensor, steps: int = 5) -> Tensor:
    """Roughly the nearest semi-orthogonal matrix, batched: singular values end between 0.7 and 1.2."""
    a, b, c = _COEFFICIENTS
    x = matrix_MN.bfloat16() if matrix_MN.is_cuda else matrix_MN.float()
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if tall else x).to(matrix_MN.dtype)


def split(modules: Iterable[nn.Module]) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Trainable parameters: weights of layers with 32 or more inputs and outputs, and all others."""
    matrices: dict[int, nn.Parameter] = {}
    others: dict[int, nn.Parameter] = {}
    for module in modules:
        for child in module.modules():
            for name, parameter in child.named_parameters(recurse=False):
                if not parameter.requires_grad:
                    continue
                layer = isinstance(child, nn.Linear | nn.Conv3d) and name == "weight"
                chosen = matrices if layer and min(parameter.flatten(1).shape) >= 32 else others
                chosen[id(parameter)] = parameter
    return list(matrices.values()), list(others.values())


class Muon(torch.optim.Optimizer):
    """Muon for the weights of linear and convolution layers, AdamW for the rest, in one optimiser.

    Args:
        modules: whose trainable parameters to optimise.
        rate: learning rate of both; matrix updates have the root mean square of AdamW's, 0.2 * rate.
        momentum: of the matrices (Nesterov). betas: of the rest.
        decay: decoupled weight decay, times rate.
    """

    def __init__(
        self,
        modules: Iterable[nn.Module],
        rate: float,
        *,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.98),
        decay: float = 0.01,
    ) -> None:
        matrices, others = split(modules)
        defaults = {"lr": rate, "momentum": momentum, "betas": betas, "decay": decay}
        super().__init__(
            [{"params": matrices, "matrices": True}, {"params": others, "matrices": False}], defaults
        )

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update all parameters; matrices of one shape go through the iteration together."""
        del closure
        for group in self.param_groups:
            shapes: dict[tuple[int, int], list[nn.Parameter]] = {}
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                if group["matrices"]:
                    matrix = parameter.flatten(1)
                    shapes.setdefault((matrix.shape[0], matrix.shape[1]), []).append(parameter)
                else:
                    self._adam(parameter, group)
            for (rows, columns), members in shapes.items():
                self._matrices(members, rows, columns, group)

    def _matrices(self, members: list[nn.Parameter], rows: int, columns: int, group: dict[str, Any]) -> None:
        directions = []
        for parameter in members:
            gradient = parameter.grad
            assert gradient is not None
            buffer = self.state[parameter].setdefault("momentum", torch.zeros_like(gradient))
            buffer.lerp_(gradient, 1 - group["momentum"])
            directions.append(gradient.lerp(buffer, group["momentum"]).flatten(1))
        updates = orthogonalise(torch.stack(directions))
        size = 0.2 * max(rows, columns) ** 0.5
        for parameter, update in zip(members, updates, strict=True):
            parameter.mul_(1 - group["lr"] * group["decay"])
            parameter.add_(update.view_as(parameter), alpha=-group["lr"] * size)

    def _adam(self, parameter: nn.Parameter, group: dict[str, Any]) -> None:
        gradient, state, (first, second) = parameter.grad, self.state[parameter], group["betas"]
        assert gradient is not None
        if not state:
            state.update(count=0, mean=torch.zeros_like(gradient), square=torch.zeros_like(gradient))
        state["count"] += 1
        state["mean"].lerp_(gradient, 1 - first)
        state["square"].lerp_(gradient.square(), 1 - second)
        mean = state["mean"] / (1 - first ** state["count"])
        root = (state["square"] / (1 - second ** state["count"])).sqrt() + 1e-8
        parameter.add_(mean / root, alpha=-group["lr"])
