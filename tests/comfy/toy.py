"""A checkpoint of random weights that ComfyUI's core loads as an LTX-2 model with sound."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from castsheet.embedded import WEIGHTS
from mini.official import official_keys, write_checkpoint
from mini.training.architecture import FPS, FRAMES, HEIGHT, TEXT_LAYERS, WIDTH, config


def write_bundle(folder: Path, checkpoint: Path) -> None:
    """A bundle of the toy and of mini's text encoder, whose widths it shares."""
    folder.mkdir(parents=True)
    (folder / "toy.safetensors").symlink_to(checkpoint)
    (folder / "gemma").symlink_to(WEIGHTS / "gemma")
    files = {"checkpoint": "toy.safetensors", "text_encoder": "gemma"}
    bucket = {"width": WIDTH, "height": HEIGHT, "frames": FRAMES, "fps": FPS, "stg_blocks": [1]}
    told = {"version": 1, "name": "toy", "files": files, "bucket": bucket}
    (folder / "bundle.json").write_text(json.dumps(told))


def write_toy(path: Path, *, deaf: bool = False) -> Path:
    """Mini's layout with small random weights and latents that are neither scaled nor moved.

    Args:
        deaf: pictures do not hear the sound.
    """
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for name, shape in official_keys(config(), states=TEXT_LAYERS + 1).items():
        value = (0.05 * torch.randn(shape, generator=generator)).bfloat16()
        if deaf and ".audio_to_video_attn.to_out." in name:
            value = torch.zeros(shape)
        if "per_channel_statistics" in name:
            value = torch.ones(shape) if "std" in name else torch.zeros(shape)
        tensors[name] = value
    return write_checkpoint(path, tensors, config(), "2.3.0")
