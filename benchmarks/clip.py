"""A whole guided clip at the trained bucket, stage by stage: text, sheet, denoising, decoding; peak memory.

Denoising runs the real sampler and guided denoiser (`card`: 30 steps, CFG and STG). Expected on an H100: 2.41
passes a step, so 33 s in fp8 and 42 s in bf16, beyond: 27 s; the sheet's encode under 0.1 s (one frame),
decoding 1 to 4 s. Decoding's peak, whole and in tiles, is what `castsheet.ltx.speed.memory` estimates.
"""

from __future__ import annotations

import copy
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import Gemma3TextConfig, Gemma3TextModel

from benchmarks.common import Bench, peak, random_transformer, relative, timed
from castsheet.ltx.latents import Grid, Reference, encode_still, patchify
from castsheet.ltx.latents import decode as decode_frames
from castsheet.ltx.model.dit import Transformer
from castsheet.ltx.parts.vae import VideoVAE
from castsheet.ltx.speed.fast import make_fast
from castsheet.ltx.speed.kernels import attention_kernels
from castsheet.ltx.speed.tabulated import tabulated
from castsheet.media.encoding import Encoder, encode
from castsheet.sampling.denoiser import Contexts, Denoiser, PassWeights, Track, video_track
from castsheet.sampling.guidance import Weights
from castsheet.sampling.samplers import euler
from castsheet.sampling.schedule import sigmas
from castsheet.sampling.state import draw

OFFICIAL = Path(__file__).resolve().parent.parent / "tests" / "data" / "ltx-2.3-config.json"


def clip(bench: Bench) -> None:
    """Denoising in fp8."""
    denoise(bench, "fp8")


def clip_bf16(bench: Bench) -> None:
    """Denoising in bf16."""
    denoise(bench, "bf16")


def vae(bench: Bench) -> None:
    """The sheet's encoding and the clip's decoding."""
    made = make_vae(bench)
    sheet(bench, made)
    decode(bench, made)


def caching(bench: Bench) -> None:
    """The reference's rows kept over steps: time a step beside the x0 error that it makes.

    Every step starts from where the exact run was. The weights are random: how much a trained model's clip
    changes is for mini to say (benchmarks/cpu.py).
    """
    model, track, contexts = make_run(bench, "fp8")
    levels = sigmas(bench.size.steps)
    seen: list[tuple[Tensor, Tensor, Tensor]] = []
    exact = denoiser_of(bench, model, track, contexts)

    def watched(x: Tensor, sigma: Tensor, step: int) -> Tensor:
        x0 = exact(x, sigma, step)
        seen.append((x, sigma, x0))
        return x0

    steps = min(12, bench.size.steps)
    with tabulated(model, levels), attention_kernels(bench.device):
        x = draw(exact, grid_of(bench), 0, None, 1.0).to(bench.device)
        exact(x, levels[0].to(bench.device))  # compiles
        seen.clear()
        seconds = clocked(bench, lambda: euler(watched, x, levels[: steps + 1]))
        bench.add("every step exact, fp8", ms=seconds * 1e3 / steps)
        for every in (2, 3, 4):
            name = f"reference rows every {every} steps, fp8"
            with bench.attempt(name):
                kept = denoiser_of(bench, model, track, contexts, reference_every=every)
                for step in range(2):
                    kept(*seen[0][:2], step)  # compiles
                outputs: list[Tensor] = []

                def again(kept: Denoiser = kept, outputs: list[Tensor] = outputs) -> None:
                    outputs.extend(kept(*one[:2], step) for step, one in enumerate(seen))

                ms = clocked(bench, again) * 1e3 / steps
                errors = [relative(got, one[2]) for got, one in zip(outputs, seen, strict=True)]
                found = {"error": sum(errors) / len(errors), "largest": max(errors)}
                bench.add(name, ms=ms, over=ms / bench.ms("every step exact, fp8") - 1, **found)


def clocked(bench: Bench, run: Any) -> float:
    """Seconds of one run."""
    begun = time.perf_counter()
    run()
    if bench.on_gpu:
        torch.cuda.synchronize(bench.device)
    return time.perf_counter() - begun


def make_vae(bench: Bench) -> VideoVAE:
    """The official VAE's layers with random weights; at toy size with 16 latent channels."""
    config: dict[str, Any] = copy.deepcopy(json.loads(OFFICIAL.read_text(encoding="utf-8"))["config"]["vae"])
    if not bench.on_gpu:
        config |= {"latent_channels": bench.size.config.in_channels, "decoder_base_channels": 2}
    with torch.device(bench.device):
        vae = VideoVAE(config)
    return vae.to(bench.dtype).eval()


def sheet(bench: Bench, vae: VideoVAE) -> None:
    """Encoding the sheet's one frame."""
    size = bench.size
    image = torch.rand(1, 3, size.rows * vae.spatial, size.columns * vae.spatial, device=bench.device) * 2 - 1
    image = image.to(bench.dtype)
    with peak(bench.device) as memory:
        found = timed(bench, lambda: encode_still(vae, image, 1))
    bench.add("sheet encoded", **found, **memory)


def grid_of(bench: Bench) -> Grid:
    return Grid(bench.size.frames, bench.size.rows, bench.size.columns, 24.0, (8, 32, 32))


def make_run(bench: Bench, precision: str) -> tuple[Transformer, Track, list[Contexts]]:
    """A prepared model, a clip with a full-length reference, and two prompts' contexts."""
    size, config, device = bench.size, bench.size.config.video_only(), bench.device
    model = make_fast(random_transformer(config, device, bench.dtype, fp8=precision == "fp8"))
    still = torch.randn(1, config.in_channels, 1, size.rows, size.columns)
    latents = still.expand(-1, -1, size.frames, -1, -1)
    reference = Reference(patchify(latents).float(), grid_of(bench).bounds(), 1.0)
    track = video_track(config, grid_of(bench), reference, device=device, dtype=bench.dtype)
    contexts = [
        Contexts(torch.randn(1, size.context, config.context_dim, device=device).to(bench.dtype))
        for _ in range(2)
    ]
    return model, track, contexts


def denoiser_of(
    bench: Bench, model: Transformer, track: Track, contexts: list[Contexts], reference_every: int = 1
) -> Denoiser:
    weights = PassWeights(Weights(4.0, 1.0, 1.0, 0.0), None, (bench.size.stg_block,))
    return Denoiser(model, track, None, contexts[0], contexts[1], weights, reference_every=reference_every)


def denoise(bench: Bench, precision: str) -> None:
    """All steps, after one that compiles."""
    size, device, grid = bench.size, bench.device, grid_of(bench)
    model, track, contexts = make_run(bench, precision)
    denoiser = denoiser_of(bench, model, track, contexts)
    levels = sigmas(size.steps)
    with tabulated(model, levels), attention_kernels(device):
        start = draw(denoiser, grid, 0, None, 1.0).to(device)
        seconds = clocked(bench, lambda: denoiser(start, levels[0].to(device)))
        bench.add(f"first guided step, compiling included, {precision}", ms=seconds * 1e3)
        with peak(device) as memory:
            seconds = clocked(bench, lambda: euler(denoiser, start, levels))
    name = f"denoising, {size.steps} guided steps, {precision}"
    bench.add(name, ms=seconds * 1e3, a_step=seconds * 1e3 / size.steps, **memory)


def decode(bench: Bench, vae: VideoVAE) -> None:
    """A clip of noise, whole and in tiles."""
    size = bench.size
    shape = (1, size.config.in_channels, size.frames, size.rows, size.columns)
    latents = torch.randn(shape, device=bench.device).to(bench.dtype)
    for name, tiling in (("whole", False), ("in tiles", True)):
        with bench.attempt(f"decoding, {name}"):
            vae.tile(tiling)
            with peak(bench.device) as memory:
                found = timed(bench, lambda: vae.decode(latents), warm=1, repeats=2)
            bench.add(f"decoding, {name}", **found, **memory)
            film(bench, vae, latents, name)


def film(bench: Bench, vae: VideoVAE, latents: Tensor, name: str) -> None:
    """Decoding to an MP4: encoding after it, and in a thread from the first frames on.

    What a network of random weights shows is harder to encode than a film.
    """
    with tempfile.TemporaryDirectory() as folder:

        def made(threaded: bool) -> None:
            with Encoder() as encoder:
                track = encoder.track(24.0) if threaded else None
                frames = decode_frames(vae, latents, 0, None if track is None else track.add)
                if track is not None:
                    track.end(frames)
                encode(Path(folder) / f"{threaded}.mp4", frames, 24.0, track=track)

        for order, threaded in (("then encoding", False), ("encoding in a thread", True)):
            found = timed(bench, lambda threaded=threaded: made(threaded), warm=1, repeats=2)
            bench.add(f"decoding, {name}, {order}", **found)
        plain, beside = (Path(folder, f"{threaded}.mp4").read_bytes() for threaded in (False, True))
        bench.add(f"check: the same file, {name}", error=0.0 if plain == beside else 1.0)


def text(bench: Bench) -> None:
    """One prompt of 300 tokens through a Gemma-3-12B of random weights."""
    full = bench.on_gpu
    config = Gemma3TextConfig(
        vocab_size=262208 if full else 64,
        hidden_size=3840 if full else 32,
        intermediate_size=15360 if full else 64,
        num_hidden_layers=bench.size.config.layers if full else 2,
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
