"""All GPU measurements in one command, the most important first: `python -m benchmarks.all --out DIR`.

Each section runs in a process of its own under a time limit, so that one that hangs, crashes or runs out of
memory takes nothing from the others; results are written row by row. What the limit leaves out is named in
DIR/summary.json and can be run by itself:

    python -m benchmarks.all --out DIR --smoke             full width in 4 blocks, to find crashes
    python -m benchmarks.all --out DIR --limit 470
    python -m benchmarks.all --out DIR --only audio caching
    python -m benchmarks.all --out DIR --only cpu          on a machine without a GPU
    python -m benchmarks.all --out DIR --tiny              all of it at toy size on a CPU, a minute

DIR/failures.txt holds the tracebacks of all rows that failed, and of sections that crashed or ran out of
time. CUDA_VISIBLE_DEVICES chooses the card. `--smoke` compiles what a full run compiles, which then finds it
in the compiler's cache.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common import ROOT, Mode, current_commit, open_bench, reported


@dataclass(frozen=True)
class Section:
    """A function of one bench, and the seconds it may take on an H100; compiled code is kept between them."""

    name: str
    function: str
    seconds: int

    def run(self, output: Path, *, mode: Mode, commit: str) -> None:
        """Measure, in this process."""
        import torch

        module, _, function = self.function.rpartition(".")
        bench = open_bench(self.name, output, mode=mode, commit=commit)
        with torch.no_grad(), bench.attempt(self.name):
            getattr(importlib.import_module(f"benchmarks.{module}"), function)(bench)


# Order of importance; about 8 minutes up to and with `kernels` on one H100.
SECTIONS = (
    Section("block", "block.block", 140),
    Section("video", "peers.video", 270),
    Section("streamed", "denoiser.streamed", 100),
    Section("clip", "clip.clip", 120),
    Section("strength", "denoiser.strength", 100),
    Section("audio", "peers.audio", 150),
    Section("caching", "clip.caching", 100),
    Section("ceilings", "ceilings.ceilings", 90),
    Section("kernels", "denoiser.kernels", 60),
    Section("reading", "reading.reading", 90),
    Section("clip-bf16", "clip.clip_bf16", 100),
    Section("vae", "clip.vae", 60),
    Section("text", "clip.text", 60),
    Section("decoders", "decoders.decoders", 120),
    Section("attention-fp8", "denoiser.attention_fp8", 90),
    Section("pace-full", "pace.full", 400),
    Section("identity", "identity.identity", 5400),  # on a CPU
    Section("pace", "pace.pace", 900),
)
CPU = Section("cpu", "cpu.cpu", 1200)
EVERY = {section.name: section for section in (*SECTIONS, CPU)}
SHORTEST = 25  # seconds in which a section can show something


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "results")
    parser.add_argument("--limit", type=float, default=470, help="seconds for everything")
    parser.add_argument("--only", nargs="+", choices=EVERY, help="these sections only")
    parser.add_argument("--smoke", action="store_true", help="full width in a few blocks, to find crashes")
    parser.add_argument("--tiny", action="store_true", help="toy size, on a CPU")
    parser.add_argument("--commit", default=None, help="where the copy has no .git")
    parser.add_argument("--section", choices=EVERY, help=argparse.SUPPRESS)
    given = parser.parse_args()
    commit = given.commit or current_commit()
    mode: Mode = "tiny" if given.tiny else "smoke" if given.smoke else "full"
    if given.section:
        with reported(given.section, given.out):
            EVERY[given.section].run(given.out, mode=mode, commit=commit)
        return 0
    chosen = [EVERY[name] for name in given.only or (section.name for section in SECTIONS)]
    end = time.monotonic() + given.limit
    states: dict[str, dict[str, float | str]] = {}
    given.out.mkdir(parents=True, exist_ok=True)
    for section in chosen:
        left = end - time.monotonic()
        begun = time.monotonic()
        state = "not started: no time left"
        if left >= SHORTEST:
            state = spawn(section, given.out, min(left, section.seconds), mode=mode, commit=commit)
        states[section.name] = {"state": state, "seconds": round(time.monotonic() - begun, 1)}
        print(f"== {section.name}: {state}, {states[section.name]['seconds']} s", flush=True)
        (given.out / "summary.json").write_text(json.dumps(states, indent=1) + "\n", encoding="utf-8")
    return 0


def spawn(section: Section, output: Path, seconds: float, *, mode: Mode, commit: str) -> str:
    """Run a section in a process of its own; says how it ended."""
    command = [sys.executable, "-m", "benchmarks.all", "--section", section.name, "--out", str(output)]
    command += ["--commit", commit, *([] if mode == "full" else [f"--{mode}"])]
    child = subprocess.Popen(command, cwd=ROOT.parent, start_new_session=True)
    try:
        code = child.wait(seconds)
    except subprocess.TimeoutExpired:
        child.send_signal(signal.SIGUSR1)  # has it write where it is
        time.sleep(0.5)
        # Its compile workers are in its session; all of them end with it.
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        return f"stopped after {seconds:.0f} s; the rows until then are kept"
    return "done" if code == 0 else f"exit code {code}"


if __name__ == "__main__":
    sys.exit(main())
