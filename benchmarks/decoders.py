"""LTX-2.5's diffusion decoder beside the convolutional one: time and memory of a clip's decode.

Both decode one clip's latents at the trained bucket, with random weights at the published size (417 million
parameters of the diffusion decoder, by the header of the published file). diffusers' own attention for it is
no peer here: without a package of kernels it holds the scores of all cells against all, which no card can.
"""

from __future__ import annotations

import copy
import json
from typing import Any

import torch

from benchmarks.clip import OFFICIAL, make_vae
from benchmarks.common import Bench, peak, timed
from castsheet.ltx.parts.diffusion_vae import DiffusionVAE
from castsheet.ltx.parts.vae import VideoVAE

# The published decoder; at toy size the same strides with narrow stages and small windows.
DECODER: dict[str, Any] = {
    "default_num_inference_steps": 1,
    "timestep_scale_multiplier": 1000.0,
    "head_dim": 64,
    "t_emb_dim": 384,
    "patch_size": 4,
    "stage_channels": [2048, 1024, 512, 512, 256],
    "stage_depths": [4, 6, 4, 2, 8],
    "stage_kernels": [[3, 7, 7], [3, 7, 7], [3, 5, 5], [3, 5, 5]],
    "upsamples": [[[1, 2, 2], 2], [[2, 1, 1], 2], [[2, 2, 2], 1], [[2, 2, 2], 2]],
    "stage5_kernel": [11, 11, 11],
}
TOY = {
    "head_dim": 8,
    "t_emb_dim": 16,
    "stage_channels": [64, 32, 16, 16, 8],
    "stage_depths": [1, 1, 1, 1, 1],
    "stage_kernels": [[3, 1, 3]] * 4,
    "stage5_kernel": [3, 3, 3],
}


def decoders(bench: Bench) -> None:
    """A row for the convolutional decoder, and for the diffusion decoder, whole and in tiles."""
    with bench.attempt("convolutional decoder"):
        decode(bench, "convolutional decoder", make_vae(bench))
    vae = diffusion_vae(bench)
    parameters = sum(one.numel() for one in vae.decoder.parameters())
    bench.add("diffusion decoder, parameters", rate=parameters / 1e6, unit="million")
    for name, tiling in (("diffusion decoder, whole", False), ("diffusion decoder, in tiles", True)):
        with bench.attempt(name):
            vae.tile(tiling)
            decode(bench, name, vae)


def decode(bench: Bench, name: str, vae: VideoVAE) -> None:
    """Time one decode of a clip of random latents."""
    size = bench.size
    shape = (1, vae.channels, size.frames, size.rows, size.columns)
    latents = torch.randn(shape, device=bench.device).to(bench.dtype)
    with peak(bench.device) as memory:
        found = timed(bench, lambda: vae.decode(latents), warm=1, repeats=2)
    bench.add(name, **found, **memory)


def diffusion_vae(bench: Bench) -> DiffusionVAE:
    """The diffusion VAE's layers with random weights, at the published size or narrow."""
    config: dict[str, Any] = copy.deepcopy(json.loads(OFFICIAL.read_text(encoding="utf-8"))["config"]["vae"])
    config |= {"_class_name": "CausalDiffusionVAE", "model_output_type": "x0"}
    config["decoder"] = DECODER if bench.on_gpu else DECODER | TOY
    channels = config["latent_channels"] if bench.on_gpu else bench.size.config.in_channels
    config["encoder"] = {"blocks": config.pop("encoder_blocks"), "out_channels": channels}
    with torch.device(bench.device):
        vae = DiffusionVAE(config)
    return vae.to(bench.dtype).eval()
