"""Subjects told from their place: against a plate of the place, or by what stands out.

Legend: F frames, H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from castsheet.pairs.camera import levels_between
from castsheet.pairs.protocols import Floats, Pixels
from castsheet.sheet.box import Box
from castsheet.sheet.look.salience import Matter

APART = 18  # levels: what differs more from the plate, both softened, is no noise of compression
FAINT, FAINTER = 6, 4  # levels of faint differences beside a figure, and within it
MISSING = {False: (0.2, 0.05), True: (0.05, 0.0)}
"""The share of a mask from which faint differences beside it and within it fill it: of far figures, of near
ones."""
EDGE = 20  # levels, as they are: softening alone would make every figure wider by a pixel
DARKER = (0.4, 0.97)  # a shadow lets this much of the ground's light through
GROUND = 0.15  # of a box's longer side: the ground around it that the network sees
TINT = 12  # levels: a shadow has the ground's own colour, but darker


class Ground:
    """An empty place that frames are compared with: what follows from it alone is made once.

    Args:
        picture_HW3: the place as a frame shows it.
        blurred: it is enlarged for a near shot: its edges are soft, and lie where they should within some
            px.

    Attributes:
        near: `blurred`.
    """

    def __init__(self, picture_HW3: Pixels, *, blurred: bool = False) -> None:
        self.near = blurred
        self._picture = picture_HW3
        self._soft = _soft(picture_HW3)
        self._around = _around(picture_HW3) if blurred else None

    def under(self, frame_HW3: Pixels) -> tuple[Pixels, Floats]:
        """The place under a frame, as it is and softened.

        Of a blurred one, the frame held within what the place shows around each pixel: an edge that is a
        little off is none.
        """
        if self._around is None:
            return self._picture, self._soft
        held = np.clip(frame_HW3, *self._around)
        return held, _soft(held)


def _around(picture_HW3: Pixels) -> tuple[Pixels, Pixels]:
    """The least and the most of each channel within two px."""
    image = Image.fromarray(picture_HW3)
    return np.asarray(image.filter(ImageFilter.MinFilter(5))), np.asarray(
        image.filter(ImageFilter.MaxFilter(5))
    )


def against(frame_HW3: Pixels, ground: Ground) -> NDArray[np.bool_]:
    """Where a frame differs from the empty place (H, W). Shadows belong to the place."""
    picture, plate = ground.under(frame_HW3)
    frame = _soft(frame_HW3)
    apart = _largest(np.abs(frame - plate))
    through = _dot(frame, plate) / np.maximum(_dot(plate, plate), 1)
    tint = _largest(np.abs(frame - through[..., None] * plate))
    shadow = (tint < TINT) & (through > DARKER[0]) & (through < DARKER[1])
    levels = levels_between(frame_HW3, picture)
    there = _ranked((apart > APART) & (levels > EDGE) & ~shadow, 3, 5)
    faint = _faint(there, apart, shadow, ground) if there.any() else there
    if (faint & ~there).any():
        there = _closed(there | faint)
    return _tight(there, levels)


def _faint(
    there_HW: NDArray[np.bool_], apart_HW: Floats, shadow_HW: NDArray[np.bool_], ground: Ground
) -> NDArray[np.bool_]:
    """Clothes in the colours of the place, which differ faintly, or only as a shadow would (H, W).

    What the figure surrounds is the figure: a shadow lies on the ground, and has no figure below it. Where
    little is faint it is edges, and the ground between legs and beside arms, of which near figures show less.
    """
    rows, columns = np.flatnonzero(there_HW.any(axis=1)), np.flatnonzero(there_HW.any(axis=0))
    around = np.zeros_like(there_HW)
    around[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    beside = _opened((apart_HW > FAINT) & ~shadow_HW, 5) & around & ~there_HW
    within = _opened(_opened(apart_HW > FAINTER, 9) & _within(there_HW) & ~there_HW, 3)
    least_beside, least_within = MISSING[ground.near]
    found = np.zeros_like(there_HW)
    if beside.sum() > least_beside * there_HW.sum():
        found |= beside
    if within.sum() > least_within * there_HW.sum():
        found |= within
    return found


def _within(there_HW: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """What has the figure above it, below it, and at one side at least (H, W).

    Below a figure that the frame cuts off goes on outside.
    """
    open_below = there_HW.copy()
    last = np.flatnonzero(there_HW[-1])
    if len(last):
        open_below[-1, last[0] : last[-1] + 1] = True
    above = np.logical_or.accumulate(there_HW, axis=0)
    below = np.logical_or.accumulate(open_below[::-1], axis=0)[::-1]
    left = np.logical_or.accumulate(there_HW, axis=1)
    right = np.logical_or.accumulate(there_HW[:, ::-1], axis=1)[:, ::-1]
    return np.asarray(above & below & (left | right))


def _tight(there_HW: NDArray[np.bool_], levels_HW: Pixels) -> NDArray[np.bool_]:
    """Without the pixels of the outline that show more of the place than of the figure.

    They differ from the place less than half as much as the figure beside them does.
    """
    inner = _ranked(there_HW, 3, 9)
    most = np.where(there_HW, levels_HW, 0)
    for axis in (0, 1):
        most = _most(most, axis)
    return there_HW & (inner | (2 * levels_HW.astype(np.int16) >= most))


def _most(levels_HW: Pixels, axis: int) -> Pixels:
    """The largest value within two px along an axis."""
    wide = np.pad(levels_HW, [(2, 2) if k == axis else (0, 0) for k in range(2)])
    size = levels_HW.shape[axis]
    parts = [wide.take(range(k, k + size), axis=axis) for k in range(5)]
    return np.asarray(np.maximum.reduce(parts))


def _largest(values_HW3: Floats) -> Floats:
    """The largest of the channels (H, W): one after the other, which is faster than along the last axis."""
    return np.maximum(np.maximum(values_HW3[..., 0], values_HW3[..., 1]), values_HW3[..., 2])


def _dot(one_HW3: Floats, other_HW3: Floats) -> Floats:
    return sum(one_HW3[..., k] * other_HW3[..., k] for k in range(3))  # type: ignore[return-value]


def _closed(mask_HW: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Without specks, and with cracks of two px filled."""
    return _ranked(_ranked(_ranked(mask_HW, 3, 5), 3, 1), 3, 9)


def _opened(mask_HW: NDArray[np.bool_], side: int) -> NDArray[np.bool_]:
    """Only what is so many px thick."""
    return _ranked(_ranked(mask_HW, side, side * side), side, 1)


def _ranked(mask_HW: NDArray[np.bool_], side: int, least: int) -> NDArray[np.bool_]:
    """Where at least so many pixels of the square around are in the mask; its edge goes on outside."""
    height, width = mask_HW.shape
    wide = np.pad(mask_HW.view(np.uint8), side // 2, mode="edge")
    rows = wide[:height].copy()
    for k in range(1, side):
        rows += wide[k : k + height]
    count = rows[:, :width].copy()
    for k in range(1, side):
        count += rows[:, k : k + width]
    return count >= least


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
