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
                layer = isinstance(child, nn.Linear | nn.Conv2d | nn.Conv3d) and name == "weight"
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
            members = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not members:
                continue
            if not group["matrices"]:
                self._adam(members, group)
                continue
            shapes: dict[tuple[int, int], list[Tensor]] = {}
            for parameter in members:
                matrix = parameter.flatten(1)
                shapes.setdefault((matrix.shape[0], matrix.shape[1]), []).append(parameter)
            self._momentum(members, group)
            for (rows, columns), alike in shapes.items():
                self._matrices(alike, rows, columns, group)

    def _momentum(self, members: list[Tensor], group: dict[str, Any]) -> None:
        """Leaves each update's direction in the gradient."""
        gradients = _gradients(members)
        buffers = self._kept("momentum", members)
        torch._foreach_lerp_(buffers, gradients, 1 - group["momentum"])
        torch._foreach_lerp_(gradients, buffers, group["momentum"])
        torch._foreach_mul_(members, 1 - group["lr"] * group["decay"])

    def _kept(self, name: str, members: list[Tensor]) -> list[Tensor]:
        """The running tensors of that name, zeros at the first step."""
        for parameter in members:
            if name not in self.state[parameter]:
                self.state[parameter][name] = torch.zeros_like(parameter)
        return [self.state[parameter][name] for parameter in members]

    def _matrices(self, members: list[Tensor], rows: int, columns: int, group: dict[str, Any]) -> None:
        updates = orthogonalise(torch.stack([one.flatten(1) for one in _gradients(members)]))
        size = 0.2 * max(rows, columns) ** 0.5
        shaped = [update.view_as(p) for p, update in zip(members, updates, strict=True)]
        torch._foreach_add_(members, shaped, alpha=-group["lr"] * size)

    def _adam(self, members: list[Tensor], group: dict[str, Any]) -> None:
        gradients, (first, second) = _gradients(members), group["betas"]
        group["count"] = count = group.get("count", 0) + 1
        means, squares = self._kept("mean", members), self._kept("square", members)
        torch._foreach_lerp_(means, gradients, 1 - first)
        torch._foreach_lerp_(squares, torch._foreach_mul(gradients, gradients), 1 - second)
        roots = torch._foreach_sqrt(torch._foreach_div(squares, 1 - second**count))
        torch._foreach_add_(roots, 1e-8)
        torch._foreach_addcdiv_(members, means, roots, -group["lr"] / (1 - first**count))


def _gradients(members: list[Tensor]) -> list[Tensor]:
    return [parameter.grad for parameter in members if parameter.grad is not None]
