"""Mini's bundle: a recipe's files come out in the official layout and load by the product's own loaders."""

from __future__ import annotations

import json
import shutil
import zlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Gemma3TextModel

from castsheet.errors import CheckpointError, OutputError, SettingsError
from castsheet.loading.bundle import Bundle
from castsheet.ltx.adapters.lora_file import LoRA
from castsheet.ltx.files.checkpoint import Checkpoint
from castsheet.ltx.parts.text import GemmaEncoder
from castsheet.pipeline import Castsheet
from castsheet.sheet.manifest import Sheet
from mini.bundle.model_card import plot, read_losses
from mini.bundle.package import Defaults, coarse, package
from mini.bundle.unpack import unpack
from mini.official import official_keys
from mini.training.architecture import ADAPTER_RANK, BLOCKS, TEXT_LAYERS, config
from tests.doubles.lora_tiny import merge
from tests.doubles.ltx_tiny import load_wide
from tests.doubles.mini_recipe import LOG, build_recipe

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_recipe(tmp_path_factory.mktemp("recipe"))


@pytest.fixture(scope="module")
def bundle(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "weights"
    size = package(recipe, out)
    assert size < 125e6
    return out


def shipped(tensor: torch.Tensor) -> torch.Tensor:
    """What the bundle holds of a tensor of the base, the codec or sound."""
    return coarse(tensor) if tensor.dtype == torch.bfloat16 else tensor


def test_checkpoint_is_official(bundle: Path) -> None:
    """Red: mini's file has other names, shapes or precisions than an official file of its config, so that
    mini no longer stands for the 22B files."""
    checkpoint = Checkpoint.open(bundle / "mini.safetensors")
    found = {name: checkpoint.entries[name].shape for name in checkpoint.keys}
    assert found == official_keys(config(), states=TEXT_LAYERS + 1)
    assert checkpoint.family == "ltx-2.3"
    assert checkpoint.version == "2.3.0"
    exact = {name for name, entry in checkpoint.entries.items() if entry.dtype == "F32"}
    assert exact == {name for name in found if "scale_shift_table" in name or "statistics" in name}
    assert {entry.dtype for entry in checkpoint.entries.values()} == {"F32", "BF16"}


def test_weights_are_those_of_the_recipe(bundle: Path, recipe: Path) -> None:
    """Red: packaging changes or exchanges tensors on their way into the bundle."""
    checkpoint = Checkpoint.open(bundle / "mini.safetensors")
    base = load_file(recipe / "base.safetensors")
    transformer = load_wide(checkpoint, dtype=torch.float32).state_dict()
    for name, tensor in transformer.items():
        assert torch.equal(tensor, shipped(base[f"transformer.{name}"]).float()), name
    connectors = checkpoint.load_connectors(dtype=torch.float32, audio=True).state_dict()
    for name in (key for key in base if key.startswith("connectors.")):
        assert torch.equal(connectors[name.removeprefix("connectors.")], shipped(base[name]).float()), name
    stored = load_file(bundle / "mini.safetensors")
    for part in ("codec", "audio", "vocoder"):
        for name, tensor in load_file(recipe / f"{part}.safetensors").items():
            assert torch.equal(stored[name], shipped(tensor)), name


def test_rounded_weights_deflate_and_stay_near() -> None:
    """Red: the wheel is too large again, or mini's weights are not those that were trained."""
    generator = torch.Generator().manual_seed(0)
    given = (torch.randn(100_000, generator=generator) * 0.02).bfloat16()
    rounded = coarse(given)
    torch.testing.assert_close(rounded, given, rtol=1 / 64, atol=0)
    torch.testing.assert_close(coarse(-given), -rounded, rtol=0, atol=0)
    torch.testing.assert_close(coarse(rounded), rounded, rtol=0, atol=0)
    before, after = (len(zlib.compress(one.view(torch.int16).numpy().tobytes())) for one in (given, rounded))
    assert after < 0.88 * before


def test_text_encoder_loads_here_and_in_transformers(bundle: Path, recipe: Path) -> None:
    """Red: the folder is not a Gemma-3 folder for us or for transformers, or the two read it differently."""
    ours = GemmaEncoder.load(bundle / "gemma", dtype=torch.float32)
    theirs, report = Gemma3TextModel.from_pretrained(
        bundle / "gemma", dtype=torch.float32, output_loading_info=True
    )
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    ids, mask = ours.batch(["Reference sheet: hero: a person\n\nGenerated video: hero waves."])
    with torch.no_grad():
        states = theirs.eval()(input_ids=ids, attention_mask=mask.long(), output_hidden_states=True)
        assert torch.equal(ours.hidden_states(ids, mask), torch.stack(states.hidden_states, dim=-1))
    base = load_file(recipe / "base.safetensors")
    assert torch.equal(ours.model.embed_tokens.weight, base["gemma.embed_tokens.weight"].float())
    tokenizer = json.loads((bundle / "gemma" / "tokenizer_config.json").read_text())
    assert tokenizer["bos_token"] == "<bos>"


def test_adapter_merges(bundle: Path) -> None:
    """Red: the adapter file lacks its metadata, or does not fit the checkpoint beside it."""
    adapter = LoRA.open(bundle / "mini-ic-lora.safetensors")
    assert (adapter.family, adapter.downscale, adapter.rank) == ("ltx-2.3", 1, ADAPTER_RANK)
    assert len(adapter.terms) == 10 * BLOCKS
    transformer = load_wide(Checkpoint.open(bundle / "mini.safetensors"), dtype=torch.float32)
    layer = transformer.transformer_blocks[3].attn1.to_q
    before = layer.weight.clone()
    merge(transformer, [(adapter, 1.0)])
    down, up = adapter.factors()["transformer_blocks.3.attn1.to_q"]
    torch.testing.assert_close(layer.weight, before + up @ down)


def test_bundle_makes_a_clip(bundle: Path, tmp_path: Path) -> None:
    """Red: the bundle does not run through the pipeline as `castsheet generate` runs it."""
    castsheet = Castsheet.load(bundle, device="cpu", dtype="fp32", cache_dir=tmp_path)
    settings = castsheet.settings()
    assert (settings.width, settings.height, settings.frames) == (384, 224, 121)
    assert (settings.steps, settings.guidance, settings.stg_blocks) == (16, 1.5, (5,))
    sheet = Sheet.load(Path(__file__).parents[2] / "mini/validation/sheets/100000.png")
    clip = castsheet(sheet, "hero waves", steps=1, frames=9, width=96, height=64)
    assert clip.frames.shape == (9, 64, 96, 3)
    assert settings.audio
    assert clip.audio is not None


def test_card_tells_what_the_log_says(bundle: Path) -> None:
    """Red: the model card loses the losses, the facts, the licence or the pictures of the recipe."""
    card = (bundle / "MODEL_CARD.md").read_text()
    for words in (
        "Apache-2.0",
        "CC0",
        "dB PSNR: whole 31.20",
        "| codec | 2 | 0.4000 | 0.2000 |",
        "looped.jpg",
    ):
        assert words in card
    assert (bundle / "loss.png").is_file()
    assert (bundle / "looped.jpg").is_file()
    assert "codec.jpg" not in card  # the recipe made none


def test_losses_are_read_by_stage() -> None:
    """Red: the curves mix stages or drop points, and the card shows another training than took place."""
    curves = read_losses(LOG)
    assert curves["base"] == [(100, 0.9), (200, 0.3)]
    assert list(curves) == ["codec", "base", "adapter sparse"]
    assert plot(curves).getcolors(1 << 20) is not None
    assert plot({}).size == plot(curves).size


def test_foreign_tensors_are_refused(recipe: Path, tmp_path: Path) -> None:
    """Red: a recipe of another architecture is packaged and fails later, at a user's."""
    shutil.copytree(recipe, tmp_path / "recipe")
    codec = load_file(recipe / "codec.safetensors")
    codec.pop(sorted(codec)[0])
    save_file(codec, tmp_path / "recipe" / "codec.safetensors")
    with pytest.raises(CheckpointError, match="not mini's"):
        package(tmp_path / "recipe", tmp_path / "weights")
    assert not (tmp_path / "weights").exists()


def test_an_old_bundle_stays_until_the_new_one_is_whole(recipe: Path, tmp_path: Path) -> None:
    """Red: a failed packaging destroys the weights that were there, or leaves scraps beside them."""
    out = tmp_path / "weights"
    out.mkdir()
    (out / "old").write_text("kept")
    with pytest.raises(OutputError, match="more than 1"):
        package(recipe, out, limit_mb=1)
    with pytest.raises(CheckpointError, match="cannot read"):
        package(tmp_path / "elsewhere", out)
    with pytest.raises(SettingsError, match="steps"):
        package(recipe, out, defaults=Defaults(steps=0))
    assert [path.name for path in tmp_path.iterdir()] == ["weights"]
    assert (out / "old").read_text() == "kept"
    package(recipe, out)
    assert not (out / "old").exists()
    assert Bundle.load(out).name == "mini"


def test_a_bundle_comes_apart_into_what_it_was_made_of(recipe: Path, bundle: Path, tmp_path: Path) -> None:
    """Red: mini cannot be trained further from its shipped weights, or starts from other ones."""
    unpack(bundle, tmp_path)
    for name in ("base", "codec", "audio", "vocoder", "looped", "still"):
        made, taken = load_file(recipe / f"{name}.safetensors"), load_file(tmp_path / f"{name}.safetensors")
        assert made.keys() == taken.keys()
        whole = (
            made
            if name in ("looped", "still")
            else {key: one if key.startswith("gemma.") else shipped(one) for key, one in made.items()}
        )
        assert all(torch.equal(whole[key].to(taken[key].dtype), taken[key]) for key in made), name
    assert (tmp_path / "tokenizer" / "tokenizer.json").is_file()
