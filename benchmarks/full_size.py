"""The command line at full size: a 22B model's files with random weights, and the commands that users type.

    python -m benchmarks.full_size make DIR [--family ltx-2.5]   the files: 72 GB
    python -m benchmarks.full_size run DIR --out RESULTS         the commands of `runs_in`, a process each
    python -m benchmarks.full_size sequence DIR --memory 40      clips of 241 and 121 frames in one process

DIR should be in memory (a tmpfs), since a disk's speed is not what is measured. Stages are timed by castsheet
itself; they are read from each clip's sidecar. `--tiny` makes and runs a toy model on the CPU.

The files have the official layouts (benchmarks/random_files.py), and go through the code of published ones.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import Bench, open_bench
from benchmarks.random_files import make
from castsheet import Castsheet
from castsheet.loading.download import GIB
from castsheet.ltx.family import DEFAULT, FAMILIES
from castsheet.sampling.levels import REFINING
from castsheet.settings.kinds import Stage

PROMPT = """Reference sheet: hero, a tall figure in a red coat with a brown backpack, by an old barn.

Generated video: hero walks left past the barn while the camera follows at walking pace."""
STAGES = ("load", "text", "reference", "sampling", "enlarge", "decode")


@dataclass(frozen=True)
class Run:
    """A command to time: a name, and what follows `castsheet generate SHEET --model DIR`."""

    name: str
    options: tuple[str, ...]


RUNS = (
    Run("with sound, all memory", ("--audio",)),
    Run("fp8, 22 GiB", ("--dtype", "fp8", "--memory", "22")),
    Run("12 GiB", ("--memory", "12")),
)
TINY_RUNS = (Run("with sound", ("--audio",)), Run("fp8", ("--dtype", "fp8")))


def runs_in(folder: Path, *, tiny: bool) -> list[Run]:
    """The commands to time, those that enlarge to 1536x896 with the folder's upsampler last."""
    (upsampler,) = folder.rglob("*spatial-upscaler*.safetensors")
    larger = ("--stages", str(Stage(REFINING, 2.0)), "--upsampler", str(upsampler))
    two = [("two stages", ()), ("two stages, fp8", ("--dtype", "fp8"))]
    return [*(TINY_RUNS if tiny else RUNS), *(Run(name, (*larger, *more)) for name, more in two)]


def run(folder: Path, bench: Bench, *, steps: int, only: Sequence[str], tiny: bool) -> None:
    """Each command once, in a process of its own that notes its peak, with one cache of prompts."""
    for one in runs_in(folder, tiny=tiny):
        if only and one.name not in only:
            continue
        clip = folder / "clips" / f"{one.name.replace(', ', '-').replace(' ', '-')}.mp4"
        told = clip.with_suffix(".timeline.json")
        told.parent.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "benchmarks.timeline", "--json", str(told)]
        command += ["generate", str(folder / "sheet.png")]
        command += [
            "--model",
            str(folder),
            "--prompt",
            PROMPT,
            "--cache-dir",
            str(folder / "cache"),
            "--force",
        ]
        command += ["--steps", str(steps), *one.options, "-o", str(clip)]
        with bench.attempt(one.name):
            begun = time.perf_counter()
            subprocess.run(command, check=True)
            seconds = time.perf_counter() - begun
            record = json.loads(clip.with_suffix(".clip.json").read_text(encoding="utf-8"))
            peak = json.loads(told.read_text(encoding="utf-8"))["peak_gib"]
            more = {"whole": seconds, "peak_gib": peak}
            add(bench, one.name, find(record, "timings_s"), find(record, "memory"), **more)


def sequence(folder: Path, bench: Bench, *, memory: str, frames: Sequence[int], steps: int) -> None:
    """Clips of several lengths in one process under one budget."""
    castsheet = Castsheet.load(folder, memory=memory, cache_dir=folder / "cache")
    for number, count in enumerate(frames):
        name = f"{memory} GiB, clip {number + 1}: {count} frames"
        with bench.attempt(name):
            if bench.on_gpu:
                torch.cuda.reset_peak_memory_stats()
            begun = time.perf_counter()
            clip = castsheet(folder / "sheet.png", prompt=PROMPT, frames=count, steps=steps, force=True)
            seconds = time.perf_counter() - begun
            peak = torch.cuda.max_memory_allocated() / GIB if bench.on_gpu else None
            record = clip.provenance
            add(bench, name, record["timings_s"], record["memory"], whole=seconds, peak_gib=peak)


def add(bench: Bench, name: str, timings: Mapping[str, float], memory: str | None, **more: Any) -> None:
    """One row: seconds of each stage, the plan in words, and what else was measured."""
    bench.add(name, **{f"{stage}_s": timings.get(stage, 0.0) for stage in STAGES}, **more, plan=memory)


def find(record: Any, key: str) -> Any:
    """The first value under `key` in a sidecar, at any depth."""
    if isinstance(record, dict):
        if key in record:
            return record[key]
        return next((found for one in record.values() if (found := find(one, key)) is not None), None)
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=("make", "run", "sequence"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent / "results")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--only", nargs="+", default=(), help="names of runs")
    parser.add_argument("--memory", default="auto")
    parser.add_argument("--frames", type=int, nargs="+", default=(241, 121))
    parser.add_argument("--commit", default=None, help="where the copy has no .git")
    runs = [name for name, family in FAMILIES.items() if family.runs]
    parser.add_argument("--family", choices=runs, default=DEFAULT.name, help="of the files to make")
    parser.add_argument("--tiny", action="store_true", help="a toy model on the CPU")
    given = parser.parse_args()
    if given.what == "make":
        begun = time.perf_counter()
        make(given.folder, tiny=given.tiny, family=given.family)
        size = sum(file.stat().st_size for file in given.folder.rglob("*") if file.is_file())
        print(f"{size / GIB:.1f} GiB written in {time.perf_counter() - begun:.1f} s", flush=True)
        return 0
    mode = "tiny" if given.tiny else "full"
    name = "full-size" if given.what == "run" else f"full-size-{given.memory}"
    bench = open_bench(name, given.out, mode=mode, commit=given.commit)
    if given.what == "run":
        run(given.folder, bench, steps=given.steps, only=given.only, tiny=given.tiny)
    else:
        sequence(given.folder, bench, memory=given.memory, frames=given.frames, steps=given.steps)
    return 0


if __name__ == "__main__":
    sys.exit(main())
