"""The whole way from a sheet to a clip, on a complete tiny model with random weights."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from castsheet.errors import (
    AdapterError,
    CheckpointError,
    FamilyError,
    LintRefused,
    NumericsError,
    PromptError,
    SettingsError,
    SheetError,
    TextEncoderError,
)
from castsheet.loading.bundle import Bundle
from castsheet.ltx.adapters.lora import write
from castsheet.ltx.files.checkpoint import Checkpoint, write_checkpoint
from castsheet.ltx.latents import Grid, encode_still, to_pixels
from castsheet.ltx.model.config import TransformerConfig
from castsheet.ltx.model.dit import Transformer
from castsheet.pipeline import Castsheet
from castsheet.prompt import Prompt
from castsheet.sampling.first_frame import read_picture
from castsheet.sheet.box import Box
from castsheet.sheet.manifest import Panel
from tests.doubles.lora_tiny import one_layer
from tests.doubles.ltx_tiny import randomise
from tests.doubles.tiny_bundle import (
    BLOCKS,
    FRAMES,
    HEIGHT,
    LATENT,
    WIDTH,
    build_bundle,
    model_config,
    tiny_sheet,
    write_adapter,
    write_bundle,
)

ACTION = "hero walks left past the barn"


@pytest.fixture(scope="session")
def bundle(tmp_path_factory) -> Path:
    return build_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="session")
def joint_bundle(tmp_path_factory) -> Path:
    return build_bundle(tmp_path_factory.mktemp("joint"), audio=True)


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def castsheet(bundle, cache) -> Castsheet:
    return Castsheet.load(bundle, dtype="fp32", device="cpu", cache_dir=cache)


def copied(bundle: Path, folder: Path, **changes) -> Path:
    """A copy of the bundle with another bundle.json."""
    shutil.copytree(bundle, folder, dirs_exist_ok=True)
    write_bundle(folder, **changes)
    return folder


def last_latents(castsheet: Castsheet, *arguments, **options) -> torch.Tensor:
    """The last prediction of the clean latents that a run shows."""
    seen: list[torch.Tensor] = []
    castsheet(tiny_sheet(), ACTION, *arguments, on_step=lambda *step: seen.append(step[2]), **options)
    return seen[-1]


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


def test_eta_is_the_ancestral_samplers(castsheet):
    """Red: eta changes nothing, or 0 is not plain Euler, or a sampler that reads none takes it silently."""
    plain = last_latents(castsheet)
    assert torch.equal(last_latents(castsheet, sampler="euler_ancestral", eta=0), plain)
    half = last_latents(castsheet, sampler="euler_ancestral", eta=0.5)
    assert not torch.equal(half, plain)
    assert not torch.equal(half, last_latents(castsheet, sampler="euler_ancestral"))
    with pytest.raises(SettingsError, match="eta"):
        castsheet.settings(eta=0.5)


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


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"width": 72}, "width 64 or 80"),
        ({"frames": 18}, "17 or 25"),
        ({"stg_blocks": [BLOCKS]}, f"0 to {BLOCKS - 1}"),
        ({"audio": True}, "without audio"),
        ({"seed": -1}, "whole number"),
        ({"strengths": 1}, "settings are width"),
        ({"strength": 1}, "hero: 1.2"),
        ({"strength": {"hero": 0}}, "above 0"),
        ({"strength": {"hero": 1.2}}, "keep its JSON beside it"),
        ({"frames": 1, "first_frame": tiny_sheet().image}, "9 frames"),
    ],
)
def test_unusable_settings(castsheet, options, word):
    """Red: a wrong setting fails late or without saying what would be right."""
    with pytest.raises((SettingsError, SheetError)) as raised:
        castsheet(tiny_sheet(), ACTION, **options)
    assert word in raised.value.remedy


def test_the_checks_load_no_weights(castsheet, monkeypatch):
    """Red: a VAE of 1.4 GB is loaded to learn how many pixels a latent cell spans."""
    monkeypatch.setattr(Checkpoint, "load_video_vae", None)  # a call of it fails
    settings = castsheet.settings()
    grid = castsheet.models.source.grid(settings)
    assert (grid.frames, grid.size) == ((FRAMES - 1) // 8 + 1, (WIDTH, HEIGHT))
    sheet = tiny_sheet()
    assert castsheet.prepare(sheet, ACTION, settings=settings).findings is not None


def test_checks_refuse_errors(castsheet):
    """Red: a sheet that the checks call an error is used although checks were asked for."""
    wrong = tiny_sheet(width=300)
    with pytest.raises(LintRefused, match="S03"):
        castsheet(wrong, ACTION, check=True)
    forced = castsheet(wrong, ACTION, check=True, force=True)
    assert "S03" in {finding["rule"] for finding in forced.provenance["findings"]}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [("proj_out.weight", "step 1 of 3"), ("vae.decoder.conv_out.conv.weight", "the picture")],
)
def test_runaway_numbers_are_caught(bundle, cache, tmp_path, spoil, message):
    """Red: NaN ends as a black clip without a word."""
    folder = copied(bundle, tmp_path / "spoilt")
    tensors = load_file(folder / "tiny.safetensors")
    name = next(key for key in tensors if key.endswith(spoil))
    tensors[name] = torch.full_like(tensors[name], 3e38)
    write_checkpoint(folder / "tiny.safetensors", tensors, model_config(), "2.3.0")
    castsheet = Castsheet.load(folder, dtype="fp32", device="cpu", cache_dir=cache)
    with pytest.raises(NumericsError, match=message):
        castsheet(tiny_sheet(), ACTION)


def test_interruption_passes_through(castsheet):
    """Red: Ctrl-C is swallowed, or leaves the model unfit for the next run."""

    def interrupt(step, *_):
        if step == 2:
            raise KeyboardInterrupt

    before = castsheet(tiny_sheet(), ACTION).frames
    with pytest.raises(KeyboardInterrupt):
        castsheet(tiny_sheet(), ACTION, on_step=interrupt)
    assert np.array_equal(castsheet(tiny_sheet(), ACTION).frames, before)


def test_bf16_is_close_to_fp32(castsheet, bundle, cache):
    """Red: the half-precision run computes something else."""
    half = Castsheet.load(bundle, dtype="bf16", device="cpu", cache_dir=cache)
    options = {"guidance": 1.0, "stg_scale": 0.0, "steps": 1}
    exact, rough = last_latents(castsheet, **options), last_latents(half, **options)
    assert rough.dtype == torch.float32
    assert float((exact - rough).norm() / exact.norm()) < 0.05


def test_families_are_guarded_at_load(bundle, tmp_path):
    """Red: an adapter of another generation is merged, and the clip falls apart silently."""
    transformer = Transformer(TransformerConfig.from_dict(model_config()["transformer"]))
    randomise(transformer)
    write_adapter(tmp_path / "newer.safetensors", transformer, model_version="2.5.0")
    with pytest.raises(FamilyError, match=r"ltx-2\.5"):
        Castsheet.load(bundle, adapters=[tmp_path / "newer.safetensors"])


def test_reference_factors_must_agree(bundle, cache, tmp_path):
    """Red: two adapters that read the sheet at different sizes are run at the size of one of them."""
    files = []
    for factor in ("2", "4"):
        transformer = Transformer(TransformerConfig.from_dict(model_config()["transformer"]))
        files.append(tmp_path / f"{factor}.safetensors")
        write_adapter(files[-1], transformer, reference_downscale_factor=factor)
    both = Castsheet.load(bundle, adapters=files, device="cpu", cache_dir=cache)
    with pytest.raises(AdapterError, match=r"1/2, 1/4"):
        both(tiny_sheet(), ACTION)
    half = Castsheet.load(bundle, adapters=files[:1], dtype="fp32", device="cpu", cache_dir=cache)
    assert half(tiny_sheet(), ACTION).sheet.size == (WIDTH // 2, HEIGHT // 2)


def test_references_of_another_rate_are_refused(bundle, tmp_path):
    """Red: an adapter trained on slowed references reads the sheet at positions that it never saw."""
    transformer = Transformer(TransformerConfig.from_dict(model_config()["transformer"]))
    write_adapter(tmp_path / "slow.safetensors", transformer, reference_temporal_scale_factor="2")
    with pytest.raises(AdapterError, match="reference_temporal_scale_factor 2"):
        Castsheet.load(bundle, adapters=[tmp_path / "slow.safetensors"])


def test_adapter_layers_that_are_not_used_are_told(bundle, cache, tmp_path):
    """Red: half an adapter is dropped without a word on the screen or in the sidecar."""
    layer = "transformer_blocks.0.audio_attn1.to_q"
    joint = write(tmp_path / "joint.safetensors", one_layer(layer), {})
    both = Castsheet.load(bundle, adapters=[joint], dtype="fp32", device="cpu", cache_dir=cache)
    with pytest.warns(UserWarning, match=f"1 adapter layers.*{layer}"):
        clip = both(tiny_sheet(), ACTION, steps=1)
    assert clip.provenance["model"]["adapter_layers_left_out"] == [layer]


def test_a_bare_checkpoint_needs_a_text_encoder(bundle, tmp_path):
    """Red: the missing text encoder shows up as an error about something else."""
    bare = Castsheet.load(bundle / "tiny.safetensors", device="cpu", cache_dir=tmp_path)
    with pytest.raises(TextEncoderError, match="holds no text encoder"):
        bare(tiny_sheet(), ACTION, width=WIDTH, height=HEIGHT, frames=FRAMES, stg_blocks=[1])
    with pytest.raises(TextEncoderError, match="not a folder"):
        Castsheet.load(bundle / "tiny.safetensors", text_encoder=tmp_path / "absent")


@pytest.mark.parametrize(("name", "value"), [("device", "tpu"), ("device", "cuda:99"), ("dtype", "int4")])
def test_unknown_device_or_precision(bundle, name, value):
    """Red: a typing error in --device or --dtype surfaces as a torch traceback."""
    with pytest.raises(SettingsError, match=value):
        Castsheet.load(bundle, **{name: value})


@pytest.mark.parametrize(
    ("changes", "error", "word"),
    [
        ({"files": {"checkpoint": "absent.safetensors", "text_encoder": "."}}, CheckpointError, "absent"),
        ({"files": {"checkpoint": "tiny.safetensors"}}, CheckpointError, "files.text_encoder"),
        ({"surprise": 1}, CheckpointError, "surprise"),
        ({"version": 2}, CheckpointError, "version"),
        ({"preset": {"stepz": 3}}, SettingsError, "stepz"),
        ({"bucket": {"width": 1, "height": 32, "frames": 17}}, SettingsError, "width"),
    ],
)
def test_bad_bundles(bundle, tmp_path, changes, error, word):
    """Red: a damaged bundle.json is found out in the middle of a run, or not named."""
    folder = copied(bundle, tmp_path / "bad", **changes)
    with pytest.raises(error, match=word):
        Bundle.load(folder)


def test_a_bundle_that_is_not_there(tmp_path):
    """Red: a wrong path gives a Python traceback."""
    with pytest.raises(CheckpointError, match=r"bundle\.json"):
        Bundle.load(tmp_path)
    (tmp_path / "bundle.json").write_text("{")
    with pytest.raises(CheckpointError, match="JSON"):
        Bundle.load(tmp_path)
