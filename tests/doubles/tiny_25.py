"""A complete tiny LTX-2.5 model with random weights and a large marker, as whole and split bundles."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from castsheet.ltx.model.config import TransformerConfig
from castsheet.ltx.model.dit import Transformer
from castsheet.ltx.parts.audio import AudioVAE, Vocoder
from castsheet.ltx.parts.connectors import TextConnectors
from castsheet.ltx.parts.vae import VideoVAE
from mini.official import official_tensors, set_statistics
from tests.doubles.gemma4_doubles import LAYERS, write_packed
from tests.doubles.ltx25_doubles import DENOISER, ENCODER, as_ltx_25, large_marker, write_split, write_whole
from tests.doubles.ltx_tiny import randomise
from tests.doubles.tiny_bundle import CHANNELS, model_config, write_adapter, write_bundle

ADAPTERS = [{"path": "ic-lora.safetensors"}]


def tiny_tensors(*, audio: bool = False, seed: int = 0) -> dict[str, Tensor]:
    """Every tensor of the model, by official name."""
    torch.manual_seed(seed)
    config = as_ltx_25(model_config(audio=audio))
    transformer = Transformer(TransformerConfig.from_dict(config["transformer"]))
    randomise(transformer, seed)
    vae = VideoVAE(config["vae"])
    set_statistics(vae, torch.linspace(-0.2, 0.2, CHANNELS), torch.linspace(0.5, 1.5, CHANNELS))
    sound = (
        {"audio_vae": AudioVAE(config["audio_vae"]), "vocoder": Vocoder(config["vocoder"])} if audio else {}
    )
    connectors = TextConnectors(config["transformer"], states=LAYERS + 1, audio=audio)
    made = official_tensors(transformer=transformer, connectors=connectors, vae=vae, **sound)
    return large_marker({name: tensor.detach().clone().contiguous() for name, tensor in made.items()})


def build_whole(folder: Path, tensors: dict[str, Tensor], *, audio: bool = False) -> Path:
    """One file and a packed encoder, named by a bundle."""
    write_whole(folder / "ltx.safetensors", tensors, as_ltx_25(model_config(audio=audio)))
    write_packed(folder / "encoder.safetensors")
    _adapter(folder)
    files = {"checkpoint": "ltx.safetensors", "text_encoder": "encoder.safetensors", "adapters": ADAPTERS}
    write_bundle(folder, files=files)
    return folder


def build_split(folder: Path, tensors: dict[str, Tensor], *, audio: bool = False) -> Path:
    """The files of the publisher's folders, named by a bundle."""
    write_split(folder, tensors, as_ltx_25(model_config(audio=audio)))
    _adapter(folder)
    write_bundle(folder, files={"checkpoint": DENOISER, "text_encoder": ENCODER, "adapters": ADAPTERS})
    return folder


def _adapter(folder: Path) -> None:
    config = TransformerConfig.from_dict(as_ltx_25(model_config())["transformer"])
    transformer = Transformer(config)
    randomise(transformer, 0)
    write_adapter(folder / "ic-lora.safetensors", transformer, base_model="ltx-2.5")
