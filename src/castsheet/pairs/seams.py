"""Parts of a place before which people stand in most shots, taken from the shot that goes on most smoothly.

Where too few shots agree there is a hole in the place. Somebody who stands there ends with an edge at the
hole's border, in each shot in which they do; the empty place goes on across the border. A thin hole is a
sharp edge of the place, which lies a little off in some shots.

Legend: H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from castsheet.pairs.protocols import Pixels
from castsheet.sheet.box import Box
from castsheet.sheet.look.components import boxes_of

Mask = NDArray[np.bool_]

ALIKE = 14  # levels, as for whole pictures
REACH = 3  # px from the border to either side: edges are soft
SMOOTH = 0.8  # of what goes on just outside the border: a picture that goes on as far is the empty place
LEAST_SMOOTH = 0.5  # share of the border across which any picture of the empty place goes on
DOUBTFUL = 0.6  # of the best: another picture that goes on as far may be the empty one
SAME = 0.8  # share of a hole in which two pictures show the same
CLEARER = 0.3  # share of the border of what differs by which the empty one of two goes on farther
BROAD = 3  # px of a hole on all sides: a thinner one is an edge of the place
STEP = 2 * REACH - 1  # px from the pixel in the hole to the one outside
ISLAND = 0.01  # of the canvas: a smaller part of the place that holes surround is no surer than they are
LEAST = 12  # places along a border that are compared


def mended(picture_HW3: Pixels, sure_HW: Mask, laid: Sequence[tuple[Pixels, Mask]]) -> tuple[Pixels, Mask]:
    """A place and what is sure of it, with holes taken from pictures that go on smoothly across their border.

    Args:
        laid: pictures on the place's canvas (H,W,3), and where each is known (H,W).
    """
    known_HW = np.any([known for _, known in laid], axis=0)
    picture, sure = picture_HW3.copy(), sure_HW | (_thin(~sure_HW) & known_HW)
    sure &= ~_islands(sure)
    sure_HW = sure.copy()
    for box, _ in boxes_of(~sure_HW, reach=1):
        rows, columns = slice(box.y, box.bottom), slice(box.x, box.right)
        hole = ~sure_HW[rows, columns]
        best = _smoothest(picture_HW3, sure_HW, laid, box, hole)
        if best is not None:
            picture[rows, columns][hole] = best[hole]
            sure[rows, columns] |= hole
    return picture, sure


def _islands(sure_HW: Mask) -> Mask:
    """Small parts of what is sure that stand alone: stripes of like clothes, on which a few shots agree."""
    found = np.zeros_like(sure_HW)
    height, width = sure_HW.shape
    for box, area in boxes_of(sure_HW, reach=0):
        inner = box.x > 0 and box.y > 0 and box.right < width and box.bottom < height
        if inner and area < ISLAND * height * width:
            found[box.y : box.bottom, box.x : box.right] = True
    return found & sure_HW


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
    """What fills a hole; None where no picture goes on, or two that differ do.

    A place has edges of its own, which cross the border: a picture is held to what goes on just outside.
    """
    inside, outside, beyond = _across(sure, box, hole)
    if len(inside) < LEAST:
        return None
    usual = float((_apart(picture, outside, beyond) <= ALIKE).mean())
    edge = _values(picture, outside)
    found: list[tuple[float, int]] = []
    for number, (one, known) in enumerate(laid):
        if known[box.y : box.bottom, box.x : box.right][hole].all():
            apart = np.abs(_values(one, inside) - edge).max(axis=1)
            found.append((float((apart <= ALIKE).mean()), number))
    if not found:
        return None
    share, first = max(found, key=lambda one: (one[0], -one[1]))
    if share < max(LEAST_SMOOTH, SMOOTH * usual):
        return None
    rivals = [number for other, number in found if other >= DOUBTFUL * share]
    best = np.where(sure[..., None], picture, laid[first][0])
    others = (np.where(sure[..., None], picture, laid[number][0]) for number in rivals)
    return _part(best, box) if all(_emptier(best, other, box, hole) for other in others) else None


def _emptier(one: Pixels, other: Pixels, box: Box, hole: Mask) -> bool:
    """Whether two pictures show the same in a hole, or the first one shows the empty place where they differ.

    Somebody whom the other one shows there ends with an edge inside the hole.
    """
    differ = np.zeros(one.shape[:2], np.bool_)
    part = np.abs(_part(one, box).astype(np.int16) - _part(other, box)).max(axis=2) > ALIKE
    if (part & hole).sum() <= (1 - SAME) * hole.sum():
        return True
    part &= hole
    differ[box.y : box.bottom, box.x : box.right] = part & ~_thin(part)
    inside, outside, _ = _across(~differ, box, _part(differ, box))
    if len(inside) < LEAST:
        return False
    mine, theirs = (float((_apart(every, inside, outside) <= ALIKE).mean()) for every in (one, other))
    return mine > theirs + CLEARER


def _part(values: Any, box: Box) -> Any:
    return values[box.y : box.bottom, box.x : box.right]


def _values(picture: Pixels, at: NDArray[np.int64]) -> NDArray[np.int16]:
    return picture[at[:, 0], at[:, 1]].astype(np.int16)


def _apart(picture: Pixels, one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int16]:
    """How far a picture's pixels are from each other, the largest of the channels."""
    return np.asarray(np.abs(_values(picture, one) - _values(picture, other)).max(axis=1))


def _across(sure: Mask, box: Box, hole: Mask) -> tuple[NDArray[np.int64], ...]:
    """Pixels in a hole, just outside of it and as far again (N,2 each: row and column), across its border."""
    height, width = sure.shape
    inside, outside, beyond = [], [], []
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
        # Across the picture's frame there is nothing: what is there is held to itself.
        most_y = np.clip(far_y[at] + dy * STEP, 0, height - 1)
        most_x = np.clip(far_x[at] + dx * STEP, 0, width - 1)
        beyond.append(np.stack([most_y, most_x], axis=1))
    return np.concatenate(inside), np.concatenate(outside), np.concatenate(beyond)
