"""Mini as LTX-2.5: converted, trained on, packaged, and run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from castsheet.errors import CheckpointError
from castsheet.ltx.files.inspect import inspect_file
from castsheet.machine.processes import World
from castsheet.pipeline import Castsheet
from castsheet.settings import PRESETS
from mini.bundle.package import CHECKPOINT, package
from mini.data.latents import Latents
from mini.training.newer import newer_state, train
from mini.training.optimise import Budget
from mini.training.stored import header_of
from tests.doubles.mini_recipe import build_recipe

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe's folder after one step of training."""
    recipe = build_recipe(tmp_path_factory.mktemp("recipe"))
    latents = Latents.empty(2, CPU)
    for part in (latents.clips, latents.sheets, latents.sounds):
        part.normal_()
    latents.weights.fill_(1)
    latents.prompts.fill_(5)
    latents.lengths.fill_(4)
    latents.ready = 2
    latents.save(recipe / "latents-0-of-1.safetensors")
    out = tmp_path_factory.mktemp("newer")
    train(recipe, out, Budget(1), batch=1, where=World(0, 1, CPU))
    return out


def test_a_base_becomes_one_of_the_other_family(newer: Path) -> None:
    """Red: the newer mini keeps biases, or its marker is never trained."""
    trained, first = load_file(newer / "base.safetensors"), load_file(newer / "converted.safetensors")
    assert trained.keys() == first.keys()
    assert header_of(newer / "base.safetensors")["transformer"]["use_keyframes_abs_pos_embedding"]
    marker = "transformer.keyframes_abs_pos_embedding"
    assert not first[marker].any()
    assert trained[marker].any()
    blocks = [name for name in trained if name.startswith("transformer.transformer_blocks.")]
    assert not any(".ff.net." in name and name.endswith(".bias") for name in blocks)
    assert any(".audio_ff.net." in name and name.endswith(".bias") for name in blocks)
    assert (newer / "start" / "looped.safetensors").is_file()


def test_the_newer_mini_is_a_bundle_of_its_family(newer: Path, tmp_path: Path) -> None:
    """Red: the newer mini cannot be packaged, or runs as the older one."""
    for name in ("looped", "still"):  # as collected from their training
        (newer / f"{name}.safetensors").write_bytes((newer / "start" / f"{name}.safetensors").read_bytes())
    package(newer, tmp_path / "bundle")
    report = inspect_file(tmp_path / "bundle" / CHECKPOINT)
    assert (report.family, report.version, report.problems) == ("ltx-2.5", "2.5.0", ())
    castsheet = Castsheet.load(tmp_path / "bundle", device="cpu", cache_dir=tmp_path / "cache")
    assert castsheet.models.source.name == "mini-2.5"
    assert castsheet.settings("distilled-2.5").sampler == PRESETS["distilled-2.5"].sampler
    assert castsheet.models.transformer(castsheet.settings()).config.marker
    assert {one.lora.family for one in castsheet.models.source.adapters} == {"ltx-2.5"}


def test_a_recipe_without_latents_is_refused(tmp_path: Path) -> None:
    """Red: the script ends in a traceback after a minute."""
    with pytest.raises(CheckpointError, match="latents"):
        train(tmp_path, tmp_path / "out", Budget(1), batch=1, where=World(0, 1, CPU))
    state = newer_state({"transformer.patchify_proj.bias": torch.ones(4)})
    assert state["transformer.keyframes_abs_pos_embedding"].shape == (1, 4)
