"""Blocks streamed through a few slots, and the plan of what fits where."""

from __future__ import annotations

import copy
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from castsheet.errors import SettingsError
from castsheet.ltx.model.dit import Pass
from castsheet.ltx.parts.vae import VideoVAE
from castsheet.ltx.speed.joint import join_projections
from castsheet.ltx.speed.memory import GIB, Parts, Plan, official, parse_budget, plan
from castsheet.ltx.speed.streaming import Packing, StreamedBlocks, spread, stream_blocks
from tests.doubles.ltx_tiny import TARGET, pair, quantise, randn, tiny_audio, tiny_transformer, tiny_video
from tests.doubles.model_doubles import MINI_VAE

CPU = torch.device("cpu")


@pytest.mark.parametrize("audio", [False, True])
@pytest.mark.parametrize(("resident", "slots"), [(0, 1), (0, 2), (0, 3), (2, 2), (5, 2), (0, 9)])
@torch.no_grad()
def test_streamed_blocks_change_nothing(audio: bool, resident: int, slots: int) -> None:
    """Red: a block computes with another block's weights, or with half of its own."""
    model = tiny_transformer(audio=audio, layers=5)
    video = tiny_video(model.config, reference=1)
    sound = tiny_audio(model.config) if audio else None
    expected = model.forward_passes(pair(video, sound, stg_blocks=(3,)), targets=TARGET)
    stream_blocks(model, CPU, resident=resident, slots=slots)
    for _ in range(2):
        got = model.forward_passes(pair(video, sound, stg_blocks=(3,)), targets=TARGET)
        for left, right in zip(got, expected, strict=True):
            assert torch.equal(left.video_BTC, right.video_BTC)


@pytest.mark.parametrize("fp8", [False, True])
@torch.no_grad()
def test_joined_and_quantised_blocks_stream(fp8: bool) -> None:
    """Red: joined weights are packed twice, or an fp8 weight arrives apart from its scales."""
    model = tiny_transformer(layers=4)
    model = join_projections(quantise(model) if fp8 else model)
    video = tiny_video(model.config, reference=1)
    expected = model(video, targets=TARGET).video_BTC
    block = model.transformer_blocks[0]
    held = [tensor.untyped_storage() for tensor in (*block.parameters(), *block.buffers())]
    once = sum({storage.data_ptr(): storage.nbytes() for storage in held}.values())
    alone = sum(tensor.nbytes for tensor in block.parameters())
    stream_blocks(model, CPU)
    assert alone <= model.transformer_blocks.slots[0].raw.nbytes < once + 256 * 40
    assert torch.equal(model(video, targets=TARGET).video_BTC, expected)


@torch.no_grad()
def test_order_of_loads() -> None:
    """Red: a block is fetched late, twice in a step, or the next step's first block is not fetched ahead."""
    loads: list[int] = []
    model = stream_blocks(tiny_transformer(layers=4), CPU, slots=2, on_load=loads.append)
    video = tiny_video(model.config)
    model(video)
    assert loads == [0, 1, 2, 3, 0]
    negative = replace(video, context_BLD=-video.context_BLD)
    model.forward_passes((Pass(video), Pass(negative), Pass(video, stg_blocks=(2,))))
    assert loads == [0, 1, 2, 3, 0, 1, 2, 3, 0]


@torch.no_grad()
def test_resident_blocks_are_never_loaded() -> None:
    """Red: a block that stays on the device is copied all the same."""
    loads: list[int] = []
    model = stream_blocks(tiny_transformer(layers=4), CPU, resident=2, slots=2, on_load=loads.append)
    for _ in range(3):
        model(tiny_video(model.config))
    stay = set(spread(4, 2))
    assert set(loads) == {0, 1, 2, 3} - stay
    assert len(loads) == 2  # two slots hold the two that move, so they are fetched once


@torch.no_grad()
def test_no_more_blocks_than_slots_are_on_the_device() -> None:
    """Red: streamed blocks pile up on the card and it runs out of memory."""
    model = stream_blocks(tiny_transformer(layers=6), CPU, slots=3)
    blocks = model.transformer_blocks
    assert isinstance(blocks, StreamedBlocks)
    model(tiny_video(model.config))
    held = [slot.holds for slot in blocks.slots]
    assert len(blocks.rooms) == 3
    assert len(set(held)) == 3
    owned = {p.untyped_storage().data_ptr() for p in blocks.parameters()}
    assert owned == {slot.raw.untyped_storage().data_ptr() for slot in blocks.slots}


def test_blocks_of_different_layouts_are_refused() -> None:
    """Red: an fp8 block's bytes are read as a bf16 block's."""
    model = tiny_transformer(layers=2)
    model.transformer_blocks[1] = model.transformer_blocks[1].bfloat16()
    with pytest.raises(ValueError, match="block 1"):
        stream_blocks(model, CPU)
    with pytest.raises(ValueError, match="room for one"):
        stream_blocks(tiny_transformer(), CPU, slots=0)


def test_layout_keeps_only_a_tensors_own_bytes() -> None:
    """Red: a tensor that is a view of a mapped file drags the whole file into pinned memory."""
    whole = torch.arange(10_000, dtype=torch.float32)
    layer = nn.Linear(4, 2)
    layer.weight = nn.Parameter(whole[100:108].view(2, 4))
    layer.bias = nn.Parameter(whole[5000:5002])
    packing = Packing.of(layer)
    assert packing.size <= 2 * 256
    raw = torch.zeros(packing.size, dtype=torch.uint8)
    packing.pack(layer, raw)
    other = copy.deepcopy(layer)
    packing.bind(other, raw)
    assert torch.equal(other.weight, layer.weight)
    assert torch.equal(other.bias, layer.bias)


@given(st.integers(1, 60), st.integers(0, 60))
@settings(max_examples=50, deadline=None)
def test_spread_is_even(count: int, chosen: int) -> None:
    """Red: resident blocks lie together and the transfers between them have nothing to hide behind."""
    indices = spread(count, min(chosen, count))
    assert len(set(indices)) == len(indices) == min(chosen, count)
    gaps = [b - a for a, b in pairwise(indices)]
    assert not gaps or max(gaps) - min(gaps) <= 1


# --- the plan ---

OFFICIAL = official()


@pytest.mark.parametrize(
    ("gib", "precision", "streamed"),
    [
        (139, "plain", False),
        (39, "plain", False),
        (23.2, "fp8", False),
        (15.2, "fp8", False),
        (11.2, "fp8", True),
        (7.2, "fp8", True),
    ],
)
def test_plans_for_usual_cards(gib: float, precision: str, streamed: bool) -> None:
    """Red: a card of this size runs slower than it could, or not at all."""
    made = plan(int(gib * GIB), OFFICIAL, ("plain", "fp8"))
    assert (made.precision, made.resident < OFFICIAL.layers) == (precision, streamed)
    assert made.peak <= gib * GIB


def test_everything_stays_where_it_fits() -> None:
    """Red: a large card moves parts back and forth for nothing."""
    assert plan(139 * GIB, OFFICIAL, ("plain", "fp8")).together
    assert plan(39 * GIB, OFFICIAL, ("plain", "fp8")).together
    assert not plan(30 * GIB, OFFICIAL, ("plain", "fp8")).together


def test_a_card_without_fp8_streams_bf16() -> None:
    """Red: a GPU without fp8 units is given a plan that it cannot run, or precision asked for is ignored."""
    made = plan(int(23.2 * GIB), OFFICIAL)
    assert made.precision == "plain"
    assert 0 < made.resident < OFFICIAL.layers


def test_a_budget_too_small_is_refused_with_the_smallest_that_works() -> None:
    """Red: a run dies out of memory after minutes instead of at once."""
    with pytest.raises(SettingsError, match="GiB") as caught:
        plan(3 * GIB, OFFICIAL, ("plain", "fp8"))
    needed = float(caught.value.remedy.split("at least ")[1].split(" GiB")[0])
    assert plan(int((needed + 0.1) * GIB), OFFICIAL, ("plain", "fp8")).streams


@given(st.floats(4, 140), st.booleans(), st.integers(300, 20_000))
@settings(max_examples=50, deadline=None)
def test_plans_keep_under_the_budget_and_more_is_never_worse(gib: float, fp8: bool, tokens: int) -> None:
    """Red: a plan exceeds what it was given, or more memory makes a slower plan."""
    parts = replace(OFFICIAL, tokens=tokens)

    def attempt(bytes_: int) -> Plan | None:
        try:
            return plan(bytes_, parts, ("plain", "fp8") if fp8 else ("plain",))
        except SettingsError:
            return None

    made, more = attempt(int(gib * GIB)), attempt(int((gib + 2) * GIB))
    if made is not None:
        assert made.peak <= gib * GIB
        assert more is not None
        assert more.rank >= made.rank


def test_plan_says_what_it_does() -> None:
    """Red: the user is not told in which precision and how the model runs."""
    text = plan(int(11.2 * GIB), OFFICIAL, ("plain", "fp8")).describe()
    assert "fp8" in text
    assert "stream" in text
    assert "GiB" in text


def test_parts_of_a_model() -> None:
    """Red: the planner counts another model than the one that is loaded."""
    model = tiny_transformer(layers=3)
    parts = Parts.of(model.config, tokens=48)
    block = sum(p.numel() for p in model.transformer_blocks[0].parameters())
    total = sum(p.numel() for p in model.parameters())
    assert parts.layers == 3
    assert parts.block == block
    assert parts.rest == total - 3 * block
    assert OFFICIAL.block == 268_812_352
    assert OFFICIAL.rest + 48 * OFFICIAL.block == 13_124_316_288


@pytest.mark.parametrize(("text", "expected"), [("auto", 20.0), ("12", 12.0), ("7.5", 7.5), ("12GiB", 12.0)])
def test_budget(text: str, expected: float) -> None:
    """Red: `--memory` means another amount than the user wrote."""
    assert parse_budget(text, free=int(21 * GIB)) == pytest.approx(expected * GIB, rel=0.01)


@pytest.mark.parametrize("text", ["", "lots", "-3", "0", "nan", "inf"])
def test_budgets_that_mean_nothing_are_refused(text: str) -> None:
    """Red: a typo becomes a traceback or a silent default."""
    with pytest.raises(SettingsError, match="memory"):
        parse_budget(text, free=GIB)


def test_more_than_is_free_is_refused() -> None:
    """Red: a plan for memory that other programs hold."""
    with pytest.raises(SettingsError, match="free"):
        parse_budget("24", free=12 * GIB)


@torch.no_grad()
def test_decoding_in_tiles_is_switched_on_and_off() -> None:
    """Red: a small card still decodes the whole clip at once, or a large one keeps the tiles' seams."""
    torch.manual_seed(0)
    vae = VideoVAE(MINI_VAE).eval()
    latents = randn(1, vae.channels, 9, 2, 2, seed=1)
    whole = vae.decode(latents)
    vae.tile(True)
    tiled = vae.decode(latents)
    assert tiled.shape == whole.shape
    assert not torch.equal(tiled, whole)
    vae.tile(False)
    assert torch.equal(vae.decode(latents), whole)
