"""Euler against diffusers' scheduler, on a known solution, and when a model fails."""

from __future__ import annotations

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from castsheet.errors import NumericsError
from castsheet.sampling.sampler import euler
from castsheet.sampling.schedule import DISTILLED, listed, sigmas

NOISE = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0))


def bent(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    return torch.tanh(x) * (1 - sigma) + 0.3 * sigma


@pytest.mark.parametrize("levels", [sigmas(6), listed(DISTILLED)])
def test_equals_diffusers(levels):
    """Red: our steps are not those of diffusers' FlowMatchEulerDiscreteScheduler."""
    scheduler = FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(sigmas=levels[:-1].tolist())
    assert torch.equal(scheduler.sigmas, levels)
    x = NOISE
    for sigma, timestep in zip(levels[:-1], scheduler.timesteps, strict=True):
        x = scheduler.step((x - bent(x, sigma)) / sigma, timestep, x, return_dict=False)[0]
    assert torch.allclose(euler(bent, NOISE, levels), x, rtol=1e-6, atol=1e-6)


def test_a_constant_prediction_is_reached():
    """Red: the last step to sigma 0 does not land on the prediction."""
    goal = torch.arange(30.0).reshape(2, 3, 5) / 10
    assert torch.allclose(euler(lambda *_: goal, NOISE, sigmas(7)), goal, atol=1e-5)


def test_clean_values_stay_bitwise():
    """Red: tokens whose prediction is their own value (reference, first frame) drift over the steps."""
    out = euler(lambda x, _: torch.cat([x[:1], x[1:] * 0.5]), NOISE, sigmas(9))
    assert torch.equal(out[0], NOISE[0])
    assert not torch.equal(out[1], NOISE[1])


def test_callback_sees_every_step():
    """Red: progress skips steps, counts wrongly or gets something else than the prediction."""
    seen = []
    euler(bent, NOISE, sigmas(4), callback=lambda step, x0: seen.append((step, x0.shape)))
    assert seen == [(step, NOISE.shape) for step in (1, 2, 3, 4)]


def test_state_is_fp32():
    """Red: bf16 noise or predictions make the latents bf16 between steps."""
    out = euler(lambda x, _: (x * 0.5).bfloat16(), NOISE.bfloat16(), sigmas(3))
    assert out.dtype == torch.float32


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_failing_model_is_named_by_step(bad):
    """Red: NaN runs through to a black clip instead of stopping with the step's number."""
    calls = []

    def breaks_later(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        calls.append(sigma)
        return x * 0 if len(calls) < 3 else x * bad

    with pytest.raises(NumericsError, match="step 3 of 5"):
        euler(breaks_later, NOISE, sigmas(5))
    assert len(calls) == 3


def test_interruption_passes_through():
    """Red: Ctrl-C during sampling is swallowed."""

    def interrupted(*_: torch.Tensor) -> torch.Tensor:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        euler(interrupted, NOISE, sigmas(2))
