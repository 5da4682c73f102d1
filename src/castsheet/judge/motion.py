"""Motion: how much, how smooth. No model is needed.

Legend: F frames, H height, W width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

STILL = 0.03  # mean luma steps: less change than this between two frames is compression, not motion
NOISE = 3.0  # luma: changes of a pixel below this are not counted


@dataclass(frozen=True)
class Motion:
    """Attributes:
    amount: (F - 1,) change from each frame to the next, mean luma steps a pixel; 0 is a still.
    still: share of frame pairs in which nothing moves, in 0..1.
    smoothness: see `measure`; None where nothing moves.
    """

    amount: Floats
    still: float
    smoothness: float | None

    @property
    def mean(self) -> float:
        """Mean amount; 0 for a single frame."""
        return float(self.amount.mean()) if self.amount.size else 0.0


def measure(grey_FHW: Floats) -> Motion:
    """Amount and smoothness of motion.

    Amount: mean absolute difference of neighbouring frames, pixels under 3 of 255 not counted.
    Smoothness: |f(t+2) - f(t)| over |f(t+2) - f(t+1)| + |f(t+1) - f(t)|, summed over pixels and time, in
    0..1. What moves on in its direction gives nearly 1, independent noise about 0.5, shaking to and fro
    nearly 0.
    Source: ours; a pixel-domain form of path efficiency (distance over length of path).
    Blind to: what moves (camera or cast), speed in pixels (a striped coat counts more than a plain one),
    jitter slower than two frames.
    """
    if len(grey_FHW) < 3:
        return Motion(np.zeros(max(len(grey_FHW) - 1, 0), np.float32), 1.0, None)
    one, two = _change(grey_FHW, 1), _change(grey_FHW, 2)
    path = float((one[1:] + one[:-1]).sum())
    smooth = float(two.sum()) / path if one.mean() > STILL else None
    return Motion(one, float((one < STILL).mean()), smooth)


def _change(grey_FHW: Floats, lag: int) -> Floats:
    difference = np.abs(grey_FHW[lag:] - grey_FHW[:-lag])
    return np.where(difference > NOISE, difference, 0).mean(axis=(1, 2))
