"""Dissolves between two shots of one place, in which people go on moving.

A dissolve that changes its people only is small, and people who move spoil the mixture here and there. What
is left tells: most of what changes goes from one value to another in step, in a straight line, and stays as
it is before and after. Somebody who walks changes each pixel at another time, and all at once. Smooth ground
changes in step too while the camera moves: a movement of the whole picture explains it (Bouthemy et al.,
1999).

Legend: F frames, H height, W width, S first frames of stretches.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from castsheet.pairs.protocols import Floats

REACHES = (8, 10, 12)  # frames: halves of the stretches that are looked at
MOMENTS = (0.25, 0.375, 0.5, 0.625, 0.75)  # of a stretch, at which its mixture is checked
CHANGED, NOISE = 0.02, 0.006  # of the range: what changes; what compression adds
LINE, QUIET = 0.3, 0.35
"""Of a pixel's change: how far it may be from the straight line within, and from its ends beside it."""
SHARE = 0.5  # of all that changes: what goes in step
AREA, AMOUNT = 0.05, 0.014  # of the picture, and of the range over the whole of it: what goes in step
NEW = 0.002
"""Of the range over the whole of the picture: by how much more what goes in step changes than something that
moves a pixel on, as hair and grass in the wind do."""
BETWEEN = 4  # frames without a blend that part one blend from the next
LONGEST = 20  # frames in which a blend has its middle: a slow movement has it for longer
MOVED = 0.5  # of the ends' difference: what no movement of the whole picture explains
ACROSS, DOWN = 5, 2  # px of the small picture by which it may have moved
ROUNDS = 3  # of the fit, in each of which what does not fit counts less


def blends(values_FHW3: Floats, cuts: list[int]) -> list[tuple[int, int]]:
    """The blends of a film: the frame in the middle of each, and half of the stretch that fits it best.

    Args:
        values_FHW3: small pictures, 0..1. cuts: first frames of shots; a blend does not reach over a cut.
    """
    share, reached = np.zeros(len(values_FHW3), np.float32), np.zeros(len(values_FHW3), np.int64)
    marks = np.zeros(len(values_FHW3) + 1, np.int32)
    marks[cuts] = 1
    passed = np.cumsum(marks)
    for reach in REACHES:
        if len(values_FHW3) <= 2 * reach:
            continue
        found = _in_step(values_FHW3, passed, reach)
        middle = slice(reach, reach + len(found))
        reached[middle] = np.where(found > share[middle], reach, reached[middle])
        share[middle] = np.maximum(share[middle], found)
    at = np.flatnonzero(share)
    runs = np.split(at, np.flatnonzero(np.diff(at) > BETWEEN) + 1) if len(at) else []
    best = [int(run[np.argmax(share[run])]) for run in runs if len(run) <= LONGEST]
    told = [(middle, int(reached[middle])) for middle in best]
    return [(k, half) for k, half in told if left_over(values_FHW3[k - half], values_FHW3[k + half]) > MOVED]


def _in_step(values: Floats, passed: NDArray[np.int32], reach: int) -> Floats:
    """Of each stretch that begins at a frame (S), the share of its change that goes in step; 0 if too little.

    Args:
        passed: cuts up to each frame.
    """
    count = len(values) - 2 * reach
    starts = np.arange(count)
    ends = starts + 2 * reach
    before, after = np.maximum(starts - reach, 0), np.minimum(ends + reach, len(values) - 1)
    found = np.zeros(count, np.float32)
    # Most stretches hardly change: they cost one difference.
    for at in np.flatnonzero(passed[ends] == passed[starts]):
        one, other = values[at], values[ends[at]]
        if np.abs(other - one).mean() < AMOUNT:
            continue
        _, even, size = straight(values, int(at), 2 * reach)
        beside = QUIET * size + NOISE
        if passed[before[at]] == passed[at]:
            even = even & (np.abs(values[before[at]] - one) < beside)
        if passed[after[at]] == passed[ends[at]]:
            even = even & (np.abs(values[after[at]] - other) < beside)
        amount = float(size[even].sum())
        share = amount / float(size[size > CHANGED].sum())
        enough = even.mean() > AREA and amount > AMOUNT * size.size and share > SHARE
        if enough and _new(one, other)[even].sum() > NEW * size.size:
            found[at] = share
    return found


def straight(values_FHW3: Floats, first: int, length: int) -> tuple[float, NDArray[np.bool_], Floats]:
    """Of a stretch, the share of its change that goes in a straight line, where that is, and all change
    (H, W, 3)."""
    change = values_FHW3[first + length] - values_FHW3[first]
    size = np.abs(change)
    moved = size > CHANGED
    even, room = moved, LINE * size + NOISE
    for moment in MOMENTS:
        k = round(length * moment)
        wanted = change * np.float32(k / length)
        even = even & (np.abs(values_FHW3[first + k] - values_FHW3[first] - wanted) < room)
    return float(size[even].sum()) / max(1e-6, float(size[moved].sum())), even, size


def _new(one_HW3: Floats, other_HW3: Floats) -> Floats:
    """How far two pictures are from all that the other one shows within a pixel (H, W, 3)."""
    found = np.full_like(one_HW3, np.inf)
    height, width = one_HW3.shape[:2]
    for shown, wanted in ((one_HW3, other_HW3), (other_HW3, one_HW3)):
        wide = np.pad(shown, ((1, 1), (1, 1), (0, 0)), mode="edge")
        around = [wide[y : y + height, x : x + width] for y in range(3) for x in range(3)]
        low, high = np.minimum.reduce(around), np.maximum.reduce(around)
        found = np.minimum(found, np.maximum(np.maximum(wanted - high, low - wanted), 0))
    return found


def left_over(one_HW3: Floats, other_HW3: Floats) -> float:
    """The share of two pictures' difference that no movement of the whole picture explains.

    The picture may move sideways, up or down, and by another amount at one side than at the other.
    """
    a, b = one_HW3.mean(axis=2), other_HW3.mean(axis=2)
    height, width = a.shape
    best: tuple[float, Floats, Floats] | None = None
    for y in range(-DOWN, DOWN + 1):
        for x in range(-ACROSS, ACROSS + 1):
            here = slice(max(0, y), height + min(0, y)), slice(max(0, x), width + min(0, x))
            there = slice(max(0, -y), height + min(0, -y)), slice(max(0, -x), width + min(0, -x))
            still = float(np.abs(a[there] - b[there]).mean())
            share = float(np.abs(a[here] - b[there]).mean()) / max(still, 1e-6)
            if best is None or share < best[0]:
                best = share, a[here], b[there]
                usual = still
    assert best is not None
    _, shown, wanted = best
    down, across = np.gradient(shown)
    rows, columns = np.mgrid[-0.5 : 0.5 : shown.shape[0] * 1j, -0.5 : 0.5 : shown.shape[1] * 1j]
    moves = np.stack([across, down, across * columns, down * rows], axis=-1).reshape(-1, 4)
    apart = (wanted - shown).ravel()
    weight = np.ones_like(apart)
    rest = apart
    for _ in range(ROUNDS):
        fit = np.linalg.lstsq(moves * weight[:, None], apart * weight, rcond=None)[0]
        rest = apart - moves @ fit
        spread = 1.5 * float(np.median(np.abs(rest))) + 1e-4
        weight = 1 / np.sqrt(1 + np.square(rest / spread))
    return float(np.abs(rest).mean()) / max(usual, 1e-6)
