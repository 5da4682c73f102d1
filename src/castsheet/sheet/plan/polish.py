"""From a partition on a lattice to pixels: the best cuts of a fixed tree, then a local search over the cuts.

A plan is a list of parts: free rectangles of the canvas, each with a tree over some panels (one part, the
whole canvas, unless panels are pinned).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from castsheet.sheet.box import Box
from castsheet.sheet.plan.search import Axis, FixedTree, Leaf, Tree, fine_units
from castsheet.sheet.plan.worth import MIN_PANEL_SIDE, Worth

_FINE = 144
_ROUNDS = 4


@dataclass(frozen=True)
class Part:
    """A free rectangle of the canvas and the tree of the panels in it."""

    room: Box
    tree: Tree


@dataclass(frozen=True)
class Placed:
    """Panels in pixels. `cells` are the rooms, `boxes` what the pictures cover."""

    cells: tuple[Box, ...]
    boxes: tuple[Box, ...]
    variants: tuple[int, ...]
    value: float


@dataclass(frozen=True)
class Split:
    """A cut in pixels: the first room ends before `at`, the second starts a gutter later."""

    axis: Axis
    at: int
    first: Split | int
    second: Split | int


def refined(part: Part, worth: Worth, gutter: int) -> Part:
    """The part's tree with the best cuts on a fine lattice; unchanged if the panels do not fit on it."""
    across = part.room.w + gutter, part.room.h + gutter
    units = fine_units(across[0], _FINE), fine_units(across[1], round(_FINE * across[1] / across[0]) or 1)
    w, h = (np.arange(n + 1) * side / n - gutter for n, side in zip(units, across, strict=True))
    better = FixedTree(part.tree, worth.table(w, h)).best()
    return part if better is None else Part(part.room, better)


def in_pixels(tree: Tree, room: Box, gutter: int, snap: int | None = None) -> Split | int:
    """The tree's cuts in px, proportional to its units; on multiples of `snap` px when that is given."""
    if isinstance(tree, Leaf):
        return tree.item
    start, side = (room.x, room.w) if tree.axis == "x" else (room.y, room.h)
    at = start + round(tree.at * (side + gutter) / tree.size) - gutter
    if snap:
        at = round(at / snap) * snap
    one, other = halves(room, tree.axis, at, gutter)
    return Split(
        tree.axis, at, in_pixels(tree.first, one, gutter, snap), in_pixels(tree.second, other, gutter, snap)
    )


def halves(room: Box, axis: Axis, at: int, gutter: int) -> tuple[Box, Box]:
    """The two rooms that a cut leaves; their sides may be negative."""
    if axis == "x":
        return Box(room.x, room.y, at - room.x, room.h), Box(
            at + gutter, room.y, room.right - at - gutter, room.h
        )
    return Box(room.x, room.y, room.w, at - room.y), Box(
        room.x, at + gutter, room.w, room.bottom - at - gutter
    )


class Polisher:
    """Places panels, and moves cuts as long as the plan's value rises.

    Args:
        pinned: cells of pinned panels, by panel.
    """

    def __init__(self, worth: Worth, gutter: int, pinned: dict[int, Box]) -> None:
        self.worth, self.gutter, self.pinned = worth, gutter, pinned

    def best(self, rooms: Sequence[Box], splits: Sequence[Split | int]) -> Placed | None:
        """The result of the climb from these cuts; None if the panels do not fit at the start."""
        trees = list(splits)
        best = self.placed(rooms, trees)
        if best is None:
            return None
        for _ in range(_ROUNDS):
            before = best
            for number in range(len(trees)):
                for path in list(_paths(trees[number])):
                    for at in self._candidates(_split_at(trees[number], path)):
                        moved = [*trees[:number], _moved(trees[number], path, at), *trees[number + 1 :]]
                        found = self.placed(rooms, moved)
                        if found is not None and found.value > best.value + 1e-6:
                            best, trees = found, moved
            if best is before:
                break
        return best

    def placed(self, rooms: Sequence[Box], splits: Sequence[Split | int]) -> Placed | None:
        """Cells, boxes and value; None when a room is too small."""
        found = dict(self.pinned)
        for room, split in zip(rooms, splits, strict=True):
            for item, cell in self._cells(split, room):
                if min(cell.w, cell.h) < MIN_PANEL_SIDE:
                    return None
                found[item] = cell
        cells = tuple(found[item] for item in range(len(found)))
        variants, sizes = self.worth.fitted(cells)
        if min(min(size) for size in sizes) < MIN_PANEL_SIDE:
            return None
        xs = _anchored([(c.x, c.w, w) for c, (w, _) in zip(cells, sizes, strict=True)], self.worth.width)
        ys = _anchored([(c.y, c.h, h) for c, (_, h) in zip(cells, sizes, strict=True)], self.worth.height)
        boxes = tuple(Box(x, y, w, h) for x, y, (w, h) in zip(xs, ys, sizes, strict=True))
        return Placed(cells, boxes, tuple(variants), self.worth.total(variants, boxes))

    def _cells(self, split: Split | int, room: Box) -> Iterator[tuple[int, Box]]:
        if isinstance(split, int):
            yield split, room
            return
        one, other = halves(room, split.axis, split.at, self.gutter)
        yield from self._cells(split.first, one)
        yield from self._cells(split.second, other)

    def _candidates(self, split: Split) -> Iterator[int]:
        """Other places for a cut: px around it, and with a latent edge at either end of the gutter."""
        at, cell = split.at, self.worth.cell
        low = at // cell * cell
        yield from (low, low + cell, low - self.gutter, low + cell - self.gutter)
        step = max(1, cell // 2)
        while step:
            yield at - step
            yield at + step
            step //= 2


def _paths(split: Split | int, path: str = "") -> Iterator[str]:
    """Paths to the cuts of a tree: strings of 0 (first half) and 1 (second half) from the root."""
    if isinstance(split, Split):
        yield path
        yield from _paths(split.first, path + "0")
        yield from _paths(split.second, path + "1")


def _split_at(split: Split | int, path: str) -> Split:
    for step in path:
        assert isinstance(split, Split)
        split = split.first if step == "0" else split.second
    assert isinstance(split, Split)
    return split


def _moved(split: Split | int, path: str, at: int) -> Split:
    assert isinstance(split, Split)
    if not path:
        return Split(split.axis, at, split.first, split.second)
    if path[0] == "0":
        return Split(split.axis, split.at, _moved(split.first, path[1:], at), split.second)
    return Split(split.axis, split.at, split.first, _moved(split.second, path[1:], at))


def _anchored(spans: list[tuple[int, int, int]], side: int) -> list[int]:
    """Start of each picture along one axis, given (cell start, cell size, picture size).

    Next to the canvas' edge pictures touch the edge; elsewhere they are centred. If no picture touches an
    edge, because all cells there reach from edge to edge, the first of them moves to the start and the last
    to the end: a black band along a whole edge of the sheet becomes letterboxing in the video.
    """
    starts = []
    for start, size, shown in spans:
        if start == 0 and size < side:
            starts.append(0)
        elif start + size == side and size < side:
            starts.append(side - shown)
        else:
            starts.append(start + (size - shown) // 2)
    whole = [i for i, (_, size, _) in enumerate(spans) if size == side]
    if len(whole) > 1:
        if min(starts) > 0:
            starts[whole[0]] = 0
        if max(start + shown for start, (_, _, shown) in zip(starts, spans, strict=True)) < side:
            starts[whole[-1]] = side - spans[whole[-1]][2]
    return starts
