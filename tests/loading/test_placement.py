"""What is where in a run: precision and streaming through the pipeline, the plan's sizes, parts in turn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from castsheet.errors import SettingsError
from castsheet.loading.models import Models
from castsheet.loading.placement import Form, Placement, enough_memory, parts_of, stored_format
from castsheet.loading.source import Source
from castsheet.ltx.adapters.lora_file import DOWNSCALE
from castsheet.ltx.files.checkpoint import Checkpoint
from castsheet.ltx.model.scaled import ScaledLinear
from castsheet.ltx.parts.gemma import EncoderFiles
from castsheet.ltx.speed.joint import join_projections
from castsheet.ltx.speed.memory import DECODE_BYTES, GIB, official, plan
from castsheet.ltx.speed.streaming import StreamedBlocks, move, stream_blocks
from castsheet.pipeline import Castsheet
from tests.doubles.ltx_tiny import tiny_transformer, tiny_video
from tests.doubles.placed import Planned, planned
from tests.doubles.published_fp8 import published
from tests.doubles.tiny_bundle import FRAMES, HEIGHT, WIDTH, build_bundle, tiny_sheet

ACTION = "hero walks left past the barn"
CPU = torch.device("cpu")
GUIDED = {"guidance": 3.0, "stg_scale": 1.0}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    return build_bundle(tmp_path_factory.mktemp("placed"))


def run(bundle: Path, cache: Path, placement: Placement, **settings) -> tuple[Castsheet, torch.Tensor]:
    castsheet = Castsheet(Models(Source.open(bundle), CPU, torch.float32, cache, placement))
    seen: list[torch.Tensor] = []
    castsheet(tiny_sheet(), ACTION, on_step=lambda *step: seen.append(step[2]), **GUIDED, **settings)
    return castsheet, seen[-1]


def error(got: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((got - wanted).norm() / wanted.norm())


def test_streamed_blocks_make_the_same_clip(bundle, tmp_path):
    """Red: a small card gives another picture than a large one."""
    _, whole = run(bundle, tmp_path, Placement(CPU))
    placement = Planned(planned(resident=1, together=False))
    castsheet, streamed = run(bundle, tmp_path, placement)
    blocks = castsheet.models.transformer(castsheet.settings()).transformer_blocks
    assert isinstance(blocks, StreamedBlocks)
    assert len(blocks.resident) == 1
    assert torch.equal(streamed, whole)
    # The sheet's encoding, room for the denoiser, the denoiser, the decoding: each had its turn.
    assert placement.turns[0] == "VideoVAE"
    assert "NoneType" in placement.turns
    assert placement.turns.index("Transformer") < len(placement.turns) - 1


@pytest.mark.parametrize("streams", [False, True])
def test_fp8_through_the_pipeline(bundle, tmp_path, streams):
    """Red: --dtype fp8 or a plan in fp8 runs the plain model, or another function."""
    _, exact = run(bundle, tmp_path, Placement(CPU))
    resident = 0 if streams else 3
    castsheet, got = run(bundle, tmp_path, Planned(planned(precision="fp8", resident=resident)))
    block = castsheet.models.transformer(castsheet.settings()).transformer_blocks[0]
    if not streams:
        assert isinstance(block.attn1.to_q, ScaledLinear)
        _, asked = run(bundle, tmp_path, Placement(CPU, "fp8"))
        assert torch.equal(asked, got)
    assert 1e-4 < error(got, exact) < 0.2


def test_the_fast_path_is_the_plain_path(bundle, tmp_path):
    """Red: joined projections or tabulated modulation change what the pipeline draws, beyond rounding."""
    castsheet, fast = run(bundle, tmp_path, Placement(CPU))
    plain = Castsheet(Models(castsheet.models.source, CPU, torch.float32, tmp_path))
    settings = plain.settings()
    model = plain.models.transformer(settings)
    assert all(block.attn1.joint is not None for block in model.transformer_blocks)
    for block in model.transformer_blocks:
        block.attn1.joint = block.attn2.joint = None
    seen: list[torch.Tensor] = []
    plain(tiny_sheet(), ACTION, on_step=lambda *step: seen.append(step[2]), **GUIDED)
    assert error(fast, seen[-1]) <= 1e-5


def test_files_in_fp8_are_known(bundle, tmp_path):
    """Red: a quantised file is expanded to twice its size on a card that reads it directly."""
    assert stored_format(Source.open(bundle).checkpoint) is None
    quantised = Checkpoint.open(published(tmp_path / "fp8.safetensors")[0])
    assert stored_format(quantised) == "fp8"
    assert Placement(CPU).form(quantised) == Form()  # on the CPU fp8 is only slower
    placement = Planned(planned(resident=0))
    placement.device = torch.device("cuda")
    assert placement.form(quantised) == Form("fp8", True, 0)
    placement.plan = None
    assert placement.form(quantised) == Form("plain", False, 0)


def test_sizes_are_read_from_the_files(bundle):
    """Red: the plan is made for another model, or another clip."""
    source = Source.open(bundle)
    settings = Castsheet.load(bundle, device="cpu").settings()
    parts = parts_of(source, settings)
    assert (parts.layers, parts.tokens) == (3, 2 * 3 * 2 * 4)
    still = parts_of(source, replace(settings, reference="still"))
    assert still.tokens == 3 * 2 * 4 + 2 * 4
    lora = source.adapters[0].lora
    small = replace(source.adapters[0], lora=replace(lora, metadata={**lora.metadata, DOWNSCALE: "2"}))
    assert parts_of(replace(source, adapters=(small,)), settings).tokens == 3 * 2 * 4 + 3 * 1 * 2
    assert parts.decode == WIDTH * HEIGHT * FRAMES * DECODE_BYTES
    vae = source.checkpoint.load_video_vae().model
    own = sum(p.numel() for p in vae.parameters())
    assert own <= parts.vae / 2 <= own + 64  # and the statistics
    gemma = EncoderFiles.open(bundle / "text_encoder").parameters
    connectors = sum(p.numel() for p in source.checkpoint.load_connectors().parameters())
    assert parts.text == 2 * (gemma + connectors)


def test_fp32_takes_twice_the_room(bundle):
    """Red: --dtype fp32 on a GPU is planned at two bytes a number and runs out of memory."""
    source, settings = Source.open(bundle), Castsheet.load(bundle, device="cpu").settings()
    narrow, wide = (parts_of(source, settings, width) for width in (2, 4))
    assert wide.weights("plain", 3) == 2 * narrow.weights("plain", 3)
    assert wide.weights("fp8", 3) == narrow.weights("fp8", 3) + 2 * narrow.rest
    assert (wide.activations, wide.decode, wide.tiled) == tuple(
        2 * one for one in (narrow.activations, narrow.decode, narrow.tiled)
    )
    assert wide.vae == 2 * narrow.vae
    assert abs(wide.text - 2 * narrow.text) <= 1
    assert "fp32, all blocks" in plan(GIB, wide, ("plain",)).describe()


def test_what_makes_other_numbers_is_named(bundle, tmp_path):
    """Red: clips kept from a run in bf16 are taken for those of a run in fp8."""
    source = Source.open(bundle)
    plain, fp8 = (
        Models(source, CPU, torch.bfloat16, tmp_path, Placement(CPU, kind)) for kind in ("bf16", "fp8")
    )
    assert plain.numerics == "torch.bfloat16"
    assert fp8.numerics == "torch.bfloat16, fp8 layers"


def test_a_limit_needs_a_gpu(bundle):
    """Red: --memory on a machine without a GPU is taken and means nothing."""
    with pytest.raises(SettingsError, match="memory"):
        Castsheet.load(bundle, device="cpu", memory="12")


def test_slots_stay_when_others_take_their_turn():
    """Red: a streamed plan forgets the blocks' room while the VAE decodes, and runs out of memory."""
    parts = official()
    made = plan(int(4.5 * GIB), parts, ("plain", "fp8"))
    assert made.streams
    assert not made.together
    assert made.peak >= 2 * parts.block + parts.vae + parts.tiled


@torch.no_grad()
def test_moving_keeps_what_is_shared() -> None:
    """Red: a part that leaves the GPU comes back twice as large, or with other numbers."""
    model = join_projections(tiny_transformer())
    before = model(tiny_video(model.config)).video_BTC
    move(model, torch.device("meta"))
    attention = model.transformer_blocks[0].attn1
    assert attention.to_q.weight.device.type == "meta"
    model = join_projections(tiny_transformer())
    move(model, CPU)
    assert torch.equal(model(tiny_video(model.config)).video_BTC, before)
    streamed = stream_blocks(tiny_transformer(layers=4), CPU, resident=1)
    rooms = [parameter.device for parameter in streamed.transformer_blocks.rooms.parameters()]
    move(streamed, torch.device("meta"))
    assert [p.device for p in streamed.transformer_blocks.rooms.parameters()] == rooms
    assert streamed.patchify_proj.weight.device.type == "meta"


def test_memory_that_runs_out_is_told() -> None:
    """Red: a card that other programs fill up meanwhile ends in a traceback."""
    with pytest.raises(SettingsError, match="ran out") as caught, enough_memory():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
    assert "--memory" in caught.value.remedy
