"""What depends on the samples' geometry only: rotary tables, and the tokens of a black sheet.

Legend: R reference tokens, C channels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from castsheet.ltx.checkpoint import Checkpoint
from castsheet.ltx.rope import Rope, video_bounds, video_tables
from castsheet.ltx.vae import diffusers_settings
from castsheet.reference import encode_still, patchify
from castsheet.train.config import ObjectiveConfig
from castsheet.train.dataset import Dataset, Geometry


class Tables:
    """Rotary tables of [clip | reference], made once a geometry."""

    def __init__(
        self, model: Checkpoint, objective: ObjectiveConfig, device: torch.device, dtype: torch.dtype
    ) -> None:
        vae = diffusers_settings(model.config.vae)
        spatial = vae["spatial_compression_ratio"]
        self.scale = (vae["temporal_compression_ratio"], spatial, spatial)
        self.config, self.objective = model.config.transformer, objective
        self.device, self.dtype = device, dtype
        self._made: dict[tuple[Geometry, int], Rope] = {}

    def __call__(self, geometry: Geometry, reference_tokens: int) -> Rope:
        """Tables for the clip's tokens, then the reference's: from the first frame on, at the clip's rate."""
        key = (geometry, reference_tokens)
        if key not in self._made:
            rows, columns = geometry.reference[1:]
            clip = video_bounds(*geometry.clip, geometry.fps, scale=self.scale)
            sheet = video_bounds(
                reference_tokens // (rows * columns),
                rows,
                columns,
                geometry.fps,
                scale=self.scale,
                downscale=self.objective.reference_downscale_factor,
            )
            tables = video_tables(self.config, torch.cat([clip, sheet], dim=1), self.dtype)
            self._made[key] = tables.to(self.device)
        return self._made[key]


@torch.no_grad()
def blank_sheets(
    data: Dataset, model: Checkpoint, objective: ObjectiveConfig, device: torch.device, dtype: torch.dtype
) -> dict[Geometry, Tensor]:
    """Tokens (R,C) of a black sheet for every geometry: what a sample without a sheet is shown."""
    vae = model.load_video_vae(device=device, dtype=dtype)
    blank = {}
    for geometry in {entry.geometry for entry in data.entries}:
        rows, columns = geometry.reference[1:]
        black = torch.full((1, 3, rows * vae.spatial, columns * vae.spatial), -1.0, device=device)
        frames = geometry.clip[0] if objective.reference == "looped" else 1
        blank[geometry] = patchify(encode_still(vae, black, frames))[0]
    return blank
