"""The guidance formula against its definition, against diffusers' guidance code, and its corners."""

from __future__ import annotations

import pytest
import torch
from diffusers.pipelines.ltx2.pipeline_ltx2_ic_lora import rescale_noise_cfg

from castsheet.errors import SettingsError
from castsheet.sampling.guidance import Weights, combine


@pytest.fixture
def passes() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(1, 60, 8, generator=generator) * scale for scale in (1.0, 1.1, 0.9, 1.2)]


def test_equals_diffusers(passes):
    """Red: guided predictions differ from diffusers' deltas and rescaling where both define the same."""
    c, u, p, m = passes
    deltas = c + (4.0 - 1) * (c - u) + 1.5 * (c - p) + (3.0 - 1) * (c - m)
    expected = rescale_noise_cfg(deltas, c, guidance_rescale=0.7)
    found = combine({"cond": c, "uncond": u, "stg": p, "isolated": m}, Weights(4.0, 1.5, 3.0, 0.7))
    assert torch.allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_rescale_counts_the_reference(passes):
    """Red: the clean reference is left out of the standard deviations, unlike in the official code."""
    c, u = passes[:2]
    reference = torch.randn(1, 40, 8, generator=torch.Generator().manual_seed(4)) * 3
    everything = torch.cat([c, reference], dim=1)
    guided = everything + 3 * torch.cat([c - u, torch.zeros_like(reference)], dim=1)
    expected = guided * (0.7 * everything.std() / guided.std() + 0.3)
    found = combine({"cond": c, "uncond": u}, Weights(4.0, rescale=0.7), reference)
    assert torch.allclose(found, expected[:, : c.shape[1]], rtol=1e-6, atol=1e-6)
    assert not torch.allclose(found, combine({"cond": c, "uncond": u}, Weights(4.0, rescale=0.7)), atol=1e-3)


def test_standard_deviation_covers_the_batch(passes):
    """Red: rescaling became one factor a sample; the official one is global."""
    c, u = (torch.cat([one, 2 * one]) for one in passes[:2])
    guided = c + 3 * (c - u)
    expected = guided * (c.std() / guided.std())
    assert torch.allclose(
        combine({"cond": c, "uncond": u}, Weights(4.0, rescale=1.0)), expected, rtol=1e-6, atol=1e-6
    )


def test_switched_off_passes_are_not_looked_at(passes):
    """Red: a pass that was not run is needed, or guidance 1 changes the prediction."""
    c = passes[0]
    nan = torch.full_like(c, float("nan"))
    assert torch.equal(
        combine({"cond": c, "uncond": nan, "stg": nan, "isolated": nan}, Weights(rescale=0.7)), c
    )
    assert torch.equal(combine({"cond": c}, Weights()), c)


def test_missing_pass_is_named(passes):
    """Red: a weight without its pass is silently ignored."""
    with pytest.raises(SettingsError, match="stg"):
        combine({"cond": passes[0]}, Weights(stg_scale=1.0))


def test_result_is_fp32(passes):
    """Red: guidance is computed in bf16, where the differences of near-equal passes drown."""
    c, u = (one.bfloat16() for one in passes[:2])
    found = combine({"cond": c, "uncond": u}, Weights(4.0))
    assert found.dtype == torch.float32
    assert torch.equal(found, c.float() + 3 * (c.float() - u.float()))


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        (Weights(), {}),
        (Weights(guidance=4.0), {"uncond": 3.0}),
        (Weights(guidance=0.0), {"uncond": -1.0}),
        (Weights(stg_scale=1.0), {"stg": 1.0}),
        (Weights(modality_scale=3.0, rescale=0.7), {"isolated": 2.0}),
    ],
)
def test_which_passes_matter(weights, expected):
    """Red: a pass is run for nothing, or one that counts is not run."""
    assert weights.scales == expected
