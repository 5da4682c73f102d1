"""A run of the sampler at one size: one stage after the other, each from noise down to a clean clip.

A stage after the first adds fresh noise n to the clean x of the stage before, up to its own first level s.
With m the share of noise that each value carries:

    x <- (1 - m s) x + m s n

Legend: B batch (1), N sampled values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import Tensor

from castsheet.ltx.latents import Grid
from castsheet.ltx.speed.tabulated import tabulated
from castsheet.machine.seeds import generator
from castsheet.sampling.denoiser import Denoiser
from castsheet.sampling.samplers import Callback, Sampler
from castsheet.sampling.state import clip_latents, draw, step_noise

OnStep = Callable[[int, int, Tensor], None]  # step from 1, steps of all stages, clean latents (1,C,F,H,W)

_BEFORE = -1  # the step number of the noise that a stage starts from


class Before(NamedTuple):
    """What earlier stages, at another size, have left: the clean state (1,N), and how much was done."""

    x_BN: Tensor
    stages: int
    steps: int


def walk(
    denoiser: Denoiser,
    grid: Grid,
    stages: Sequence[Tensor],
    *,
    sampler: Sampler,
    eta: float,
    seed: int,
    noise: Tensor | None = None,
    before: Before | None = None,
    steps: int,
    on_step: OnStep | None = None,
) -> Tensor:
    """The clean state (1,N) after all stages.

    Args:
        stages: (steps + 1,) noise levels of each.
        noise: the target's noise (1,C,F,H,W) of the first stage instead of the seed's.
        before: the state to go on from; without it the first stage starts from noise alone.
        steps: of the whole run, for `on_step`.

    Raises:
        SettingsError: the seed is out of range, or given noise is not of the latents' shape.
        NumericsError: the model gave NaN or infinity.
    """
    first = draw(denoiser, grid, seed, noise, float(stages[0][0])) if before is None else before.x_BN
    x, done, passed = first, 0 if before is None else before.steps, 0 if before is None else before.stages
    for number, levels in enumerate(stages, start=passed):
        own = seed if number == 0 else generator(seed, "stage", number).initial_seed()
        fresh = step_noise(denoiser, grid, own, eta)
        if number > 0:
            share = denoiser.shares * float(levels[0])
            x = x * (1 - share) + fresh.draw(_BEFORE) * share
        show = None if on_step is None else _shown(on_step, denoiser, grid, done, steps)
        with tabulated(denoiser.transformer, levels, masks=denoiser.video.masks):
            x = sampler.walk(denoiser, x, levels, renoise=fresh if sampler.eta else None, callback=show)
        done += len(levels) - 1
    return x


def _shown(on_step: OnStep, denoiser: Denoiser, grid: Grid, done: int, steps: int) -> Callback:
    """`on_step` as the sampler calls it; `done` steps belong to earlier stages."""
    return lambda step, x0_BN: on_step(done + step, steps, clip_latents(denoiser, grid, x0_BN))
