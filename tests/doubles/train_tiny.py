"""A tiny model and data set to train on, shared by the trainer's tests."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from castsheet.train.config import Config, join, make_config
from castsheet.train.data.dataset import write_sample
from castsheet.train.log import read_log
from castsheet.train.trainer import train
from tests.doubles.tiny_bundle import CHANNELS, build_bundle

SRC = Path(__file__).parents[2] / "src"
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


def write(
    folder: Path,
    name: str,
    sample: dict[str, Tensor],
    *,
    fps: float = 24.0,
    caption: str | None = None,
    **augment: float,
) -> Path:
    """One sample's file."""
    path, notes = folder / "samples" / f"{name}.safetensors", {} if caption is None else {"caption": caption}
    write_sample(path, sample, fps=fps, context="a.safetensors", augment=augment, **notes)
    return path


def build_mini_data(folder: Path, count: int = 6) -> Path:
    """Random samples of mini's channels and width, of 8 tokens, whose clips repeat their sheet."""
    generator = torch.Generator().manual_seed(0)
    (folder / "contexts").mkdir(parents=True)
    save_file({"video": torch.randn(16, 384, generator=generator)}, folder / "contexts" / "a.safetensors")
    for number in range(count):
        sheet = torch.randn(1, 128, 1, 2, 2, generator=generator)
        clip = sheet[0].expand(-1, 2, -1, -1) + 0.1 * torch.randn(128, 2, 2, 2, generator=generator)
        write(folder, f"clip{number}", {"latents": clip, "references": sheet})
    return folder


def mini_config(data: Path, output: Path, **changes: Any) -> Config:
    """50 steps on the embedded model."""
    values = {
        "steps": 50,
        "batch": 1,
        "save_every": 50,
        "adapter": {"rank": 8, "alpha": 8.0},
        "optimiser": {"rate": [{"until": 50, "start": 3e-3, "end": 1e-3}]},
    }
    return config(Path("mini"), data, output, **join(values, changes))


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


def golden(path: Path) -> list[float]:
    """The losses in a golden file."""
    return [float(line.split()[1]) for line in path.read_text().splitlines() if line[0] != "#"]


def write_golden(path: Path) -> None:
    """Train mini for the golden curve anew: after its weights changed."""
    with tempfile.TemporaryDirectory() as scratch:
        run = mini_config(build_mini_data(Path(scratch) / "data"), Path(scratch) / "run")
        train(run)
        head = "# step loss; mini, 8 target and 8 reference tokens, fp32, CPU, one process, batch 1, seed 42"
        lines = [f"{step} {loss:.6f}" for step, loss in enumerate(losses(run.output), start=1)]
        path.write_text("\n".join([head, *lines]) + "\n")


if __name__ == "__main__":  # python -m tests.doubles.train_tiny
    write_golden(Path(__file__).parents[1] / "data" / "losses" / "mini.txt")
