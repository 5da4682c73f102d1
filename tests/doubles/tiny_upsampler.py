"""Tiny latent upsamplers with random weights, in the official layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers.pipelines.ltx2.latent_upsampler import LTX2LatentUpsamplerModel

from castsheet.ltx.header import save_tensors
from tests.doubles.ltx_tiny import randomise
from tests.doubles.tiny_bundle import CHANNELS


def tiny_upsampler(
    scale: float = 2.0, *, rational: bool = False, **settings: Any
) -> LTX2LatentUpsamplerModel:
    """diffusers' network with one block before and after."""
    usual = {"in_channels": CHANNELS, "mid_channels": 32, "num_blocks_per_stage": 1}
    network = LTX2LatentUpsamplerModel(
        **{**usual, **settings}, rational_spatial_scale=scale, use_rational_resampler=rational
    )
    kernel = {name: one.clone() for name, one in network.named_buffers()}
    randomise(network, 5)
    network.load_state_dict(kernel, strict=False)
    return network.eval()


def write_upsampler(path: Path, network: LTX2LatentUpsamplerModel, **config: Any) -> Path:
    """The network's file, with a config in its header as the publisher's files have one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: one.contiguous() for name, one in network.state_dict().items()}
    save_tensors(tensors, path, {"config": json.dumps({"_class_name": "LatentUpsampler", **config})})
    return path


def latents(*shape: int, seed: int = 0) -> torch.Tensor:
    """Random latents (1, CHANNELS, *shape)."""
    return torch.randn(1, CHANNELS, *shape, generator=torch.Generator().manual_seed(seed))
