"""Exact search over guillotine partitions: the planner's inner loop.

A guillotine partition divides a rectangle by one straight cut from side to side, and divides both halves
again until every item has a room. If the value is a sum over items of a function of the item's room, dynamic
programming over subsets of items and room sizes finds the best partition,

    best[S, x, y] = max over A + B = S of max_k best[A, k, y] + best[B, x - k, y]   and the same along y,

exactly on a lattice of room sizes. With `grant=1` both halves of a cut together may be one unit longer than
the room. Rounding two real sizes up to the lattice adds at most that unit, and a larger room is never worth
less: the result is an upper bound for every partition, also off the lattice.

Values are rounded to multiples of 2^-18. Then float32 sums are exact, and equal plans tie exactly on every
machine; a tie goes to the first plan in a fixed order.

Array legend: I item, S subset of items (bit mask), P pair of subsets, X and Y room size in lattice units,
starting at 0, where nothing fits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.float32]
Axis = Literal["x", "y"]

QUANTUM = 2.0**-18
# Additions that one search may cost: 0.1 to 0.2 s on one core.
WORK = 1.2e8
# Elements of a temporary array: it is several times faster in a core's cache.
_CHUNK = 1 << 17
# First cuts whose plans are compared: each costs a climb of about 20 ms.
_DIVISIONS = 5


@dataclass(frozen=True)
class Leaf:
    """An item that gets a whole room."""

    item: int


@dataclass(frozen=True)
class Cut:
    """A room divided in two: side by side along "x", or one above the other along "y".

    Args:
        at, size: units of the first part, and of the whole, along the axis.
    """

    axis: Axis
    at: int
    size: int
    first: Tree
    second: Tree


Tree = Leaf | Cut


def quantised(value: NDArray[np.float64]) -> Table:
    """Values whose float32 sums are exact."""
    return (np.rint(value / QUANTUM) * QUANTUM).astype(np.float32)


def pairs_of(items: int) -> int:
    """Ways to divide a subset in two, summed over all subsets of this many items."""
    return max(1, (3**items - 2 ** (items + 1) + 1) // 2)


def lattice_units(items: int, aspect: float, *, most: int = 128) -> tuple[int, int]:
    """The finest lattice of square units whose search costs at most `WORK`, on a canvas of this aspect."""
    width = round((2 * WORK / pairs_of(items) * aspect**2 / (1 + aspect)) ** (1 / 3))
    width = max(4, min(width, most, round(most * aspect)))
    return width, max(4, round(width / aspect))


class Slicing:
    """The best guillotine partition of every subset at every room size.

    Args:
        value_IXY: value of item i in a room of x by y units; it never falls as the room grows, and is -inf
            if the item does not fit. Index 0 of the last two axes is size 0.
        grant: 0 for the exact optimum on the lattice, 1 for an upper bound of all partitions.
    """

    def __init__(self, value_IXY: NDArray[np.float64], *, grant: int = 0) -> None:
        items, width, height = value_IXY.shape
        self.grant = grant
        self.best = np.full((1 << items, width, height), -np.inf, np.float32)
        exact = quantised(value_IXY)
        exact[:, 0, :] = exact[:, :, 0] = -np.inf
        for item in range(items):
            self.best[1 << item] = exact[item]
        for members in range(2, items + 1):
            self._fill(*_layer(items, members))

    def _fill(self, masks_S: NDArray[np.int32], firsts_SP: NDArray[np.int32]) -> None:
        """All subsets of one size, a few at a time."""
        _, width, height = self.best.shape
        step = max(1, _CHUNK // (firsts_SP.shape[1] * width * height))
        for start in range(0, len(masks_S), step):
            masks = masks_S[start : start + step]
            firsts = firsts_SP[start : start + step]
            first_SPXY, rest_SPXY = self.best[firsts], self.best[masks[:, None] ^ firsts]
            best_SXY = np.full((len(masks), width, height), -np.inf, np.float32)
            for k in range(1, width - 1 + self.grant):
                total = first_SPXY[:, :, k, None] + rest_SPXY[:, :, 1 : width - k + self.grant]
                out = best_SXY[:, k + 1 - self.grant :]
                np.maximum(out, total.max(axis=1), out=out)
            for k in range(1, height - 1 + self.grant):
                total = first_SPXY[..., k, None] + rest_SPXY[..., 1 : height - k + self.grant]
                out = best_SXY[:, :, k + 1 - self.grant :]
                np.maximum(out, total.max(axis=1), out=out)
            self.best[masks] = best_SXY

    def value(self, mask: int, x: int, y: int) -> float:
        """Best value of a subset in a room of x by y units; -inf when it does not fit."""
        return float(self.best[mask, x, y])

    def tree(self, mask: int, x: int, y: int) -> Tree:
        """The partition that reaches `value`, which must be finite. Only for `grant=0`."""
        if mask.bit_count() == 1:
            return Leaf(mask.bit_length() - 1)
        target = self.best[mask, x, y]
        for first in _firsts(mask):
            one, other = self.best[first], self.best[mask ^ first]
            beside = np.flatnonzero(one[1:x, y] + other[x - 1 : 0 : -1, y] == target)
            if beside.size:
                k = int(_most_even(beside + 1, x))
                return Cut("x", k, x, self.tree(first, k, y), self.tree(mask ^ first, x - k, y))
            above = np.flatnonzero(one[x, 1:y] + other[x, y - 1 : 0 : -1] == target)
            if above.size:
                k = int(_most_even(above + 1, y))
                return Cut("y", k, y, self.tree(first, x, k), self.tree(mask ^ first, x, y - k))
        raise AssertionError("a best value without a partition")

    def divisions(self, mask: int, x: int, y: int) -> list[tuple[float, Tree]]:
        """The best partition for each pair of subsets and each axis of the first cut, with its value.

        Best first; the first is worth what `tree` is worth. Terms that this search leaves out can make a
        later one the better plan. Only for `grant=0`.
        """
        if mask.bit_count() == 1:
            return [(self.value(mask, x, y), self.tree(mask, x, y))]
        found: list[tuple[float, Axis, int, int]] = []
        for first in _firsts(mask):
            one, other = self.best[first], self.best[mask ^ first]
            beside, above = one[1:x, y] + other[x - 1 : 0 : -1, y], one[x, 1:y] + other[x, y - 1 : 0 : -1]
            found += [(float(beside.max()), "x", 1 + _ties_even(beside), first)] if x > 1 else []
            found += [(float(above.max()), "y", 1 + _ties_even(above), first)] if y > 1 else []
        found = sorted((one for one in found if math.isfinite(one[0])), key=lambda one: -one[0])
        return [
            (value, self._cut(mask, (x, y), axis, k, first)) for value, axis, k, first in found[:_DIVISIONS]
        ]

    def _cut(self, mask: int, room: tuple[int, int], axis: Axis, k: int, first: int) -> Cut:
        x, y = room
        one, other = ((k, y), (x - k, y)) if axis == "x" else ((x, k), (x, y - k))
        size = x if axis == "x" else y
        return Cut(axis, k, size, self.tree(first, *one), self.tree(mask ^ first, *other))


def _most_even(cuts: NDArray[np.int64], size: int) -> int:
    """Of equally good cuts the one nearest the middle: it spreads spare room over both sides."""
    return int(cuts[np.argmin(np.abs(2 * cuts - size))])


def _firsts(mask: int) -> list[int]:
    """Proper subsets that hold the mask's lowest item: one of each pair that divides the mask."""
    low = mask & -mask
    rest = mask ^ low
    found, sub = [], 0
    while sub != rest:
        found.append(low | sub)
        sub = (sub - rest) & rest
    return found


@cache
def _layer(items: int, members: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Masks (S) with this many members, and for each the first halves (S, P) of its pairs."""
    masks = [mask for mask in range(1 << items) if mask.bit_count() == members]
    return np.array(masks, np.int32), np.array([_firsts(mask) for mask in masks], np.int32)


@dataclass(frozen=True)
class FixedTree:
    """The best cuts of one given tree on a fine lattice: the same search without the choice of subsets."""

    tree: Tree
    value_IXY: NDArray[np.float64]

    @cached_property
    def tables(self) -> dict[Tree, Table]:
        found: dict[Tree, Table] = {}
        self._fill(self.tree, quantised(self.value_IXY), found)
        return found

    def _fill(self, node: Tree, exact_IXY: Table, found: dict[Tree, Table]) -> Table:
        if isinstance(node, Leaf):
            table = exact_IXY[node.item].copy()
            table[0, :] = table[:, 0] = -np.inf
        else:
            one = self._fill(node.first, exact_IXY, found)
            other = self._fill(node.second, exact_IXY, found)
            if node.axis == "y":
                one, other = one.T.copy(), other.T.copy()
            table = np.full_like(one, -np.inf)
            for k in range(1, len(one) - 1):
                out = table[k + 1 :]
                np.maximum(out, one[k] + other[1:-k], out=out)
            table = table.T.copy() if node.axis == "y" else table
        found[node] = table
        return table

    def best(self) -> Tree | None:
        """The tree with its best cuts at the lattice's full size; None when the items do not fit."""
        _, width, height = self.value_IXY.shape
        if not np.isfinite(self.tables[self.tree][-1, -1]):
            return None
        return self._walk(self.tree, width - 1, height - 1)

    def _walk(self, node: Tree, x: int, y: int) -> Tree:
        if isinstance(node, Leaf):
            return node
        one, other = self.tables[node.first], self.tables[node.second]
        if node.axis == "x":
            k = 1 + _ties_even(one[1:x, y] + other[x - 1 : 0 : -1, y])
            return Cut("x", k, x, self._walk(node.first, k, y), self._walk(node.second, x - k, y))
        k = 1 + _ties_even(one[x, 1:y] + other[x, y - 1 : 0 : -1])
        return Cut("y", k, y, self._walk(node.first, x, k), self._walk(node.second, x, y - k))


def _ties_even(total: Table) -> int:
    """Index of the largest value; of equals, the one nearest the middle."""
    return _most_even(np.flatnonzero(total == total.max()), len(total) - 1)


def replaced(tree: Tree, subtrees: Sequence[Tree]) -> Tree:
    """The tree with item i's leaf replaced by `subtrees[i]`."""
    if isinstance(tree, Leaf):
        return subtrees[tree.item]
    return Cut(tree.axis, tree.at, tree.size, replaced(tree.first, subtrees), replaced(tree.second, subtrees))


def cells_per_unit(items: int, cells: tuple[int, int]) -> int:
    """Latent cells that one unit of the latent lattice spans, so that a search keeps to `WORK`."""
    for coarse in range(1, min(cells)):
        width, height = cells[0] // coarse, cells[1] // coarse
        if pairs_of(items) * width * height * (width + height) / 2 <= 1.5 * WORK:
            return coarse
    return max(1, min(cells) // 4) if min(cells) > 1 else 1


def fine_units(side: int, most: int) -> int:
    """Units along a side of so many px (gutter included): at least 2 px each."""
    return max(1, min(most, math.floor(side / 2)))
