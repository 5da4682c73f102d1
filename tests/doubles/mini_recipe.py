"""A recipe folder as training leaves it, with random weights of mini's own architecture."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image

from castsheet.ltx.adapters import lora
from castsheet.ltx.parts.audio import AudioVAE, Vocoder
from castsheet.ltx.parts.vae import VideoVAE
from mini.data.captions import train_tokenizer
from mini.data.prompts import texts
from mini.official import (
    audio_vae_to_official,
    set_statistics,
    video_vae_to_official,
    vocoder_to_official,
)
from mini.training.architecture import ADAPTER_RANK, LATENT_CHANNELS, config
from mini.training.mel import set_analysis
from mini.training.stored import AUDIO, VOCODER, models_state, save
from mini.training.train_flow import Models
from tests.doubles.ltx_tiny import randomise

LOG = """\
    3.1 s  600 of 8000 stories of this process rendered
   12.5 s  codec step 100 loss 0.4000
   14.5 s  codec step 200 loss 0.2000
   15.0 s  codec, dB PSNR: whole 31.20, figures 28.00
   20.0 s  base step 100 loss 0.9000
   21.0 s  base step 200 loss 0.3000
   30.0 s  adapter sparse step 100 loss 0.0800
   31.0 s  adapter sparse done after 150 steps
"""


def build_recipe(folder: Path, *, seed: int = 0) -> Path:
    """Write codec, sound, base, adapters, tokenizer, log and a picture; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    train_tokenizer(folder / "tokenizer", texts(600))
    models = Models.build(folder / "tokenizer", "cpu")
    randomise(models.transformer, seed)
    vae = VideoVAE(config()["vae"])
    set_statistics(vae, torch.zeros(LATENT_CHANNELS), torch.full((LATENT_CHANNELS,), 0.7))
    save(video_vae_to_official(vae), folder / "codec.safetensors")
    save(audio_vae_to_official(AudioVAE(config()["audio_vae"])), folder / AUDIO)
    vocoder = Vocoder(config()["vocoder"])
    set_analysis(vocoder)
    save(vocoder_to_official(vocoder), folder / VOCODER)
    save(models_state(models), folder / "base.safetensors")
    for parameter in lora.attach(models.transformer, rank=ADAPTER_RANK):
        parameter.data = 0.02 * torch.randn(parameter.shape)
    for name in ("looped", "still"):
        save(lora.attached_state(models.transformer), folder / f"{name}.safetensors")
    (folder / "log.txt").write_text(LOG)
    Image.new("RGB", (64, 32), "teal").save(folder / "looped.png")
    return folder
