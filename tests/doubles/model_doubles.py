"""Official configs at toy width and random files made from them."""

from __future__ import annotations

import copy
import functools
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mini.official import official_keys, write_checkpoint

OFFICIAL: dict[str, Any] = json.loads((Path(__file__).parents[1] / "data/ltx-2.3-config.json").read_text())[
    "config"
]
STATES = 4

MINI_VAE: dict[str, Any] = {
    "_class_name": "CausalVideoAutoencoder",
    "dims": 3,
    "latent_channels": 8,
    "encoder_blocks": [
        ["res_x", {"num_layers": 2}],
        ["compress_time_res", {"multiplier": 2}],
        ["res_x", {"num_layers": 2}],
        ["compress_all_res", {"multiplier": 2}],
        ["res_x", {"num_layers": 2}],
        ["compress_all_res", {"multiplier": 1}],
        ["res_x", {"num_layers": 2}],
    ],
    "decoder_blocks": [
        ["res_x", {"num_layers": 1}],
        ["compress_time", {"multiplier": 2}],
        ["res_x", {"num_layers": 2}],
        ["compress_all", {"multiplier": 2}],
        ["res_x", {"num_layers": 3}],
        ["compress_all", {"multiplier": 1}],
        ["res_x", {"num_layers": 2}],
    ],
    "norm_layer": "pixel_norm",
    "patch_size": 4,
    "latent_log_var": "uniform",
    "decoder_base_channels": 2,
    "spatial_padding_mode": "zeros",
}


def toy_config(*, layers: int = 2, audio: bool = True) -> dict[str, Any]:
    """The official config with every width shrunk and every block, name and table kept."""
    config = copy.deepcopy(OFFICIAL)
    config["transformer"] |= {
        "num_layers": layers,
        "num_attention_heads": 2,
        "attention_head_dim": 16,
        "cross_attention_dim": 32,
        "in_channels": 8,
        "out_channels": 8,
        "audio_num_attention_heads": 2,
        "audio_attention_head_dim": 8,
        "audio_cross_attention_dim": 16,
        "audio_out_channels": 16,
        "caption_channels": 32,
        "connector_num_attention_heads": 2,
        "connector_attention_head_dim": 16,
        "connector_num_learnable_registers": 16,
        "audio_connector_num_attention_heads": 2,
        "audio_connector_attention_head_dim": 8,
        "connector_num_layers": 8 if layers > 8 else 2,
    }
    config["vae"] |= {"latent_channels": 8, "decoder_base_channels": 2}
    network = config["audio_vae"]["model"]["params"]["ddconfig"]
    network |= {"ch": 16, "z_channels": 4, "mel_bins": 16}
    config["vocoder"]["vocoder"]["upsample_initial_channel"] = 64
    config["vocoder"]["bwe"]["upsample_initial_channel"] = 32
    if not audio:
        config["transformer"]["use_audio_video_cross_attention"] = False
        del config["audio_vae"], config["vocoder"]
    return config


def random_tensors(
    config: dict[str, Any], *, seed: int = 0, dtype: torch.dtype = torch.bfloat16, states: int = STATES
) -> dict[str, Tensor]:
    """Random values under all official names; AdaLN tables in fp32, as published files have them.

    Args:
        states: hidden states a token of the text encoder.
    """
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, shape in _shapes(json.dumps(config), states).items():
        kind = torch.float32 if "scale_shift_table" in name else dtype
        tensors[name] = (torch.randn(shape, generator=generator) * 0.1).to(kind)
    return tensors


@functools.cache
def _shapes(config: str, states: int) -> dict[str, tuple[int, ...]]:
    """Sizing the vocoder takes a second, and most tests want the same one."""
    return official_keys(json.loads(config), states=states)


def write_toy(
    path: Path, *, layers: int = 2, audio: bool = True, version: str = "2.3.0", **changes: Any
) -> Path:
    """Write a toy official file; `changes` maps names to tensors, or to None to leave one out."""
    config = toy_config(layers=layers, audio=audio)
    tensors = random_tensors(config) | {name.replace("__", "."): value for name, value in changes.items()}
    write_checkpoint(path, {name: t for name, t in tensors.items() if t is not None}, config, version)
    return path
