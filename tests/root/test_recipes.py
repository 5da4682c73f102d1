"""What a recipe adds to a model: further adapters, samplers, stages."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from castsheet.errors import AdapterError, SettingsError
from castsheet.pipeline import Castsheet
from castsheet.settings import PRESETS, preset
from castsheet.settings.kinds import Stage, StageError
from tests.doubles.tiny_bundle import tiny_sheet
from tests.doubles.tiny_runs import ACTION, copied, last_latents


def test_a_recipe_adds_an_adapter(bundle: Path, cache: Path, tmp_path: Path) -> None:
    """Red: a further adapter is named and not merged, merged twice, or not told in the sidecar."""
    options = {"dtype": "fp32", "device": "cpu", "cache_dir": cache}
    whole = copied(bundle, tmp_path / "whole")
    twin = shutil.copy(whole / "ic-lora.safetensors", whole / "twin.safetensors")
    files = {"checkpoint": "tiny.safetensors", "text_encoder": "text_encoder"}
    bare = copied(whole, tmp_path / "bare", files=files)
    expected = last_latents(Castsheet.load(whole, **options), lora_strength=1.0)
    alone = Castsheet.load(bare, **options)
    assert torch.equal(last_latents(alone, further_adapters={"twin.safetensors": 1.0}), expected)
    assert not torch.allclose(last_latents(alone), expected, atol=1e-3)
    halves = Castsheet.load(whole, **options)
    half = {"lora_strength": 0.5, "further_adapters": {"twin.safetensors": 0.5}}
    assert torch.allclose(last_latents(halves, **half), expected, atol=1e-3)
    given = Castsheet.load(bare, adapters=[twin], **options)
    clip = given(tiny_sheet(), ACTION, lora_strength=9.0, further_adapters={"twin.safetensors": 1.0})
    (told,) = clip.provenance["model"]["adapters"]
    assert (told["name"], told["strength"]) == ("twin.safetensors", 1.0)


def test_comfy_asks_for_its_distilled_adapter(castsheet: Castsheet) -> None:
    """Red: the workflow's eight steps run on a model that was not distilled, without a word."""
    (name,) = PRESETS["comfy"].further_adapters
    with pytest.raises(AdapterError, match=name) as raised:
        castsheet(tiny_sheet(), ACTION, preset="comfy")
    assert "--further-adapters none" in raised.value.remedy
    assert castsheet(tiny_sheet(), ACTION, preset="comfy", further_adapters={}).frames.any()


def test_eta_is_the_ancestral_samplers(castsheet: Castsheet) -> None:
    """Red: eta changes nothing, or 0 is not plain Euler, or a sampler that reads none takes it silently."""
    plain = last_latents(castsheet)
    assert torch.equal(last_latents(castsheet, sampler="euler_ancestral", eta=0), plain)
    half = last_latents(castsheet, sampler="euler_ancestral", eta=0.5)
    assert not torch.equal(half, plain)
    assert not torch.equal(half, last_latents(castsheet, sampler="euler_ancestral"))
    with pytest.raises(SettingsError, match="eta"):
        castsheet.settings(eta=0.5)


def test_stages_follow_each_other(castsheet: Castsheet) -> None:
    """Red: a second stage is not run, starts from pure noise, or its steps are not counted on."""
    steps: list[tuple[int, int]] = []
    first = last_latents(castsheet)
    options = {"stages": [[0.02, 0.0]]}
    castsheet(tiny_sheet(), ACTION, on_step=lambda i, n, _: steps.append((i, n)), **options)
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    gentle, strong = last_latents(castsheet, **options), last_latents(castsheet, stages=[[0.9, 0.0]])
    near, far = (float((one - first).norm() / first.norm()) for one in (gentle, strong))
    assert 0 < near < 0.2 < far
    assert torch.equal(last_latents(castsheet, **options), gentle)


def test_a_given_first_frame_stays_through_all_stages(castsheet: Castsheet) -> None:
    """Red: noise of a later stage falls on the frame that was given."""
    picture = tiny_sheet(seed=4).image
    once = last_latents(castsheet, first_frame=picture)
    twice = last_latents(castsheet, first_frame=picture, stages=[[0.9, 0.5, 0.0]])
    assert torch.equal(twice[:, :, :1], once[:, :, :1])
    assert not torch.equal(twice[:, :, 1:], once[:, :, 1:])


def test_what_cannot_be_run_is_refused_with_the_settings() -> None:
    """Red: a recipe runs as something else in silence."""
    with pytest.raises(StageError, match="3 times"):
        preset("card", stages=[{"sigmas": [0.9, 0.0], "scale": 3}])
    with pytest.raises(SettingsError, match="stages"):
        preset("card", stages=[{"levels": [0.9, 0.0]}])
    with pytest.raises(SettingsError, match="sigma"):
        preset("card", stages=[[0.5, 0.9, 0.0]])
    assert preset("card", stages=[[0.9, 0.0]]).stages == (Stage((0.9, 0.0)),)
    assert preset("card", stages=[[0.9, 0.4, 0.0]]).all_steps == 32
