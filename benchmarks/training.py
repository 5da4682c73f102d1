"""A training step of the reference-sheet adapter at full size: Castsheet's own, and a plain peer loop.

    python -m benchmarks.training --out DIR              one GPU, all rows, the most important first
    python -m benchmarks.training --out DIR --only fp8   this row
    python -m benchmarks.training --out DIR --smoke      full width, 4 blocks, 2 steps: does it run at all
    python -m benchmarks.training --out DIR --tiny       toy size, on a CPU
    torchrun --nproc-per-node N -m benchmarks.training --out DIR --parallel     weak scaling
    torchrun --nproc-per-node N -m benchmarks.training --out DIR --curves       loss curves on mini

What is timed is `Learner.step`, which `castsheet train` calls, on a batch in host memory: copy, forward and
backward pass, sum of gradients, norm, AdamW. Weights are random and made on the device; every step has other
noise. Peaks are of torch's allocator and include everything that lives between steps; `expected_gib` is what
the trainer says beforehand (`castsheet.train.memory.keeping.expected_peak`). `first_s` is the first step,
which compiles what no row before had compiled: blocks that keep the same at the same sizes share their code.
The peer is diffusers' transformer with PEFT's LoRA of the same rank and layers, its own gradient
checkpointing, autocast to bf16 with fp32 adapters as in diffusers' training scripts, and AdamW, in the same
process before ours is made.

Work of a step (T = 5376 + 5376 tokens): 3 x 242 TFLOP in linear layers with the recomputed forward pass, 91
in attention forward and 228 backward, 5 % for the adapters. Expected on an H100 or H200: fp8 1.6 to 1.7 s and
28.1 GiB, under 24 GiB 1.8 to 1.9 s and 21 GiB, bf16 2.1 s, still reference 0.75 s; the peer 4.9 s.

`--parallel` is weak scaling: every process makes the same step on its own card. Its first row is the step;
the second says what a step costs more with the sum of gradients than without, and the sum alone. A failed row
leaves its traceback in DIR/failures.txt.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from benchmarks.common import (
    ROOT,
    SIZES,
    Bench,
    Mode,
    audio_stream,
    current_commit,
    peak,
    random_transformer,
    video_stream,
)
from benchmarks.peers import peer_inputs, peer_of
from castsheet.loading.placement import working_dtype
from castsheet.ltx.model.config import TransformerConfig
from castsheet.ltx.model.rope import Rope, video_bounds, video_tables
from castsheet.machine.processes import World, world
from castsheet.train.batches import Batch
from castsheet.train.config import Config, join, make_config
from castsheet.train.data.dataset import Geometry
from castsheet.train.learner import Learner
from castsheet.train.optimiser import make_optimiser, set_rate

# The published recipe, held and run in different ways. `activation_gib` is what blocks may keep.
MODES: dict[str, dict[str, Any]] = {
    "fp8": {"base": {"weights": "fp8"}},
    "fp8, under 24 GiB": {"base": {"weights": "fp8", "recompute": "all", "offload": True}},
    "fp8, still reference": {"base": {"weights": "fp8"}, "objective": {"reference": "still"}},
    "bf16, all recomputed": {"base": {"recompute": "all"}},
    "fp8, eager": {"base": {"weights": "fp8", "compile": False}},
    "fp8, offloaded, attention kept": {"base": {"weights": "fp8", "recompute": "attention", "offload": True}},
    "fp8, streamed": {"base": {"weights": "fp8", "recompute": "all", "offload": True, "stream": True}},
    "fp8, streamed, attention kept": {
        "base": {"weights": "fp8", "recompute": "attention", "offload": True, "stream": True}
    },
    "bf16": {},
    "fp8, 48 GiB kept": {"base": {"weights": "fp8", "activation_gib": 48.0}},
}
DEFAULT, PEER = "fp8", "diffusers and PEFT"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; returns 1 when a row failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "results")
    parser.add_argument("--only", nargs="+", choices=(PEER, *MODES), help="these rows only")
    parser.add_argument("--smoke", action="store_true", help="full width, 4 blocks, 2 steps of every row")
    parser.add_argument("--tiny", action="store_true", help="toy size, on a CPU")
    parser.add_argument("--steps", type=int, default=5, help="timed steps of a row")
    parser.add_argument("--commit", default=None, help="where the copy has no .git")
    parser.add_argument("--parallel", action="store_true", help="weak scaling, under torchrun")
    parser.add_argument("--curves", action="store_true", help="loss curves on mini, under torchrun")
    given = parser.parse_args(arguments)
    gpu = torch.cuda.is_available() and not given.tiny
    with world(torch.device("cuda" if gpu else "cpu"), group=True) as where:
        mode: Mode = "smoke" if given.smoke else "tiny" if given.tiny else "full"
        name = "training"
        if given.parallel or given.curves:
            name = f"{'curves' if given.curves else 'training'}-{where.size}"
        commit = given.commit or current_commit()
        bench = Training(name, where.device, SIZES[mode], given.out, commit, mode)
        bench.where = where
        steps = 1 if given.smoke else given.steps
        if given.curves:
            from benchmarks.curves import curves

            curves(bench, where)
            return 0
        if given.parallel:
            parallel(bench, where, min(steps, 3))
            return 0
        for row in given.only or (PEER, *MODES):
            with bench.attempt(row):
                peer(bench, steps) if row == PEER else ours(bench, row, steps, where)
    return 1 if any("failed" in row for row in bench.rows) else 0


class Training(Bench):
    """A bench of one process among several."""

    where: World

    def add(self, row: str, **values: Any) -> None:
        """As `Bench.add`, in one process of several; in others a failure only."""
        if self.where.main or "failed" in values:
            super().add(row, **values)

    def write(self) -> Path:
        """As `Bench.write`, in one process of several."""
        return super().write() if self.where.main else self.output


def settings(bench: Bench, mode: str, **more: Any) -> Config:
    """The run that a mode stands for; plain AdamW where the 8-bit one is not installed."""
    small = not bench.on_gpu
    values: dict[str, Any] = {"model": "random", "data": ".", "output": ".", "device": bench.device.type}
    if find_spec("torchao") is None or small:
        values["optimiser"] = {"name": "adamw"}
    if small:
        values |= {"adapter": {"rank": 4, "alpha": 4.0}, "base": {"weights": "fp32"}}
    chosen = (
        MODES[mode] if bench.on_gpu or "fp8" in mode else join({"base": {"weights": "fp32"}}, MODES[mode])
    )
    return make_config(join(join(values, chosen), more))


def ours(bench: Training, mode: str, steps: int, where: World) -> None:
    """A row: the step in one mode, and its peak."""
    config = settings(bench, mode)
    learner = made(bench, config, where)
    with peak(bench.device) as memory:
        found = timed_steps(bench, learner, steps)
    times = bench.ms(step_row(PEER)) / found["ms"]
    kept = {str(keep): learner.keeps.count(keep) for keep in dict.fromkeys(learner.keeps)}
    optimiser = config.optimiser.name
    row = step_row(mode)
    expected = {"expected_gib": learner.expected_bytes / 2**30} if bench.on_gpu else {}
    bench.add(row, **found, times=times, **memory, **expected, kept=kept, optimiser=optimiser)


def made(bench: Bench, config: Config, where: World) -> Learner:
    """Random base, adapter, optimiser."""
    model = bench.size.config.video_only()
    dtype = working_dtype(config.base.weights, bench.device)
    base = random_transformer(model, bench.device, dtype, fp8=config.base.weights == "fp8")

    def first() -> Batch:
        return batch_of(bench, config, 0, slot=where.rank * config.batch)

    return Learner(base, config, where, tables(bench, model, dtype), {}, lambda _: first())


def tables(bench: Bench, config: TransformerConfig, dtype: torch.dtype) -> Callable[[Batch], Rope]:
    """Rotary tables of [clip | reference], made once a length."""
    size, kept = bench.size, dict[int, Rope]()

    def of(batch: Batch) -> Rope:
        reference = batch.reference_BRC.shape[1]
        if reference not in kept:
            clip = video_bounds(size.frames, size.rows, size.columns, 24.0)
            frames = reference // (size.rows * size.columns)
            sheet = video_bounds(frames, size.rows, size.columns, 24.0)
            kept[reference] = video_tables(config, torch.cat([clip, sheet], dim=1), dtype).to(bench.device)
        return kept[reference]

    return of


def batch_of(bench: Bench, config: Config, step: int, *, slot: int = 0) -> Batch:
    """A random sample as the trainer's loader hands it over: in host memory, bf16 latents, fp32 noise."""
    size = bench.size
    source = torch.Generator().manual_seed(1000 * step + slot)
    channels, batch = size.config.in_channels, config.batch
    clip = (size.frames, size.rows, size.columns)
    frames = size.frames if config.objective.reference == "looped" else 1
    still = torch.randn(batch, 1, size.rows * size.columns, channels, generator=source)
    width = size.config.context_dim
    dtype = working_dtype(config.base.weights, bench.device)
    made = Batch(
        slots=tuple(range(slot, slot + batch)),
        names=("random",) * batch,
        geometry=Geometry(clip, 24.0, (1, size.rows, size.columns)),
        target_BTC=torch.randn(batch, size.tokens, channels, generator=source).to(dtype),
        reference_BRC=still.expand(-1, frames, -1, -1).flatten(1, 2).to(dtype),
        context_BLD=torch.randn(batch, size.context, width, generator=source).to(dtype),
        sigma_B=torch.rand(batch, generator=source),
        noise_BTC=torch.randn(batch, size.tokens, channels, generator=source),
        given_B=torch.zeros(batch, dtype=torch.bool),
        blank_B=torch.zeros(batch, dtype=torch.bool),
        mask_BT=None,
    )
    return made.pinned() if bench.on_gpu else made


def timed_steps(bench: Training, learner: Learner, steps: int, *, warm: int = 2) -> dict[str, Any]:
    """Median, fastest and slowest milliseconds of a step, and the first one's loss."""
    slot = learner.where.rank * learner.config.batch
    batches = [batch_of(bench, learner.config, step, slot=slot) for step in range(warm + steps)]
    times, losses = [], []
    for batch in batches:
        begun = time.perf_counter()
        losses.append(float(learner.step([batch], 1e-4).losses_G.mean()))
        wait(bench)
        times.append((time.perf_counter() - begun) * 1e3)
    return summary(times, warm) | {"first_loss": losses[0]}


def step_row(mode: str) -> str:
    """What a mode's row is called."""
    return f"step: {mode}"


def summary(times: Sequence[float], warm: int) -> dict[str, float]:
    """Of the steps after the first ones, which compile."""
    timed = times[warm:]
    return {
        "ms": statistics.median(timed),
        "min": min(timed),
        "max": max(timed),
        "first_s": times[0] / 1e3,
    }


def wait(bench: Bench) -> None:
    if bench.on_gpu:
        torch.cuda.synchronize(bench.device)


def parallel(bench: Training, where: World, steps: int) -> None:
    """Weak scaling: a step; then one without the sum of gradients, and the sum alone."""
    config = settings(bench, DEFAULT)
    row = f"step on {where.size} processes: {DEFAULT}"
    with bench.attempt(row):
        learner = made(bench, config, where)
        with peak(bench.device) as memory:
            found = timed_steps(bench, learner, steps, warm=1)
        worst = torch.tensor([memory.get("peak_gib", 0.0), found["ms"]], device=bench.device)
        if where.size > 1:
            dist.all_reduce(worst, dist.ReduceOp.MAX)
        found["ms"] = float(worst[1])
        rate = 1e3 * learner.global_batch / found["ms"]
        bench.add(row, **found, samples_a_second=rate, peak_gib=float(worst[0]))
        if where.size == 1:
            return
        learner.gradients.active = False
        apart = timed_steps(bench, learner, steps, warm=1)["ms"]
        learner.gradients.active = True
        share = max(0.0, found["ms"] - apart) / found["ms"]
        alone = sums(bench, learner)
        bench.add(f"communication of {where.size} processes", ms=alone, without_sum=apart, share=share)


def sums(bench: Bench, learner: Learner) -> float:
    """Milliseconds of summing all gradients with nothing beside it."""
    gradients = [torch.zeros_like(one) for one in learner.parameters]
    times = []
    for _ in range(4):
        dist.barrier()
        wait(bench)
        begun = time.perf_counter()
        for work in [dist.all_reduce(one, async_op=True) for one in gradients]:
            work.wait()
        wait(bench)
        times.append((time.perf_counter() - begun) * 1e3)
    return statistics.median(times[1:])


def peer(bench: Training, steps: int) -> None:
    """A row: the plain loop around diffusers' transformer."""
    from peft import LoraConfig

    config = settings(bench, "bf16")
    size, model = bench.size, random_transformer(bench.size.config, bench.device, bench.dtype)
    transformer = peer_of(model)
    del model
    adapter = config.adapter
    names = "|".join(target.replace(".", r"\.") for target in adapter.targets)
    transformer.add_adapter(
        LoraConfig(
            r=adapter.rank,
            lora_alpha=adapter.alpha,
            target_modules=rf"transformer_blocks\.\d+\.(?:{names})",
        )
    )
    trained = [one for one in transformer.parameters() if one.requires_grad]
    for one in trained:
        one.data = one.data.float()
    transformer.enable_gradient_checkpointing()
    transformer.train()
    optimiser = make_optimiser(trained, config.optimiser)
    set_rate(optimiser, 1e-4)

    def step(number: int) -> float:
        batch = batch_of(bench, config, number).to(bench.device)
        sigma = batch.sigma_B[:, None, None]
        noisy = (1 - sigma) * batch.target_BTC.float() + sigma * batch.noise_BTC
        stream = video_stream(bench, size.config, float(batch.sigma_B[0]))
        stream = replace(
            stream,
            tokens_BTC=torch.cat([noisy.to(bench.dtype), batch.reference_BRC.to(bench.dtype)], dim=1),
            context_BLD=batch.context_BLD.to(bench.dtype),
        )
        inputs = peer_inputs(bench, stream, audio_stream(bench, size.config, 0.7))
        with torch.autocast(bench.device.type, torch.bfloat16, enabled=bench.on_gpu):
            velocity = transformer(**inputs, isolate_modalities=True)[0]
        wanted = batch.noise_BTC - batch.target_BTC.float()
        loss = (velocity[:, : size.tokens].float() - wanted).square().mean()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(trained, config.optimiser.max_gradient_norm)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        assert norm.isfinite()
        return float(loss.detach())

    times, losses = [], []
    with peak(bench.device) as memory:
        for number in range(2 + steps):
            begun = time.perf_counter()
            losses.append(step(number))
            wait(bench)
            times.append((time.perf_counter() - begun) * 1e3)
    found = summary(times, 2)
    count = sum(one.numel() for one in trained)
    row, name = step_row(PEER), config.optimiser.name
    bench.add(row, **found, **memory, first_loss=losses[0], trained=count, optimiser=name)


if __name__ == "__main__":
    sys.exit(main())
