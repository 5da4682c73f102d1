"""An official single file, written: mini's weights, and random models for benchmarks and tests.

The product itself reads such files and writes adapters only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from castsheet.ltx import keys
from castsheet.ltx.header import save_tensors
from castsheet.ltx.model.config import ModelConfig
from castsheet.ltx.model.dit import Transformer
from castsheet.ltx.parts.audio import AudioVAE, Vocoder
from castsheet.ltx.parts.connectors import GEMMA_12B_STATES, TextConnectors
from castsheet.ltx.parts.vae import VideoVAE
from castsheet.machine.files import write_atomic

Shape = tuple[int, ...]


def write_checkpoint(
    path: Path | str,
    tensors: Mapping[str, Tensor],
    config: Mapping[str, Any],
    version: str,
    **notes: str,
) -> Path:
    """Write an official single file: official tensor names, `config` and `model_version` in the header.

    Args:
        path: the file; replaced as a whole or not at all.
        tensors: official names (see `official_tensors`), any device.
        config: the parts `transformer`, `vae`, ... as they stand in the official metadata.
        version: for example "2.3.0". notes: further strings of the header.

    Raises:
        OutputError: the file cannot be written.
    """
    metadata = {"config": json.dumps(dict(config)), "model_version": version, **notes}
    stored: dict[str, Tensor] = {}
    storages: set[int] = set()
    for name, tensor in tensors.items():
        tensor = tensor.detach().to("cpu").contiguous()
        # The format has no notion of tied weights, so each name gets its own copy.
        stored[name] = tensor.clone() if tensor.untyped_storage().data_ptr() in storages else tensor
        storages.add(tensor.untyped_storage().data_ptr())
    return write_atomic(Path(path), lambda temporary: save_tensors(stored, temporary, metadata))


def official_tensors(
    *,
    transformer: Transformer | None = None,
    connectors: TextConnectors | None = None,
    vae: VideoVAE | None = None,
    audio_vae: AudioVAE | None = None,
    vocoder: Vocoder | None = None,
) -> dict[str, Tensor]:
    """The tensors of the given modules under their official names, ready for `write_checkpoint`."""
    tensors: dict[str, Tensor] = {}
    if transformer is not None:
        tensors |= {keys.DIT + name: tensor for name, tensor in transformer.state_dict().items()}
    if connectors is not None:
        tensors |= connectors_to_official(connectors)
    if vae is not None:
        tensors |= video_vae_to_official(vae)
    if audio_vae is not None:
        tensors |= audio_vae_to_official(audio_vae)
    if vocoder is not None:
        tensors |= vocoder_to_official(vocoder)
    return tensors


def official_keys(config: Mapping[str, Any], *, states: int = GEMMA_12B_STATES) -> dict[str, Shape]:
    """Name and shape of every tensor of a complete official file with this config, buffers included.

    Args:
        config: the parts `transformer`, `vae` and, for audio, `audio_vae` and `vocoder`.
        states: hidden states a token of the text encoder (49 for Gemma-3-12B).

    Raises:
        CheckpointError, FamilyError: the config is incomplete or of another family.
    """
    model = ModelConfig.from_header({"config": json.dumps(dict(config))})
    audio = model.transformer.audio
    with torch.device("meta"):
        tensors = official_tensors(
            transformer=Transformer(model.transformer),
            connectors=TextConnectors(config["transformer"], states=states, audio=audio),
            vae=VideoVAE(model.vae),
            audio_vae=AudioVAE(model.audio_vae) if audio and model.audio_vae else None,
            vocoder=Vocoder(model.vocoder) if audio and model.vocoder else None,
        )
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def video_vae_to_official(vae: VideoVAE) -> dict[str, Tensor]:
    """The VAE's tensors under official names, `vae.` included; inverse of `video_vae_from_official`."""
    state = vae.model.state_dict()
    return {keys.vae_from_diffusers(name, vae.encoder_compressions): tensor for name, tensor in state.items()}


def connectors_to_official(connectors: TextConnectors) -> dict[str, Tensor]:
    """The connectors' tensors under their official names; the inverse of `connectors_from_official`."""
    return {keys.connectors_from_diffusers(name): tensor for name, tensor in connectors.state_dict().items()}


def audio_vae_to_official(vae: AudioVAE) -> dict[str, Tensor]:
    """The audio VAE's tensors under their official names."""
    return {keys.audio_vae_from_diffusers(name): tensor for name, tensor in vae.model.state_dict().items()}


def vocoder_to_official(vocoder: Vocoder) -> dict[str, Tensor]:
    """The vocoder's tensors, its filter buffers included, under their official names."""
    return {keys.vocoder_from_diffusers(name): tensor for name, tensor in vocoder.model.state_dict().items()}


def set_statistics(vae: VideoVAE, mean_C: Tensor, std_C: Tensor) -> None:
    """Set the statistics that latents are normalised with (measured on the means of `moments`)."""
    vae.model.latents_mean.copy_(mean_C)
    vae.model.latents_std.copy_(std_C)
