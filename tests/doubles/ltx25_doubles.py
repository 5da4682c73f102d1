"""Random models of LTX-2.5 on disk, whole and in the files that it is published in."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from castsheet.ltx import keys
from tests.doubles.gemma4_doubles import VERSION, packed_tensors, tiny_gemma4
from tests.doubles.gemma4_doubles import config as gemma_config

FAMILY = "ltx-2.5"
SOURCE = json.dumps({"ltx_version": "2.5.0", "gemma_version": VERSION})
DENOISER = "diffusion_models/ltx-2.5-22b-dev-transformer-bf16.safetensors"
DISTILLED = "diffusion_models/ltx-2.5-22b-distilled-transformer-bf16.safetensors"
VAE = "vae/ltx-2.5-video-vae-conv-bf16.safetensors"
AUDIO = "vae/ltx-2.5-audio-vae-bf16.safetensors"
ENCODER = "text_encoders/gemma4-12b-with-proj-ltx-2.5-bf16.safetensors"
MARKER = f"{keys.DIT}keyframes_abs_pos_embedding"


def as_ltx_25(config: dict[str, Any]) -> dict[str, Any]:
    """A config of LTX-2.3 as LTX-2.5 states it: all that differs in the published headers."""
    newer = copy.deepcopy(config)
    newer["transformer"] |= {
        "ff_bias": False,
        "use_keyframes_abs_pos_embedding": True,
        "text_encoder_norm_type": "PER_TOKEN_RMS",
    }
    return newer


def metadata(config: dict[str, Any], *parts: str) -> dict[str, str]:
    """The header's strings of a file with these parts; the other parts' configs are null, as published."""
    stated = {part: config[part] if part in parts else None for part in config}
    if "transformer" not in parts:
        return {"config": json.dumps({part: config[part] for part in parts})}
    return {"config": json.dumps(stated), "model_version": "2.5.0", "gemma_source_checkpoint": SOURCE}


def write_whole(path: Path, tensors: dict[str, Tensor], config: dict[str, Any]) -> Path:
    """One file with everything but the text encoder's language model."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata(config, *config))
    return path


def write_split(folder: Path, tensors: dict[str, Tensor], config: dict[str, Any], *, seed: int = 0) -> Path:
    """The same in files by kind: denoiser with connectors, video VAE by bare names, sound, packed encoder."""
    files: dict[str, dict[str, Tensor]] = {DENOISER: {}, VAE: {}, AUDIO: {}, ENCODER: {}}
    for name, tensor in tensors.items():
        if name.startswith(keys.VAE):
            files[VAE][name.removeprefix(keys.VAE)] = tensor
        elif name.startswith(keys.PROJECTION):
            files[ENCODER][name] = tensor
        else:
            files[DENOISER if name.startswith(keys.DIT) else AUDIO][name] = tensor
    files[ENCODER] |= packed_tensors(tiny_gemma4(seed))
    stated = {
        DENOISER: metadata(config, "transformer"),
        VAE: metadata(config, "vae"),
        AUDIO: metadata(config, *(part for part in ("audio_vae", "vocoder") if part in config)),
        ENCODER: {"gemma_config": json.dumps(gemma_config())},
    }
    for name, held in files.items():
        if held:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            save_file(held, folder / name, stated[name])
    return folder


def large_marker(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with a marker as large as a token: a trained one would hide behind any tolerance."""
    noise = torch.randn(tensors[MARKER].shape, generator=torch.Generator().manual_seed(3))
    return tensors | {MARKER: (3 * noise).to(tensors[MARKER].dtype)}
