"""Positions and rotations against hand-made values and against diffusers."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from diffusers.models.transformers.transformer_ltx2 import (
    LTX2AudioVideoRotaryPosEmbed,
    apply_split_rotary_emb,
)

from castsheet.ltx.model.config import ModelConfig
from castsheet.ltx.model.rope import (
    apply,
    audio_bounds,
    audio_tables,
    cross_tables,
    tables,
    video_bounds,
    video_tables,
)
from tests.doubles.ltx_tiny import randn

OFFICIAL = json.loads((Path(__file__).parents[1] / "data" / "ltx-2.3-config.json").read_text())
CONFIG = ModelConfig.from_header({"config": json.dumps(OFFICIAL["config"])}).transformer


def test_first_latent_frame_covers_one_pixel_frame() -> None:
    """Red: the causal time formula is off, and every clip's motion is read at the wrong times."""
    time_T2 = video_bounds(3, 1, 1, 24.0)[0]
    expected = torch.tensor([[0, 1], [1, 9], [9, 17]]) / 24
    torch.testing.assert_close(time_T2, expected)


def test_token_order_and_pixel_extents() -> None:
    """Red: tokens are not in (frame, row, column) order, or their extents are not 32-px cells."""
    bounds = video_bounds(2, 2, 3, 24.0)
    assert bounds.shape == (3, 12, 2)
    assert bounds[1, :, 0].tolist() == [0, 0, 0, 32, 32, 32] * 2
    assert bounds[2, :, 1].tolist() == [32, 64, 96] * 4
    assert (bounds[0, 6:] > bounds[0, :6]).all()


def test_downscaled_reference_spans_the_same_picture() -> None:
    """Red: a reference encoded at half size lands in the top left quarter of the target's positions."""
    small, large = video_bounds(2, 2, 3, 24.0, downscale=2), video_bounds(2, 4, 6, 24.0)
    assert torch.equal(small.amax(dim=(1, 2)), large.amax(dim=(1, 2)))


def test_cell_size_is_the_codecs() -> None:
    """Red: a codec with other strides (mini's 8 x 16 x 16) gets the big model's positions."""
    assert video_bounds(2, 1, 2, 24.0, scale=(4, 16, 16))[:, -1].tolist() == [
        pytest.approx([1 / 24, 5 / 24]),
        [0, 16],
        [16, 32],
    ]


def test_table_layout_by_hand() -> None:
    """Red: frequencies are not axis-minor, the identity is not on the left, or heads share frequencies."""
    bounds = torch.tensor([[[2.0, 4.0]], [[8.0, 8.0]], [[1.0, 3.0]]])
    rope = tables(bounds, dim=32, heads=2, theta=81.0, max_pos=(4, 16, 10))
    frequencies = [math.pi / 2 * 81 ** (j / 4) for j in range(5)]
    fractions = [2 * 3 / 4 - 1, 2 * 8 / 16 - 1, 2 * 2 / 10 - 1]
    angles = torch.tensor([0.0] + [f * p for f in frequencies for p in fractions])
    torch.testing.assert_close(rope.cos_HTD.flatten(), angles.cos(), atol=1e-5, rtol=0)
    torch.testing.assert_close(rope.sin_HTD.flatten(), angles.sin(), atol=1e-5, rtol=0)
    assert rope.cos_HTD.shape == (2, 1, 8)


def test_video_tables_equal_diffusers_at_full_width() -> None:
    """Red: the 22B model's rotations differ from the ones it was trained with."""
    peer = LTX2AudioVideoRotaryPosEmbed(dim=4096, rope_type="split")
    cos, sin = peer(peer.prepare_video_coords(1, 16, 3, 4, torch.device("cpu"), fps=25.0))
    ours = video_tables(CONFIG, video_bounds(16, 3, 4, 25.0))
    torch.testing.assert_close(ours.cos_HTD, cos[0], atol=1e-6, rtol=0)
    torch.testing.assert_close(ours.sin_HTD, sin[0], atol=1e-6, rtol=0)


def test_audio_and_cross_tables_equal_diffusers_at_full_width() -> None:
    """Red: audio runs out of step with the picture."""
    peer = LTX2AudioVideoRotaryPosEmbed(dim=2048, modality="audio", scale_factors=[4], rope_type="split")
    coords = peer.prepare_audio_coords(1, 9, torch.device("cpu"))
    torch.testing.assert_close(audio_bounds(9), coords[0])
    torch.testing.assert_close(audio_tables(CONFIG, audio_bounds(9)).sin_HTD, peer(coords)[1][0])
    torch.testing.assert_close(cross_tables(CONFIG, audio_bounds(9)).cos_HTD, peer(coords)[0][0])
    bounds = video_bounds(3, 2, 2, 24.0)
    video_peer = LTX2AudioVideoRotaryPosEmbed(dim=2048, rope_type="split")
    torch.testing.assert_close(
        cross_tables(CONFIG, bounds).cos_HTD, video_peer(bounds[None, :1])[0][0], atol=1e-6, rtol=0
    )


def test_rotation_equals_diffusers_and_keeps_dtype() -> None:
    """Red: the wrong elements of a head are paired, or bf16 activations become fp32."""
    rope = tables(video_bounds(2, 2, 2, 24.0), dim=32, heads=2, theta=1e4, max_pos=(20, 2048, 2048))
    x = randn(3, 2, 8, 16, seed=0)
    torch.testing.assert_close(apply(x, rope), apply_split_rotary_emb(x, (rope.cos_HTD, rope.sin_HTD)))
    assert apply(x.bfloat16(), rope).dtype == torch.bfloat16


def test_first_is_a_prefix() -> None:
    """Red: the last block's kept rows would be rotated by other tokens' positions."""
    rope = video_tables(CONFIG.video_only(), video_bounds(2, 2, 2, 24.0))
    assert torch.equal(rope.first(3).sin_HTD, rope.sin_HTD[:, :3])
    assert rope.to(torch.float64).cos_HTD.dtype == torch.float64


def test_impossible_sizes_are_refused() -> None:
    """Red: a width without room for all axes gives empty tables instead of a message."""
    with pytest.raises(ValueError, match="no RoPE"):
        tables(video_bounds(1, 1, 1, 24.0), dim=4, heads=2, theta=1e4, max_pos=(20, 2048, 2048))
