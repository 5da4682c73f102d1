"""A whole guided clip at the trained bucket, stage by stage: text, sheet, denoising, decoding; peak memory.

    python benchmarks/clip.py                       fp8: about 2 minutes on a GPU
    python benchmarks/clip.py --precision bf16      about 2.5 minutes
    python benchmarks/clip.py --text                also a Gemma-3-12B of random weights: 1 minute more
    python benchmarks/clip.py --tiny                seconds on a CPU

Denoising runs the real sampler and guided denoiser (`card`: 30 steps, CFG and STG). Expected: 2.41 passes a
step, so 33 s in fp8 and 42 s in bf16, beyond: 27 s; the sheet's encode under 0.1 s (one frame), decoding 1 to
4 s. Decoding's peak, whole and in tiles, is what `castsheet.ltx.memory.FULL` estimates.
"""

from __future__ import annotations

import copy
import json
import time
from pathlib import Path
from typing import Any

import torch
from common import Bench, peak, random_transformer, start, timed
from torch import Tensor
from transformers import Gemma3TextConfig, Gemma3TextModel

from castsheet.ltx.fast import attention_kernels, prepare, tabulated
from castsheet.ltx.memory import tile_decoding
from castsheet.ltx.vae import VideoVAE
from castsheet.reference import Grid, Reference, encode_still, patchify
from castsheet.sampling.denoiser import Contexts, Denoiser, Guide, clip_latents, draw, video_track
from castsheet.sampling.guidance import Weights
from castsheet.sampling.sampler import euler
from castsheet.sampling.schedule import sigmas

OFFICIAL = Path(__file__).resolve().parent.parent / "tests" / "data" / "ltx-2.3-config.json"


def main() -> None:
    bench, given = start(
        "clip",
        ("--precision", {"choices": ("bf16", "fp8"), "default": "fp8"}),
        ("--text", {"action": "store_true"}),
    )
    bench.name = f"clip-{given.precision}"
    with torch.no_grad(), attention_kernels(bench.device):
        if given.text:
            text(bench)
        vae = make_vae(bench)
        latents = sheet(bench, vae)
        clip = denoise(bench, latents, given.precision)
        decode(bench, vae, clip)


def make_vae(bench: Bench) -> VideoVAE:
    """The official VAE's layers with random weights; at toy size with 16 latent channels."""
    config: dict[str, Any] = copy.deepcopy(json.loads(OFFICIAL.read_text(encoding="utf-8"))["config"]["vae"])
    if bench.device.type != "cuda":
        config |= {"latent_channels": bench.size.config.in_channels, "decoder_base_channels": 2}
    with torch.device(bench.device):
        vae = VideoVAE(config)
    return vae.to(bench.dtype).eval()


def sheet(bench: Bench, vae: VideoVAE) -> Tensor:
    """The sheet's latent frame, repeated; encoding it is what is timed."""
    size = bench.size
    image = torch.rand(1, 3, size.rows * vae.spatial, size.columns * vae.spatial, device=bench.device) * 2 - 1
    image = image.to(bench.dtype)
    with peak(bench.device) as memory:
        found = timed(bench, lambda: encode_still(vae, image, 1))
    bench.add("sheet encoded", **found, **memory)
    # An untrained VAE has no scale of its own; the denoiser expects unit latents.
    still = encode_still(vae, image, 1).float()
    return ((still - still.mean()) / still.std().clamp(min=1e-6)).expand(-1, -1, size.frames, -1, -1)


def denoise(bench: Bench, latents: Tensor, precision: str) -> Tensor:
    """All steps, once with compiling and once without; returns the clip's latents."""
    size, config, device = bench.size, bench.size.config.video_only(), bench.device
    model = prepare(random_transformer(config, device, bench.dtype, fp8=precision == "fp8"))
    grid = Grid(size.frames, size.rows, size.columns, 24.0, (8, 32, 32))
    reference = Reference(patchify(latents).float(), grid.bounds(), 1.0)
    track = video_track(config, grid, reference, device=device, dtype=bench.dtype)
    contexts = [
        Contexts(torch.randn(1, size.context, config.context_dim, device=device).to(bench.dtype))
        for _ in range(2)
    ]
    guide = Guide(Weights(4.0, 1.0, 1.0, 0.0), None, (size.stg_block,))
    denoiser = Denoiser(model, track, None, contexts[0], contexts[1], guide)
    levels = sigmas(size.steps)
    with tabulated(model, levels):
        begun = time.perf_counter()
        denoiser(draw(denoiser, grid, 0, None, 1.0).to(device), levels[0].to(device))
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        bench.add("first step, compiling included", ms=(time.perf_counter() - begun) * 1e3)
        with peak(device) as memory:
            begun = time.perf_counter()
            x = euler(denoiser, draw(denoiser, grid, 0, None, 1.0).to(device), levels)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            took = (time.perf_counter() - begun) * 1e3
    bench.add(f"denoising, {size.steps} guided steps", ms=took, a_step=took / size.steps, **memory)
    return clip_latents(denoiser, grid, x)


def decode(bench: Bench, vae: VideoVAE, latents: Tensor) -> None:
    for name, tiling in (("whole", False), ("in tiles", True)):
        tile_decoding(vae, tiling)
        with peak(bench.device) as memory:
            found = timed(bench, lambda: vae.decode(latents), warm=1, repeats=3)
        bench.add(f"decoding, {name}", **found, **memory)


def text(bench: Bench) -> None:
    """One prompt of 300 tokens through a Gemma-3-12B of random weights."""
    full = bench.device.type == "cuda"
    config = Gemma3TextConfig(
        vocab_size=262208 if full else 64,
        hidden_size=3840 if full else 32,
        intermediate_size=15360 if full else 64,
        num_hidden_layers=48 if full else 2,
        num_attention_heads=16 if full else 2,
        num_key_value_heads=8 if full else 1,
        head_dim=256 if full else 16,
    )
    usual = torch.get_default_dtype()
    torch.set_default_dtype(bench.dtype)
    with torch.device(bench.device):
        model = Gemma3TextModel(config).eval()
        ids = torch.randint(0, config.vocab_size, (1, 300 if full else 8))
    torch.set_default_dtype(usual)
    with peak(bench.device) as memory:
        found = timed(bench, lambda: model(input_ids=ids, output_hidden_states=True, use_cache=False))
    bench.add("text encoder, one prompt", **found, **memory)


if __name__ == "__main__":
    main()
