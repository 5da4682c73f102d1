"""The embedded model's clip on this CPU: what share of its time is what, and what helps.

Runs at the size, with the layout and with the steps that the embedded bundle states; its weights are random,
which takes the same time. A step is mini's own: conditional and unconditional pass.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from benchmarks.common import Bench, random_transformer, relative
from castsheet.loading.bundle import MINI, Bundle
from castsheet.ltx.files.checkpoint import Checkpoint
from castsheet.ltx.keys import is_large
from castsheet.ltx.latents import Grid, Reference, encode_still, patchify
from castsheet.ltx.model.config import TransformerConfig
from castsheet.ltx.model.dit import Transformer
from castsheet.ltx.model.scaled import ScaledLinear
from castsheet.ltx.parts.connectors import TextConnectors
from castsheet.ltx.parts.text import GemmaEncoder
from castsheet.ltx.parts.vae import VideoVAE
from castsheet.ltx.speed.fast import compile_blocks
from castsheet.ltx.speed.joint import join_projections
from castsheet.ltx.speed.tabulated import tabulated
from castsheet.sampling.denoiser import Contexts, Denoiser, PassWeights, video_track
from castsheet.sampling.guidance import Weights
from castsheet.sampling.schedule import sigmas
from castsheet.sampling.state import draw
from mini.training.architecture import CONTEXT, TEXT_LAYERS
from mini.training.train_flow import gemma_config

CPU = torch.device("cpu")
EMBEDDED = Bundle.load(MINI)
USUAL_RUN = EMBEDDED.settings(None)
USUAL = "a guided step: fast path, fp32"
ROUNDS = 8


def cpu(bench: Bench) -> None:
    """Stages of a clip, then a guided step in every form."""
    small = bench.size.name == "tiny"
    if not small:
        bench.size = replace(
            bench.size, name=f"{USUAL_RUN.width}x{USUAL_RUN.height}x{USUAL_RUN.frames}, mini"
        )
    raw = json.loads(Checkpoint.open(MINI / EMBEDDED.files.checkpoint).metadata["config"])
    if small:
        raw["transformer"]["num_layers"] = 2
    model = random_transformer(TransformerConfig.from_dict(raw["transformer"]), CPU, torch.float32)
    vae = VideoVAE(raw["vae"]).eval()
    width, height = USUAL_RUN.width, USUAL_RUN.height
    frames = 17 if small else USUAL_RUN.frames
    grid = Grid.of(vae.config, width=width, height=height, frames=frames, fps=USUAL_RUN.fps)
    image = torch.rand(1, 3, height, width) * 2 - 1
    steps = USUAL_RUN.steps
    stages = {"text": text_stage(raw), "sheet": lambda: encode_still(vae, image, grid.frames)}
    repeats = 1 if small else 5
    seconds = {name: clocked(run, repeats) for name, run in stages.items()}
    runs = Runs(grid, encode_still(vae, image, grid.frames))
    exact = runs.step(model)
    fast = join_projections(copy.deepcopy(model))
    levels = sigmas(steps)
    with tabulated(fast, levels):
        seconds["denoising"] = steps * clocked(lambda: runs.step(fast), repeats)
    latents = torch.randn(1, model.config.out_channels, grid.frames, grid.height, grid.width)
    seconds["decoding"] = clocked(lambda: vae.decode(latents), repeats)
    total = sum(seconds.values())
    for name, value in seconds.items():
        row = f"{name}, {steps} guided steps" if name == "denoising" else name
        bench.add(row, ms=value * 1e3, share=value / total)
    forms(bench, model, fast, runs, exact)


def forms(bench: Bench, model: Transformer, fast: Transformer, runs: Runs, exact: Tensor) -> None:
    """What one step takes otherwise, and how far its x0 is from the exact one.

    The forms take turns, several rounds: what else the machine does comes and goes, and hits all alike.
    """
    steps: dict[str, Step] = {}
    for name, make, count in candidates(bench, model, fast, runs):
        with bench.attempt(name):
            run = make()
            steps[name] = Step(run, count, None if count > 1 or "still" in name else relative(run(), exact))
    for _ in range(1 if bench.size.name == "tiny" else ROUNDS):
        for step in steps.values():
            step.seconds.append(clocked(step.run, repeats=1) / step.count)
    usual = min(steps[USUAL].seconds)
    for name, step in steps.items():
        best = min(step.seconds)
        against = {} if step.error is None else {"error": step.error}
        bench.add(name, ms=best * 1e3, over=best / usual - 1, **against)


@dataclass
class Step:
    """One form of a step: `run` takes `count` steps."""

    run: Callable[[], Tensor]
    count: int
    error: float | None
    seconds: list[float] = field(default_factory=list)


def candidates(
    bench: Bench, model: Transformer, fast: Transformer, runs: Runs
) -> Iterator[tuple[str, Callable[[], Callable[[], Tensor]], int]]:
    """(name, what makes the form ready, steps that it runs at once)."""

    def tabulating() -> Tensor:
        with tabulated(fast, sigmas(USUAL_RUN.steps)):
            return runs.step(fast)

    def int8() -> Callable[[], Tensor]:
        whole = copy.deepcopy(model)
        blocks = torch.ao.quantization.quantize_dynamic(whole.transformer_blocks, {nn.Linear}, torch.qint8)
        whole.transformer_blocks = blocks
        return partial(runs.step, whole)

    yield "a guided step: plain path, fp32", lambda: partial(runs.step, model), 1
    yield USUAL, lambda: partial(runs.step, fast), 1
    levels = USUAL_RUN.steps
    yield f"a guided step: with the tabulating of {levels} levels", lambda: tabulating, 1
    yield "a guided step: bf16", lambda: partial(runs.step, copy.deepcopy(fast).to(torch.bfloat16)), 1
    yield "a guided step: int8, dynamic", int8, 1
    yield "a guided step: fp8, expanded", lambda: partial(runs.step, in_fp8(copy.deepcopy(model))), 1
    if bench.size.name != "tiny":  # compiling takes a minute or two
        yield "a guided step: compiled", lambda: partial(runs.step, compile_blocks(copy.deepcopy(fast))), 1
    for every in (2, 4):
        cached = runs.denoiser(fast, reference_every=every)
        name = f"a guided step: reference rows every {every} steps"
        yield name, lambda cached=cached, every=every: partial(runs.steps, cached, every), every
    still = Runs(runs.grid, runs.sheet[:, :, :1])
    yield "a guided step: still reference", lambda: partial(still.step, fast), 1


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
        return Denoiser(model, track, None, *contexts, PassWeights(Weights(USUAL_RUN.guidance)), **options)

    def step(self, model: Transformer) -> Tensor:
        """x0 of one guided step from noise."""
        return self.steps(self.denoiser(model), 1)

    def steps(self, denoiser: Denoiser, count: int) -> Tensor:
        x = draw(denoiser, self.grid, 0, None, 1.0)
        level = sigmas(USUAL_RUN.steps)[3]
        for step in range(count):
            x0 = denoiser(x, level, step)
        return x0


def in_fp8(model: Transformer) -> Transformer:
    """The model with its large layers in fp8."""
    for name, layer in list(model.named_modules()):
        if is_large(name):
            model.set_submodule(name, ScaledLinear.of(cast(nn.Linear, layer)))
    return model


def text_stage(raw: dict[str, Any]) -> Callable[[], Tensor]:
    """Two prompts through text encoder and connectors."""
    from transformers import Gemma3TextModel

    gemma = Gemma3TextModel(gemma_config()).eval()
    connectors = TextConnectors(raw["transformer"], states=TEXT_LAYERS + 1).eval()
    encoder = GemmaEncoder(gemma, None, bos=2, max_tokens=CONTEXT)
    ids, mask = torch.ones(2, 128, dtype=torch.long), torch.ones(2, 128, dtype=torch.bool)
    return lambda: connectors(encoder.hidden_states(ids, mask), mask, CONTEXT)[0]


def clocked(run: Callable[[], Any], repeats: int) -> float:
    """Seconds: the fastest of a few runs, for other programs only ever add to it."""
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        run()
        times.append(time.perf_counter() - begun)
    return min(times)
