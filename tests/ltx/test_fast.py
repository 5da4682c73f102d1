"""A model made fast: compiled blocks share their code, and every optimisation comes in its order."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend

from castsheet.ltx.model.bias import TokenBias
from castsheet.ltx.speed.fast import compile_blocks, make_fast
from castsheet.ltx.speed.joint import join_projections
from castsheet.ltx.speed.kernels import attention_kernels, attention_order
from castsheet.ltx.speed.streaming import StreamedBlocks, stream_blocks
from tests.doubles.ltx_tiny import (
    TARGET,
    close,
    laid_out,
    pair,
    quantise,
    streams,
    tiny_transformer,
    tiny_video,
)


@torch.no_grad()
def test_prepared_blocks_compile_as_one_graph() -> None:
    """Red: joined projections or a token's strength break a block's graph; compiling then brings little."""
    torch.compiler.reset()
    model = tiny_transformer(layers=3)
    video = tiny_video(model.config, reference=2)
    strengths = torch.ones(video.tokens_BTC.shape[1])
    strengths[TARGET : TARGET + 5] = 1.5
    video = laid_out(video, bias=TokenBias.of(strengths, TARGET, "groups"))
    expected = model.forward_passes(pair(video, stg_blocks=(1,)), targets=TARGET)
    compile_blocks(join_projections(model), backend="eager")
    got = model.forward_passes(pair(video, stg_blocks=(1,)), targets=TARGET)
    for left, right in zip(got, expected, strict=True):
        close(left.video_BTC, right.video_BTC)


@torch.no_grad()
def test_fp8_blocks_compile_as_one_graph() -> None:
    """Red: asking which kernel a device has, or quantising, breaks a block's graph."""
    torch.compiler.reset()
    model = join_projections(quantise(tiny_transformer(layers=2)))
    video, _ = streams(model)
    expected = model(video, targets=TARGET).video_BTC
    close(compile_blocks(model, backend="eager")(video, targets=TARGET).video_BTC, expected)


@pytest.mark.parametrize("where", ["resident", "streamed"])
@torch.no_grad()
def test_blocks_share_their_compiled_code(where: str) -> None:
    """Red: every block compiles anew and a cold start takes minutes."""
    torch.compiler.reset()
    graphs: list[int] = []

    def count(graph: torch.fx.GraphModule, _inputs: list[Tensor]) -> torch.fx.GraphModule:
        graphs.append(len(graph.graph.nodes))
        return graph

    model = join_projections(tiny_transformer(layers=6))
    if where == "streamed":
        stream_blocks(model, torch.device("cpu"), resident=2)
    video = tiny_video(model.config, reference=2)
    compile_blocks(model, backend=count)
    model.forward_passes(pair(video, stg_blocks=(3,)), targets=TARGET)
    assert len(graphs) == 3  # plain, perturbed, last


@torch.no_grad()
def test_prepare_on_the_cpu_is_the_plain_path() -> None:
    """Red: the demo on a CPU waits for a compiler, or gets another picture."""
    model = tiny_transformer()
    video, _ = streams(model)
    before = model(video).video_BTC
    with attention_kernels(torch.device("cpu")):
        close(make_fast(model)(video).video_BTC, before)
    assert not any(parameter.requires_grad for parameter in model.parameters())


@torch.no_grad()
def test_streamed_blocks_are_joined_before_they_leave() -> None:
    """Red: blocks are streamed before their projections are joined, and stay as slow as they were."""
    model = tiny_transformer(layers=4)
    video, _ = streams(model)
    whole = make_fast(copy.deepcopy(model), compiled=False)
    streamed = make_fast(model, resident=1, compiled=False)
    assert isinstance(streamed.transformer_blocks, StreamedBlocks)
    assert all(slot.block.attn1.joint is not None for slot in streamed.transformer_blocks.slots)
    assert torch.equal(streamed(video).video_BTC, whole(video).video_BTC)


def test_order_of_attention_kernels() -> None:
    """Red: a new GPU runs the slow kernel, or an old one asks for a kernel that it lacks first."""
    cuda = torch.device("cuda")
    assert attention_order(torch.device("cpu")) == []
    assert attention_order(cuda, (9, 0))[0] == SDPBackend.CUDNN_ATTENTION
    assert attention_order(cuda, (8, 6))[0] == SDPBackend.FLASH_ATTENTION
    assert attention_order(cuda, (8, 6))[-1] == SDPBackend.MATH
