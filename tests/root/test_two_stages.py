"""A clip in two sizes: the sheet's stage, the latent upsampler, and the stage that refines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import LTX2LatentUpsamplePipeline

from benchmarks.peers import peer_of
from castsheet.clip import read_video
from castsheet.errors import AdapterError, CheckpointError, SettingsError
from castsheet.loading.placement import parts_of
from castsheet.ltx.files.transformer import load_transformer
from castsheet.ltx.latents import Grid, Reference, patchify, to_pixels, unpatchify
from castsheet.machine.seeds import generator
from castsheet.pipeline import Castsheet
from castsheet.sampling.guidance import Weights
from castsheet.sampling.schedule import listed
from castsheet.settings import PRESETS, Settings, preset
from castsheet.settings.kinds import Stage, StageError, Stages
from castsheet.settings.preview import preview_of
from tests.doubles.tiny_bundle import CHANNELS, FRAMES, HEIGHT, WIDTH, tiny_sheet
from tests.doubles.tiny_runs import ACTION, copied, last_latents
from tests.doubles.tiny_upsampler import tiny_upsampler, write_upsampler
from tests.sampling.test_sampling_parity import official_loop

LEVELS = (0.9, 0.5, 0.0)
TWICE = {"stages": [{"sigmas": list(LEVELS), "scale": 2}], "upsampler": "up.safetensors"}


def opened(folder: Path, cache: Path) -> Castsheet:
    return Castsheet.load(folder, dtype="fp32", device="cpu", cache_dir=cache)


@pytest.fixture
def two(joint_bundle: Path, cache: Path, tmp_path: Path) -> Castsheet:
    """A model, with sound too, that has an upsampler beside it."""
    folder = copied(joint_bundle, tmp_path / "two")
    write_upsampler(folder / "up.safetensors", tiny_upsampler())
    return opened(folder, cache)


@torch.no_grad()
def test_the_second_stage_equals_diffusers_parts(two: Castsheet) -> None:
    """Red: the second stage sees the sheet, an adapter or guidance, or enlarges by other numbers than
    diffusers' upsampling pipeline, or refines in another way than a loop around diffusers' transformer."""
    settings = two.settings(**TWICE)
    run = two.prepare(tiny_sheet(), ACTION, settings=settings, seed=3)
    found = two.latents(run)
    first = two.latents(two.prepare(tiny_sheet(), ACTION, settings=two.settings(), seed=3))

    pipeline = LTX2LatentUpsamplePipeline(vae=two.models.vae().model, latent_upsampler=tiny_upsampler())
    size = {"height": HEIGHT, "width": WIDTH, "num_frames": FRAMES}
    raw = pipeline(latents=first, latents_normalized=True, output_type="latent", **size).frames
    enlarged = two.models.vae().normalise(raw)
    frames, height, width = enlarged.shape[2:]
    grid = Grid(frames, height, width, settings.fps, (8, 16, 16))
    source = generator(3, "stage", 1).initial_seed()
    noise = torch.randn(
        (1, CHANNELS, frames, height, width), generator=generator(source, "step noise", -1, "target")
    )
    start = torch.lerp(patchify(enlarged), patchify(noise), LEVELS[0])
    model, _ = load_transformer(two.models.source.checkpoint, "wide", dtype=torch.float32, audio=True)
    (context, _) = two.contexts(run)
    nothing = Reference(torch.zeros(1, 0, CHANNELS), torch.zeros(3, 0, 2), 1.0)
    contexts = [context.video_BLD, context.video_BLD]
    expected = official_loop(
        peer_of(model), grid, nothing, None, contexts, start, listed(LEVELS), Weights(), 0
    )
    assert found.shape == (1, CHANNELS, 3, 2 * HEIGHT // 16, 2 * WIDTH // 16)
    difference = patchify(found) - expected
    assert float(difference.abs().max() / expected.abs().max()) <= 1e-4


def test_a_clip_in_two_stages(two: Castsheet, tmp_path: Path) -> None:
    """Red: the clip, its sound or its sidecar is not that of the second stage; the steps stop counting; a
    seed gives two clips."""
    steps: list[tuple[int, int, tuple[int, ...]]] = []
    clip = two(
        tiny_sheet(),
        ACTION,
        audio=True,
        on_step=lambda at, of, x: steps.append((at, of, tuple(x.shape[3:]))),
        **TWICE,
    )
    assert clip.frames.shape == (FRAMES, 2 * HEIGHT, 2 * WIDTH, 3)
    assert steps == [(1, 5, (2, 4)), (2, 5, (2, 4)), (3, 5, (2, 4)), (4, 5, (4, 8)), (5, 5, (4, 8))]
    once = two(tiny_sheet(), ACTION, audio=True)
    assert clip.audio is not None
    assert once.audio is not None
    assert clip.audio.shape == once.audio.shape
    assert not np.array_equal(clip.audio, once.audio)
    told = clip.provenance["model"]
    assert (told["upsampler"]["name"], told["refining_adapters"]) == ("up.safetensors", [])
    assert once.provenance["model"]["upsampler"] is None
    assert {"enlarge"} <= set(clip.provenance["timings_s"])
    again = two(tiny_sheet(), ACTION, audio=True, **TWICE)
    assert np.array_equal(again.frames, clip.frames)
    assert np.array_equal(again.audio, clip.audio)
    saved = clip.save(tmp_path / "clip.mp4")
    assert read_video(saved.video)[0].shape[1:3] == (2 * HEIGHT, 2 * WIDTH)


def test_the_first_frame_is_given_at_both_sizes(two: Castsheet) -> None:
    """Red: the picture that the clip starts with is enlarged with the latents, or noised, in stage two."""
    picture = tiny_sheet(seed=4).image
    run = two.prepare(tiny_sheet(), ACTION, settings=two.settings(**TWICE), first_frame=picture)
    small, large = run.openings
    assert (small.size, large.size) == ((WIDTH, HEIGHT), (2 * WIDTH, 2 * HEIGHT))
    with torch.no_grad():
        expected = two.models.vae().encode(to_pixels(large)[:, :, None])
    assert torch.allclose(two.latents(run)[:, :, :1], expected, atol=1e-5)


def test_adapters_of_the_second_stage(two: Castsheet) -> None:
    """Red: the sheet's adapter stays in the second stage, or an adapter that refines is not merged there."""
    plain = last_latents(two, **TWICE)
    refined = last_latents(two, **TWICE, refining_adapters={"ic-lora.safetensors": 1.0})
    assert not torch.allclose(refined, plain, atol=1e-3)
    with pytest.raises(AdapterError, match="absent") as raised:
        two(tiny_sheet(), ACTION, **TWICE, refining_adapters={"absent.safetensors": 1.0})
    assert "--refining-adapters none" in raised.value.remedy


def test_a_stage_after_the_enlarged_one_goes_on_at_its_size(two: Castsheet) -> None:
    """Red: stages are put at the wrong size, or one of them is left out."""
    more = {**TWICE, "stages": [[0.3, 0.0], *TWICE["stages"], [0.2, 0.0]]}
    sizes: list[tuple[int, ...]] = []
    two(tiny_sheet(), ACTION, on_step=lambda *step: sizes.append(tuple(step[2].shape[3:])), **more)
    assert sizes == [(2, 4)] * 4 + [(4, 8)] * 3


def test_what_is_missing_is_told_before_anything_is_made(two: Castsheet, tmp_path: Path) -> None:
    """Red: the first stage is sampled before a missing, foreign or wrong upsampler is noticed."""

    def refused(**more: object) -> str:
        seen: list[object] = []
        with pytest.raises((CheckpointError, SettingsError)) as raised:
            two(tiny_sheet(), ACTION, on_step=lambda *step: seen.append(step), **{**TWICE, **more})
        assert not seen
        return str(raised.value)

    assert "absent.safetensors is not beside" in refused(upsampler="absent.safetensors")
    assert "no latent upsampler" in refused(upsampler="ic-lora.safetensors")
    other = write_upsampler(tmp_path / "other.safetensors", tiny_upsampler(in_channels=16))
    assert "16 channels" in refused(upsampler=str(other))
    assert "enlarges by 2" in refused(stages=[{"sigmas": [0.9, 0.0], "scale": 1.5}])


def test_an_upsampler_is_found_where_comfyui_has_it(two: Castsheet) -> None:
    """Red: who keeps ComfyUI's folders has to give the whole path."""
    home = two.models.source.checkpoint.path.parent
    expected = last_latents(two, **TWICE)
    (home.parent / "latent_upscale_models").mkdir()
    (home / "up.safetensors").rename(home.parent / "latent_upscale_models" / "up.safetensors")
    assert torch.equal(last_latents(two, **TWICE), expected)


def test_settings_of_two_stages() -> None:
    """Red: an option's text is read otherwise than YAML, a recipe that cannot be run is taken, or the
    published recipe changes."""
    space = PRESETS["space"]
    assert (space.size, space.width, space.all_steps) == ((1536, 896), 768, 11)
    assert space.stages == (Stage((0.909375, 0.725, 0.421875, 0.0), 2.0),)
    read = Stages().from_option("0.5,0 / 2x 0.909375,0.725,0.421875,0")
    assert read == (Stage((0.5, 0.0)), space.stages[0])
    assert Settings(stages=(Stage((0.5, 0.0), 1.5),), upsampler="x").size == (1152, 672)
    for scale in (3, 0.5, True):
        with pytest.raises(StageError, match="times"):
            Stage((0.9, 0.0), scale)
    with pytest.raises(SettingsError, match="upsampler"):
        preset("card", stages=[{"sigmas": [0.9, 0.0], "scale": 2}])
    assert preset("space", stages=[]).size == (768, 448)


def test_a_preview_is_in_one_stage() -> None:
    """Red: a preview at half size is enlarged, or its share of the work is told without the second stage."""
    preview = preview_of(PRESETS["space"], 32)
    assert (preview.settings.size, preview.settings.upsampler) == ((384, 224), "")
    assert preview.share < preview_of(PRESETS["space-distilled"], 32).share


def test_memory_is_planned_for_the_larger_size(two: Castsheet) -> None:
    """Red: the plan fits the first stage alone, and the second one runs out of memory."""
    one = parts_of(two.models.source, two.settings())
    larger = parts_of(two.models.source, two.settings(**TWICE))
    assert larger.tokens == 4 * one.tokens // 2
    assert larger.decode == 4 * one.decode
    assert unpatchify(torch.zeros(1, larger.tokens, 2), 3, 4, 8).shape == (1, 2, 3, 4, 8)
