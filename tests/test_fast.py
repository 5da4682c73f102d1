"""The fast path is the plain path: joined projections, modulation tables, passes in step, strengths."""

from __future__ import annotations

import copy
from dataclasses import replace
from types import SimpleNamespace

import pytest
import sympy
import torch
from ltx_tiny import TARGET, randn, tiny_audio, tiny_transformer, tiny_video
from torch import Tensor, nn
from torch._inductor.runtime.hints import ReductionHint
from torch._inductor.sizevars import SizeVarAllocator
from torch._inductor.virtualized import V
from torch.nn.attention import SDPBackend

from castsheet.ltx.bias import TokenBias
from castsheet.ltx.dit import Pass, Stream, Transformer
from castsheet.ltx.fast import (
    Joint,
    attention_kernels,
    attention_order,
    compile_blocks,
    join_gelu,
    join_projections,
    linear_gelu,
    prepare,
    tabulated,
)
from castsheet.ltx.inductor import RowChoices, compile_graph
from castsheet.ltx.layers import add_gated, modulate, rms
from castsheet.ltx.lora import attach
from castsheet.ltx.precision import quantise
from castsheet.ltx.scaled import ScaledLinear, quantise_rows
from castsheet.ltx.streaming import stream_blocks

BOTH = pytest.mark.parametrize("audio", [False, True])


def streams(model: Transformer) -> tuple[Stream, Stream | None]:
    audio = tiny_audio(model.config) if model.config.audio else None
    return tiny_video(model.config, reference=2), audio


def close(left: Tensor, right: Tensor, relative: float = 1e-5) -> None:
    assert (left - right).norm() <= relative * right.norm()


# --- joined projections ---


@BOTH
@pytest.mark.parametrize("keep", [None, TARGET])
@torch.no_grad()
def test_joined_projections_change_nothing(audio: bool, keep: int | None) -> None:
    """Red: one product for queries, keys and values is another function than three."""
    model = tiny_transformer(audio=audio)
    video, sound = streams(model)
    before = model.forward_pair(video, sound, stg_blocks=(1,), stg_audio=audio, keep=keep)
    join_projections(model)
    assert isinstance(model.transformer_blocks[0].attn1.joint, Joint)
    after = model.forward_pair(video, sound, stg_blocks=(1,), stg_audio=audio, keep=keep)
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
    attention = model.transformer_blocks[0].attn2
    own = {getattr(attention, name).weight.untyped_storage().data_ptr() for name in ("to_q", "to_k", "to_v")}
    assert own == {attention.joint.weight.untyped_storage().data_ptr()}


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
    assert isinstance(mixed.transformer_blocks[0].attn2.joint, Joint)


@torch.no_grad()
def test_joined_fp8_projections_change_nothing() -> None:
    """Red: the scales of queries, keys and values are mixed up when their rows are joined."""
    model = quantise(tiny_transformer())
    video, _ = streams(model)
    before = model(video, keep=TARGET).video_BTC
    close(join_projections(model)(video, keep=TARGET).video_BTC, before)


@torch.no_grad()
def test_a_joined_bias_enters_the_graph_whole() -> None:
    """Red: an fp8 block does not compile on a GPU, where torch 2.11 takes no bias sliced in the graph."""
    torch.compiler.reset()
    inputs: list[str] = []

    def note(graph: torch.fx.GraphModule, _inputs: list[Tensor]) -> torch.fx.GraphModule:
        inputs.extend(node.name for node in graph.graph.nodes if node.op == "placeholder")
        return graph

    joint = join_projections(quantise(tiny_transformer())).transformer_blocks[0].attn1.joint
    x = randn(1, 5, 32, seed=3)
    got = torch.compile(joint, backend=note, fullgraph=True)(x, queries=False)
    assert torch.equal(got, joint(x)[..., joint.skip :])
    assert any(name.endswith("rest_bias_") for name in inputs)
    assert joint.rest_bias.untyped_storage().data_ptr() == joint.bias.untyped_storage().data_ptr()


# --- rows of segments, GELU ---


@pytest.mark.parametrize("segments", [(3, 2, 4), (3, 2), (5,)])
def test_rows_are_found_alike_with_and_without_gradients(segments: tuple[int, ...]) -> None:
    """Red: a token is modulated by another segment's row, in training or in generation only."""
    x, rows = randn(2, sum(segments), 4, seed=4), randn(2, 3, 4, seed=5)  # trailing rows have no tokens
    own = rows[:, : len(segments)].repeat_interleave(torch.tensor(segments), dim=1)
    with torch.no_grad():
        looked_up = modulate(x, rows, 2 * rows, segments), add_gated(x, 3 * x, rows, segments)
    in_parts = modulate(x, rows, 2 * rows, segments), add_gated(x, 3 * x, rows, segments)
    for got in (looked_up, in_parts):
        assert torch.equal(got[0], x * (1 + 2 * own) + own)
        assert torch.equal(got[1], x + own * (3 * x))


@torch.no_grad()
def test_joined_gelu_is_gelu() -> None:
    """Red: the feed-forward layers compute another function on a GPU than elsewhere."""
    x = torch.linspace(-30, 30, 2001)[:, None] * torch.ones(1, 16)
    for layer in (nn.Identity(), nn.Linear(16, 16), ScaledLinear.of(nn.Linear(16, 16))):
        close(linear_gelu(layer, x), nn.functional.gelu(layer(x), approximate="tanh"), 1e-6)
    assert linear_gelu(nn.Identity(), x.bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize("precision", ["plain", "fp8"])
@torch.no_grad()
def test_joining_gelu_changes_nothing(precision: str) -> None:
    """Red: a layer's GELU is left out or applied twice."""
    model = tiny_transformer() if precision == "plain" else quantise(tiny_transformer())
    video, _ = streams(model)
    before = model(video, keep=TARGET).video_BTC
    join_gelu(model)
    assert model.transformer_blocks[0].ff.net[0].kernel is linear_gelu
    close(model(video, keep=TARGET).video_BTC, before)


# --- modulation tables ---


@BOTH
@torch.no_grad()
def test_tabulated_modulation_changes_nothing(audio: bool) -> None:
    """Red: rows looked up for a schedule are not the rows computed for its noise levels."""
    model = tiny_transformer(audio=audio)
    video, sound = streams(model)
    names = list(model.state_dict())
    before = model(video, sound, keep=TARGET)
    with tabulated(model, [1.0, 0.7, 0.3, 0.0], offload="cpu"):
        assert not any("adaln_single" in name for name in model.state_dict())
        after = model(video, sound, keep=TARGET)
    close(after.video_BTC, before.video_BTC)
    assert list(model.state_dict()) == names
    assert torch.equal(model(video, sound, keep=TARGET).video_BTC, before.video_BTC)


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
    passes = [Pass(video, sound), Pass(other, sound), Pass(video, sound, stg_blocks=(1,), stg_audio=audio)]
    passes += [Pass(video, sound, isolate=True)] if audio else []
    together = model.forward_passes(passes, keep=TARGET)
    for one, got in zip(passes, together, strict=True):
        options = {"stg_blocks": one.stg_blocks, "stg_audio": one.stg_audio, "isolate": one.isolate}
        alone = model(one.video, one.audio, keep=TARGET, **options)
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
    model.forward_passes([Pass(video), Pass(negative), Pass(video, stg_blocks=(2,))])
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
    video = replace(video, bias_TT=TokenBias.of(strengths, TARGET, "groups"))
    expected = model.forward_pair(video, stg_blocks=(1,), keep=TARGET)
    compile_blocks(join_projections(model), backend="eager")
    got = model.forward_pair(video, stg_blocks=(1,), keep=TARGET)
    for left, right in zip(got, expected, strict=True):
        close(left.video_BTC, right.video_BTC)


@torch.no_grad()
def test_fp8_blocks_compile_as_one_graph() -> None:
    """Red: asking which kernel a device has, or quantising, breaks a block's graph."""
    torch.compiler.reset()
    model = join_projections(quantise(tiny_transformer(layers=2)))
    video, _ = streams(model)
    expected = model(video, keep=TARGET).video_BTC
    close(compile_blocks(model, backend="eager")(video, keep=TARGET).video_BTC, expected)


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
    model.forward_pair(video, stg_blocks=(3,), keep=TARGET)
    assert len(graphs) == 3  # plain, perturbed, last


class Reduction:
    """What the compiler knows of a kernel that reduces."""

    def __init__(self, numbers: int, hint: ReductionHint) -> None:
        self.reduction_numel, self.hint = sympy.Integer(numbers), hint

    def get_reduction_hint(self) -> ReductionHint:
        return self.hint


def test_rows_of_a_model_are_read_once() -> None:
    """Red: compiled kernels read rows and compute GELU twice, or a sum over tokens is held in one block."""
    rows = RowChoices.should_use_persistent_reduction
    for hint in (ReductionHint.INNER, ReductionHint.DEFAULT):
        assert all(rows(Reduction(numbers, hint), False) for numbers in (2048, 4096, 16384))
    with V.set_graph_handler(SimpleNamespace(sizevars=SizeVarAllocator())):
        assert not rows(Reduction(16385, ReductionHint.INNER), False)
        assert not rows(Reduction(10752, ReductionHint.OUTER), False)


@torch.no_grad()
def test_our_choices_compile_and_are_put_back() -> None:
    """Red: the compiler of this torch does not take them, or keeps them for code that is not ours."""
    torch.compiler.reset()
    before = V.choices

    def rows(x: Tensor) -> tuple[Tensor, Tensor]:
        return quantise_rows(rms(x, 1e-6))

    x = randn(3, 64, seed=2)
    for got, expected in zip(torch.compile(rows, backend=compile_graph)(x), rows(x), strict=True):
        close(got.float(), expected.float())
    assert V.choices is before


@torch.no_grad()
def test_prepare_on_the_cpu_is_the_plain_path() -> None:
    """Red: the demo on a CPU waits for a compiler, or gets another picture."""
    model = tiny_transformer()
    video, _ = streams(model)
    before = model(video).video_BTC
    with attention_kernels(torch.device("cpu")):
        close(prepare(model)(video).video_BTC, before)
    assert not any(parameter.requires_grad for parameter in model.parameters())


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


@pytest.mark.parametrize("method", ["groups", "flex"])
@pytest.mark.parametrize("keep", [None, TARGET, TARGET + 7])
@torch.no_grad()
def test_methods_of_token_strength_agree(method: str, keep: int | None) -> None:
    """Red: the fast forms of per-element strength are not the published mask."""
    model = tiny_transformer(layers=2)
    video = tiny_video(model.config, reference=2)
    tokens = video.tokens_BTC.shape[1]
    bias = TokenBias.of(strengths_of(tokens), TARGET)
    assert bias is not None
    matrix = model(replace(video, bias_TT=bias.dense()), keep=keep).video_BTC
    for one in ("dense", method):
        got = model(replace(video, bias_TT=replace(bias, method=one)), keep=keep).video_BTC
        close(got, matrix)
    assert not torch.allclose(matrix, model(video, keep=keep).video_BTC, atol=1e-3)


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
