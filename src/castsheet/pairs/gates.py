"""The gates against copying: no panel is, or nearly is, a part of the clip.

(a) Frames: the source of no panel lies in the clip, with a margin; read from the panels' own sources.
(b) Pixels: no cut-out lies on a frame of the clip, as it is or mirrored, with almost no difference; this
finds repeated shots and freeze frames, which (a) cannot.

Legend: F frames, H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from castsheet.pairs.protocols import Pixels
from castsheet.pairs.records import Sight, Window
from castsheet.sheet.box import Box

MARGIN = 24
"""Frames of the film on either side of the clip from which no panel may come."""
COPY = 7.0
"""Levels: the mean difference below which a figure is the same picture. Compression leaves 1 to 3."""
REACH = 2
"""px by which a repeated picture may have moved."""


def from_clip(film: str, frame: int, window: Window, own: str) -> bool:
    """Whether a frame of a film belongs to a window of the film `own`, margins included."""
    return film == own and window.frames[0] - MARGIN <= frame <= window.frames[-1] + MARGIN


def nearest(figure_HW3: Pixels, mask_HW: NDArray[np.bool_], box: Box, clip_FHW3: Pixels) -> float:
    """Levels between a figure and the frames of a clip where it would lie, the least of all frames.

    The figure is tried at its own place and mirrored, a few px around.

    Args:
        figure_HW3, mask_HW: the pixels of `box`, at the clip's size.
    """
    width = clip_FHW3.shape[2]
    mirrored = Box(width - box.right, box.y, box.w, box.h)
    return min(
        _least(figure_HW3, mask_HW, box, clip_FHW3),
        _least(figure_HW3[:, ::-1], mask_HW[:, ::-1], mirrored, clip_FHW3),
    )


def _least(figure: Pixels, mask: NDArray[np.bool_], box: Box, clip: Pixels) -> float:
    height, width = clip.shape[1:3]
    rows, columns = np.nonzero(mask)
    if not len(rows):
        return 255.0
    # A few hundred pixels tell two pictures apart as well as all of them.
    step = max(1, len(rows) // 400)
    rows, columns = rows[::step], columns[::step]
    colours = figure[rows, columns].astype(np.int16)
    best = 255.0
    for dy in range(-REACH, REACH + 1):
        for dx in range(-REACH, REACH + 1):
            y = np.clip(rows + box.y + dy, 0, height - 1)
            x = np.clip(columns + box.x + dx, 0, width - 1)
            apart = np.abs(clip[:, y, x].astype(np.int16) - colours).mean(axis=(1, 2))
            best = min(best, float(apart.min()))
    return best


def mask_of(packed: NDArray[np.uint8], sight: Sight) -> NDArray[np.bool_]:
    """A sight's stored mask."""
    count = sight.box.w * sight.box.h
    return np.unpackbits(packed)[:count].reshape(sight.box.h, sight.box.w).astype(np.bool_)


def refused(sources: Sequence[tuple[str, int]], window: Window, own: str) -> list[tuple[str, int]]:
    """The sources, as film and frame, that lie in the clip."""
    return [(film, frame) for film, frame in sources if from_clip(film, frame, window, own)]
