"""The sheet held in one latent frame (`reference="still"`): its tokens, and which adapters may read it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from castsheet.errors import AdapterError, CheckpointError, SettingsError
from castsheet.ltx.files.inspect import inspect_file
from castsheet.ltx.latents import Grid, make_reference
from castsheet.ltx.model.config import TransformerConfig
from castsheet.ltx.model.dit import Transformer
from castsheet.ltx.parts.vae import VideoVAE
from castsheet.pipeline import Castsheet
from tests.doubles.lora_tiny import one_layer, saved
from tests.doubles.model_doubles import MINI_VAE
from tests.doubles.tiny_bundle import build_bundle, model_config, tiny_sheet, write_adapter, write_bundle

ACTION = "hero walks left past the barn"
FILES = {"checkpoint": "tiny.safetensors", "text_encoder": "text_encoder"}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    """A bundle with one adapter a reference mode, of different numbers."""
    folder = build_bundle(tmp_path_factory.mktemp("both"))
    transformer = Transformer(TransformerConfig.from_dict(model_config()["transformer"]))
    write_adapter(folder / "still.safetensors", transformer, seed=1, reference_mode="still")
    adapters = [
        {"path": "ic-lora.safetensors", "reference": "looped"},
        {"path": "still.safetensors", "reference": "still"},
    ]
    write_bundle(folder, files={**FILES, "adapters": adapters})
    return folder


def opened(folder: Path, cache: Path, **options) -> Castsheet:
    return Castsheet.load(folder, dtype="fp32", device="cpu", cache_dir=cache, **options)


def adapters_of(clip) -> list[str]:
    return [one["name"] for one in clip.provenance["model"]["adapters"]]


@torch.no_grad()
def test_a_still_is_the_first_frame_of_the_still_video() -> None:
    """Red: the one frame differs from the looped reference's first in content or position."""
    torch.manual_seed(0)
    vae = VideoVAE(MINI_VAE).eval()
    size = {"width": 2 * vae.spatial, "height": vae.spatial}
    grid = Grid.of(MINI_VAE, **size, frames=2 * vae.temporal + 1, fps=24.0)
    image = torch.rand(1, 3, vae.spatial, 2 * vae.spatial) * 2 - 1
    still, looped = make_reference(vae, image, grid, mode="still"), make_reference(vae, image, grid)
    count = grid.frame_tokens
    assert still.tokens_BTC.shape[1] == count
    assert torch.equal(still.tokens_BTC, looped.tokens_BTC[:, :count])
    assert torch.equal(still.bounds_AT2, looped.bounds_AT2[:, :count])
    assert float(still.bounds_AT2[0].max()) == pytest.approx(1 / 24)


def test_a_bundle_picks_the_adapter_by_the_run(bundle: Path, tmp_path: Path) -> None:
    """Red: both adapters are merged, or the one that was trained the other way."""
    castsheet = opened(bundle, tmp_path)
    looped, still = (castsheet(tiny_sheet(), ACTION, reference=mode) for mode in ("looped", "still"))
    assert adapters_of(looped) == ["ic-lora.safetensors"]
    assert adapters_of(still) == ["still.safetensors"]
    assert still.provenance["settings"]["reference"] == "still"
    assert still.provenance["model"]["adapters"][0]["reference"] == "still"
    assert (looped.frames != still.frames).any()
    again = opened(bundle, tmp_path)(tiny_sheet(), ACTION, reference="still")
    assert (again.frames == still.frames).all()


def test_the_bundle_may_prefer_stills(bundle: Path, tmp_path: Path) -> None:
    """Red: a model that likes to be run with one frame cannot say so."""
    folder = Path(shutil.copytree(bundle, tmp_path / "copy"))
    content = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps({**content, "preset": {"steps": 2, "reference": "still"}}))
    assert opened(folder, tmp_path).settings().reference == "still"


def test_a_bundle_of_one_mode_is_run_in_it(bundle: Path, tmp_path: Path) -> None:
    """Red: its only adapter is left out without a word, and the clip becomes the sheet."""
    folder = Path(shutil.copytree(bundle, tmp_path / "copy"))
    write_bundle(folder, files={**FILES, "adapters": [{"path": "still.safetensors", "reference": "still"}]})
    castsheet = opened(folder, tmp_path)
    assert adapters_of(castsheet(tiny_sheet(), ACTION)) == ["still.safetensors"]
    styled = opened(folder, tmp_path, adapters=[bundle / "ic-lora.safetensors"])
    assert adapters_of(styled(tiny_sheet(), ACTION)) == ["still.safetensors", "ic-lora.safetensors"]
    without = castsheet(tiny_sheet(), ACTION, reference="looped", check=True, force=True)
    assert adapters_of(without) == []
    assert "V06" in [one["rule"] for one in without.provenance["findings"]]


@pytest.mark.parametrize("metadata", [{}, {"reference_mode": "looped"}])
def test_still_is_refused_for_an_adapter_not_trained_so(
    bundle: Path, tmp_path: Path, metadata: dict[str, str]
) -> None:
    """Red: a fast run without identity, and nobody says why; or who insists cannot have it."""
    folder = Path(shutil.copytree(bundle, tmp_path / "copy"))
    transformer = Transformer(TransformerConfig.from_dict(model_config()["transformer"]))
    write_adapter(folder / "ic-lora.safetensors", transformer, **metadata)
    write_bundle(folder, files={**FILES, "adapters": [{"path": "ic-lora.safetensors"}]})
    castsheet = opened(folder, tmp_path)
    with pytest.raises(AdapterError, match="still"):
        castsheet(tiny_sheet(), ACTION, reference="still")
    forced = castsheet(tiny_sheet(), ACTION, reference="still", force=True)
    assert (forced.frames != castsheet(tiny_sheet(), ACTION).frames).any()


def test_looped_is_refused_for_an_adapter_trained_on_stills(bundle: Path, tmp_path: Path) -> None:
    """Red: the slow path is taken with an adapter that never saw it. A silent style adapter may stay."""
    castsheet = opened(bundle, tmp_path, adapters=[bundle / "still.safetensors"])
    with pytest.raises(AdapterError, match="trained on still references") as caught:
        castsheet(tiny_sheet(), ACTION)
    assert "reference still" in caught.value.remedy
    style = opened(bundle, tmp_path, adapters=[bundle / "ic-lora.safetensors"])
    clip = style(tiny_sheet(), ACTION, reference="still")
    assert adapters_of(clip) == ["still.safetensors", "ic-lora.safetensors"]


def test_metadata_that_means_nothing_is_refused(bundle: Path, tmp_path: Path) -> None:
    """Red: an adapter whose training is unknown is taken for a published one."""
    lora = saved(tmp_path / "garbled.safetensors", one_layer(), reference_mode="stil")
    with pytest.raises(AdapterError, match="'stil'"):
        _ = lora.mode
    assert any("'stil'" in problem for problem in inspect_file(lora.path).problems)
    with pytest.raises(SettingsError, match="reference"):
        opened(bundle, tmp_path).settings(reference="stil")
    write_bundle(
        Path(shutil.copytree(bundle, tmp_path / "copy")),
        files={**FILES, "adapters": [{"path": "ic-lora.safetensors", "reference": "stil"}]},
    )
    with pytest.raises(CheckpointError, match=r"adapters\.0\.reference"):
        opened(tmp_path / "copy", tmp_path)
