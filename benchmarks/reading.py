"""A checkpoint's way onto the GPU: read ahead into pinned memory, and as the safetensors library reads it.

The file lies in memory (/dev/shm) where that is there, else in the temporary folder and in the page cache: it
is the way from there that is measured, not a disk. Two halves at once is what happens when a denoiser is read
beside its text encoder.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from benchmarks.common import Bench, timed
from castsheet.errors import CheckpointError
from castsheet.ltx.ahead import arriving
from castsheet.ltx.files.reading import OpenFiles
from castsheet.ltx.header import Entry, read_header

MEMORY = Path("/dev/shm")
BLOCKS = {"full": 8, "smoke": 4, "tiny": 2}


def reading(bench: Bench) -> None:
    """Each way in turn, its milliseconds and rate, and how many times as fast as the library's it is."""
    home = MEMORY if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(dir=home) as name:
        path = Path(name) / "model.safetensors"
        _write(bench, path)
        entries = read_header(path).entries
        wanted, size = list(entries.values()), path.stat().st_size

        def one_by_one() -> None:
            with ExitStack() as stack:
                files = OpenFiles(entries, stack, bench.device)
                for entry in entries:
                    files.tensor(entry)

        def at_once() -> None:
            load_file(path, str(bench.device))

        def through(some: Sequence[Entry]) -> None:
            for tensor in arriving(some, bench.device, CheckpointError, ""):
                del tensor

        def halves() -> None:
            with ThreadPoolExecutor(2) as pool:
                for done in [pool.submit(through, wanted[start::2]) for start in (0, 1)]:
                    done.result()

        ways = {
            "safetensors, one by one": one_by_one,
            "safetensors, load_file": at_once,
            "ahead": lambda: through(wanted),
            "ahead, two halves at once": halves,
        }
        for row, way in ways.items():
            with bench.attempt(row):
                found = timed(bench, way, warm=1, repeats=3)
                gbs, peer = size / found["ms"] / 1e6, bench.ms("safetensors, one by one")
                more = {} if way is one_by_one else {"times_read": peer / found["ms"]}
                bench.add(row, **found, rate=gbs, unit="GB/s", **more)
        stored = load_file(path, str(bench.device))
        same = all(
            torch.equal(tensor, stored[entry.stored])
            for entry, tensor in zip(wanted, arriving(wanted, bench.device, CheckpointError, ""), strict=True)
        )
        bench.add("check: the same numbers", error=0.0 if same else 1.0)


def _write(bench: Bench, path: Path) -> None:
    """Blocks of the model's own shapes in bf16; at full width 0.53 GB each."""
    width = bench.size.config.dim
    shapes = {"qkv": (3 * width, width), "out": (width, width), "in": (4 * width, width)}
    shapes |= {"down": (width, 4 * width), "bias": (width,)}
    numbers = {
        f"blocks.{block}.{name}": torch.randint(-30000, 30000, shape, dtype=torch.int16).view(torch.bfloat16)
        for block in range(BLOCKS[bench.mode])
        for name, shape in shapes.items()
    }
    save_file({name: torch.nan_to_num(one) for name, one in numbers.items()}, path)
