"""Subjects told from their place: against a plate of the place, or by what stands out.

Legend: F frames, H height, W width.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from castsheet.pairs.protocols import Floats, Pixels
from castsheet.sheet.look.salience import Matter

APART = 20  # levels: what differs more from the plate is no noise of compression
DARKER = (0.55, 0.97)  # a shadow lets this much of the ground's light through
TINT = 12  # levels: a shadow has the ground's own colour, but darker


def against(frame_HW3: Pixels, plate_HW3: Pixels) -> Floats:
    """Where a frame differs from the empty place (H, W), 0 or 1. Shadows belong to the place."""
    frame, plate = _soft(frame_HW3), _soft(plate_HW3)
    apart = np.abs(frame - plate).max(axis=2)
    through = (frame * plate).sum(axis=2) / np.maximum((plate * plate).sum(axis=2), 1)
    tint = np.abs(frame - through[..., None] * plate).max(axis=2)
    shadow = (tint < TINT) & (through > DARKER[0]) & (through < DARKER[1])
    there = (apart > APART) & ~shadow
    mask = Image.fromarray(there.astype(np.uint8) * 255).filter(ImageFilter.MedianFilter(3))
    mask = mask.filter(ImageFilter.MaxFilter(5)).filter(ImageFilter.MinFilter(5))
    return np.asarray(mask, np.float32) / 255


def _soft(picture_HW3: Pixels) -> Floats:
    """Means over crosses of five pixels: less noise, and edges stay where they are."""
    values = picture_HW3.astype(np.float32)
    padded = np.pad(values, ((1, 1), (1, 1), (0, 0)), mode="edge")
    total = 2 * values + padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    return total / 6


class Salient:
    """What stands out, by a network of the sheet's room (`castsheet[cutout]`)."""

    def __init__(self, matter: Matter) -> None:
        self._matter = matter

    @property
    def name(self) -> str:
        """The network's own name."""
        return self._matter.name

    def cover(self, frames_FHW3: Pixels) -> Floats:
        """How much each pixel (F, H, W) belongs to a subject, in 0..1."""
        found = []
        for frame in frames_FHW3:
            mask = Image.fromarray(self._matter.mask(Image.fromarray(frame)).astype(np.float32))
            size = frame.shape[1], frame.shape[0]
            found.append(np.asarray(mask.resize(size, Image.Resampling.BILINEAR)))
        return np.stack(found).astype(np.float32)
