"""A tiny model and data set to train on, shared by the trainer's tests."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tiny_bundle import CHANNELS, build_bundle
from torch import Tensor

from castsheet.train.config import Config, join, make_config
from castsheet.train.dataset import write_sample
from castsheet.train.log import read_log

SRC = Path(__file__).parents[1] / "src"
WIDTH = 48  # of the tiny model's contexts
CLIP, SHEET = (3, 2, 4), (1, 2, 4)


def environment(**more: str) -> dict[str, str]:
    """For child processes: this source tree, one thread."""
    return {**os.environ, "PYTHONPATH": str(SRC), "OMP_NUM_THREADS": "1", **more}


def build_model(folder: Path) -> Path:
    """A tiny random bundle."""
    return build_bundle(folder)


def build_data(folder: Path, count: int = 6, *, seed: int = 0, **changes: Any) -> Path:
    """Random samples whose clips repeat their sheet, so that there is something to learn."""
    generator = torch.Generator().manual_seed(seed)
    (folder / "contexts").mkdir(parents=True)
    save_file({"video": torch.randn(16, WIDTH, generator=generator)}, folder / "contexts" / "a.safetensors")
    for number in range(count):
        references = torch.randn(2, CHANNELS, *SHEET, generator=generator)
        latents = references[0].expand(-1, CLIP[0], -1, -1) + 0.1 * torch.randn(
            CHANNELS, *CLIP, generator=generator
        )
        sample = {"latents": latents, "references": references}
        write(folder, f"clip{number}", sample, **changes)
    return folder


def write(folder: Path, name: str, sample: dict[str, Tensor], *, fps: float = 24.0, **augment: float) -> Path:
    """One sample's file."""
    path = folder / "samples" / f"{name}.safetensors"
    write_sample(path, sample, fps=fps, context="a.safetensors", augment=augment)
    return path


def config(model: Path, data: Path, output: Path, **changes: Any) -> Config:
    """A quick run in fp32 with plain AdamW."""
    values = {
        "model": str(model),
        "data": str(data),
        "output": str(output),
        "device": "cpu",
        "steps": 6,
        "batch": 2,
        "save_every": 3,
        "adapter": {"rank": 4, "alpha": 4.0},
        "optimiser": {"name": "adamw", "rate": [{"until": 50, "start": 1e-2, "end": 1e-3}]},
        "base": {"weights": "fp32"},
        "watch": {"log_every": 0, "page_every": 0},
    }
    return make_config(join(values, changes))


def losses(output: Path) -> list[float]:
    """The loss of every step in a run's record."""
    return [line["loss"] for line in read_log(output) if line["kind"] == "train"]
