"""Samplers: ways to walk from noise to a clean latent. The setting `sampler` is a key of `SAMPLERS`.

`model(x, sigma, step)` predicts the clean latent x0. The state is x = (1 - sigma) x0 + sigma n, and the
velocity of the straight path is v = (x - x0) / sigma ("Flow Straight and Fast", arXiv:2209.03003). A sampler
calls the model only at the listed levels, because their modulation is computed in advance (ltx/speed). All
calls in one step pass the same step number: the cache of reference rows counts steps (ltx/model/reuse.py).

Adding a sampler: a function of this signature, and one line in `SAMPLERS`. All arithmetic is fp32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

from castsheet.errors import NumericsError

if TYPE_CHECKING:  # settings.py imports this table and must not import torch
    from torch import Tensor

Model = Callable[["Tensor", "Tensor", int], "Tensor"]
Callback = Callable[[int, "Tensor"], None]


@dataclass(frozen=True)
class Renoise:
    """The noise that an ancestral sampler adds after a step.

    Attributes:
        eta: how much of the noise is replaced, from 0 (none) to 1 (usual).
        draw: step number (from 0) -> standard normal noise of the state's shape, on the state's device.
        shares: share of the noise level that each value of the state carries, broadcast to its shape: 1 for
            sampled values, 0 for clean ones.
    """

    eta: float
    draw: Callable[[int], Tensor]
    shares: Tensor | float = 1.0


class Walk(Protocol):
    """The signature of every sampler.

    Args:
        model: predicts x0 from (x, sigma, step): x fp32, sigma a scalar fp32 tensor on x's device, step
            counted from 0.
        x: the state at level sigmas[0], any shape.
        sigmas: (steps + 1,) falling noise levels; all but the last above 0.
        renoise: noise to add; only ancestral samplers read it.
        callback: called after each step with the step's number (from 1) and its last prediction of x0.

    Returns:
        fp32 tensor of x's shape at level sigmas[-1].

    Raises:
        NumericsError: a prediction is not finite; the message names the step and its sigma.
    """

    def __call__(
        self,
        model: Model,
        x: Tensor,
        sigmas: Tensor,
        *,
        renoise: Renoise | None = None,
        callback: Callback | None = None,
    ) -> Tensor: ...


@dataclass(frozen=True)
class Sampler:
    """An entry of `SAMPLERS`.

    Attributes:
        walk: the function.
        about: one line for the help texts.
        eta: whether the setting `eta` applies.
        calls: model calls a step.
    """

    walk: Walk
    about: str
    eta: bool = False
    calls: int = 1


def euler(
    model: Model,
    x: Tensor,
    sigmas: Tensor,
    *,
    renoise: Renoise | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """Straight steps along the velocity: x' = x + (sigma' - sigma) v.

    Algorithm 1 of "Elucidating the Design Space of Diffusion-Based Generative Models" (arXiv:2206.00364)
    without its correction step. Arguments, result and errors: see `Walk`.
    """
    del renoise
    x, levels = _start(x, sigmas)
    for step, (sigma, below) in enumerate(levels):
        x0 = _predict(model, x, sigma, step, len(levels))
        x = x + (below - sigma) * ((x - x0) / sigma)
        if callback is not None:
            callback(step + 1, x0)
    return x


def euler_ancestral(
    model: Model,
    x: Tensor,
    sigmas: Tensor,
    *,
    renoise: Renoise | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """Euler steps to a level below the next one, then new noise n up to it.

    The step goes to level d = sigma' (1 + (sigma' / sigma - 1) eta). Scaling by (1 - sigma') / (1 - d) gives
    the clean part its share at sigma'. New noise then adds the variance that is missing at sigma':

        x_d = x + (d - sigma) v
        x'  = x_d (1 - sigma') / (1 - d) + n sqrt(sigma'^2 - d^2 (1 - sigma')^2 / (1 - d)^2)

    This is the rectified-flow form of the ancestral step, with the level d of the official LTX-2.5 pipelines
    and eta as in "Denoising Diffusion Implicit Models" (arXiv:2010.02502). A value with share m of the noise
    takes the same step from m sigma to m sigma'; clean values stay bit for bit. Without `renoise`, or at eta
    0, the result is that of `euler` bit for bit. Arguments, result and errors: see `Walk`.
    """
    if renoise is None or renoise.eta == 0:
        return euler(model, x, sigmas, callback=callback)
    x, levels = _start(x, sigmas)
    for step, (sigma, below) in enumerate(levels):
        x0 = _predict(model, x, sigma, step, len(levels))
        down = below * (1 + (below / sigma - 1) * renoise.eta)
        x = x + (down - sigma) * ((x - x0) / sigma)
        ratio = (1 - renoise.shares * below) / (1 - renoise.shares * down)
        missing = below**2 - (down * ratio) ** 2  # only rounding makes it negative: down <= below, ratio <= 1
        x = x * ratio + renoise.draw(step) * (renoise.shares * missing.clamp(min=0).sqrt())
        if callback is not None:
            callback(step + 1, x0)
    return x


def heun(
    model: Model,
    x: Tensor,
    sigmas: Tensor,
    *,
    renoise: Renoise | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """Second order: the mean of the velocities at a step's two ends; two calls of the model a step.

        e  = x + (sigma' - sigma) v(x, sigma)
        x' = x + (sigma' - sigma) (v(x, sigma) + v(e, sigma')) / 2

    There is no velocity at level 0, so a step to level 0 is an Euler step. Algorithm 1 of "Elucidating the
    Design Space of Diffusion-Based Generative Models" (arXiv:2206.00364). Arguments, result and errors: see
    `Walk`.
    """
    del renoise
    x, levels = _start(x, sigmas)
    ends_clean = float(sigmas[-1]) == 0
    for step, (sigma, below) in enumerate(levels):
        x0 = _predict(model, x, sigma, step, len(levels))
        velocity = (x - x0) / sigma
        end = x + (below - sigma) * velocity
        if not (ends_clean and step == len(levels) - 1):
            x0 = _predict(model, end, below, step, len(levels))
            end = x + (below - sigma) * ((velocity + (end - x0) / below) / 2)
        x = end
        if callback is not None:
            callback(step + 1, x0)
    return x


SAMPLERS: dict[str, Sampler] = {
    "euler": Sampler(euler, "straight steps"),
    "euler_ancestral": Sampler(euler_ancestral, "straight steps, then new noise; see eta", eta=True),
    "heun": Sampler(heun, "second order; twice the time a step", calls=2),
}


def _start(x: Tensor, sigmas: Tensor) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    """The state in fp32, and every step's two levels on the state's device."""
    x = x.float()
    levels = sigmas.to(x).unbind()
    return x, list(pairwise(levels))


def _predict(model: Model, x: Tensor, sigma: Tensor, step: int, steps: int) -> Tensor:
    """The model's x0 in fp32.

    Raises:
        NumericsError: the prediction is not finite.
    """
    x0 = model(x, sigma, step).float()
    if not x0.isfinite().all():
        raise NumericsError(
            f"step {step + 1} of {steps} (sigma {float(sigma):.4f}) gave values that are not finite",
            remedy="run with --dtype fp32, with a weaker adapter, or get the model files anew",
        )
    return x0
