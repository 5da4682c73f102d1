"""The Euler sampler: a straight walk along the model's velocity field.

`model(x, sigma)` predicts the clean latent x0; the velocity is (x - x0) / sigma, so that with falling sigmas

    x' = x + (sigma' - sigma) * (x - x0) / sigma

Algorithm 1 of "Elucidating the Design Space of Diffusion-Based Generative Models" (arXiv:2206.00364) without
its correction step. All arithmetic is fp32.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from castsheet.errors import NumericsError

Model = Callable[[Tensor, Tensor], Tensor]
Callback = Callable[[int, Tensor], None]


def euler(model: Model, x: Tensor, sigmas: Tensor, *, callback: Callback | None = None) -> Tensor:
    """Walk `x` from sigmas[0] to sigmas[-1].

    Args:
        model: predicts x0 from (x, sigma), x fp32 of x's shape, sigma a scalar fp32 tensor on x's device.
        x: noise at level sigmas[0], any shape.
        sigmas: (steps + 1,) falling noise levels; all but the last above 0.
        callback: called after each step with the step's number (from 1) and its x0.

    Returns:
        fp32 tensor of x's shape at level sigmas[-1].

    Raises:
        NumericsError: the model's prediction is not finite; the message names the step and its sigma.
    """
    x = x.float()
    levels = sigmas.to(device=x.device, dtype=torch.float32)
    steps = len(levels) - 1
    for step in range(steps):
        sigma, below = levels[step], levels[step + 1]
        x0 = model(x, sigma).float()
        if not torch.isfinite(x0).all():
            raise NumericsError(
                f"step {step + 1} of {steps} (sigma {float(sigma):.4f}) gave values that are not finite",
                remedy="run with --dtype fp32, with a weaker adapter, or get the model files anew",
            )
        x = x + (below - sigma) * ((x - x0) / sigma)
        if callback is not None:
            callback(step + 1, x0)
    return x
