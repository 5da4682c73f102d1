"""One clip on several GPUs of a host against one.

    torchrun --nproc-per-node N -m benchmarks.parallel --out DIR

Every process holds the whole model, of the same random weights. A few guided steps (CFG and STG) run in
each process alone, then shared out; a row holds milliseconds a step, how many times faster that is, the peak
of the first card, and how far the clip's latents are from those of one process. The result file is
DIR/parallel-N.json.

Expected on two H100: the conditional and the perturbed pass are 1.41 passes of the 2.41, so 1.7 times.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.clip import denoiser_of, grid_of, make_run
from benchmarks.common import ROOT, Bench, Mode, open_bench, peak, relative, reported
from castsheet.ltx.speed.kernels import attention_kernels
from castsheet.ltx.speed.tabulated import tabulated
from castsheet.machine.processes import World, world
from castsheet.sampling.denoiser import RunPasses, run_alone
from castsheet.sampling.parallel import SharedPasses
from castsheet.sampling.samplers import euler
from castsheet.sampling.schedule import sigmas
from castsheet.sampling.split import Split
from castsheet.sampling.state import draw

STEPS = 4  # after one that compiles


def parallel(bench: Bench, where: World, precision: str) -> None:
    """All ways of sharing a step out, in one precision."""
    model, track, contexts = make_run(bench, precision)
    levels = sigmas(bench.size.steps)
    steps = min(STEPS, bench.size.steps)
    alone: Tensor | None = None
    one = 0.0
    ways: dict[str, RunPasses] = {"in one process": run_alone}
    if where.size > 1:
        for split in splits(where.size):
            ways[f"over {where.size} processes, {split}"] = SharedPasses(where, split)
    with tabulated(model, levels), attention_kernels(bench.device):
        for name, run in ways.items():
            denoiser = denoiser_of(bench, model, track, contexts)
            denoiser.run = run
            x = draw(denoiser, grid_of(bench), 0, None, 1.0).to(bench.device)
            with peak(bench.device) as memory:
                first = clocked(where, lambda d=denoiser, x=x: d(x, levels[0].to(bench.device)))[0]
                seconds, latents = clocked(where, lambda d=denoiser, x=x: euler(d, x, levels[: steps + 1]))
            found: dict[str, Any] = {"ms": seconds * 1e3 / steps, "first_s": first, **memory}
            if alone is None:
                alone, one = latents, seconds
            else:
                found |= {"speed_up": one / seconds, "error": relative(latents, alone)}
            if where.main:
                bench.add(f"a guided step {name}, {precision}", **found)


def splits(processes: int) -> tuple[Split, ...]:
    """Ways to share a step, the most important first: those whose figures a run cut short must have.

    A guided step has two sets of passes to part, so that over two processes `auto` is `passes`.
    """
    return ("passes", "sequence") if processes == 2 else ("auto", "sequence", "passes")


def clocked(where: World, run: Any) -> tuple[float, Any]:
    """Seconds until the last process is done, and this one's result."""
    where.wait()
    begun = time.perf_counter()
    result = run()
    if where.device.type == "cuda":
        torch.cuda.synchronize(where.device)
    where.wait()
    return time.perf_counter() - begun, result


def bench_of(bench: Bench, where: World) -> Bench:
    """The same bench on this process's device, with a file for this many processes."""
    return replace(bench, name=f"parallel-{where.size}", device=where.device)


def measure(output: Path, mode: Mode, commit: str | None, precisions: list[str]) -> None:
    """In one of the processes: all rows of each precision."""
    first = open_bench("parallel", output, mode=mode, commit=commit)
    with torch.no_grad(), world(first.device) as where:
        bench = bench_of(first, where)
        for precision in precisions:
            parallel(bench, where, precision)
            torch._dynamo.reset()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "results")
    parser.add_argument("--smoke", action="store_true", help="full width in a few blocks, to find crashes")
    parser.add_argument("--tiny", action="store_true", help="toy size, on a CPU")
    parser.add_argument("--precision", nargs="+", choices=["fp8", "bf16"], default=["fp8", "bf16"])
    parser.add_argument("--commit", default=None, help="where the copy has no .git")
    given = parser.parse_args()
    mode: Mode = "tiny" if given.tiny else "smoke" if given.smoke else "full"
    with reported("parallel", given.out):
        measure(given.out, mode, given.commit, given.precision)
    return 0


if __name__ == "__main__":
    sys.exit(main())
