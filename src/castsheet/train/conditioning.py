"""Tensors that depend only on the samples' geometry: rotary tables, and the tokens of a black sheet.

Legend: R reference tokens, C channels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from castsheet.ltx.files.checkpoint import Checkpoint
from castsheet.ltx.latents import encode_still, patchify
from castsheet.ltx.model.rope import Rope, video_bounds, video_tables
from castsheet.ltx.parts.vae import scale_of
from castsheet.train.batches import Batch
from castsheet.train.config import ObjectiveConfig
from castsheet.train.data.dataset import Data, Geometry


class Tables:
    """Rotary tables of [clip | reference], made once for each geometry."""

    def __init__(
        self, model: Checkpoint, objective: ObjectiveConfig, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.scale = scale_of(model.config.vae)
        self.config, self.objective = model.config.transformer, objective
        self.device, self.dtype = device, dtype
        self._made: dict[tuple[Geometry, int], Rope] = {}

    def __call__(self, batch: Batch) -> Rope:
        """Tables for the batch's tokens of the clip, then of the reference."""
        geometry, cells = batch.geometry, math.prod(batch.geometry.reference[1:])
        still = self.objective.reference == "still"
        frames = 1 if still else geometry.clip[0]
        whole = self._whole(geometry, frames)
        if batch.frames is None and batch.reference_frames is None:
            return whole
        clip = _tokens(batch.frames or range(geometry.clip[0]), math.prod(geometry.clip[1:]))
        sheet = _tokens(batch.reference_frames or range(frames), cells) + geometry.tokens
        rows = torch.cat([clip, sheet])
        if self.device.type == "cuda":  # pinned: the host need not wait for the device
            rows = rows.pin_memory()
        return whole.rows(rows.to(self.device, non_blocking=True))

    def _whole(self, geometry: Geometry, frames: int) -> Rope:
        """The tables of [clip | reference]; both start at the first frame and have the clip's rate."""
        key = (geometry, frames)
        if key not in self._made:
            rows, columns = geometry.reference[1:]
            clip = video_bounds(*geometry.clip, geometry.fps, scale=self.scale)
            factor = self.objective.reference_downscale_factor
            sheet = video_bounds(frames, rows, columns, geometry.fps, scale=self.scale, downscale=factor)
            tables = video_tables(self.config, torch.cat([clip, sheet], dim=1), self.dtype)
            self._made[key] = tables.to(self.device)
        return self._made[key]


def _tokens(frames: Iterable[int], cells: int) -> Tensor:
    """The token numbers of some latent frames, each of the given number of cells."""
    return (torch.tensor(list(frames))[:, None] * cells + torch.arange(cells)).flatten()


@torch.no_grad()
def blank_sheets(
    data: Data, model: Checkpoint, objective: ObjectiveConfig, device: torch.device, dtype: torch.dtype
) -> dict[Geometry, Tensor]:
    """Tokens (R,C) of a black sheet for every geometry: a sample without a sheet is shown these."""
    vae = model.load_video_vae(device=device, dtype=dtype)
    blank = {}
    for geometry in {entry.geometry for entry in data.entries}:
        rows, columns = geometry.reference[1:]
        black = torch.full((1, 3, rows * vae.spatial, columns * vae.spatial), -1.0, device=device)
        frames = geometry.clip[0] if objective.reference == "looped" else 1
        blank[geometry] = patchify(encode_still(vae, black, frames))[0]
    return blank
