"""Colours that two pictures of one thing share in different light."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def chroma(pixels: NDArray[np.uint8]) -> NDArray[np.float64] | None:
    """Shares of colours in cells of hue and of lightness that allow for another light; None for too few
    pixels.

    Lightness in three broad overlapping steps, red and blue against green in ten each: sun and shade move
    lightness by a factor of two and hue by little.
    """
    if len(pixels) < 24:
        return None
    rgb = pixels.astype(np.float32) + 8
    light = np.clip(np.log2(rgb.mean(axis=1) / 8) / 5, 0, 1)
    red = np.clip(0.5 + 0.7 * np.log2(rgb[:, 0] / rgb[:, 1]), 0, 1)
    blue = np.clip(0.5 + 0.7 * np.log2(rgb[:, 2] / rgb[:, 1]), 0, 1)
    cells = np.stack([light * 3.999, red * 9.999, blue * 9.999]).astype(int)
    table = np.bincount(np.ravel_multi_index(tuple(cells), (4, 10, 10)), minlength=400).reshape(4, 10, 10)
    spread = table.astype(np.float64)
    for axis in range(3):
        padded = np.pad(spread, [(1, 1) if a == axis else (0, 0) for a in range(3)], mode="edge")
        count = spread.shape[axis]
        low, middle, high = (padded.take(range(s, s + count), axis=axis) for s in range(3))
        spread = (low + 2 * middle + high) / 4
    return np.asarray(spread / spread.sum())
