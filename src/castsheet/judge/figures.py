"""Figures before colours: what stands in front of the place, compared with the sheet's figures on both sides.

A network (`Matter`) tells what stands out in a frame. A window over it is like a figure of the sheet to the
degree to which head, trunk and legs have the same colours in the same amounts: colours that are there and
do not belong count against it as much as those that lack.

Legend: H height, W width, K colours, S strips, N windows.
Source: Bhattacharyya, 1943, on histograms of body strips (Gray and Tao, 2008), through integral histograms
(Porikli, 2005). Range of every likeness: 0..1.
Blind to: shape and faces; a figure that the network does not tell from its ground.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from castsheet.judge.cast import Figure, Pixels
from castsheet.sheet.box import Box
from castsheet.sheet.look.components import boxes_of

Floats = NDArray[np.float32]

LONG_SIDE = 160  # px: frames are compared at this size
STRIPS = 3
HEIGHTS = (0.2, 0.27, 0.36, 0.47, 0.62, 0.8, 0.98)  # of the frame
STEP = 9  # windows lie a ninth of their height apart
STANDS_OUT = 0.5  # of a mask: more is figure
LEAST = 0.004  # of the frame: smaller things are specks
FILLED = 0.6  # of the figure's own share of its box: a window with less of figure holds half of one
# Lightness and two differences of colour; edges of the cells, shared softly between neighbours.
LEVELS, TONES, SPREAD = 5, 9, 66.0


@dataclass(frozen=True)
class Seen:
    """One frame, its figures told from its ground.

    Attributes:
        picture_HWC: uint8 RGB, long side 160 px. mask_HW: 0..1. scale: px of the frame for one of the
            picture.
    """

    picture_HWC: Pixels
    mask_HW: Floats
    scale: float

    @property
    def things(self) -> list[Box]:
        """Boxes of what stands out, the largest first."""
        found = boxes_of(self.mask_HW > STANDS_OUT)
        return [box for box, count in found if count >= LEAST * self.mask_HW.size]

    def up(self, box: Box) -> Box:
        """A box of the picture in pixels of the frame."""
        return Box(*(round(self.scale * side) for side in (box.x, box.y, box.w, box.h)))


@dataclass(frozen=True)
class Look:
    """One figure of the sheet: shares (S, K) of its colours by strip, which add up to 1; the share of its
    box that it fills, and width over height."""

    shares_SK: Floats
    filled: float
    aspect: float


def look_of(figure: Figure) -> Look:
    """A figure of the sheet, made ready."""
    tall = 96 / figure.picture_HWC.shape[0]
    size = (
        max(8, round(figure.picture_HWC.shape[1] * min(1, tall))),
        max(8, round(figure.picture_HWC.shape[0] * min(1, tall))),
    )
    picture = np.asarray(Image.fromarray(figure.picture_HWC).resize(size, Image.Resampling.BOX))
    mask = np.asarray(Image.fromarray(figure.mask_HW.astype(np.uint8) * 255).resize(size), np.float32) / 255
    held = colours(picture) * mask[..., None]
    edges = np.linspace(0, size[1], STRIPS + 1).round().astype(int)
    shares = np.stack([held[a:b].sum(axis=(0, 1)) for a, b in pairwise(edges)])
    return Look(
        np.asarray(shares / max(float(shares.sum()), 1e-6), np.float32), float(mask.mean()), size[0] / size[1]
    )


def colours(picture_HWC: Pixels, levels: int = LEVELS) -> Floats:
    """Every pixel's share (H, W, K) of a fixed set of colours, by trilinear interpolation; in so many steps
    of lightness."""
    rgb = picture_HWC.astype(np.float32)
    luma = rgb @ np.array([0.299, 0.587, 0.114], np.float32)
    blue, red = 0.564 * (rgb[..., 2] - luma), 0.713 * (rgb[..., 0] - luma)
    parts = [
        _soft(luma / 255 * (levels - 1), levels),
        # Small differences of colour count more: most of the world is nearly grey.
        _soft((np.sign(blue) * np.sqrt(np.abs(blue) / SPREAD) + 1) / 2 * (TONES - 1), TONES),
        _soft((np.sign(red) * np.sqrt(np.abs(red) / SPREAD) + 1) / 2 * (TONES - 1), TONES),
    ]
    tones = parts[1][..., :, None] * parts[2][..., None, :]
    every = parts[0][..., :, None] * tones.reshape(*luma.shape, 1, TONES * TONES)
    return np.asarray(every.reshape(*luma.shape, -1), np.float32)


def _soft(value_HW: NDArray[np.floating], count: int) -> Floats:
    value = np.clip(value_HW, 0, count - 1)
    return np.asarray(np.clip(1 - np.abs(value[..., None] - np.arange(count)), 0, None), np.float32)


def used(looks: list[Look]) -> NDArray[np.int64]:
    """Which colours the looks hold at all; the rest are one colour, "none of these"."""
    return np.flatnonzero(np.sum([one.shares_SK.sum(axis=0) for one in looks], axis=0) > 1e-4)


class Field:
    """One frame's figures, ready for windows.

    Args:
        seen: the frame. kept: the colours of the sheet, see `used`.
    """

    def __init__(self, seen: Seen, kept: NDArray[np.int64]) -> None:
        self.height, self.width = seen.mask_HW.shape
        held = colours(seen.picture_HWC)[..., kept] * seen.mask_HW[..., None]
        rest = seen.mask_HW - held.sum(axis=-1)
        self._sums = _integral(np.concatenate([held, rest[..., None]], axis=-1))
        self._counts: dict[tuple[int, int], tuple[NDArray[np.int64], Floats]] = {}

    def best(self, look: Look, kept: NDArray[np.int64]) -> tuple[float, Box]:
        """The window most like a look."""
        wanted = np.sqrt(look.shares_SK[:, kept])
        best, box = 0.0, Box(0, 0, 1, 1)
        for share in HEIGHTS:
            h = round(share * self.height)
            w = min(self.width, max(8, 4 * round(h * look.aspect / 4)))
            windows, counts_NSK = self._windows(w, h)
            mass = counts_NSK.sum(axis=(1, 2))
            like = np.einsum("nsk,sk->n", np.sqrt(counts_NSK[..., :-1]), wanted) / np.sqrt(
                np.maximum(mass, 1e-6)
            )
            like *= np.minimum(1, mass / (FILLED * look.filled * w * h)) ** 0.5
            at = int(np.argmax(like))
            if like[at] > best:
                best, box = float(like[at]), Box(int(windows[at, 1]), int(windows[at, 0]), w, h)
        return best, box

    def of(self, look: Look, kept: NDArray[np.int64], box: Box) -> float:
        """How much one window is like a look."""
        windows = np.array([[box.y, box.x]])
        counts = self._count(windows, box.w, box.h)
        mass = float(counts.sum())
        like = (
            float((np.sqrt(counts[0, :, :-1]) * np.sqrt(look.shares_SK[:, kept])).sum())
            / max(mass, 1e-6) ** 0.5
        )
        return like * min(1.0, mass / (FILLED * look.filled * box.w * box.h)) ** 0.5

    def _windows(self, w: int, h: int) -> tuple[NDArray[np.int64], Floats]:
        if (w, h) not in self._counts:
            step = max(2, h // STEP)
            tops, lefts = np.arange(0, self.height - h + 1, step), np.arange(0, self.width - w + 1, step)
            windows = np.stack(np.meshgrid(tops, lefts, indexing="ij"), axis=-1).reshape(-1, 2)
            self._counts[w, h] = windows, self._count(windows, w, h)
        return self._counts[w, h]

    def _count(self, windows_N2: NDArray[np.int64], w: int, h: int) -> Floats:
        top, left = windows_N2.T
        right = np.minimum(left + w, self.width)
        edges = [
            np.minimum(np.rint(top + h * s / STRIPS).astype(int), self.height) for s in range(STRIPS + 1)
        ]
        lines = [self._sums[edge, right] - self._sums[edge, left] for edge in edges]
        counts = np.stack([after - before for before, after in pairwise(lines)], axis=1)
        return np.asarray(np.maximum(counts, 0), np.float32)


def _integral(values_HWK: Floats) -> Floats:
    sums = np.zeros((values_HWK.shape[0] + 1, values_HWK.shape[1] + 1, values_HWK.shape[2]), np.float32)
    np.cumsum(values_HWK, axis=0, out=sums[1:, 1:])
    np.cumsum(sums[1:, 1:], axis=1, out=sums[1:, 1:])
    return sums
