"""LTX-2.5 on disk: the published counts, whole and split files, and what is asked, not guessed."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from castsheet.errors import CheckpointError, FamilyError
from castsheet.ltx import keys
from castsheet.ltx.adapters.lora_file import LoRA
from castsheet.ltx.files.checkpoint import Checkpoint
from castsheet.ltx.files.inspect import inspect_file
from castsheet.ltx.header import read_header
from mini.official import official_keys, official_tensors
from tests.doubles.gemma4_doubles import LAYERS
from tests.doubles.ltx25_doubles import (
    AUDIO,
    DENOISER,
    DISTILLED,
    ENCODER,
    FAMILY,
    MARKER,
    VAE,
    as_ltx_25,
    metadata,
    write_split,
    write_whole,
)
from tests.doubles.ltx_tiny import load_wide
from tests.doubles.model_doubles import OFFICIAL, random_tensors, toy_config

STATES = LAYERS + 1


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    return as_ltx_25(toy_config())


@pytest.fixture(scope="module")
def tensors(config: dict[str, Any]) -> dict[str, Tensor]:
    return random_tensors(config, states=STATES)


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory, tensors: dict, config: dict) -> Path:
    return write_split(tmp_path_factory.mktemp("split"), tensors, config)


def copied(split: Path, to: Path) -> Path:
    shutil.copytree(split, to, dirs_exist_ok=True)
    return to


def everything(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Every tensor as the modules hold it, by official name."""
    audio_vae, vocoder = checkpoint.load_audio()
    return official_tensors(
        transformer=load_wide(checkpoint, audio=True),
        connectors=checkpoint.load_connectors(audio=True),
        vae=checkpoint.load_video_vae(),
        audio_vae=audio_vae,
        vocoder=vocoder,
    )


def assert_loaded(loaded: dict[str, Tensor], stored: dict[str, Tensor]) -> None:
    assert loaded.keys() == stored.keys()
    assert all(torch.equal(loaded[name], one.to(loaded[name].dtype)) for name, one in stored.items())


def test_official_files_have_the_published_counts() -> None:
    """Red: a published LTX-2.5 file has missing or unexpected tensors for our modules."""
    shapes = official_keys(as_ltx_25(OFFICIAL))
    denoiser = {name: math.prod(one) for name, one in shapes.items() if keys.part_of(name) == "transformer"}
    assert (len(denoiser), sum(denoiser.values())) == (4_091, 18_987_859_200)
    video = {name: count for name, count in denoiser.items() if not keys.is_audio(name)}
    assert (len(video), sum(video.values())) == (1_362, 13_123_337_344)
    split_file = [name for name in shapes if name.startswith(keys.DIT)]  # the denoiser and both connectors
    assert len(split_file) == 4_349
    assert shapes[MARKER] == (1, 4096)


def test_full_depth_files_load_strictly_in_both_layouts(tmp_path: Path) -> None:
    """Red: some tensor of a full-depth file is missing, unexpected, or lands in the wrong place."""
    config = as_ltx_25(toy_config(layers=48))
    stored = random_tensors(config, states=STATES)
    whole = write_whole(tmp_path / "whole" / "ltx.safetensors", stored, config)
    write_split(tmp_path / "split", stored, config)
    assert len(read_header(tmp_path / "split" / DENOISER).entries) == 4_349
    for path in (whole, tmp_path / "split", tmp_path / "split" / DENOISER):
        checkpoint = Checkpoint.open(path)
        assert (checkpoint.family, checkpoint.has_audio, len(checkpoint.parts)) == (FAMILY, True, 5)
    assert_loaded(everything(Checkpoint.open(whole)), stored)
    assert_loaded(everything(Checkpoint.open(tmp_path / "split")), stored)


def test_the_family_is_told_by_keys_where_a_repack_lost_the_header(tmp_path: Path, tensors: dict) -> None:
    """Red: a repacked file, whose config says nothing new, is read as LTX-2.3 and refused or spoilt."""
    path = tmp_path / "repack.safetensors"
    save_file(tensors, path, {"config": json.dumps(toy_config())})
    checkpoint = Checkpoint.open(path)
    assert checkpoint.family == FAMILY
    assert checkpoint.config.transformer.marker
    load_wide(checkpoint)


def test_a_header_of_another_family_is_refused(tmp_path: Path, tensors: dict, config: dict) -> None:
    """Red: a file that was stamped wrongly is run with the formulas of its stamp."""
    path = tmp_path / "stamped.safetensors"
    save_file(random_tensors(toy_config(), states=STATES), path, metadata(config, *config))
    with pytest.raises(FamilyError, match=r"says LTX-2\.5, its tensors are those of LTX-2\.3"):
        _ = Checkpoint.open(path).config
    # Where the config and the tensors agree they outweigh the version.
    save_file(tensors, path, metadata(config, *config) | {"model_version": "2.3.0"})
    assert Checkpoint.open(path).config.transformer.family == FAMILY


def test_dev_and_distilled_are_asked_for(tmp_path: Path, split: Path) -> None:
    """Red: of two denoisers that nothing tells apart one is taken, with the wrong recipe."""
    folder = copied(split, tmp_path / "both")
    shutil.copy(folder / DENOISER, folder / DISTILLED)
    with pytest.raises(CheckpointError, match="dev and distilled") as caught:
        Checkpoint.open(folder)
    assert "--model" in caught.value.remedy
    assert Checkpoint.open(folder / DISTILLED).parts == Checkpoint.open(split).parts


def test_of_several_files_for_a_part_the_user_names_one(tmp_path: Path, split: Path) -> None:
    """Red: one of several VAEs or text encoders is taken silently."""
    folder = copied(split, tmp_path / "several")
    other = folder / "vae" / "older.safetensors"
    shutil.copy(folder / VAE, other)
    with pytest.raises(CheckpointError, match="several files would do for the vae") as caught:
        Checkpoint.open(folder)
    assert "--vae" in caught.value.remedy
    chosen = Checkpoint.open(folder, vae=other)
    assert chosen.entries["vae.encoder.conv_in.conv.weight"].file == other
    with pytest.raises(CheckpointError, match="holds no vae"):
        Checkpoint.open(folder, vae=folder / AUDIO)
    shutil.copy(folder / ENCODER, folder / "text_encoders" / "more.safetensors")
    with pytest.raises(CheckpointError, match="text encoder") as caught:
        Checkpoint.open(folder, vae=other)
    assert "--text-encoder" in caught.value.remedy
    assert Checkpoint.open(folder, vae=other, text_encoder=folder / ENCODER).text_encoder == folder / ENCODER


def test_a_file_without_its_companions_says_what_is_missing(tmp_path: Path, split: Path) -> None:
    """Red: a denoiser alone ends in a traceback, or a user does not learn where to put the rest."""
    alone = tmp_path / "ltx.safetensors"
    shutil.copy(split / DENOISER, alone)
    checkpoint = Checkpoint.open(alone)
    assert checkpoint.parts == {"transformer", "connectors"}
    for load in (checkpoint.load_video_vae, lambda: load_wide(checkpoint)):
        with pytest.raises(CheckpointError, match="vae") as caught:
            load()
        assert "beside it" in caught.value.remedy
    shutil.copy(split / VAE, tmp_path / "vae.safetensors")  # beside it will do
    assert Checkpoint.open(alone).load_video_vae().temporal == 8


def test_adapters_and_broken_files_beside_a_model_are_passed_over(tmp_path: Path, split: Path) -> None:
    """Red: a LoRA is taken for a denoiser, or an unrelated broken file keeps a model from being opened."""
    folder = copied(split, tmp_path / "more")
    key = f"{keys.DIT}transformer_blocks.0.attn1.to_q"
    lora = {f"{key}.lora_A.weight": torch.ones(2, 4), f"{key}.lora_B.weight": torch.ones(4, 2)}
    save_file(lora, folder / "diffusion_models" / "lora.safetensors")
    (folder / "vae" / "broken.safetensors").write_bytes(b"\x00" * 20)
    assert len(Checkpoint.open(folder).parts) == 5


def test_an_fp8_file_of_the_family_loads(tmp_path: Path, tensors: dict, config: dict) -> None:
    """Red: the layers without biases of an fp8 file cannot be built, or lose their scales."""
    name = f"{keys.DIT}transformer_blocks.1.ff.net.2.weight"
    narrow = {name: tensors[name].to(torch.float8_e4m3fn), f"{name}_scale": torch.tensor(0.5)}
    path = write_whole(tmp_path / "fp8.safetensors", tensors | narrow, config)
    model = load_wide(Checkpoint.open(path))
    expected = tensors[name].to(torch.float8_e4m3fn).float() * 0.5
    assert torch.equal(model.transformer_blocks[1].ff.net[2].weight.float(), expected)
    assert model.transformer_blocks[1].ff.net[2].bias is None


def test_stored_names_of_a_split_vae_are_the_published_ones(split: Path) -> None:
    """Red: the doubles above no longer look like the published files, and the other tests say nothing."""
    stored = load_file(split / VAE)
    assert {name.split(".")[0] for name in stored} == {"encoder", "decoder", "per_channel_statistics"}
    assert {name.split(".")[0] for name in load_file(split / AUDIO)} == {"audio_vae", "vocoder"}


def test_inspection_tells_every_piece(tmp_path: Path, split: Path, tensors: dict, config: dict) -> None:
    """Red: a user cannot tell which of the published files are which, or what a run would still need."""
    found = {name: inspect_file(split / name) for name in (DENOISER, VAE, AUDIO, ENCODER)}
    assert [one.kind for one in found.values()] == ["denoiser", "video VAE", "sound", "packed text encoder"]
    denoiser = found[DENOISER]
    assert (denoiser.family, denoiser.told_by, denoiser.version) == (FAMILY, "header", "2.5.0")
    assert set(denoiser.parts) == {"transformer", "connectors"}
    assert [one.partition(": ")[0] for one in denoiser.beside] == ["vae", "audio", "text encoder"]
    assert not denoiser.problems
    assert not any("VAE" in one or "Gemma" in one for one in denoiser.missing)
    assert found[ENCODER].family == FAMILY
    assert found[ENCODER].config["version"] == "gemma4-12b-ltx-v1"
    whole = inspect_file(split)
    assert (whole.kind, whole.family, len(whole.parts)) == ("split folder", FAMILY, 5)
    assert inspect_file(write_whole(tmp_path / "w.safetensors", tensors, config)).kind == "checkpoint"
    alone = tmp_path / "alone.safetensors"
    shutil.copy(split / DENOISER, alone)
    assert any("video VAE" in one for one in inspect_file(alone).missing)
    assert any("packed text encoder" in one for one in inspect_file(alone).missing)


def test_an_adapters_family_is_told_by_its_header_first(tmp_path: Path) -> None:
    """Red: an adapter that states its family is named by its file, or a guess counts as stated."""
    key = "diffusion_model.transformer_blocks.0.attn1.to_q"
    lora = {f"{key}.lora_A.weight": torch.ones(2, 4), f"{key}.lora_B.weight": torch.ones(4, 2)}
    named = tmp_path / "ltx-2.5-22b-ic-lora-ingredients-0.9.safetensors"
    save_file(lora, named)
    save_file(lora, tmp_path / "plain.safetensors")
    stated = tmp_path / "ltx-2.5-stated.safetensors"
    save_file(lora, stated, {"base_model": "ltx-2.3"})
    told = [LoRA.open(one).told for one in (named, tmp_path / "plain.safetensors", stated)]
    assert told == [(FAMILY, "file name"), ("unknown", "nothing"), ("ltx-2.3", "header")]


@pytest.mark.parametrize("stated", ["{", "[" * 100_000, "[]", "{}"], ids=["cut", "deep", "a list", "empty"])
def test_a_damaged_statement_of_the_encoder_is_refused(split: Path, stated: str) -> None:
    """Red: a header that says nonsense of its text encoder ends in a traceback."""
    checkpoint = Checkpoint.open(split)
    damaged = replace(checkpoint, metadata={**checkpoint.metadata, "gemma_source_checkpoint": stated})
    with pytest.raises(CheckpointError, match="gemma_source_checkpoint"):
        _ = damaged.encoder_version
