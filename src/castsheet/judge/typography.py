"""Stray typography, found by a model-free measure of its strokes.

Legend: F frames, H height, W width.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

STROKE = 5  # px: letters are made of lines thinner than this
CONTRAST = 36.0  # luma by which a stroke differs from both its sides
WINDOW = (12, 40)  # px (height, width): room for a short word
MOVES = 10.0  # luma: a pixel that changes more between samples is not part of a caption


def strokes(grey_FHW: Floats) -> float:
    """The largest share of thin, contrasting, still strokes in any window of the clip; in 0..1.

    Definition: a stroke pixel differs by more than 36 luma from the morphological opening or closing of its
    row with a 5 px line; only pixels that stand still over eight frames count. The value is the largest
    share of such pixels in a 12 x 40 window whose rows change between stroke and ground three times or more
    on average.
    Source: top-hat transform (Serra, 1982) with the alternation count of text localisation.
    Blind to: moving, huge or low-contrast text. Fooled by: railings, foliage and stripes. A text reader
    (`TextReader`) does not have these faults.
    """
    sample = grey_FHW[:: max(1, len(grey_FHW) // 8)]
    steady = (sample.max(axis=0) - sample.min(axis=0)) < MOVES
    thin = thin_lines(np.median(sample, axis=0)) & steady
    h, w = min(WINDOW[0], thin.shape[0]), min(WINDOW[1], thin.shape[1])
    turns = np.zeros_like(thin, np.float32)
    turns[:, 1:] = thin[:, 1:] != thin[:, :-1]
    alternation = _windows(turns, h, w) / h
    share = _windows(thin.astype(np.float32), h, w) / (h * w)
    # A row through a word of five letters changes some ten times; half of a window's rows may be free.
    return float(np.where(alternation >= 3, share, 0).max())


def thin_lines(picture_HW: Floats) -> NDArray[np.bool_]:
    """Where a picture has lines that are thin from side to side, and differ from both sides (H, W)."""
    return np.asarray(_hat(picture_HW, 1) > CONTRAST)


def _hat(picture_HW: Floats, axis: int) -> Floats:
    """The larger of the white and the black top-hat along one axis."""
    opened = _slide(_slide(picture_HW, np.minimum, axis), np.maximum, axis)
    closed = _slide(_slide(picture_HW, np.maximum, axis), np.minimum, axis)
    return np.maximum(picture_HW - opened, closed - picture_HW)


def _slide(picture_HW: Floats, pick: np.ufunc, axis: int) -> Floats:
    pad = [(0, 0), (0, 0)]
    pad[axis] = (STROKE // 2, STROKE // 2)
    wide = np.pad(picture_HW, pad, mode="edge")
    size = picture_HW.shape[axis]
    out = wide.take(range(size), axis=axis)
    for shift in range(1, STROKE):
        out = pick(out, wide.take(range(shift, shift + size), axis=axis))
    return np.asarray(out)


def _windows(values_HW: Floats, h: int, w: int) -> Floats:
    sums = np.zeros((values_HW.shape[0] + 1, values_HW.shape[1] + 1), np.float32)
    np.cumsum(np.cumsum(values_HW, axis=0), axis=1, out=sums[1:, 1:])
    return sums[h:, w:] - sums[:-h, w:] - sums[h:, :-w] + sums[:-h, :-w]
