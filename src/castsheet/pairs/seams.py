"""Parts of a place before which people stand in most shots, taken from the shot that goes on most smoothly.

Where too few shots agree there is a hole in the place. Somebody who stands there ends with an edge at the
hole's border, in each shot in which they do; the empty place goes on across the border. A thin hole is a
sharp edge of the place, which lies a little off in some shots.

Legend: H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from castsheet.pairs.protocols import Pixels
from castsheet.sheet.box import Box
from castsheet.sheet.look.components import boxes_of

Mask = NDArray[np.bool_]

ALIKE = 14  # levels, as for whole pictures
REACH = 3  # px from the border to either side: edges are soft
SMOOTH = 0.8  # share of a border across which a picture goes on: the empty place
DOUBTFUL = 0.6  # another picture that goes on as far leaves a doubt which of the two is empty
SAME = 0.8  # share of a hole in which two pictures show the same
BROAD = 3  # px of a hole on all sides: a thinner one is an edge of the place
LEAST = 12  # places along a border that are compared


def mended(picture_HW3: Pixels, sure_HW: Mask, laid: Sequence[tuple[Pixels, Mask]]) -> tuple[Pixels, Mask]:
    """A place and what is sure of it, with holes taken from pictures that go on smoothly across their border.

    Args:
        laid: pictures on the place's canvas (H,W,3), and where each is known (H,W).
    """
    known_HW = np.any([known for _, known in laid], axis=0)
    picture, sure = picture_HW3.copy(), sure_HW | (_thin(~sure_HW) & known_HW)
    sure_HW = sure.copy()
    for box, _ in boxes_of(~sure_HW, reach=1):
        rows, columns = slice(box.y, box.bottom), slice(box.x, box.right)
        hole = ~sure_HW[rows, columns]
        best = _smoothest(picture_HW3, sure_HW, laid, box, hole)
        if best is not None:
            picture[rows, columns][hole] = best[hole]
            sure[rows, columns] |= hole
    return picture, sure


def _thin(hole_HW: Mask) -> Mask:
    """Holes less than `BROAD` px broad: pictures lie between two pixels, and their sharp edges disagree."""
    height, width = hole_HW.shape
    core = np.ones((height - BROAD + 1, width - BROAD + 1), np.bool_)
    for y in range(BROAD):
        for x in range(BROAD):
            core &= hole_HW[y : y + core.shape[0], x : x + core.shape[1]]
    broad = np.zeros_like(hole_HW)
    for y in range(BROAD):
        for x in range(BROAD):
            broad[y : y + core.shape[0], x : x + core.shape[1]] |= core
    return hole_HW & ~broad


def _smoothest(
    picture: Pixels, sure: Mask, laid: Sequence[tuple[Pixels, Mask]], box: Box, hole: Mask
) -> Pixels | None:
    """What fills a hole; None where no picture goes on, or two that differ do."""
    inside, outside = _across(sure, box, hole)
    if len(inside) < LEAST:
        return None
    beyond = picture[outside[:, 0], outside[:, 1]].astype(np.int16)
    found: list[tuple[float, int, Pixels]] = []
    for number, (one, known) in enumerate(laid):
        part = one[box.y : box.bottom, box.x : box.right]
        if not known[box.y : box.bottom, box.x : box.right][hole].all():
            continue
        apart = np.abs(one[inside[:, 0], inside[:, 1]].astype(np.int16) - beyond).max(axis=1)
        found.append((float((apart <= ALIKE).mean()), number, part))
    if not found:
        return None
    share, _, best = max(found, key=lambda one: (one[0], -one[1]))
    rivals = [part for other, _, part in found if other >= DOUBTFUL]
    if share < SMOOTH or any(_alike(best, part, hole) < SAME for part in rivals):
        return None
    return best


def _alike(one: Pixels, other: Pixels, hole: Mask) -> float:
    apart = np.abs(one[hole].astype(np.int16) - other[hole]).max(axis=1)
    return float((apart <= ALIKE).mean())


def _across(sure: Mask, box: Box, hole: Mask) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of pixels on both sides of a hole's border (N,2 each: row and column), along rows and columns."""
    height, width = sure.shape
    inside, outside = [], []
    rows, columns = np.nonzero(hole)
    for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        y, x = rows + box.y, columns + box.x
        far_y, far_x = y + dy * REACH, x + dx * REACH
        back_y, back_x = y - dy * (REACH - 1), x - dx * (REACH - 1)
        within = (far_y >= 0) & (far_y < height) & (far_x >= 0) & (far_x < width)
        within &= (back_y >= box.y) & (back_y < box.bottom) & (back_x >= box.x) & (back_x < box.right)
        at = np.flatnonzero(within)
        # The first pixel beyond the hole, and a little farther on; and back inside, still in the hole.
        edge = sure[y[at] + dy, x[at] + dx] & sure[far_y[at], far_x[at]]
        edge &= ~sure[back_y[at], back_x[at]]
        at = at[edge]
        inside.append(np.stack([back_y[at], back_x[at]], axis=1))
        outside.append(np.stack([far_y[at], far_x[at]], axis=1))
    return np.concatenate(inside), np.concatenate(outside)
