"""A mark in a corner of a whole film: a channel's logo stands still while places and cameras change.

Legend: N pictures, H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from castsheet.pairs.protocols import Pixels

WIDE, TALL = 0.22, 0.18  # of the frame: a corner
EDGE = 24.0  # levels from one pixel to the next
ALWAYS = 0.9  # share of a place's pictures
PLACES = 3  # fewer different places prove nothing: an edge that stays may be theirs
MARK = 0.01  # of a corner's pixels are edges in all places


def mark_in_corner(places: Sequence[Sequence[Pixels]]) -> float:
    """The share of a corner's pixels that are edges wherever the film goes, in the corner with most of them.

    Args:
        places: pictures (H,W,3), by the place that they show.

    Returns:
        0 where the film shows fewer than three places.
    """
    if len(places) < PLACES:
        return 0.0
    always = np.logical_and.reduce(
        [np.mean([_edges(one) for one in pictures], axis=0) >= ALWAYS for pictures in places]
    )
    height, width = always.shape
    tall, wide = round(TALL * height), round(WIDE * width)
    rows, columns = (
        (slice(0, tall), slice(height - tall, height)),
        (slice(0, wide), slice(width - wide, width)),
    )
    return max(float(always[row, column].mean()) for row in rows for column in columns)


def _edges(picture_HW3: Pixels) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    grey = picture_HW3.astype(np.float32).mean(axis=2)
    across, down = np.zeros_like(grey), np.zeros_like(grey)
    across[:, 1:], down[1:] = np.abs(np.diff(grey, axis=1)), np.abs(np.diff(grey, axis=0))
    return np.asarray(np.maximum(across, down) > EDGE)
