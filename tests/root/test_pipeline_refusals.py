"""What the pipeline refuses, stops at or tells before minutes are spent, on a complete tiny model."""

from __future__ import annotations

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
    SettingsError,
    SheetError,
    TextEncoderError,
)
from castsheet.loading.bundle import Bundle
from castsheet.ltx.adapters.lora_file import write
from castsheet.ltx.files.checkpoint import Checkpoint
from castsheet.ltx.model.config import TransformerConfig
from castsheet.ltx.model.dit import Transformer
from castsheet.pipeline import Castsheet
from mini.official import write_checkpoint
from tests.doubles.lora_tiny import one_layer
from tests.doubles.ltx_tiny import randomise
from tests.doubles.tiny_bundle import (
    BLOCKS,
    FRAMES,
    HEIGHT,
    WIDTH,
    model_config,
    tiny_sheet,
    write_adapter,
)
from tests.doubles.tiny_runs import ACTION, copied, last_latents


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
    with pytest.raises(TextEncoderError, match="not there"):
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
