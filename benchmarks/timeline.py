"""Where the seconds of a command go, from the process's start to the written file.

    python -m benchmarks.timeline --json demo.json demo -o out/demo
    python -m benchmarks.timeline generate scene.yaml --model models/ltx-2.3 -o clip.mp4

The words after the options are those of `castsheet`. Each line is one part: when it began, how long it took,
and what share of the whole. Parts that lie inside another are indented under it. Denoising is told as its
first step, which compiles on a GPU, and the others. `imports` ends when the command's own modules are there.
What no part covers is told as `between`.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

GIB = 1 << 30
SHORTEST = 0.005  # seconds of a part that is shown
IMPORTS = ("castsheet.jobs.request", "castsheet.cli.make")
# Label, module, and the function or method that is the part.
PARTS = (
    ("open the model's files", "castsheet.jobs.request", "open_model"),
    ("sheet, prompt, checks", "castsheet.jobs.request", "prepare"),
    ("memory plan", "castsheet.loading.models", "Models.settle"),
    ("text", "castsheet.loading.models", "Models.contexts"),
    ("load: text encoder", "castsheet.loading.models", "Models._text_encoder"),
    ("load: VAE", "castsheet.loading.models", "Models.vae"),
    ("encode the sheet", "castsheet.run", "make_reference"),
    ("load: denoiser", "castsheet.loading.models", "Models.transformer"),
    ("step", "castsheet.sampling.denoiser", "Denoiser.__call__"),
    ("decode", "castsheet.pipeline", "decode"),
    ("encode and write", "castsheet.jobs.request", "save_somewhere"),
)


@dataclass
class Part:
    """One call: seconds after the process's start, and how many parts it lies in."""

    name: str
    begun: float
    seconds: float
    depth: int


class Timeline:
    """Notes the parts of a command as they run, each on the host's clock with the device's work done."""

    def __init__(self, start: float) -> None:
        self.start, self.parts = start, list[Part]()
        self._depth = 0

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Note the block as the part `name`."""
        part = Part(name, self.now(), 0.0, self._depth)
        self.parts.append(part)
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            _finish_device()
            part.seconds = self.now() - part.begun

    def now(self) -> float:
        """Seconds since the process's start."""
        return time.time() - self.start

    def watch(self, name: str, module: str, attribute: str) -> None:
        """From now on, calls of the function are noted."""
        *holders, last = attribute.split(".")
        holder = functools.reduce(getattr, holders, importlib.import_module(module))
        setattr(holder, last, self._noting(name, getattr(holder, last)))

    def _noting(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def noted(*given: Any, **named: Any) -> Any:
            with self(name):
                return function(*given, **named)

        return noted

    def told(self) -> list[Part]:
        """The parts in order; of the steps the first, and all others as one; and what no part covers."""
        steps = [part for part in self.parts if part.name == "step"]
        shown = [part for part in self.parts if part.name != "step"]
        if steps:
            shown.append(Part("first step", steps[0].begun, steps[0].seconds, steps[0].depth))
        if others := steps[1:]:
            seconds = sum(part.seconds for part in others)
            shown.append(Part(f"{len(others)} further steps", others[0].begun, seconds, others[0].depth))
        whole = self.now()
        between = whole - sum(part.seconds for part in self.parts if part.depth == 0)
        return [*sorted(shown, key=lambda part: part.begun), Part("between", 0.0, between, 0)]


def _finish_device() -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()


def peak_gib() -> float | None:
    """The most that torch had allocated on the GPU; None without one."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return None
    return float(torch.cuda.max_memory_allocated() / GIB)


def process_start() -> float:
    """When this process began, seconds since the epoch (Linux); elsewhere, now."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        up = float(Path("/proc/uptime").read_text().split()[0])
    except OSError:
        return time.time()
    return time.time() - (up - ticks / os.sysconf("SC_CLK_TCK"))


def run(words: Sequence[str], timeline: Timeline) -> int:
    """Carry out a command line; returns its exit code."""
    with timeline("imports"):
        for module in IMPORTS:
            importlib.import_module(module)
    for part in PARTS:
        timeline.watch(*part)
    from castsheet.cli.app import run as command

    try:
        return command(words)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1


def table(timeline: Timeline) -> str:
    """The timeline as text."""
    whole, lines = timeline.now(), list[str]()
    for part in timeline.told():
        if part.seconds < SHORTEST:
            continue
        name = "  " * part.depth + part.name
        lines.append(f"{part.begun:8.2f} s  {part.seconds:8.2f} s  {part.seconds / whole:4.0%}  {name}")
    return "\n".join([*lines, f"{whole:8.2f} s in all"])


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the parts here")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="a castsheet command and its words")
    given = parser.parse_args()
    timeline = Timeline(process_start())
    code = run(given.command, timeline)
    print(table(timeline), file=sys.stderr)
    if given.json is not None:
        parts = [asdict(part) for part in timeline.told()]
        told = {"seconds": timeline.now(), "peak_gib": peak_gib(), "parts": parts}
        given.json.write_text(json.dumps(told, indent=1) + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
