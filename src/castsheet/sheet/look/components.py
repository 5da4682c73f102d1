"""Connected things in a mask, found by runs and union-find: fast enough without an image library."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from castsheet.sheet.box import Box

Mask = NDArray[np.bool_]


def boxes_of(mask_HW: Mask, reach: int = 1) -> list[tuple[Box, int]]:
    """Bounding box and pixel count of each connected thing (8-neighbours), largest box first.

    Args:
        reach: the largest gap in pixels between parts of one thing. It does not widen the boxes.
    """
    spans = _spans(mask_HW, reach)
    found = [(_bounds(every), sum(size for *_, size in every)) for every in spans.values()]
    return sorted(found, key=lambda one: -one[0].area)


def things_of(mask_HW: Mask, reach: int = 1) -> list[tuple[Box, Mask]]:
    """Each connected thing's bounding box and its own pixels there, as `boxes_of` finds them.

    Boxes of two things may overlap, and then each one's pixels are its own only.
    """
    found = []
    for every in _spans(mask_HW, reach).values():
        box = _bounds(every)
        own = np.zeros((box.h, box.w), np.bool_)
        for y, x, right, _ in every:
            own[y - box.y, x - box.x : right - box.x] = mask_HW[y, x:right]
        found.append((box, own))
    return sorted(found, key=lambda one: -one[0].area)


def _spans(mask_HW: Mask, reach: int) -> dict[int, list[tuple[int, int, int, int]]]:
    """Of each connected thing its runs in order: row, start, end, and how many of its pixels lie there."""
    grown = _dilated(mask_HW, reach)
    starts, ends, rows = _runs(grown)
    parent = list(range(len(starts)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first_of_row = np.searchsorted(rows, np.arange(mask_HW.shape[0] + 1))
    for y in range(1, mask_HW.shape[0]):
        above, stop_above = int(first_of_row[y - 1]), int(first_of_row[y])
        here, stop_here = stop_above, int(first_of_row[y + 1])
        while above < stop_above and here < stop_here:
            if starts[above] <= ends[here] and starts[here] <= ends[above]:
                parent[root(here)] = root(above)
            if ends[above] < ends[here]:
                above += 1
            else:
                here += 1
    spans: dict[int, list[tuple[int, int, int, int]]] = {}
    before = rows * mask_HW.shape[1]
    own = np.flatnonzero(mask_HW)
    low, high = (np.searchsorted(own, before + np.array(edge, np.int64)) for edge in (starts, ends))
    for number in np.flatnonzero(high > low).tolist():
        first, end = own[low[number]] - before[number], own[high[number] - 1] - before[number] + 1
        run = int(rows[number]), int(first), int(end), int(high[number] - low[number])
        spans.setdefault(root(number), []).append(run)
    return spans


def _dilated(mask_HW: Mask, reach: int) -> Mask:
    grown = mask_HW.copy()
    for axis in (0, 1):
        padded = np.pad(grown, [(reach, reach) if axis == a else (0, 0) for a in (0, 1)])
        count = grown.shape[axis]
        grown = np.zeros_like(grown)
        for shift in range(2 * reach + 1):
            grown |= padded.take(range(shift, shift + count), axis=axis)
    return grown


def _runs(mask_HW: Mask) -> tuple[list[int], list[int], NDArray[np.int64]]:
    """Starts, ends (exclusive) and rows of all runs of set pixels, row by row."""
    step = np.diff(np.pad(mask_HW.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    rows, starts = np.nonzero(step == 1)
    ends = np.nonzero(step == -1)[1]
    return starts.tolist(), ends.tolist(), rows


def _bounds(runs: list[tuple[int, int, int, int]]) -> Box:
    """The tight box of a thing's own pixels, without what dilation added."""
    x, right = min(run[1] for run in runs), max(run[2] for run in runs)
    y, bottom = runs[0][0], runs[-1][0] + 1
    return Box(x, y, right - x, bottom - y)
