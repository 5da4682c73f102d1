"""Joined projections are the plain ones: same numbers and names, and adapters still reach them."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from castsheet.ltx.adapters.lora import attach
from castsheet.ltx.model.scaled import ScaledLinear
from castsheet.ltx.speed.joint import JointProjections, join_projections
from tests.doubles.ltx_tiny import (
    TARGET,
    close,
    pair,
    quantise,
    randn,
    streams,
    tiny_transformer,
)

BOTH = pytest.mark.parametrize("audio", [False, True])


@BOTH
@pytest.mark.parametrize("targets", [None, TARGET])
@torch.no_grad()
def test_joined_projections_change_nothing(audio: bool, targets: int | None) -> None:
    """Red: one product for queries, keys and values is another function than three."""
    model = tiny_transformer(audio=audio)
    video, sound = streams(model)
    before = model.forward_passes(pair(video, sound, stg_blocks=(1,), stg_audio=audio), targets=targets)
    join_projections(model)
    assert isinstance(model.transformer_blocks[0].attn1.joint, JointProjections)
    after = model.forward_passes(pair(video, sound, stg_blocks=(1,), stg_audio=audio), targets=targets)
    for left, right in zip(after, before, strict=True):
        close(left.video_BTC, right.video_BTC)
        if right.audio_BTC is not None:
            close(left.audio_BTC, right.audio_BTC)


@BOTH
def test_joined_weights_keep_names_and_are_stored_once(audio: bool) -> None:
    """Red: a joined model cannot be saved under official names, or holds its projections twice."""
    model = tiny_transformer(audio=audio)
    before = copy.deepcopy(model.state_dict())
    join_projections(model)
    state = model.state_dict()
    assert list(state) == list(before)
    assert all(torch.equal(state[name], before[name]) for name in before)
    for block in model.transformer_blocks:
        for attention in (block.attn1, block.attn2):
            layers = (attention.to_q, attention.to_k, attention.to_v, attention.to_gate_logits)
            joints = (attention.joint.queries, attention.joint.keys)
            assert {place(layer) for layer in layers} == {place(joint) for joint in joints}


def place(module: nn.Module) -> int:
    """Where the memory of its weight begins."""
    weight = module.weight
    assert isinstance(weight, Tensor)
    return weight.untyped_storage().data_ptr()


@torch.no_grad()
def test_merging_into_a_joined_layer_reaches_the_product() -> None:
    """Red: an adapter merged after joining is silently ignored."""
    model = join_projections(tiny_transformer())
    video, _ = streams(model)
    before = model(video).video_BTC
    model.transformer_blocks[0].attn1.to_k.weight.mul_(-1)
    assert not torch.allclose(model(video).video_BTC, before, atol=1e-3)


def test_layers_that_do_not_belong_together_stay_apart() -> None:
    """Red: an adapter in training is skipped, or fp8 numbers are joined with bf16 ones."""
    training = tiny_transformer()
    attach(training, rank=2, targets=("attn1.to_q",))
    assert join_projections(training).transformer_blocks[0].attn1.joint is None
    mixed = tiny_transformer()
    attention = mixed.transformer_blocks[0].attn1
    attention.to_v = ScaledLinear.of(attention.to_v)
    join_projections(mixed)
    assert attention.joint is None
    assert isinstance(mixed.transformer_blocks[0].attn2.joint, JointProjections)


@torch.no_grad()
def test_joined_fp8_projections_change_nothing() -> None:
    """Red: the scales of queries, keys and values are mixed up when their rows are joined."""
    model = quantise(tiny_transformer())
    video, _ = streams(model)
    before = model(video, targets=TARGET).video_BTC
    close(join_projections(model)(video, targets=TARGET).video_BTC, before)


@torch.no_grad()
def test_a_joined_bias_enters_the_graph_whole() -> None:
    """Red: an fp8 block does not compile on a GPU, where torch 2.11 takes no bias sliced in the graph."""
    torch.compiler.reset()
    inputs: list[str] = []

    def note(graph: torch.fx.GraphModule, _inputs: list[Tensor]) -> torch.fx.GraphModule:
        inputs.extend(node.name for node in graph.graph.nodes if node.op == "placeholder")
        return graph

    joint = join_projections(quantise(tiny_transformer())).transformer_blocks[0].attn1.joint.queries
    x = randn(1, 5, 32, seed=3)
    got = torch.compile(joint, backend=note, fullgraph=True)(x, "keys")
    for left, right in zip(got, joint(x)[1:], strict=True):
        assert torch.equal(left, right)
    assert any(name.endswith("keys_bias_") for name in inputs)
    assert joint.keys_bias.untyped_storage().data_ptr() == joint.bias.untyped_storage().data_ptr()
