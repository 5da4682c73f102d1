"""Motion: how much, how smooth. No model is needed.

Legend: F frames, H height, W width; Y, X rows and columns of blocks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

BLOCK = 16  # px: parts of the picture in which shaking is told apart from a limb that moves
DETAIL = 4.0  # luma: motion does not change how a block with less spread looks
UNSTEADY = 0.72  # a block shakes if its smoothness is below
STILL = 0.03  # mean luma steps: less change than this between two frames is compression, not motion
NOISE = 3.0  # luma: changes of a pixel below this are not counted


@dataclass(frozen=True)
class Motion:
    """Motion of a clip; see `measure`.

    Attributes:
        amount: (F - 1,) change from each frame to the next, mean luma steps a pixel; 0 is a still.
        still: share of frame pairs in which nothing moves, in 0..1.
        smoothness: None if nothing moves. shaking: share of the picture that shakes, in 0..1.
    """

    amount: Floats
    still: float
    smoothness: float | None
    shaking: float

    @property
    def mean(self) -> float:
        """Mean amount; 0 for a single frame."""
        return float(self.amount.mean()) if self.amount.size else 0.0


def measure(grey_FHW: Floats) -> Motion:
    """Amount and smoothness of motion.

    Amount: mean absolute difference of neighbouring frames, pixels under 3 of 255 not counted.
    Smoothness: |f(t+2) - f(t)| over |f(t+2) - f(t+1)| + |f(t+1) - f(t)|, summed over pixels and time, in
    0..1. Steady motion gives nearly 1, independent noise about 0.5, shaking to and fro nearly 0.
    A limb that moves by more than its own width from frame to frame gives 0.5 too: a clip in which only an
    arm waves has a low smoothness and no fault.
    Shaking: of the blocks of 16 px that have detail, the share whose own smoothness is below 0.72. A picture
    that shakes does so everywhere, a waving arm in a few blocks.
    Source: ours; a pixel-domain form of path efficiency (distance over length of path).
    Blind to: what moves (camera or cast), speed in pixels (a striped coat counts more than a plain one),
    jitter slower than two frames; shaking, to one small figure that trembles in a still picture.
    """
    if len(grey_FHW) < 3:
        return Motion(np.zeros(max(len(grey_FHW) - 1, 0), np.float32), 1.0, None, 0.0)
    one_FYX, two_FYX = _change(grey_FHW, 1), _change(grey_FHW, 2)
    one, two = one_FYX.mean(axis=(1, 2)), two_FYX.mean(axis=(1, 2))
    path = float((one[1:] + one[:-1]).sum())
    smooth = float(two.sum()) / path if one.mean() > STILL else None
    path_YX = (one_FYX[1:] + one_FYX[:-1]).sum(axis=0)
    shaken = (one_FYX.mean(axis=0) > STILL) & (two_FYX.sum(axis=0) < UNSTEADY * path_YX)
    detailed = _blocks(grey_FHW[len(grey_FHW) // 2]).std(axis=(1, 3)) > DETAIL
    shaking = float((shaken & detailed).sum() / max(int(detailed.sum()), 1))
    return Motion(one, float((one < STILL).mean()), smooth, shaking)


def _change(grey_FHW: Floats, lag: int) -> Floats:
    """Mean change (frames, Y, X) in every block over `lag` frames."""
    difference = np.abs(grey_FHW[lag:] - grey_FHW[:-lag])
    return _blocks(np.where(difference > NOISE, difference, 0)).mean(axis=(-3, -1))


def _blocks(values_HW: Floats) -> Floats:
    """(..., Y, block, X, block); incomplete blocks at the right and the bottom are left out."""
    height, width = values_HW.shape[-2:]
    block = min(BLOCK, height, width)
    rows, columns = height // block, width // block
    whole = values_HW[..., : rows * block, : columns * block]
    return whole.reshape(*whole.shape[:-2], rows, block, columns, block)
