"""Runs of the complete tiny model, and copies of it with another bundle.json."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from castsheet.pipeline import Castsheet
from tests.doubles.tiny_bundle import (
    tiny_sheet,
    write_bundle,
)

ACTION = "hero walks left past the barn"


def copied(bundle: Path, folder: Path, **changes) -> Path:
    """A copy of the bundle with another bundle.json."""
    shutil.copytree(bundle, folder, dirs_exist_ok=True)
    write_bundle(folder, **changes)
    return folder


def last_latents(castsheet: Castsheet, *arguments, **options) -> torch.Tensor:
    """The last prediction of the clean latents that a run shows."""
    seen: list[torch.Tensor] = []
    castsheet(tiny_sheet(), ACTION, *arguments, on_step=lambda *step: seen.append(step[2]), **options)
    return seen[-1]
