"""The training objective: noise levels, what the model is shown, what the loss reads."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from castsheet.ltx.model.dit import Stream
from castsheet.ltx.model.rope import Rope
from castsheet.sampling.schedule import shift
from castsheet.train.objective import Given, flow_losses, sigmas_of


class Oracle:
    """A hand-written denoiser that remembers what it was shown and answers with given velocities."""

    def __init__(self, velocity: torch.Tensor) -> None:
        self.velocity = velocity
        self.seen: Stream | None = None

    def __call__(self, stream: Stream, *, targets: int) -> SimpleNamespace:
        self.seen = stream
        return SimpleNamespace(video_BTC=self.velocity[:, :targets])


def problem(reference: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, Rope]:
    generator = torch.Generator().manual_seed(0)
    clean, noise = (torch.randn(2, 6, 4, generator=generator) for _ in range(2))
    context = torch.randn(2, 3, 8, generator=generator)
    table = torch.ones(1, 6 + reference, 2)
    return clean, noise, context, torch.tensor([0.25, 0.75]), Rope(table, table)


def test_shift_grows_with_the_token_count() -> None:
    """Red: training noise no longer matches the official trainer's mu of 2.508 at the real bucket."""
    assert shift(1024) == pytest.approx(0.95)
    assert shift(5376) == pytest.approx(2.5083, abs=1e-4)


def test_sigmas_have_the_published_distribution() -> None:
    """Red: the sampler's median or range left the official one (median 0.847 at 5,376 tokens)."""
    source = torch.Generator().manual_seed(1)
    normal, (uniform, chance) = torch.randn(40_000, generator=source), torch.rand(2, 40_000, generator=source)
    sigma = sigmas_of(normal, uniform, chance, 5376)
    assert sigma.min() >= 0
    assert sigma.max() <= 1
    assert sigma.median().item() == pytest.approx(0.847, abs=0.006)
    # 0.3 of the uniform tenth; of the rest, N(0,1) below logit(0.3 * 0.513 + 0.483) - 2.508 = -1.946.
    assert (sigma < 0.3).float().mean().item() == pytest.approx(0.03 + 0.9 * 0.0258, abs=0.005)


def test_a_perfect_velocity_costs_nothing() -> None:
    """Red: the target is no longer noise minus data."""
    clean, noise, context, sigma, rope = problem()
    assert flow_losses(Oracle(noise - clean), Given(clean, context, rope), sigma, noise).tolist() == [0, 0]


def test_the_model_sees_the_interpolation_and_its_noise_level() -> None:
    """Red: x_s is no longer (1 - s) x0 + s n, or the timestep is not s."""
    clean, noise, context, sigma, rope = problem()
    oracle = Oracle(torch.zeros_like(clean))
    losses = flow_losses(oracle, Given(clean, context, rope), sigma, noise)
    assert oracle.seen is not None
    expected = torch.stack([(1 - s) * clean[i] + s * noise[i] for i, s in enumerate(sigma)])
    torch.testing.assert_close(oracle.seen.tokens_BTC, expected)
    assert oracle.seen.timesteps_BS.tolist() == [[0.25], [0.75]]
    torch.testing.assert_close(losses, (noise - clean).square().mean(dim=(1, 2)))


def test_the_reference_is_clean_at_timestep_zero_and_outside_the_loss() -> None:
    """Red: reference tokens get noise, a timestep, or a say in the loss."""
    clean, noise, context, sigma, rope = problem(reference=5)
    reference = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(2))
    wrong_beyond = torch.cat([noise - clean, torch.full((2, 5, 4), 9.0)], dim=1)
    oracle = Oracle(wrong_beyond)
    losses = flow_losses(oracle, Given(clean, context, rope, reference_BRC=reference), sigma, noise)
    assert losses.tolist() == [0, 0]
    assert oracle.seen is not None
    assert oracle.seen.sequence.segments == (6, 5)
    assert oracle.seen.timesteps_BS[:, 1].tolist() == [0, 0]
    torch.testing.assert_close(oracle.seen.tokens_BTC[:, 6:], reference)


def test_a_given_first_frame_is_clean_and_outside_the_loss() -> None:
    """Red: first-frame conditioning leaks noise into the given frame or trains on it."""
    clean, noise, context, sigma, rope = problem()
    velocity = noise - clean
    velocity[:, :2] = 7.0
    oracle = Oracle(velocity)
    losses = flow_losses(oracle, Given(clean, context, rope, first_frame_tokens=2), sigma, noise)
    assert losses.tolist() == [0, 0]
    assert oracle.seen is not None
    assert oracle.seen.sequence.segments == (2, 4)
    torch.testing.assert_close(oracle.seen.tokens_BTC[:, :2], clean[:, :2])
