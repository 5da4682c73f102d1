"""Motion: how much, how smooth, and whether it is the scene that moves or the camera. No model is needed.

Legend: F frames, H height, W width; Y, X rows and columns of blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.float32]

BLOCK = 16  # px: parts of the picture in which shaking is told apart from a limb that moves
DETAIL = 4.0  # luma: motion does not change how a block with less spread looks
UNSTEADY = 0.72  # a block shakes if its smoothness is below
STILL = 0.03  # mean luma steps: less change than this between two frames is compression, not motion
NOISE = 3.0  # luma: changes of a pixel below this are not counted
CAMERA_WIDTH = 96  # px: the camera's motion is estimated at this size
PAIRS, LAG = 8, 12  # pairs of frames, and frames between them, for the scene's own motion
CAMERA_SHARE = 0.7  # of the picture's detail: when more of it stands still, so does the camera
ROUNDS = 10  # of Gauss-Newton
LEAST = 1.0  # luma: less change than this is compression


@dataclass(frozen=True)
class Motion:
    """Attributes:
    amount: (F - 1,) change from each frame to the next, mean luma steps a pixel; 0 is a still.
    still: share of frame pairs in which nothing moves, in 0..1.
    frozen: the longest run of such pairs, in frames.
    smoothness: see `measure`; None where nothing moves.
    shaking: share of the picture that shakes, see `measure`, in 0..1.
    jolts: how far the whole picture jumps off its path from frame to frame, in 1/1000 of its width.
    flicker: how much the brightness jumps from frame to frame, as a share of itself.
    scene: share of the change that stays when the camera's motion is taken out; see `scene`.
    """

    amount: Floats
    still: float
    frozen: int
    smoothness: float | None
    shaking: float
    jolts: float
    flicker: float
    scene: float

    @property
    def mean(self) -> float:
        """Mean amount; 0 for a single frame."""
        return float(self.amount.mean()) if self.amount.size else 0.0


def measure(grey_FHW: Floats) -> Motion:
    """Amount and smoothness of motion.

    Amount: mean absolute difference of neighbouring frames, pixels under 3 of 255 not counted.
    Smoothness: |f(t+2) - f(t)| over |f(t+2) - f(t+1)| + |f(t+1) - f(t)|, summed over pixels and time; about
    1 for what moves on in its direction, about 0.5 for independent noise, nearly 0 for shaking to and fro.
    A limb that moves by more than its own width from frame to frame gives 0.5 too, so a clip in which only
    an arm waves has a low smoothness and no fault.
    Shaking: of the blocks of 16 px that have detail, the share whose own smoothness is below 0.72. A picture
    that shakes does so everywhere, a waving arm in a few blocks.
    Source: ours; a pixel-domain form of path efficiency (distance over length of path).
    Blind to: speed in pixels (a striped coat counts more than a plain one), jitter slower than two frames;
    shaking, to one small figure that trembles in a still picture.
    """
    if len(grey_FHW) < 3:
        return Motion(np.zeros(max(len(grey_FHW) - 1, 0), np.float32), 1.0, 0, None, 0.0, 0.0, 0.0, 0.0)
    one_FYX, two_FYX = _change(grey_FHW, 1), _change(grey_FHW, 2)
    one, two = one_FYX.mean(axis=(1, 2)), two_FYX.mean(axis=(1, 2))
    path = float((one[1:] + one[:-1]).sum())
    smooth = float(two.sum()) / path if one.mean() > STILL else None
    path_YX = (one_FYX[1:] + one_FYX[:-1]).sum(axis=0)
    shaken = (one_FYX.mean(axis=0) > STILL) & (two_FYX.sum(axis=0) < UNSTEADY * path_YX)
    detailed = _blocks(grey_FHW[len(grey_FHW) // 2]).std(axis=(1, 3)) > DETAIL
    return Motion(
        amount=one,
        still=float((one < STILL).mean()),
        frozen=_longest(np.abs(np.diff(grey_FHW, axis=0)).mean(axis=(1, 2)) < STILL),
        smoothness=smooth,
        shaking=float((shaken & detailed).sum() / max(int(detailed.sum()), 1)),
        jolts=_jolts(grey_FHW),
        flicker=_flicker(grey_FHW),
        scene=scene(grey_FHW) if _everywhere(grey_FHW, detailed) else 1.0,
    )


def _everywhere(grey_FHW: Floats, detailed_YX: NDArray[np.bool_]) -> bool:
    """Whether the parts of the picture that have detail change, as they do under a camera that moves."""
    change_YX = _change(grey_FHW, min(LAG, len(grey_FHW) - 1)).mean(axis=0)
    return bool((change_YX > STILL)[detailed_YX].mean() >= CAMERA_SHARE) if detailed_YX.any() else False


def scene(grey_FHW: Floats) -> float:
    """The scene's own motion: what stays of the change over twelve frames without the camera's part.

    Definition: for up to eight pairs of frames, the later one is laid over the earlier by the affine map and
    brightness that fit best; what stays of the difference is taken over the difference without it, each in
    the twentieth of the picture in which it is largest; the value is the second largest of the pairs. 0..1; a
    still on which the camera closes in gives 0.2 or less in every pair, and a scene that rests for a while
    moves in some.
    Source: affine image alignment by Gauss-Newton (Lucas and Kanade, 1981; Baker and Matthews, 2004).
    Blind to: depth, since a near thing that the camera passes moves against the far ones, as if by itself;
    and to far scenery, which is like a painting of itself.
    """
    count = len(grey_FHW)
    lag = min(LAG, count - 1)
    starts = sorted({round(at) for at in np.linspace(0, count - 1 - lag, PAIRS)})
    small = {at: _small(grey_FHW[at]) for start in starts for at in (start, start + lag)}
    left = sorted(_left_over(small[start], small[start + lag]) for start in starts)
    return left[-2:][0]


def _small(grey_HW: Floats) -> Floats:
    height, width = grey_HW.shape
    size = CAMERA_WIDTH, max(8, round(CAMERA_WIDTH * height / width))
    # Blurred: grass that falls between pixels would seem to move under any camera.
    soft = Image.fromarray(grey_HW).resize(size, Image.Resampling.BOX)
    padded = np.pad(np.asarray(soft, np.float32), 2, mode="edge")
    for axis in (0, 1):
        parts = [np.take(padded, range(k, padded.shape[axis] - 4 + k), axis=axis) for k in range(5)]
        mixed = parts[0] + 4 * parts[1] + 6 * parts[2] + 4 * parts[3] + parts[4]
        padded = np.asarray(mixed / 16, np.float32)
    return np.asarray(padded, np.float32)


def _left_over(before_HW: Floats, after_HW: Floats) -> float:
    """Difference in the picture's busiest twentieth after alignment, over that before."""
    height, width = before_HW.shape
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    y, x = (rows - height / 2) / width, (columns - width / 2) / width
    down, across = np.gradient(after_HW)
    map_23 = np.zeros((2, 3), np.float32)  # of (1, y, x) to a shift (down, across), px
    best = np.abs(after_HW - before_HW)
    for _ in range(ROUNDS):
        to_y = rows + map_23[0, 0] + map_23[0, 1] * y + map_23[0, 2] * x
        to_x = columns + map_23[1, 0] + map_23[1, 1] * y + map_23[1, 2] * x
        inside = (to_y >= 0) & (to_y <= height - 1) & (to_x >= 0) & (to_x <= width - 1)
        if inside.mean() < 0.5:
            break
        laid = _sampled(after_HW, to_y, to_x)
        error = (before_HW - laid)[inside]
        left = np.where(inside, np.abs(before_HW - laid), 0)
        best = left if left.mean() < best.mean() else best
        gy, gx = _sampled(down, to_y, to_x)[inside], _sampled(across, to_y, to_x)[inside]
        terms = [gy, gy * y[inside], gy * x[inside], gx, gx * y[inside], gx * x[inside]]
        # Brightness too, so that changing light is no motion; robust weights, so that an actor is no camera.
        design = np.stack([*terms, np.ones_like(gy), laid[inside] - laid[inside].mean()], axis=1)
        weight = 1 / np.maximum(np.abs(error), 2.0)
        normal = design.T @ (design * weight[:, None]) + 1e-3 * np.eye(8)
        step = np.linalg.solve(normal, design.T @ (error * weight))
        map_23 += step[:6].reshape(2, 3).astype(np.float32)
    return _busiest(best) / max(_busiest(np.abs(after_HW - before_HW)), LEAST)


def _busiest(change_HW: Floats) -> float:
    """Mean of the largest twentieth."""
    inner = change_HW[2:-2, 2:-2].ravel()
    return float(np.sort(inner)[-max(1, inner.size // 20) :].mean())


def _sampled(values_HW: Any, to_y: Any, to_x: Any) -> Floats:
    """Bilinear samples; outside the picture its border."""
    height, width = values_HW.shape
    y, x = np.clip(to_y, 0, height - 1.001), np.clip(to_x, 0, width - 1.001)
    top, left = y.astype(int), x.astype(int)
    fy, fx = y - top, x - left
    upper = values_HW[top, left] * (1 - fx) + values_HW[top, left + 1] * fx
    lower = values_HW[top + 1, left] * (1 - fx) + values_HW[top + 1, left + 1] * fx
    return np.asarray(upper * (1 - fy) + lower * fy, np.float32)


def _jolts(grey_FHW: Floats) -> float:
    """Median length of the second difference of the picture's path, by phase correlation (Kuglin, 1975)."""
    height, width = grey_FHW.shape[1:]
    window = np.outer(np.hanning(height), np.hanning(width)).astype(np.float32)
    spectra = np.fft.rfft2((grey_FHW - grey_FHW.mean(axis=(1, 2), keepdims=True)) * window)
    moves = []
    for before, after in pairwise(spectra):
        cross = after * np.conj(before)
        peak = np.fft.irfft2(cross / np.maximum(np.abs(cross), 1e-3), (height, width))
        y, x = np.unravel_index(int(np.argmax(peak)), peak.shape)
        moves.append(((y + height // 2) % height - height // 2, (x + width // 2) % width - width // 2))
    turns = np.linalg.norm(np.diff(np.array(moves, np.float64), axis=0), axis=1)
    # The median: a cut, or a fall towards the ground, is a jump or two and no trembling.
    return float(1000 * np.median(turns) / width) if len(turns) else 0.0


def _flicker(grey_FHW: Floats) -> float:
    """Median second difference of the frames' mean brightness, over that brightness."""
    level = grey_FHW.mean(axis=(1, 2))
    return float(np.median(np.abs(np.diff(level, 2))) / max(float(level.mean()), 1.0))


def _longest(flags: NDArray[np.bool_]) -> int:
    """The longest run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    runs = edges.reshape(-1, 2)
    return int((runs[:, 1] - runs[:, 0]).max()) if len(runs) else 0


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
