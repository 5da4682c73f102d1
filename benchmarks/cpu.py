"""The embedded model's clip on this CPU: what share of its time is what, and what helps.

Runs at mini's own size (192x112, 121 frames; 8 blocks of width 384; 1344 + 1344 tokens), with the trained
weights where they are installed, else with random ones of the same shapes, which take the same time. A step
is mini's own: conditional and unconditional pass.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.common import Bench, random_transformer, relative
from castsheet.ltx.config import TransformerConfig
from castsheet.ltx.connectors import TextConnectors
from castsheet.ltx.dit import Transformer
from castsheet.ltx.fast import compile_blocks, join_projections, tabulated
from castsheet.ltx.precision import quantise
from castsheet.ltx.text import GemmaEncoder
from castsheet.ltx.vae import VideoVAE
from castsheet.mini.architecture import CONTEXT, FPS, FRAMES, HEIGHT, TEXT_LAYERS, WIDTH, config
from castsheet.mini.package import Defaults
from castsheet.mini.train_flow import gemma_config
from castsheet.reference import Grid, Reference, encode_still, patchify
from castsheet.sampling.denoiser import Contexts, Denoiser, Guide, draw, video_track
from castsheet.sampling.guidance import Weights
from castsheet.sampling.schedule import sigmas

CPU = torch.device("cpu")
USUAL = "a guided step: fast path, fp32"


def cpu(bench: Bench) -> None:
    """Stages of a clip, then a guided step in every form."""
    small = bench.size.name == "tiny"
    raw = config()
    model = random_transformer(TransformerConfig.from_dict(raw["transformer"]), CPU, torch.float32)
    vae = VideoVAE(raw["vae"]).eval()
    frames = 17 if small else FRAMES
    grid = Grid.of(vae, width=WIDTH, height=HEIGHT, frames=frames, fps=FPS)
    image = torch.rand(1, 3, HEIGHT, WIDTH) * 2 - 1
    steps = Defaults().steps
    stages = {"text": text_stage(raw), "sheet": lambda: encode_still(vae, image, grid.frames)}
    seconds = {name: clocked(run) for name, run in stages.items()}
    runs = Runs(grid, encode_still(vae, image, grid.frames))
    exact = runs.step(model)
    fast = join_projections(copy.deepcopy(model))
    levels = sigmas(steps)
    with tabulated(fast, levels):
        seconds["denoising"] = steps * clocked(lambda: runs.step(fast))
    latents = torch.randn(1, model.config.out_channels, grid.frames, grid.height, grid.width)
    seconds["decoding"] = clocked(lambda: vae.decode(latents))
    total = sum(seconds.values())
    for name, value in seconds.items():
        row = f"{name}, {steps} guided steps" if name == "denoising" else name
        bench.add(row, ms=value * 1e3, share=value / total)
    forms(bench, model, fast, runs, exact)


def forms(bench: Bench, model: Transformer, fast: Transformer, runs: Runs, exact: Tensor) -> None:
    """What one step takes otherwise, and how far its x0 is from the exact one."""
    row(bench, "a guided step: plain path, fp32", lambda: runs.step(model), exact)
    with tabulated(fast, sigmas(Defaults().steps)):
        row(bench, USUAL, lambda: runs.step(fast), exact)
    half = copy.deepcopy(fast).to(torch.bfloat16)
    row(bench, "a guided step: bf16", lambda: runs.step(half), exact)
    with bench.attempt("a guided step: int8, dynamic"):
        whole = copy.deepcopy(model)
        blocks = torch.ao.quantization.quantize_dynamic(whole.transformer_blocks, {nn.Linear}, torch.qint8)
        whole.transformer_blocks = blocks
        row(bench, "a guided step: int8, dynamic", lambda: runs.step(whole), exact)
    eighth = quantise(copy.deepcopy(model))
    row(bench, "a guided step: fp8, expanded", lambda: runs.step(eighth), exact)
    if bench.size.name != "tiny":
        with bench.attempt("a guided step: compiled"):
            # Needs a C++ compiler; its wait of a minute or two is not in the figure.
            compiled = compile_blocks(copy.deepcopy(fast))
            runs.step(compiled)
            row(bench, "a guided step: compiled", lambda: runs.step(compiled), exact)
    for every in (2, 4):
        cached = runs.denoiser(fast, reference_every=every)
        name = f"a guided step: reference rows every {every} steps"
        row(bench, name, lambda cached=cached, every=every: runs.steps(cached, every), None, share=every)
    still = Runs(runs.grid, runs.sheet[:, :, :1])
    row(bench, "a guided step: still reference", lambda: still.step(fast), None)


def row(bench: Bench, name: str, run: Callable[[], Tensor], exact: Tensor | None, share: int = 1) -> None:
    """One form: milliseconds a step, over the usual form, and the error of x0."""
    with bench.attempt(name):
        seen: list[Tensor] = []
        ms = clocked(lambda: seen.append(run())) * 1e3 / share
        values: dict[str, Any] = {} if exact is None else {"error": relative(seen[-1], exact)}
        usual = bench.ms(USUAL)
        bench.add(name, ms=ms, **({"over": ms / usual - 1} if usual == usual else {}), **values)


class Runs:
    """A clip's grid and sheet, and steps of any model on them."""

    def __init__(self, grid: Grid, sheet_BCFHW: Tensor) -> None:
        self.grid, self.sheet = grid, sheet_BCFHW
        frames = sheet_BCFHW.shape[2]
        bounds = grid.bounds()[:, : frames * grid.frame_tokens]
        self.reference = Reference(patchify(sheet_BCFHW).float(), bounds, 1.0)

    def denoiser(self, model: Transformer, **options: Any) -> Denoiser:
        dtype = model.patchify_proj.weight.dtype
        track = video_track(model.config, self.grid, self.reference, device=CPU, dtype=dtype)
        words = torch.randn(2, CONTEXT, model.config.context_dim, generator=torch.Generator().manual_seed(1))
        contexts = [Contexts(one[None]) for one in words]
        return Denoiser(model, track, None, *contexts, Guide(Weights(Defaults().guidance)), **options)

    def step(self, model: Transformer) -> Tensor:
        """x0 of one guided step from noise."""
        return self.steps(self.denoiser(model), 1)

    def steps(self, denoiser: Denoiser, count: int) -> Tensor:
        x = draw(denoiser, self.grid, 0, None, 1.0)
        level = sigmas(Defaults().steps)[3]
        for _ in range(count):
            x0 = denoiser(x, level)
        return x0


def text_stage(raw: dict[str, Any]) -> Callable[[], Tensor]:
    """Two prompts through text encoder and connectors."""
    from transformers import Gemma3TextModel

    gemma = Gemma3TextModel(gemma_config()).eval()
    connectors = TextConnectors(raw["transformer"], states=TEXT_LAYERS + 1).eval()
    encoder = GemmaEncoder(gemma, None, bos=2, max_tokens=CONTEXT)
    ids, mask = torch.ones(2, 128, dtype=torch.long), torch.ones(2, 128, dtype=torch.bool)
    return lambda: connectors(encoder.hidden_states(ids, mask), mask, CONTEXT)[0]


def clocked(run: Callable[[], Any], repeats: int = 5) -> float:
    """Seconds: the fastest of a few runs, for other programs only ever add to it."""
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        run()
        times.append(time.perf_counter() - begun)
    return min(times)
