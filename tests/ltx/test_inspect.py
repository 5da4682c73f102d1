"""Inspection: every kind of file is named, with its sizes and what a run still needs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from castsheet.errors import CheckpointError
from castsheet.ltx.files.inspect import inspect_file
from mini.official import write_checkpoint
from tests.doubles.model_doubles import random_tensors, toy_config, write_toy
from tests.doubles.text_doubles import write_gemma


def lora(*, rank: int = 4, blocks: int = 2, prefix: str = "diffusion_model.") -> dict[str, torch.Tensor]:
    tensors = {}
    for block in range(blocks):
        for module in ("attn1.to_q", "attn1.to_out.0", "ff.net.2"):
            name = f"{prefix}transformer_blocks.{block}.{module}"
            tensors[f"{name}.lora_A.weight"] = torch.zeros(rank, 32)
            tensors[f"{name}.lora_B.weight"] = torch.zeros(32, rank)
    return tensors


def test_full_checkpoint(tmp_path: Path):
    """Red: a user cannot tell what a checkpoint is, or what to get besides it."""
    report = inspect_file(write_toy(tmp_path / "model.safetensors"))
    assert (report.kind, report.family, report.version) == ("checkpoint", "ltx-2.3", "2.3.0")
    assert report.bytes == (tmp_path / "model.safetensors").stat().st_size
    assert report.config["layers"] == 2
    assert report.config["audio"] is True
    assert (report.config["spatial_compression"], report.config["temporal_compression"]) == (32, 8)
    assert list(report.parts) == ["transformer", "connectors", "vae", "audio_vae", "vocoder"]
    assert sum(report.parts.values()) == report.parameters == sum(report.precision.values())
    assert set(report.precision) == {"BF16", "F32"}
    assert report.missing == (
        "a Gemma-3 folder of width 32 and 3 layers (text encoder)",
        "an IC-LoRA for reference sheets (.safetensors)",
    )
    assert report.problems == ()
    assert json.loads(json.dumps(report.to_dict()))["path"].endswith("model.safetensors")


def test_split_file_says_what_it_lacks(tmp_path: Path):
    """Red: a denoiser-only file is taken for a whole model."""
    full = load_file(write_toy(tmp_path / "full.safetensors"))
    denoiser = {name: t for name, t in full.items() if name.startswith("model.") and "_connector" not in name}
    write_checkpoint(tmp_path / "split.safetensors", denoiser, toy_config(), "2.3.0")
    report = inspect_file(tmp_path / "split.safetensors")
    assert report.missing[:3] == ("text connectors", "video VAE", "a Gemma-3-12B folder (text encoder)")


def test_checkpoint_without_metadata_is_still_described(tmp_path: Path):
    """Red: a file whose header was stripped cannot be told from junk."""
    save_file(random_tensors(toy_config()), tmp_path / "bare.safetensors")
    report = inspect_file(tmp_path / "bare.safetensors")
    assert (report.kind, report.family, report.version) == ("checkpoint", "ltx-2.3", None)
    assert len(report.problems) == 1
    assert "config" in report.problems[0]


def test_other_generation_is_named_with_its_problem(tmp_path: Path):
    """Red: inspecting a 2.5 file raises instead of telling that it is one."""
    report = inspect_file(write_toy(tmp_path / "new.safetensors", version="2.5.0"))
    assert (report.kind, report.family) == ("checkpoint", "ltx-2.5")
    assert "LTX-2.5" in report.problems[0]


def test_fp8_checkpoint(tmp_path: Path):
    """Red: an fp8 file is shown as bf16, or its scales are counted as parameters."""
    tensors = random_tensors(toy_config())
    count = sum(t.numel() for t in tensors.values())
    for name in list(tensors):
        if name.endswith(".attn1.to_q.weight") and "transformer_blocks" in name:
            tensors[name] = tensors[name].to(torch.float8_e4m3fn)
            tensors[name.replace(".weight", ".weight_scale")] = torch.tensor(0.5)
            tensors[name.replace(".weight", ".input_scale")] = torch.tensor(1.0)
    write_checkpoint(tmp_path / "fp8.safetensors", tensors, toy_config(), "2.3.0")
    report = inspect_file(tmp_path / "fp8.safetensors")
    assert report.kind == "fp8"
    assert report.parameters == count
    assert report.scaled == 2
    assert report.quantisation == "a scale a tensor and of activations, whole file"
    assert report.precision["F8_E4M3"] == 2 * 32 * 32
    alone = {name: tensor for name, tensor in tensors.items() if "transformer_blocks.1." in name}
    write_checkpoint(tmp_path / "alone.safetensors", alone, toy_config(), "2.3.0")
    assert (
        inspect_file(tmp_path / "alone.safetensors").quantisation
        == "a scale a tensor and of activations, denoiser only"
    )


def test_ic_lora(tmp_path: Path):
    """Red: rank, targets or the reference factor of an adapter stay unknown."""
    metadata = {"reference_downscale_factor": "2", "model_version": "2.3.0"}
    save_file(lora(), tmp_path / "sheet.safetensors", metadata=metadata)
    report = inspect_file(tmp_path / "sheet.safetensors")
    assert (report.kind, report.family) == ("ic-lora", "ltx-2.3")
    assert report.adapter is not None
    assert report.adapter.ranks == {4: 6}
    assert report.adapter.targets == {"attn1.to_out.0": 2, "attn1.to_q": 2, "ff.net.2": 2}
    assert (report.adapter.blocks, report.adapter.downscale) == (2, "2")
    assert report.missing[0].startswith("an LTX-2.3 checkpoint")


def test_ic_lora_by_name_states_the_assumed_factor(tmp_path: Path):
    """Red: a missing reference factor is replaced by 1 in silence."""
    save_file(lora(prefix="transformer."), tmp_path / "ltx-2.3-22b-IC-LoRA-ingredients.safetensors")
    report = inspect_file(tmp_path / "ltx-2.3-22b-IC-LoRA-ingredients.safetensors")
    assert report.kind == "ic-lora"
    assert "1 will be assumed" in report.problems[0]


def test_plain_lora_of_mixed_ranks(tmp_path: Path):
    """Red: a style LoRA is offered as a sheet adapter, or mixed ranks go unseen."""
    tensors = lora() | {
        "diffusion_model.patchify_proj.lora_A.weight": torch.zeros(8, 8),
        "diffusion_model.patchify_proj.lora_B.weight": torch.zeros(32, 8),
    }
    save_file(tensors, tmp_path / "style.safetensors")
    report = inspect_file(tmp_path / "style.safetensors")
    assert report.kind == "lora"
    assert report.adapter is not None
    assert report.adapter.ranks == {4: 6, 8: 1}
    assert report.adapter.targets["patchify_proj"] == 1
    assert "different ranks" in report.problems[0]


def test_damaged_lora_is_described_with_its_problem(tmp_path: Path):
    """Red: inspecting an adapter with a missing factor or a garbled reference factor raises."""
    tensors = lora()
    save_file(tensors, tmp_path / "garbled.safetensors", metadata={"reference_downscale_factor": "two"})
    assert "'two'" in inspect_file(tmp_path / "garbled.safetensors").problems[0]
    del tensors["diffusion_model.transformer_blocks.0.ff.net.2.lora_B.weight"]
    save_file(tensors, tmp_path / "half.safetensors")
    report = inspect_file(tmp_path / "half.safetensors")
    assert report.kind == "lora"
    assert report.adapter is None
    assert "ff.net.2" in report.problems[0]


@pytest.mark.parametrize("layout", ["text", "multimodal"])
def test_gemma_folder(tmp_path: Path, layout: str):
    """Red: a text encoder folder is not recognised, or its gaps are not shown."""
    write_gemma(tmp_path / "gemma", layout)
    report = inspect_file(tmp_path / "gemma")
    assert report.kind == "gemma folder"
    assert report.config == {"layers": 3, "width": 32}
    assert report.parameters > 0
    assert report.problems == ()
    (tmp_path / "gemma" / "tokenizer.json").unlink()
    assert inspect_file(tmp_path / "gemma").problems == ("no tokenizer.json in it",)


def test_folder_of_another_model(tmp_path: Path):
    """Red: any folder with a config.json is offered as a text encoder."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "t5"}))
    report = inspect_file(tmp_path)
    assert report.kind == "unknown"
    assert "'t5'" in report.problems[0]


def test_foreign_safetensors(tmp_path: Path):
    """Red: a model of another kind is shown as an LTX checkpoint."""
    save_file({"conv.weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    report = inspect_file(tmp_path / "other.safetensors")
    assert (report.kind, report.family, report.parameters) == ("unknown", "unknown", 3)
    assert report.problems


def test_diffusers_folder(tmp_path: Path):
    """Red: a diffusers folder, or the text encoder inside it, is not recognised."""
    config = {"latent_channels": 8, "block_out_channels": [8]}
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="lacks or garbles"):
        inspect_file(tmp_path)
    (tmp_path / "vae" / "config.json").unlink()
    (tmp_path / "connectors").mkdir()
    (tmp_path / "connectors" / "config.json").write_text("{}")
    save_file({"video_text_proj_in.weight": torch.zeros(4, 4)}, tmp_path / "connectors" / "model.safetensors")
    write_gemma(tmp_path / "text_encoder")
    report = inspect_file(tmp_path)
    assert report.kind == "diffusers folder"
    assert report.missing == ("denoiser", "video VAE", "an IC-LoRA for reference sheets (.safetensors)")


def test_nothing_to_inspect(tmp_path: Path):
    """Red: inspecting a pickle, an empty folder or a missing file ends in a traceback."""
    (tmp_path / "lora.ckpt").write_bytes(b"")
    (tmp_path / "a.safetensors").write_bytes(b"")
    for path in (tmp_path / "lora.ckpt", tmp_path / "nothing", tmp_path / "a.safetensors", tmp_path):
        with pytest.raises(CheckpointError) as error:
            inspect_file(path)
        assert error.value.remedy
