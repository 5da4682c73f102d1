"""Exact search over nested row/column partitions on a lattice: the planner's inner loop.

A plan is rows, a row is cells, a cell is a stack of items (and the same with rows and columns swapped). For a
value that is a sum over items, the best plan follows by dynamic programming over subsets of items: first the
best stack of every subset at every size, then the best row, then the best pile of rows. Values are rounded
to multiples of 2^-18, so that float32 sums are exact and equal plans tie exactly on every machine; ties go to
the first plan in a fixed order.

Array legend: S subset of items (bit mask), P pair of subsets, X size along the axis of the partition, Y size
across it; sizes count lattice units and start at 0, where nothing fits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.float32]

_QUANTUM = 2.0**-18
# Above so many items, cells hold at most two of them and rows at most five, to keep the search short.
_EXHAUSTIVE_ITEMS = 8
_CELL_ITEMS, _ROW_ITEMS = 2, 5


_FINE_UNITS, _FEWER_FINE_UNITS = 48, 32
_MAX_GRID_UNITS = 32


@dataclass(frozen=True)
class Lattice:
    """Where cells may end, in px: cut k is the first pixel after a cell; the next starts a gutter later."""

    x: tuple[int, ...]
    y: tuple[int, ...]


def grid_lattice(width: int, height: int, gutter: int, cell: int) -> Lattice:
    """Cuts on the edges of latent cells of side `cell`: a gutter opens the latent cell after it.

    Large canvases take every second or third edge, so that the search stays short.
    """
    coarse = math.ceil(max(width, height) / cell / _MAX_GRID_UNITS)

    def cuts(side: int) -> tuple[int, ...]:
        cells = side // cell
        units = max(1, cells // coarse)
        return (-gutter, *(cell * round(k * cells / units) for k in range(1, units + 1)))

    return Lattice(cuts(width), cuts(height))


def fine_lattice(width: int, height: int, gutter: int, items: int) -> Lattice:
    """Evenly spaced cuts, wherever they fall; fewer when many items make the search long."""
    units = _FINE_UNITS if items <= _EXHAUSTIVE_ITEMS else _FEWER_FINE_UNITS
    unit = max(max(width, height) / units, 1.5 * gutter)

    def cuts(side: int) -> tuple[int, ...]:
        units = max(1, round(side / unit))
        return tuple(round(k * (side + gutter) / units) - gutter for k in range(units + 1))

    return Lattice(cuts(width), cuts(height))


@dataclass(frozen=True)
class Placed:
    """An item's room in lattice units: columns `x0 .. x1`, rows `y0 .. y1`."""

    item: int
    x0: int
    x1: int
    y0: int
    y1: int


def best_rows(value_IXY: NDArray[np.float64]) -> list[Placed]:
    """The best plan made of rows; empty when the items do not fit.

    Args:
        value_IXY: value of item i in a room of x by y units, -inf where it does not fit; its last two axes
            have the canvas' width + 1 and height + 1 in units.
    """
    items, width, height = value_IXY.shape[0], value_IXY.shape[1] - 1, value_IXY.shape[2] - 1
    exact = (np.rint(value_IXY / _QUANTUM) * _QUANTUM).astype(np.float32)
    exact[:, 0, :] = exact[:, :, 0] = -np.inf
    cell_items, row_items = (items, items) if items <= _EXHAUSTIVE_ITEMS else (_CELL_ITEMS, _ROW_ITEMS)
    single = np.full((1 << items, height + 1, width + 1), -np.inf, np.float32)
    for item in range(items):
        single[1 << item] = exact[item].T
    stacks = _Partition(single, part=1, whole=cell_items)
    rows = _Partition(stacks.best.transpose(0, 2, 1), part=cell_items, whole=row_items)
    pile = _Partition(rows.best[:, width, :, None].copy(), part=row_items, whole=items)
    if not np.isfinite(pile.best[-1, height, 0]):
        return []
    return list(_walk(pile, rows, stacks, width, height))


def _walk(
    pile: _Partition, rows: _Partition, stacks: _Partition, width: int, height: int
) -> Iterator[Placed]:
    y0 = 0
    for row, row_height in pile.parts(len(pile.best) - 1, height, 0):
        x0 = 0
        for cell, cell_width in rows.parts(row, width, row_height):
            top = y0
            for item, item_height in stacks.parts(cell, row_height, cell_width):
                yield Placed(item.bit_length() - 1, x0, x0 + cell_width, top, top + item_height)
                top += item_height
            x0 += cell_width
        y0 += row_height


class _Partition:
    """Best way to lay every subset out as parts side by side along X.

    `part_SXY` is the value of a subset as one part. `best` has the same shape. Parts are taken in the order
    of their lowest item, so that every partition is seen once. `part` and `whole` bound the items in a part
    and in a partition.
    """

    def __init__(self, part_SXY: Table, *, part: int, whole: int) -> None:
        self.part_SXY = part_SXY
        self.best = np.full_like(part_SXY, -np.inf)
        self._part = part
        for mask in range(1, len(part_SXY)):
            if mask.bit_count() <= whole:
                self.best[mask] = self._partitioned(mask)

    def _firsts(self, mask: int) -> list[int]:
        """Subsets that can be the part with the lowest item, the whole mask last."""
        low = mask & -mask
        rest = mask ^ low
        found = []
        sub = 0
        while True:
            if 1 + sub.bit_count() <= self._part:
                found.append(low | sub)
            if sub == rest:
                return found
            sub = (sub - rest) & rest

    def _partitioned(self, mask: int) -> Table:
        firsts = self._firsts(mask)
        best: Table = np.full(self.part_SXY.shape[1:], -np.inf, np.float32)
        if firsts[-1] == mask:
            best = self.part_SXY[mask].copy()
            firsts.pop()
        if not firsts:
            return best
        first_PXY = self.part_SXY[firsts]
        rest_PXY = self.best[[mask ^ first for first in firsts]]
        for x in range(1, best.shape[0] - 1):
            total = first_PXY[:, x, None, :] + rest_PXY[:, 1:-x, :]
            np.maximum(best[x + 1 :], total.max(axis=0), out=best[x + 1 :])
        return best

    def parts(self, mask: int, size: int, across: int) -> Iterator[tuple[int, int]]:
        """The parts of the best partition with their sizes along X, first part first."""
        while mask:
            first, x = self._first_part(mask, size, across)
            yield first, x
            mask, size = mask ^ first, size - x

    def _first_part(self, mask: int, size: int, across: int) -> tuple[int, int]:
        target = self.best[mask, size, across]
        for first in self._firsts(mask):
            if first == mask:
                return mask, size
            for x in range(1, size):
                rest = self.best[mask ^ first, size - x, across]
                if self.part_SXY[first, x, across] + rest == target:
                    return first, x
        raise AssertionError("a best value without a partition")
