"""What a recipe adds to a model: further adapters, samplers, stages."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from castsheet.errors import AdapterError, SettingsError
from castsheet.pipeline import Castsheet
from castsheet.settings import PRESETS, Stage, StageError, preset
from tests.doubles.tiny_bundle import build_bundle, tiny_sheet, write_bundle

ACTION = "hero walks left past the barn"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def castsheet(bundle: Path, cache: Path) -> Castsheet:
    return Castsheet.load(bundle, dtype="fp32", device="cpu", cache_dir=cache)


def latents(castsheet: Castsheet, **options) -> torch.Tensor:
    seen: list[torch.Tensor] = []
    castsheet(tiny_sheet(), ACTION, on_step=lambda *step: seen.append(step[2]), **options)
    return seen[-1]


def test_a_recipe_adds_an_adapter(bundle: Path, cache: Path, tmp_path: Path) -> None:
    """Red: a further adapter is named and not merged, merged twice, or not told in the sidecar."""
    twin = shutil.copy(bundle / "ic-lora.safetensors", bundle / "twin.safetensors")
    options = {"dtype": "fp32", "device": "cpu", "cache_dir": cache}
    bare = shutil.copytree(bundle, tmp_path / "bare")
    write_bundle(bare, files={"checkpoint": "tiny.safetensors", "text_encoder": "text_encoder"})
    expected = latents(Castsheet.load(bundle, **options), lora_strength=1.0)
    alone = Castsheet.load(bare, **options)
    assert torch.equal(latents(alone, further_adapters={"twin.safetensors": 1.0}), expected)
    assert not torch.allclose(latents(alone), expected, atol=1e-3)
    halves = Castsheet.load(bundle, **options)
    half = {"lora_strength": 0.5, "further_adapters": {"twin.safetensors": 0.5}}
    assert torch.allclose(latents(halves, **half), expected, atol=1e-3)
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


def test_stages_follow_each_other(castsheet: Castsheet) -> None:
    """Red: a second stage is not run, starts from pure noise, or its steps are not counted on."""
    steps: list[tuple[int, int]] = []
    first = latents(castsheet)
    options = {"stages": [[0.02, 0.0]]}
    castsheet(tiny_sheet(), ACTION, on_step=lambda i, n, _: steps.append((i, n)), **options)
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    gentle, strong = latents(castsheet, **options), latents(castsheet, stages=[[0.9, 0.0]])
    near, far = (float((one - first).norm() / first.norm()) for one in (gentle, strong))
    assert 0 < near < 0.2 < far
    assert torch.equal(latents(castsheet, **options), gentle)


def test_a_given_first_frame_stays_through_all_stages(castsheet: Castsheet) -> None:
    """Red: noise of a later stage falls on the frame that was given."""
    picture = tiny_sheet(seed=4).image
    once = latents(castsheet, first_frame=picture)
    twice = latents(castsheet, first_frame=picture, stages=[[0.9, 0.5, 0.0]])
    assert torch.equal(twice[:, :, :1], once[:, :, :1])
    assert not torch.equal(twice[:, :, 1:], once[:, :, 1:])


def test_what_cannot_be_run_is_refused_with_the_settings() -> None:
    """Red: a published two-stage recipe runs as something else in silence."""
    with pytest.raises(StageError, match="2 times"):
        preset("card", stages=[{"sigmas": [0.9, 0.0], "scale": 2}])
    with pytest.raises(SettingsError, match="stages"):
        preset("card", stages=[{"levels": [0.9, 0.0]}])
    with pytest.raises(SettingsError, match="sigma"):
        preset("card", stages=[[0.5, 0.9, 0.0]])
    assert preset("card", stages=[[0.9, 0.0]]).stages == (Stage((0.9, 0.0)),)
    assert preset("card", stages=[[0.9, 0.4, 0.0]]).all_steps == 32
