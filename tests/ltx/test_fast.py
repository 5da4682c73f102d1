"""The fast path is the plain path: joined projections, modulation tables, passes in step, strengths."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend

from benchmarks.flex import FlexBias
from castsheet.ltx.adapters.lora import attach
from castsheet.ltx.model.bias import TokenBias
from castsheet.ltx.model.dit import Pass, Stream, Transformer
from castsheet.ltx.model.scaled import ScaledLinear
from castsheet.ltx.speed.fast import compile_blocks, make_fast
from castsheet.ltx.speed.joint import JointProjections, join_projections
from castsheet.ltx.speed.kernels import attention_kernels, attention_order
from castsheet.ltx.speed.streaming import StreamedBlocks, stream_blocks
from castsheet.ltx.speed.tabulated import tabulated
from tests.doubles.ltx_tiny import (
    TARGET,
    laid_out,
    pair,
    quantise,
    randn,
    tiny_audio,
    tiny_transformer,
    tiny_video,
)

BOTH = pytest.mark.parametrize("audio", [False, True])


def streams(model: Transformer) -> tuple[Stream, Stream | None]:
    audio = tiny_audio(model.config) if model.config.audio else None
    return tiny_video(model.config, reference=2), audio


def close(left: Tensor, right: Tensor, relative: float = 1e-5) -> None:
    assert (left - right).norm() <= relative * right.norm()


# --- joined projections ---


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


# --- modulation tables ---


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


# --- passes in step ---


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


# --- compiling and kernels ---


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


# --- strength a token ---


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
