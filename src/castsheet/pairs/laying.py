"""Where a picture lies on a place that is known without people.

Legend: H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from castsheet.pairs.camera import (
    APART,
    OVERLAP,
    PEAKS,
    SLIDE,
    Looked,
    Plate,
    Shift,
    alike,
    edges,
    gradients,
    share_of,
    steps,
    told_by,
    told_of,
)
from castsheet.pairs.protocols import Floats, Pixels

UNKNOWN = 0.3  # of what tells of a shift: by how much more must speak for a picture of an unknown place
LESS = 0.02  # of the picture: how much less of it may be known where it is moved to


def laid_on(one: Looked, plate: Plate, near: Shift | None = None) -> tuple[Shift, float]:
    """Where a picture's corner lies on a place, and how much of what both show is alike there.

    What is not sure of the place counts for nothing. A place has no people, so a picture fits it better than
    it fits another one of the place.

    Args:
        near: where the corner is believed to be. This and what lies around it is tried as well.
    """
    height, width = one.picture.shape[:2]
    wide = _Wide.of(plate, (width, height))
    ground = np.where(plate.sure[..., None], plate.picture, 0)
    shape = max(height, ground.shape[0]), max(width, ground.shape[1])
    lines = np.zeros(shape, np.float32)
    lines[: ground.shape[0], : ground.shape[1]] = edges(ground) * _inner(plate.sure)
    own = np.zeros(shape, np.float32)
    own[:height, :width] = gradients(one.picture)
    spectrum = np.fft.rfft2(lines) * np.conj(np.fft.rfft2(own))
    peaks = np.fft.irfft2(spectrum / np.maximum(np.abs(spectrum), 1e-6), shape).ravel()
    tried = [] if near is None else [(near[0] + x, near[1] + y) for x in (-1, 0, 1) for y in (-1, 0, 1)]
    for flat in np.argpartition(peaks, -PEAKS)[-PEAKS:]:
        y, x = divmod(int(flat), shape[1])
        across = x - shape[1] if x >= shape[1] - width // 2 else x
        down = y - shape[0] if y >= shape[0] - height // 2 else y
        tried.append((across + plate.origin[0], down + plate.origin[1]))
    best = _best(one, wide, tried, near)
    # Sea and sky have few edges, and peaks are elsewhere: the whole breadth is tried as well.
    along = range(plate.origin[0] - width // 2, plate.origin[0] + ground.shape[1] - width // 2, APART)
    coarse = _best(one, wide, [best[1], *((x, best[1][1]) for x in along)], best[1])
    if coarse[1] != best[1]:
        x, y = coarse[1]
        around = [(x + right, y + below) for right in range(-APART, APART + 1) for below in (-1, 0, 1)]
        best = _best(one, wide, [best[1], *around], best[1])
    return best[1], best[2]


@dataclass(frozen=True)
class _Wide:
    """A place with as much of nothing around it as a frame is large, so that all that a frame may show of it
    is a part of what is here.

    Attributes:
        planes: (3,H,W). sure: (H,W). steps: (H,W-1): what tells of it, between neighbours in a row.
        corner: of the place's canvas, with what is around it, in the shifts' coordinates.
    """

    planes: Pixels
    sure: NDArray[np.bool_]
    steps: Floats
    corner: Shift

    @classmethod
    def of(cls, plate: Plate, size: tuple[int, int]) -> _Wide:
        """A place for frames of a width and height."""
        width, height = size
        room = (height, height), (width, width)
        picture = np.pad(plate.picture, (*room, (0, 0)))
        corner = plate.origin[0] - width, plate.origin[1] - height
        planes = np.ascontiguousarray(picture.transpose(2, 0, 1))
        return cls(planes, np.pad(plate.sure, room), steps(picture), corner)

    def at(self, corner: Shift, size: tuple[int, int]) -> tuple[Pixels, NDArray[np.bool_], Floats] | None:
        """What a frame with its corner there shows: `planes`, `sure` and `steps`; None if that is nothing."""
        x, y = corner[0] - self.corner[0], corner[1] - self.corner[1]
        if min(x, y) < 0 or x + size[0] > self.sure.shape[1] or y + size[1] > self.sure.shape[0]:
            return None
        rows, columns = slice(y, y + size[1]), slice(x, x + size[0])
        return self.planes[:, rows, columns], self.sure[rows, columns], self.steps[rows, x : x + size[0] - 1]


def _best(one: Looked, wide: _Wide, tried: Sequence[Shift], near: Shift | None) -> tuple[float, Shift, float]:
    """The likeliest of some corners: how likely, where, and the share of the place that is alike there.

    Where less of the place is known, people may lie outside, and all else fits: that is no reason to move.
    """
    height, width = one.picture.shape[:2]
    there = None if near is None else wide.at(near, (width, height))
    least = OVERLAP if near is None else (0.0 if there is None else share_of(there[1])) - LESS

    def fit(corner: Shift) -> tuple[float, Shift, float]:
        shown = wide.at(corner, (width, height))
        if shown is None or (known := share_of(shown[1])) < max(OVERLAP, least):
            return -1.0, corner, 0.0
        planes, sure, steps = shown
        same = alike(one.planes, planes)
        worth = told_by(same, np.where(sure, np.maximum(one.telling, told_of(steps)), np.float32(0)))
        if near is None:
            far = UNKNOWN * (1 - known)
        else:
            far = SLIDE * float(np.hypot(corner[0] - near[0], corner[1] - near[1])) / width
        return worth - far, corner, float(np.count_nonzero(same & sure) / np.count_nonzero(sure))

    return max((fit(corner) for corner in dict.fromkeys(tried)), key=lambda found: found[0])


def _inner(sure_HW: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """What is sure together with its neighbours above and at the left: the rest has no edges of its own."""
    found = sure_HW.copy()
    found[1:] &= sure_HW[:-1]
    found[:, 1:] &= sure_HW[:, :-1]
    return found
