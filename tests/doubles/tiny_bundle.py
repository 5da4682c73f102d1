"""A complete tiny model with random weights, on disk in the official layout, as a bundle.

Its VAE has 16 pixels and 8 frames a latent cell, so that nothing may take the real model's 32 for granted.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from castsheet.ltx.adapters.lora import attach, attached_state
from castsheet.ltx.adapters.lora_file import write
from castsheet.ltx.model.config import TransformerConfig
from castsheet.ltx.model.dit import Transformer
from castsheet.ltx.parts.audio import AudioVAE, Vocoder
from castsheet.ltx.parts.connectors import TextConnectors
from castsheet.ltx.parts.vae import VideoVAE
from castsheet.sheet.manifest import ElementNote, Sheet
from mini.official import official_tensors, set_statistics, write_checkpoint
from tests.doubles.ltx_tiny import official_dict, randomise
from tests.doubles.text_doubles import LAYERS, transformer_config, write_gemma

CHANNELS = 8
BLOCKS = 3
WIDTH, HEIGHT, FRAMES = 64, 32, 17
LATENT = (1, CHANNELS, 3, 2, 4)


def build_bundle(folder: Path, *, audio: bool = False, seed: int = 0) -> Path:
    """Write checkpoint, text encoder, adapter and bundle.json; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    config = model_config(audio=audio)
    transformer = Transformer(TransformerConfig.from_dict(config["transformer"]))
    randomise(transformer, seed)
    vae = VideoVAE(config["vae"])
    set_statistics(vae, torch.linspace(-0.2, 0.2, CHANNELS), torch.linspace(0.5, 1.5, CHANNELS))
    tensors = official_tensors(
        transformer=transformer,
        connectors=TextConnectors(config["transformer"], states=LAYERS + 1, audio=audio),
        vae=vae,
        audio_vae=AudioVAE(config["audio_vae"]) if audio else None,
        vocoder=Vocoder(config["vocoder"]) if audio else None,
    )
    write_checkpoint(folder / "tiny.safetensors", tensors, config, "2.3.0")
    (folder / "text_encoder").mkdir(exist_ok=True)
    write_gemma(folder / "text_encoder", seed=seed)
    write_adapter(folder / "ic-lora.safetensors", transformer, seed=seed)
    write_bundle(folder)
    return folder


def write_bundle(folder: Path, **changes: Any) -> None:
    content = {
        "version": 1,
        "name": "tiny",
        "files": {
            "checkpoint": "tiny.safetensors",
            "text_encoder": "text_encoder",
            "adapters": [{"path": "ic-lora.safetensors"}],
        },
        "bucket": {"width": WIDTH, "height": HEIGHT, "frames": FRAMES, "fps": 24.0, "stg_blocks": [1]},
        "preset": {"steps": 3, "lora_strength": 1.0},
    }
    (folder / "bundle.json").write_text(json.dumps({**content, **changes}))


def write_adapter(path: Path, transformer: Transformer, *, seed: int = 0, **metadata: str) -> None:
    """A random adapter for the usual ten layers of every block; the transformer is left with it attached."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in attach(transformer, rank=2, generator=generator):
        parameter.data = 0.2 * torch.randn(parameter.shape, generator=generator)
    write(path, attached_state(transformer), metadata)


def model_config(*, audio: bool = False) -> dict[str, Any]:
    """The `config` metadata of the tiny checkpoint."""
    text = transformer_config()
    sizes = TransformerConfig(
        layers=BLOCKS,
        heads=3,
        head_dim=16,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        context_dim=text["cross_attention_dim"],
        audio=audio,
        audio_heads=3,
        audio_head_dim=8,
        audio_in_channels=16,
        audio_out_channels=16,
        audio_context_dim=24,
    )
    config: dict[str, Any] = {"transformer": {**text, **official_dict(sizes)}, "vae": vae_config()}
    return {**config, **audio_config()} if audio else config


def vae_config() -> dict[str, Any]:
    res = ["res_x", {"num_layers": 1}]
    kinds = ["compress_all", "compress_all", "compress_time"]

    def blocks(suffix: str, multiplier: int) -> list[Any]:
        compress = [[f"{kind}{suffix}", {"multiplier": multiplier}] for kind in kinds]
        return [res, *(block for step in compress for block in (step, res))]

    return {
        "_class_name": "CausalVideoAutoencoder",
        "latent_channels": CHANNELS,
        "patch_size": 4,
        "encoder_blocks": blocks("_res", 1),
        "decoder_blocks": blocks("", 1),
        "decoder_base_channels": 1,
    }


def audio_config() -> dict[str, Any]:
    network = {
        "double_z": True,
        "mel_bins": 64,
        "z_channels": 1,
        "resolution": 256,
        "in_channels": 2,
        "out_ch": 2,
        "ch": 16,
        "ch_mult": [1, 1, 1],
        "num_res_blocks": 1,
        "attn_resolutions": [],
        "mid_block_add_attention": False,
        "norm_type": "pixel",
        "causality_axis": "height",
    }
    generator = {
        "upsample_initial_channel": 16,
        "resblock": "AMP1",
        "resblock_kernel_sizes": [3],
        "resblock_dilation_sizes": [[1, 3, 5]],
        "stereo": True,
        "use_tanh_at_final": False,
        "activation": "snakebeta",
        "use_bias_at_final": False,
    }
    bwe = {
        "apply_final_activation": False,
        "input_sampling_rate": 16000,
        "output_sampling_rate": 48000,
        "hop_length": 80,
        "n_fft": 512,
        "win_size": 512,
        "num_mels": 64,
    }
    return {
        "audio_vae": {
            "model": {"params": {"ddconfig": network, "sampling_rate": 16000}},
            "preprocessing": {"stft": {"hop_length": 160, "causal": True}},
        },
        "vocoder": {
            "vocoder": {**generator, "upsample_rates": [10, 16], "upsample_kernel_sizes": [20, 32]},
            "bwe": {**generator, **bwe, "upsample_rates": [15, 16], "upsample_kernel_sizes": [31, 32]},
        },
    }


def tiny_sheet(seed: int = 0, width: int = 2 * WIDTH, height: int = 2 * HEIGHT) -> Sheet:
    """A sheet of coloured noise that says what it shows."""
    levels = torch.randint(0, 256, (height, width, 3), generator=torch.Generator().manual_seed(seed))
    note = ElementNote("hero", "character", "hero in a red coat")
    image = Image.fromarray(levels.to(torch.uint8).numpy())
    return Sheet(image, elements=(note,), output=(WIDTH, HEIGHT))
