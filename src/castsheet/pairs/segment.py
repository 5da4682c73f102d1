"""Subjects told from their place: against a plate of the place, or by what stands out.

Legend: F frames, H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from castsheet.pairs.protocols import Floats, Pixels
from castsheet.sheet.box import Box
from castsheet.sheet.look.salience import Matter

APART = 20  # levels: what differs more from the plate, both softened, is no noise of compression
FAINT, MISSING = 6, 0.2  # levels of faint differences, and the share of a mask from which they fill it
EDGE = 30  # levels, as they are: softening alone would make every figure wider by a pixel
DARKER = (0.4, 0.97)  # a shadow lets this much of the ground's light through
GROUND = 0.15  # of a box's longer side: the ground around it that the network sees
TINT = 12  # levels: a shadow has the ground's own colour, but darker


def against(frame_HW3: Pixels, plate_HW3: Pixels, *, blurred: bool = False) -> Floats:
    """Where a frame differs from the empty place (H, W), 0 or 1. Shadows belong to the place.

    Args:
        blurred: the place is enlarged: its edges are soft, and lie where they should within some px.
    """
    if blurred:
        plate_HW3 = _nearest(frame_HW3, plate_HW3)
    frame, plate = _soft(frame_HW3), _soft(plate_HW3)
    apart = np.abs(frame - plate).max(axis=2)
    through = (frame * plate).sum(axis=2) / np.maximum((plate * plate).sum(axis=2), 1)
    tint = np.abs(frame - through[..., None] * plate).max(axis=2)
    shadow = (tint < TINT) & (through > DARKER[0]) & (through < DARKER[1])
    sharp = np.abs(frame_HW3.astype(np.int16) - plate_HW3).max(axis=2)
    there = _closed((apart > APART) & (sharp > EDGE) & ~shadow)
    rows, columns = np.flatnonzero(there.any(axis=1)), np.flatnonzero(there.any(axis=0))
    if len(rows):
        faint = np.zeros_like(there)
        around = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        faint[around] = _opened((apart > FAINT) & ~shadow)[around]
        # Clothes in the colours of the place differ faintly; where little is faint, it is edges.
        if (faint & ~there).sum() > MISSING * there.sum():
            there = _closed(there | faint)
    return there.astype(np.float32)


def _closed(mask_HW: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Without specks, and with cracks of two px filled."""
    image = Image.fromarray(mask_HW.astype(np.uint8) * 255).filter(ImageFilter.MedianFilter(3))
    return np.asarray(
        np.asarray(image.filter(ImageFilter.MaxFilter(3)).filter(ImageFilter.MinFilter(3))) > 127
    )


def _opened(mask_HW: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Only what is five px thick."""
    image = Image.fromarray(mask_HW.astype(np.uint8) * 255)
    return np.asarray(
        np.asarray(image.filter(ImageFilter.MinFilter(5)).filter(ImageFilter.MaxFilter(5))) > 127
    )


def _nearest(frame_HW3: Pixels, plate_HW3: Pixels) -> Pixels:
    """The frame, held within what the plate shows around each pixel: an edge that is a little off is none."""
    found = []
    for channel in range(3):
        plate = Image.fromarray(np.ascontiguousarray(plate_HW3[..., channel]))
        low, high = plate.filter(ImageFilter.MinFilter(5)), plate.filter(ImageFilter.MaxFilter(5))
        found.append(np.clip(frame_HW3[..., channel], np.asarray(low), np.asarray(high)))
    return np.stack(found, axis=2)


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

    def within(self, frame_HW3: Pixels, boxes: Sequence[Box]) -> Floats:
        """What stands out in each box (N, H, W): a box with some ground around it is a picture of its own."""
        height, width = frame_HW3.shape[:2]
        found = np.zeros((len(boxes), height, width), np.float32)
        for number, box in enumerate(boxes):
            room = round(GROUND * max(box.w, box.h))
            left, top = max(0, box.x - room), max(0, box.y - room)
            part = frame_HW3[top : box.bottom + room, left : box.right + room]
            seen = self.cover(part[None])[0]
            inside = seen[box.y - top : box.bottom - top, box.x - left : box.right - left]
            found[number, box.y : box.bottom, box.x : box.right] = inside
        return found
