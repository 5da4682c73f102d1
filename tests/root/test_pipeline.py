"""The whole way from a sheet to a clip, on a complete tiny model with random weights."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from castsheet.errors import (
    PromptError,
    SettingsError,
)
from castsheet.ltx.latents import Grid, encode_still, to_pixels
from castsheet.pipeline import Castsheet
from castsheet.prompt import Prompt
from castsheet.sampling.first_frame import read_picture
from castsheet.sheet.box import Box
from castsheet.sheet.manifest import Panel
from tests.doubles.tiny_bundle import (
    FRAMES,
    HEIGHT,
    LATENT,
    WIDTH,
    tiny_sheet,
)
from tests.doubles.tiny_runs import ACTION, copied, last_latents


def test_sheet_in_clip_out(castsheet, bundle, tmp_path):
    """Red: the product's one sentence fails, or a clip does not say what made it."""
    steps = []
    clip = castsheet(
        tiny_sheet(), ACTION, seed=3, on_step=lambda i, n, x0: steps.append((i, n, tuple(x0.shape)))
    )
    assert clip.frames.shape == (FRAMES, HEIGHT, WIDTH, 3)
    assert clip.frames.std() > 1
    assert clip.audio is None
    assert steps == [(1, 3, LATENT), (2, 3, LATENT), (3, 3, LATENT)]
    record = clip.provenance
    assert record["prompt"] == f"Reference sheet: hero in a red coat\n\nGenerated video: {ACTION}"
    assert record["settings"]["steps"] == 3
    assert (record["seed"], record["dtype"], record["device"]) == (3, "float32", "cpu")
    assert record["sheet"]["sha256"] == tiny_sheet().sha256
    assert record["model"]["adapters"][0]["strength"] == 1.0
    assert len(record["model"]["checkpoint"][0]["sha256"]) == 64
    assert set(record["timings_s"]) == {"load", "text", "reference", "sampling", "decode"}
    files = clip.save(tmp_path / "walk.mp4")
    assert json.loads(files.sidecar.read_text())["provenance"]["sigmas"][0] == 1.0
    assert str(bundle) not in files.sidecar.read_text()


def test_same_seed_same_bytes(castsheet, bundle, tmp_path):
    """Red: a run cannot be repeated, in this process or from the files anew."""
    again = Castsheet.load(bundle, dtype="fp32", device="cpu", cache_dir=tmp_path / "other cache")
    clips = [
        castsheet(tiny_sheet(), ACTION, seed=5),
        castsheet(tiny_sheet(), ACTION, seed=5),
        again(tiny_sheet(), ACTION, seed=5),
    ]
    saved = [clip.save(tmp_path / f"{i}.mp4").video.read_bytes() for i, clip in enumerate(clips)]
    assert saved[0] == saved[1] == saved[2]
    other = castsheet(tiny_sheet(), ACTION, seed=6)
    assert not np.array_equal(other.frames, clips[0].frames)


@pytest.mark.parametrize(
    "change",
    [
        {"guidance": 1.0},
        {"stg_scale": 0.0},
        {"rescale": 0.7},
        {"reference_strength": 0.5},
        {"lora_strength": 0.0},
        {"schedule": "target"},
        {"sigmas": [1.0, 0.5, 0.0]},
        {"negative_prompt": "red barn"},
        {"prompt_format": "markdown"},
        {"reference_every": 2},
        {"sampler": "heun"},
        {"sampler": "euler_ancestral"},
        {"stages": [{"sigmas": [0.5, 0.0]}]},
    ],
    ids=lambda change: "-".join(map(str, next(iter(change.items())))),
)
def test_every_setting_reaches_the_sampler(castsheet, change):
    """Red: an override is accepted and then has no effect."""
    assert not torch.equal(last_latents(castsheet, **change), last_latents(castsheet))


def test_strength_of_an_element(castsheet):
    """Red: --strength is read and then changes nothing, or 1 everywhere costs something."""
    sheet = replace(tiny_sheet(), panels=(Panel("hero", "character", "face", Box(0, 0, WIDTH, 2 * HEIGHT)),))

    def latents(**options) -> torch.Tensor:
        seen: list[torch.Tensor] = []
        castsheet(sheet, ACTION, on_step=lambda *step: seen.append(step[2]), **options)
        return seen[-1]

    usual = latents()
    assert torch.equal(latents(strength={"hero": 1.0}), usual)
    strong = latents(strength={"hero": 3})
    assert not torch.allclose(strong, usual, atol=1e-3)
    assert not torch.allclose(latents(strength={"hero": 0.3}), strong, atol=1e-3)
    with pytest.raises(SettingsError, match="nobody"):
        latents(strength={"nobody": 2.0})


def test_sheet_and_action_matter(castsheet):
    """Red: the sheet's latents or the prompt do not reach the model."""
    usual = castsheet(tiny_sheet(), ACTION).frames
    assert not np.array_equal(castsheet(tiny_sheet(seed=9), ACTION).frames, usual)
    assert not np.array_equal(castsheet(tiny_sheet(), "hero waves").frames, usual)


def test_first_frame_is_kept(castsheet):
    """Red: the clip does not start with the given picture."""
    picture = tiny_sheet(seed=4).image
    vae = castsheet.models.vae()
    grid = Grid.of(vae.config, width=WIDTH, height=HEIGHT, frames=FRAMES, fps=24.0)
    for options, crf in (({}, 33), ({"first_frame_crf": 0}, 0)):
        latents = last_latents(castsheet, first_frame=picture, **options)
        expected = encode_still(vae, to_pixels(read_picture(picture, grid, crf=crf)), 1)
        assert torch.equal(latents[:, :, :1], expected)
    assert not torch.equal(latents[:, :, 1:], last_latents(castsheet)[:, :, 1:])


def test_a_bundle_can_switch_the_compression_off(bundle, tmp_path):
    """Red: a model that was trained on clean frames gets compressed ones under every preset."""
    bucket = {"width": WIDTH, "height": HEIGHT, "frames": FRAMES, "stg_blocks": [1], "first_frame_crf": 0}
    clean = Castsheet.load(copied(bundle, tmp_path / "clean", bucket=bucket), device="cpu")
    assert clean.settings("card").first_frame_crf == 0
    assert clean.settings("card", first_frame_crf=20).first_frame_crf == 20


def test_given_noise(castsheet):
    """Red: injected noise is ignored, or the seed's noise is not the documented draw."""
    noise = torch.randn(LATENT, generator=torch.Generator().manual_seed(11))
    assert torch.equal(last_latents(castsheet, noise=noise), last_latents(castsheet, seed=11))
    with pytest.raises(SettingsError, match=r"noise of shape \(1, 8, 3, 2, 5\)"):
        castsheet(tiny_sheet(), ACTION, noise=torch.zeros(1, 8, 3, 2, 5))


def test_whole_prompt_is_used_as_it_is(castsheet):
    """Red: a two-part prompt of the user's is rewritten, or a bare sheet cannot be used with one."""
    text = "Reference sheet: the hero\n\nGenerated video: hero jumps"
    for prompt in (text, Prompt("the hero", "hero jumps")):
        assert castsheet(tiny_sheet(), prompt=prompt).provenance["prompt"] == text
    with pytest.raises(PromptError):
        castsheet(tiny_sheet(), "")


def test_joint_audio(joint_bundle, cache):
    """Red: sound and picture cannot be sampled together, or the sound does not influence the picture."""
    castsheet = Castsheet.load(joint_bundle, dtype="fp32", device="cpu", cache_dir=cache)
    silent = castsheet(tiny_sheet(), ACTION)
    clip = castsheet(tiny_sheet(), ACTION, audio=True, modality_scale=3.0)
    assert clip.audio is not None
    assert clip.audio_rate == 48000
    assert clip.audio.shape[1] == 2
    assert 0.9 < len(clip.audio) / 48000 / (FRAMES / 24) <= 1
    assert np.isfinite(clip.audio).all()
    assert np.abs(clip.audio).max() <= 1
    assert not np.array_equal(clip.frames, silent.frames)


def test_adapters_of_equal_sum_agree(bundle, cache, tmp_path):
    """Red: several adapters overwrite each other instead of adding up, or their own strength is ignored."""
    file = str(bundle / "ic-lora.safetensors")
    files = json.loads((bundle / "bundle.json").read_text())["files"]
    bare = copied(bundle, tmp_path / "bare", files={**files, "adapters": []})
    options = {"dtype": "fp32", "device": "cpu", "cache_dir": cache}
    halves = Castsheet.load(bare, adapters=[(file, 0.5), (file, 0.5)], **options)
    whole = Castsheet.load(bare, adapters=[file], **options)
    expected = last_latents(whole, lora_strength=1.0)
    assert torch.allclose(last_latents(halves, lora_strength=9.0), expected, atol=1e-3)
    assert not torch.allclose(last_latents(whole, lora_strength=0.5), expected, atol=1e-3)
    assert torch.equal(last_latents(whole, lora_strength=1.0), expected)


def test_bare_files_equal_the_bundle(castsheet, bundle, cache):
    """Red: a checkpoint, a text encoder and an adapter named one by one run differently from a bundle."""
    single = Castsheet.load(
        bundle / "tiny.safetensors",
        text_encoder=bundle / "text_encoder",
        adapters=[bundle / "ic-lora.safetensors"],
        dtype="fp32",
        device="cpu",
        cache_dir=cache,
    )
    settings = castsheet.settings()
    assert torch.equal(last_latents(single, preset=settings), last_latents(castsheet))
    assert single.settings().width == 768
    assert Castsheet.load(bundle / "bundle.json").settings() == settings


def test_contexts_are_kept(bundle, tmp_path):
    """Red: the text encoder is loaded for every run, or a cache that cannot be written stops the run."""
    first = Castsheet.load(bundle, dtype="fp32", device="cpu", cache_dir=tmp_path)
    frames = first(tiny_sheet(), ACTION).frames
    kept = {file: file.stat().st_mtime_ns for file in (tmp_path / "contexts").iterdir()}
    assert len(kept) == 2
    second = Castsheet.load(bundle, dtype="fp32", device="cpu", cache_dir=tmp_path)
    assert np.array_equal(second(tiny_sheet(), ACTION).frames, frames)
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "contexts").iterdir()} == kept
    (tmp_path / "file").write_text("")
    blocked = Castsheet.load(bundle, dtype="fp32", device="cpu", cache_dir=tmp_path / "file")
    with pytest.warns(UserWarning, match="not kept"):
        assert np.array_equal(blocked(tiny_sheet(), ACTION).frames, frames)


def test_presets_keep_the_bucket(castsheet):
    """Red: naming a preset makes the small model draw at the real model's size."""
    assert (castsheet.settings().steps, castsheet.settings().lora_strength) == (3, 1.0)
    comfy = castsheet.settings("comfy")
    assert (comfy.width, comfy.height, comfy.frames, comfy.steps) == (WIDTH, HEIGHT, FRAMES, 8)
    card = castsheet.settings("card")
    assert (card.steps, card.lora_strength, card.stg_blocks) == (30, 1.4, (1,))
