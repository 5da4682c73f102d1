"""Modulation from a table is the modulation that is computed."""

from __future__ import annotations

import pytest
import torch

from castsheet.ltx.speed.tabulated import tabulated
from tests.doubles.ltx_tiny import (
    TARGET,
    close,
    streams,
    tiny_transformer,
)

BOTH = pytest.mark.parametrize("audio", [False, True])


@BOTH
@torch.no_grad()
def test_tabulated_modulation_changes_nothing(audio: bool) -> None:
    """Red: rows looked up for a schedule are not the rows computed for its noise levels."""
    model = tiny_transformer(audio=audio)
    video, sound = streams(model)
    names = list(model.state_dict())
    before = model(video, sound, targets=TARGET)
    with tabulated(model, [1.0, 0.7, 0.3, 0.0], offload="cpu"):
        assert not any("adaln_single" in name for name in model.state_dict())
        after = model(video, sound, targets=TARGET)
    close(after.video_BTC, before.video_BTC)
    assert list(model.state_dict()) == names
    assert torch.equal(model(video, sound, targets=TARGET).video_BTC, before.video_BTC)


@torch.no_grad()
def test_a_level_that_was_not_tabulated_is_refused() -> None:
    """Red: a step at another noise level silently gets a neighbour's modulation."""
    model = tiny_transformer()
    video, _ = streams(model)
    with tabulated(model, [1.0, 0.7]), pytest.raises(ValueError, match="not among those tabulated"):
        model(video)
