"""Passes that go through the blocks in step are the single calls, with the least work."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from castsheet.ltx.model.dit import Pass
from tests.doubles.ltx_tiny import (
    TARGET,
    randn,
    streams,
    tiny_transformer,
)

BOTH = pytest.mark.parametrize("audio", [False, True])


class Counting(nn.Module):
    """Blocks that note the order in which they are asked for."""

    def __init__(self, blocks: nn.ModuleList) -> None:
        super().__init__()
        self.blocks, self.asked = blocks, []

    def __getitem__(self, index: int) -> nn.Module:
        self.asked.append(index)
        return self.blocks[index]


@BOTH
@torch.no_grad()
def test_passes_in_step_are_bitwise_single_calls(audio: bool) -> None:
    """Red: running a guided step's passes block by block changes one of them."""
    model = tiny_transformer(audio=audio)
    video, sound = streams(model)
    other = replace(video, context_BLD=randn(*video.context_BLD.shape, seed=77))
    passes = (Pass(video, sound), Pass(other, sound), Pass(video, sound, stg_blocks=(1,), stg_audio=audio))
    passes += (Pass(video, sound, isolate=True),) if audio else ()
    together = model.forward_passes(passes, targets=TARGET)
    for one, got in zip(passes, together, strict=True):
        options = {"stg_blocks": one.stg_blocks, "stg_audio": one.stg_audio, "isolate": one.isolate}
        alone = model(one.video, one.audio, targets=TARGET, **options)
        assert torch.equal(got.video_BTC, alone.video_BTC)
        if audio:
            assert torch.equal(got.audio_BTC, alone.audio_BTC)


@torch.no_grad()
def test_passes_in_step_do_the_least_work() -> None:
    """Red: shared blocks are computed twice, or blocks are asked for out of order and streaming thrashes."""
    model = tiny_transformer(layers=4)
    video, _ = streams(model)
    counting = Counting(model.transformer_blocks)
    model.transformer_blocks = counting
    negative = replace(video, context_BLD=video.context_BLD.flip(1))
    model.forward_passes((Pass(video), Pass(negative), Pass(video, stg_blocks=(2,))))
    # Three passes from the perturbed block on, two before it.
    assert counting.asked == [0, 0, 1, 1, 2, 2, 2, 3, 3, 3]
