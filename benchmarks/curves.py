"""Loss curves on mini of one process and of N at the same global batch: they must be one curve.

Clips are noise around their sheet's own latents, so that there is something to learn and nothing to render.
The first process first trains alone, through the same trainer; then all train together.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
import torch.distributed as dist
from rich.console import Console
from safetensors.torch import save_file

from benchmarks.common import Bench
from castsheet.machine.processes import World
from castsheet.train.config import make_config
from castsheet.train.data.dataset import write_sample
from castsheet.train.log import read_log
from castsheet.train.trainer import Trainer

CLIP, SHEET = (16, 7, 12), (1, 7, 12)
WIDTH, TOKENS = 384, 256


def curves(bench: Bench, where: World, *, steps: int = 40, samples: int = 32, batch: int = 8) -> None:
    """Both curves and their largest relative difference, as a row.

    Raises:
        ValueError: the global batch does not divide by the processes.
    """
    if batch % where.size:
        raise ValueError(f"a global batch of {batch} is not a multiple of {where.size} processes")
    root = bench.output / f"curves-{where.size}"
    if where.main:
        shutil.rmtree(root, ignore_errors=True)
        make_data(root / "data", samples)
    where.wait()
    found: list[list[float]] = []
    for name, world_ in (("alone", World(0, 1, where.device)), ("together", where)):
        config = make_config(
            {
                "model": "mini",
                "data": root / "data",
                "output": root / name,
                "device": where.device.type,
                "steps": steps,
                "batch": batch // world_.size,
                "save_every": steps,
                "adapter": {"rank": 16, "alpha": 16.0},
                "optimiser": {"name": "adamw", "rate": [{"until": steps, "start": 1e-3, "end": 1e-4}]},
                "base": {"weights": "fp32", "compile": False},
                "watch": {"log_every": 0, "page_every": 0},
            }
        )
        if where.main or world_.size > 1:
            Trainer(config, world_, Console(quiet=True)).run()
        if where.size > 1:
            dist.barrier()
        if where.main:
            found.append([line["loss"] for line in read_log(root / name) if line["kind"] == "train"])
    if where.main:
        alone, together = (torch.tensor(losses) for losses in found)
        apart = float(((together - alone).abs() / alone).max())
        row = f"loss on mini, 1 and {where.size} processes, {batch} samples a step"
        bench.add(row, largest_difference=apart, first=found[0][0], last=found[0][-1], curves=found)


def make_data(folder: Path, count: int) -> None:
    """Samples of mini's own size."""
    random = torch.Generator().manual_seed(0)
    (folder / "contexts").mkdir(parents=True)
    context = torch.randn(TOKENS, WIDTH, generator=random)
    save_file({"video": context}, folder / "contexts" / "a.safetensors")
    for number in range(count):
        sheet = torch.randn(1, 64, *SHEET, generator=random)
        clip = sheet[0].expand(-1, CLIP[0], -1, -1) + 0.1 * torch.randn(64, *CLIP, generator=random)
        path = folder / "samples" / f"clip{number:03d}.safetensors"
        sample = {"latents": clip, "references": sheet}
        write_sample(path, sample, fps=24.0, context="a.safetensors", augment={})
