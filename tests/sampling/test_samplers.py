"""Samplers against diffusers' scheduler, on known solutions, and when a model fails."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from castsheet.errors import NumericsError
from castsheet.sampling.levels import DISTILLED
from castsheet.sampling.samplers import SAMPLERS, Renoise, Sampler, euler, euler_ancestral, heun
from castsheet.sampling.schedule import listed, sigmas

NOISE = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0))


def bent(x: torch.Tensor, sigma: torch.Tensor, _step: int = 0) -> torch.Tensor:
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


every_sampler = pytest.mark.parametrize("walk", [one.walk for one in SAMPLERS.values()], ids=list(SAMPLERS))


@every_sampler
def test_a_constant_prediction_is_reached(walk):
    """Red: the last step to sigma 0 does not land on the prediction."""
    goal = torch.arange(30.0).reshape(2, 3, 5) / 10
    assert torch.allclose(walk(lambda *_: goal, NOISE, sigmas(7), renoise=renoise(1.0)), goal, atol=1e-5)


@every_sampler
def test_clean_values_stay_bitwise(walk):
    """Red: tokens whose prediction is their own value (reference, first frame) drift over the steps."""
    shares = torch.tensor([0.0, 1.0])[:, None, None]
    again = renoise(1.0, shares)
    out = walk(lambda x, *_: torch.cat([x[:1], x[1:] * 0.5]), NOISE, sigmas(9), renoise=again)
    assert torch.equal(out[0], NOISE[0])
    assert not torch.equal(out[1], NOISE[1])


@every_sampler
def test_callback_sees_every_step(walk):
    """Red: progress skips steps, counts wrongly or gets something else than the prediction."""
    seen = []
    walk(bent, NOISE, sigmas(4), callback=lambda step, x0: seen.append((step, x0.shape)))
    assert seen == [(step, NOISE.shape) for step in (1, 2, 3, 4)]


@every_sampler
def test_state_is_fp32(walk):
    """Red: bf16 noise or predictions make the latents bf16 between steps."""
    out = walk(lambda x, *_: (x * 0.5).bfloat16(), NOISE.bfloat16(), sigmas(3), renoise=renoise(1.0))
    assert out.dtype == torch.float32


@every_sampler
def test_a_step_has_one_number_and_listed_levels_only(walk):
    """Red: the cache of reference rows counts calls, or the modulation of a level was never tabulated."""
    calls = []

    def watched(x: torch.Tensor, sigma: torch.Tensor, step: int) -> torch.Tensor:
        calls.append((step, float(sigma)))
        return bent(x, sigma)

    levels = sigmas(4)
    walk(watched, NOISE, levels, renoise=renoise(1.0))
    assert [step for step, _ in calls] == sorted(step for step, _ in calls)
    assert {step for step, _ in calls} == {0, 1, 2, 3}
    assert {sigma for _, sigma in calls} <= set(levels[:-1].tolist())


def test_the_table_says_what_a_sampler_costs():
    """Red: the table promises fewer calls a step than a sampler makes, or eta where nothing reads it."""
    levels = torch.tensor([1.0, 0.8, 0.6, 0.4])  # no step to 0, which costs one call always
    for one in SAMPLERS.values():
        calls = []
        plain = one.walk(lambda x, s, step, seen=calls: seen.append(step) or bent(x, s), NOISE, levels)
        assert len(calls) == 3 * one.calls
        assert torch.equal(one.walk(bent, NOISE, levels, renoise=renoise(1.0)), plain) is not one.eta


def test_a_sampler_is_one_entry(monkeypatch):
    """Red: a new sampler needs more than its function and one line of the table."""

    def jump(model, x, sigmas, **_options):
        """Straight to the first prediction."""
        return model(x, sigmas[0], 0)

    monkeypatch.setitem(SAMPLERS, "jump", Sampler(jump, "one call"))
    out = SAMPLERS["jump"].walk(bent, NOISE, sigmas(4))
    assert torch.equal(out, bent(NOISE, torch.tensor(1.0)))


def test_the_table_is_read_without_torch():
    """Red: settings and --help wait for torch to be imported."""
    code = "import sys, castsheet.sampling.samplers as s; assert s.SAMPLERS; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def renoise(eta: float, shares: torch.Tensor | float = 1.0, like: torch.Tensor = NOISE) -> Renoise:
    """Another draw for every step."""
    return Renoise(
        eta, lambda step: torch.randn(like.shape, generator=torch.Generator().manual_seed(step + 1)), shares
    )


def gaussian(spread: float):
    """The exact model of data N(0, spread^2): the mean of x0 given x, a known linear ODE."""

    def model(x: torch.Tensor, sigma: torch.Tensor, _step: int) -> torch.Tensor:
        clean, noise = (1 - sigma) * spread**2, sigma**2
        return x * clean / ((1 - sigma) * clean + noise)

    return model


@pytest.mark.parametrize(("walk", "order"), [(euler, 1), (heun, 2)])
def test_order_of_convergence(walk, order):
    """Red: the second-order sampler is of first order, or not a solution of the model's ODE at all.

    For data N(0, s^2) the ODE keeps x in proportion to the state's deviation,
    sqrt((1 - sigma)^2 s^2 + sigma^2).
    """
    spread, first, last = 0.5, 0.9, 0.1
    deviation = [math.sqrt((1 - sigma) ** 2 * spread**2 + sigma**2) for sigma in (first, last)]
    exact = NOISE.double() * deviation[1] / deviation[0]
    errors = []
    for steps in (8, 16, 32):
        out = walk(gaussian(spread), NOISE, torch.linspace(first, last, steps + 1))
        errors.append(float((out - exact).norm() / exact.norm()))
    slopes = [math.log2(coarse / fine) for coarse, fine in itertools.pairwise(errors)]
    assert all(abs(slope - order) < 0.25 for slope in slopes), (errors, slopes)


def test_ancestral_without_noise_is_euler():
    """Red: eta 0 is not today's Euler, bit for bit."""
    for eta in (None, 0.0):
        again = None if eta is None else renoise(eta)
        out = euler_ancestral(bent, NOISE, sigmas(6), renoise=again)
        assert torch.equal(out, euler(bent, NOISE, sigmas(6)))
    nearly = euler_ancestral(bent, NOISE, sigmas(6), renoise=renoise(1e-6))
    assert torch.allclose(nearly, out, atol=5e-3)


@pytest.mark.parametrize("share", [1.0, 0.4])
@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_ancestral_steps_keep_to_their_noise_level(eta, share):
    """Red: a step's end is not (1 - m sigma) x0 + m sigma n with n standard normal, or n is the old noise.

    The model knows x0, so that the noise is what is left of the state.
    """
    goal, noise = torch.tensor(2.0), torch.randn(200_000, generator=torch.Generator().manual_seed(9))
    levels = torch.tensor([0.9, 0.7, 0.45])
    x = (1 - share * levels[0]) * goal + share * levels[0] * noise
    out = euler_ancestral(lambda *_: goal, x, levels, renoise=renoise(eta, share, noise))
    left = (out - (1 - share * levels[-1]) * goal) / (share * levels[-1])
    assert abs(float(left.mean())) < 0.01
    assert abs(float(left.std()) - 1) < 0.01
    likeness = float((left * noise).mean())
    assert 0.05 < likeness < 0.95


def test_ancestral_ends_at_the_data():
    """Red: with many steps the result's spread is not the data's: more noise is added than taken out."""
    start = torch.randn(100_000, generator=torch.Generator().manual_seed(3))
    for eta in (0.0, 0.5, 1.0):
        out = euler_ancestral(
            gaussian(0.5), start, torch.linspace(1, 0, 201), renoise=renoise(eta, like=start)
        )
        assert abs(float(out.std()) / 0.5 - 1) < 0.02


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_failing_model_is_named_by_step(bad):
    """Red: NaN runs through to a black clip instead of stopping with the step's number."""
    calls = []

    def breaks_later(x: torch.Tensor, sigma: torch.Tensor, _step: int) -> torch.Tensor:
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
