"""Strength a token: three ways to bias attention agree, and meaningless strengths are refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from benchmarks.flex import FlexBias
from castsheet.ltx.model.bias import TokenBias
from tests.doubles.ltx_tiny import (
    TARGET,
    close,
    laid_out,
    tiny_transformer,
    tiny_video,
)


def strengths_of(tokens: int) -> Tensor:
    values = torch.ones(tokens)
    values[TARGET + 2 : TARGET + 6], values[TARGET + 9] = 1.7, 0.4
    return values


@pytest.mark.parametrize("targets", [None, TARGET, TARGET + 7])
@torch.no_grad()
def test_methods_of_token_strength_agree(targets: int | None) -> None:
    """Red: the fast forms of per-element strength are not the published mask, or not what a peer computes."""
    model = tiny_transformer(layers=2)
    video = tiny_video(model.config, reference=2)
    tokens = video.tokens_BTC.shape[1]
    bias = TokenBias.of(strengths_of(tokens), TARGET)
    assert bias is not None
    matrix = model(laid_out(video, bias=bias.dense()), targets=targets).video_BTC
    peer = FlexBias.of(strengths_of(tokens), TARGET)
    for one in (replace(bias, method="dense"), replace(bias, method="groups"), peer):
        close(model(laid_out(video, bias=one), targets=targets).video_BTC, matrix)
    assert not torch.allclose(matrix, model(video, targets=targets).video_BTC, atol=1e-3)


def test_token_strength_is_the_logarithm_between_clip_and_reference() -> None:
    """Red: references are weighed against each other, or the clip against itself."""
    strengths = torch.tensor([1.0, 1.0, 2.0, 1.0])
    bias = TokenBias.of(strengths, clip=2)
    assert bias is not None
    log = torch.tensor(2.0).log()
    expected = torch.zeros(4, 4)
    expected[:2, 2] = expected[2, :2] = log
    assert torch.equal(bias.dense(), expected)
    assert torch.equal(bias[:2].dense(), expected[:2])


def test_strength_one_everywhere_is_no_bias() -> None:
    """Red: a run without strengths pays for a bias of zeros."""
    assert TokenBias.of(torch.ones(10), clip=4) is None


@pytest.mark.parametrize("values", [[1.0, 0.0], [1.0, -1.0], [1.0, float("nan")], [2.0, 1.0]])
def test_strengths_that_mean_nothing_are_refused(values: list[float]) -> None:
    """Red: log 0 makes NaN in a softmax, or the clip weighs itself."""
    with pytest.raises(ValueError, match="strength"):
        TokenBias.of(torch.tensor(values), clip=1)
