"""The layout of the mini in the making, filled with random weights: every loader finds its tensors there."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks.peers import peer_of
from castsheet.ltx.files.checkpoint import Checkpoint
from castsheet.ltx.keys import transformer_to_diffusers
from castsheet.ltx.parts.vae import VideoVAE
from mini.official import official_keys, write_checkpoint
from mini.training.architecture import FRAMES, HEIGHT, LATENT, LATENT_CHANNELS, TEXT_LAYERS, WIDTH, config
from tests.doubles.ltx_tiny import load_wide

MEBIBYTE = 2**20


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        name: (0.05 * torch.randn(shape, generator=generator)).bfloat16()
        for name, shape in official_keys(config(), states=TEXT_LAYERS + 1).items()
    }


def test_a_file_of_the_layout_loads_with_every_part(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    """Red: Castsheet, or a diffusers class that it builds, no longer takes the file strictly."""
    opened = Checkpoint.open(write_checkpoint(tmp_path / "mini.safetensors", tensors, config(), "2.3.0"))
    assert opened.family == "ltx-2.3"
    assert opened.has_audio
    assert set(opened.keys) == set(tensors)
    transformer = load_wide(opened, audio=True)
    opened.load_video_vae()
    opened.load_connectors(audio=True)
    opened.load_audio()
    peer = peer_of(transformer)
    assert set(map(transformer_to_diffusers, transformer.state_dict())) == set(peer.state_dict())


def test_core_derives_the_same_decoder_widths() -> None:
    """Red: ComfyUI core multiplies the base width by all multipliers, official code by 8: they differ."""
    vae = config()["vae"]
    multipliers = [settings["multiplier"] for name, settings in vae["decoder_blocks"] if name != "res_x"]
    assert math.prod(multipliers) == 8
    assert vae["encoder_base_channels"] == vae["latent_channels"] == LATENT_CHANNELS == 128


def test_only_full_steps_keep_a_residual() -> None:
    """Red: a loader that knows `residual` of `compress_all` alone decodes other pictures than we do."""
    blocks = config()["vae"]["decoder_blocks"]
    assert {name for name, settings in blocks if settings.get("residual")} == {"compress_all"}


@torch.no_grad()
def test_a_clip_has_as_many_tokens_as_in_the_first_edition() -> None:
    """Red: strides are not 8 x 32 x 32, or a step on a CPU costs more than it did."""
    vae = VideoVAE(config()["vae"])
    assert (vae.temporal, vae.spatial, vae.channels) == (8, 32, 128)
    latents = vae.encode(torch.rand(1, 3, 9, 64, 96) * 2 - 1)
    assert latents.shape == (1, 128, 2, 2, 3)
    assert vae.decode(latents).shape == (1, 3, 9, 64, 96)
    assert ((FRAMES - 1) // 8 + 1, HEIGHT // 32, WIDTH // 32) == LATENT == (16, 7, 12)


def test_the_weights_leave_room_in_the_wheel(tensors: dict[str, Tensor]) -> None:
    """Red: the file outgrew 105 MiB; bf16 shrinks by a fifth in a wheel, and 95 MB is the wheel's bound."""
    assert sum(tensor.nbytes for tensor in tensors.values()) < 105 * MEBIBYTE
    assert json.loads(json.dumps(config())) == config()
