"""Masks and given first frames in the loss, sample by sample."""

from __future__ import annotations

import torch

from castsheet.ltx.model.rope import video_bounds, video_tables
from castsheet.train.objective import Given, flow_losses
from tests.doubles import ltx_tiny as tiny

FRAME = tiny.ROWS * tiny.COLUMNS


def losses(mask_BN: torch.Tensor | None = None, **changes) -> torch.Tensor:
    """Losses of a batch of two on a tiny random model with a one-frame reference."""
    model = tiny.tiny_transformer()
    bounds = [video_bounds(frames, tiny.ROWS, tiny.COLUMNS, tiny.FPS) for frames in (tiny.FRAMES, 1)]
    given = Given(
        tiny.randn(2, tiny.TARGET, 8, seed=1),
        tiny.randn(2, tiny.CONTEXT, 32, seed=2),
        video_tables(model.config, torch.cat(bounds, dim=1)),
        reference_BRC=tiny.randn(2, FRAME, 8, seed=4),
        **changes,
    )
    noise = tiny.randn(2, tiny.TARGET, 8, seed=3)
    return flow_losses(model, given, torch.tensor([0.7, 0.3]), noise, mask_BN=mask_BN)


def test_first_frames_are_given_sample_by_sample():
    """Red: one sample's choice reaches another, or a given frame counts in the loss."""
    none, every = losses(), losses(first_frame_tokens=FRAME)
    mixed = losses(first_frame_tokens=FRAME, given_B=torch.tensor([True, False]))
    torch.testing.assert_close(mixed, torch.stack([every[0], none[1]]))
    assert not torch.isclose(every[0], none[0])


def test_a_mask_weighs_tokens():
    """Red: masked tokens count, or the loss is not a mean over what is left."""
    mask = torch.ones(2, tiny.TARGET)
    torch.testing.assert_close(losses(mask_BN=mask), losses())
    left, right = mask.clone(), mask.clone()
    left[:, :6], right[:, 6:] = 0, 0
    share = 6 / tiny.TARGET
    joined = share * losses(mask_BN=right) + (1 - share) * losses(mask_BN=left)
    torch.testing.assert_close(joined, losses())
    assert losses(mask_BN=0 * mask).isnan().all()  # the trainer stops there, and names the sample
