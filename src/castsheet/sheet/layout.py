"""Where each picture goes on the sheet. Pure functions of numbers: no pictures are read here.

The plan with the highest value is searched (see `search`; exactly up to 8 elements) on two lattices: the
latent grid, on which no two elements share a latent cell, and a finer one. The value of a plan is

    sum_i  w_i * log(a_i) - CROP * w_i * c_i + COVER * a_i - SMALL * max(0, 1 - a_i / SMALL_SHARE)

with a_i the share of the canvas that picture i covers after fitting, c_i the share of it that is cropped,
and w_i its weight (the weights are scaled to sum to 1). The logarithm makes areas follow the weights (without
the other terms, and with room for all, the best areas are proportional to them) and keeps every panel from
vanishing; the third term is the black that is left, with its sign turned; the last keeps panels legible.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from castsheet.elements import Scene
from castsheet.errors import LayoutError
from castsheet.sheet.manifest import Box, Kind, PanelView
from castsheet.sheet.search import Lattice, Placed, best_rows, fine_lattice, grid_lattice

Array = NDArray[np.float64]

MAX_PANELS = 12
COVER = 0.5
CROP = 0.5
SMALL = 0.1
SMALL_SHARE = 0.045
# A plan on the latent grid is taken unless the finer lattice beats it, in the value above, by more than this
# (about 5 % of every panel's area) and the share of latent cells in which two elements would mix.
TOLERANCE = 0.05
# A location fills its cell by losing at most this share of its width or height.
MAX_CROP = 0.2
# Official sheets are composed at 1536x896 with gutters of 16 px.
GUTTER_SHARE = 16 / 896
MIN_PANEL_SIDE = 8
# The face decides whether a person is recognised, but a turnaround shows everything else.
VIEW_WEIGHT: dict[PanelView, float] = {"face": 1.0, "turnaround": 1.3, "product": 0.5, "place": 0.8}
_QUANTUM = 2.0**-18


@dataclass(frozen=True)
class PanelWish:
    """A panel to place.

    Args:
        aspect: width / height of the picture.
        min_aspect, max_aspect: the range to which it may be cropped; equal to `aspect` to stay whole.
        weight: how much its area counts, relative to the other wishes.
    """

    element: str
    kind: Kind
    view: PanelView
    aspect: float
    min_aspect: float
    max_aspect: float
    weight: float


@dataclass(frozen=True)
class Score:
    """What a layout achieves. Shares are of the canvas' area.

    Args:
        value: the plan's value (see the module).
        weighted: sum of each picture's share times its weight, weights summing to 1.
        covered: share covered by pictures; the rest is black.
        cropped: share of the pictures' own area that is cropped away.
        shared_cells: latent cells that hold pixels of two elements.
        bands: black rows or columns over the full side, in px: left, top, right, bottom.
    """

    value: float
    weighted: float
    covered: float
    cropped: float
    shared_cells: int
    bands: tuple[int, int, int, int]


@dataclass(frozen=True)
class Layout:
    """A plan in pixels.

    Args:
        canvas: width and height of the composed sheet.
        gutter: least distance between two cells.
        boxes: what each picture covers, in the order of the wishes.
        cells: the room that each picture was given; its box lies inside.
    """

    canvas: tuple[int, int]
    gutter: int
    boxes: tuple[Box, ...]
    cells: tuple[Box, ...]
    score: Score


def wishes(scene: Scene, sizes: Mapping[tuple[str, PanelView], tuple[float, float]]) -> tuple[PanelWish, ...]:
    """The panels that a scene wants.

    Args:
        sizes: width and height of each panel's picture, by element id and view; a view without is left out.
    """
    found = []
    for element in scene.elements:
        for view, weight in VIEW_WEIGHT.items():
            if (element.id, view) in sizes:
                width, height = sizes[element.id, view]
                aspect = width / height
                slack = 1 - MAX_CROP if view == "place" else 1.0
                found.append(
                    PanelWish(
                        element=element.id,
                        kind=element.kind,
                        view=view,
                        aspect=aspect,
                        min_aspect=aspect * slack,
                        max_aspect=aspect / slack,
                        weight=weight * element.importance,
                    )
                )
    return tuple(found)


def plan(
    wishes: Sequence[PanelWish],
    *,
    output: tuple[int, int] = (768, 448),
    scale: int = 2,
    grid: int = 32,
    gutter: int | None = None,
) -> Layout:
    """Choose cells and boxes for 1 to 12 panels. Deterministic.

    Panels of one element share a rectangle that no other element enters. Pictures are as large as their cells
    allow, whole but for the crop that a wish permits, and pushed to the canvas' edges.

    Args:
        output: conditioning width and height in px, multiples of `grid`.
        scale: sheet px per conditioning px.
        grid: side of a latent cell at the conditioning size (32 for LTX-2.3, 16 for mini).
        gutter: px on the sheet; by default 16 px per 896 px of the short side.

    Raises:
        LayoutError: no panels or too many, sizes off the grid, or a picture would have a side below 8 px.
    """
    width, height = output[0] * scale, output[1] * scale
    gutter = max(1, round(GUTTER_SHARE * min(width, height))) if gutter is None else gutter
    _check(wishes, output, scale, grid, gutter)
    planner = _Planner(tuple(wishes), width, height, gutter, grid * scale)
    best = planner.best(grid_lattice(width, height, gutter, grid * scale))
    fine = planner.best(fine_lattice(width, height, gutter, len(planner.groups)))
    cells = output[0] * output[1] / grid**2
    if best is None or (
        fine is not None and fine.score.value > best.score.value + TOLERANCE + fine.score.shared_cells / cells
    ):
        best = fine
    if best is None or min(min(box.w, box.h) for box in best.boxes) < MIN_PANEL_SIDE:
        raise LayoutError(
            f"{len(wishes)} panels do not fit on {width}x{height} px: one would have a side below"
            f" {MIN_PANEL_SIDE} px",
            remedy="use fewer elements, a larger output, or pictures that are less long and thin",
        )
    return best


def _check(wishes: Sequence[PanelWish], output: tuple[int, int], scale: int, grid: int, gutter: int) -> None:
    if not 1 <= len(wishes) <= MAX_PANELS:
        raise LayoutError(
            f"{len(wishes)} panels were asked for; a sheet holds 1 to {MAX_PANELS}",
            remedy="give pictures for at least one element, and split large casts over several sheets",
        )
    if grid < 1 or scale < 1 or min(output) < grid or output[0] % grid or output[1] % grid:
        raise LayoutError(
            f"output {output[0]}x{output[1]} at scale {scale}: the sides must be multiples of {grid} px",
            remedy=f"round the sides to multiples of {grid}",
        )
    if not 1 <= gutter < grid * scale:
        raise LayoutError(
            f"gutter {gutter} px does not lie between 1 and {grid * scale - 1}, inside one latent cell",
            remedy="leave the gutter out, so that it follows the canvas",
        )
    for wish in wishes:
        sizes = (wish.weight, wish.min_aspect, wish.aspect, wish.max_aspect)
        ordered = wish.min_aspect <= wish.aspect <= wish.max_aspect
        if not ordered or min(sizes) <= 0 or not all(map(math.isfinite, sizes)):
            raise LayoutError(
                f"panel {wish.element} {wish.view}: weight and aspects must be positive, in order: {sizes}",
                remedy="check the picture's size and the element's importance",
            )


@dataclass(frozen=True)
class _Planner:
    """One planning task. `cell` is the side of a latent cell in sheet px."""

    wishes: tuple[PanelWish, ...]
    width: int
    height: int
    gutter: int
    cell: int

    @property
    def groups(self) -> list[tuple[int, ...]]:
        """Indices of each element's wishes, elements in order of their first."""
        names = list(dict.fromkeys(wish.element for wish in self.wishes))
        return [tuple(i for i, wish in enumerate(self.wishes) if wish.element == name) for name in names]

    def best(self, lattice: Lattice) -> Layout | None:
        """The best plan of rows or of columns on a lattice, None when the panels do not fit on it."""
        groups = self.groups
        # Sizes of k units; on the grid the first cell is a gutter larger than this says.
        w = np.arange(len(lattice.x)) * (self.width + self.gutter) / (len(lattice.x) - 1) - self.gutter
        h = np.arange(len(lattice.y)) * (self.height + self.gutter) / (len(lattice.y) - 1) - self.gutter
        value_IXY = np.stack([self._value(group, w[:, None], h[None, :]) for group in groups])
        layouts = []
        for placed in (best_rows(value_IXY), _turned(best_rows(value_IXY.transpose(0, 2, 1)))):
            if placed:
                layouts.append(self._layout(groups, placed, lattice))
        return max(layouts, key=lambda layout: layout.score.value, default=None)

    def _value(self, group: tuple[int, ...], w: Array, h: Array) -> Array:
        """Value of an element's panels in a room of w x h px, split in the best way; -inf where too small."""
        if len(group) == 1:
            wish = self.wishes[group[0]]
            room = (w >= MIN_PANEL_SIDE) & (h >= MIN_PANEL_SIDE)
            covered, cropped = _fit(wish, np.where(room, w, 1.0), np.where(room, h, 1.0))
            return np.where(room, self._worth(wish, covered, cropped), -np.inf)
        values = [
            self._value(group[:1], *first) + self._value(group[1:], *rest)
            for first, rest in self._splits(group, w, h)
        ]
        return np.max(values, axis=0)

    def _worth(self, wish: PanelWish, covered: Array, cropped: Array) -> Array:
        weight = wish.weight / sum(other.weight for other in self.wishes)
        share = covered / (self.width * self.height)
        small = np.maximum(0.0, 1 - share / SMALL_SHARE)
        return weight * (np.log(share) - CROP * cropped) + COVER * share - SMALL * small

    def _splits(
        self, group: tuple[int, ...], w: Array, h: Array
    ) -> Iterator[tuple[tuple[Array, Array], tuple[Array, Array]]]:
        """Ways to part a room between a group's first panel and the rest: (w, h) of both.

        Beside each other and above each other; the first gets what it can fill, or what the second (when it
        fills its part) leaves, or its share by weight.
        """
        first, rest = self.wishes[group[0]], self.wishes[group[1]]
        share = first.weight / sum(self.wishes[i].weight for i in group)
        beside = (h * first.aspect, w - self.gutter - h * rest.aspect, (w - self.gutter) * share)
        above = (w / first.aspect, h - self.gutter - w / rest.aspect, (h - self.gutter) * share)
        for size in beside:
            x = np.clip(np.rint(size), 0, np.maximum(w - self.gutter, 0))
            yield (x, h + 0 * x), (w - self.gutter - x, h + 0 * x)
        for size in above:
            y = np.clip(np.rint(size), 0, np.maximum(h - self.gutter, 0))
            yield (w + 0 * y, y), (w + 0 * y, h - self.gutter - y)

    def _cells(self, group: tuple[int, ...], room: Box) -> Iterator[tuple[int, Box]]:
        """The cell of each panel of a group: the split that `_value` found best."""
        if len(group) == 1:
            yield group[0], room
            return
        w, h = np.float64(room.w), np.float64(room.h)
        splits = list(self._splits(group, np.array([[w]]), np.array([[h]])))
        values = [
            float((self._value(group[:1], *first) + self._value(group[1:], *rest))[0, 0])
            for first, rest in splits
        ]
        # Rounded, so that equal splits tie alike on every machine; the first wins.
        best = int(np.argmax(np.rint(np.array(values) / _QUANTUM)))
        first, rest = (tuple(int(size[0, 0]) for size in part) for part in splits[best])
        yield from self._cells(group[:1], Box(room.x, room.y, *first))
        yield from self._cells(group[1:], Box(room.right - rest[0], room.bottom - rest[1], *rest))

    def _layout(self, groups: list[tuple[int, ...]], placed: list[Placed], lattice: Lattice) -> Layout:
        rooms: dict[int, Box] = {}
        for item in placed:
            x = max(0, lattice.x[item.x0] + self.gutter)
            y = max(0, lattice.y[item.y0] + self.gutter)
            room = Box(x, y, lattice.x[item.x1] - x, lattice.y[item.y1] - y)
            rooms.update(self._cells(groups[item.item], room))
        cells = tuple(rooms[i] for i in range(len(self.wishes)))
        sizes = [_fitted(wish, cell) for wish, cell in zip(self.wishes, cells, strict=True)]
        xs = _anchored([(cell.x, cell.w, w) for cell, (w, _) in zip(cells, sizes, strict=True)], self.width)
        ys = _anchored([(cell.y, cell.h, h) for cell, (_, h) in zip(cells, sizes, strict=True)], self.height)
        boxes = tuple(Box(x, y, w, h) for x, y, (w, h) in zip(xs, ys, sizes, strict=True))
        return Layout((self.width, self.height), self.gutter, boxes, cells, self._score(boxes))

    def _score(self, boxes: tuple[Box, ...]) -> Score:
        area, total = self.width * self.height, sum(wish.weight for wish in self.wishes)
        covered = np.array([box.area for box in boxes], dtype=np.float64)
        cropped = np.array([crop_of(w, box) for w, box in zip(self.wishes, boxes, strict=True)])
        worth = [
            self._worth(wish, covered[i : i + 1], cropped[i : i + 1]) for i, wish in enumerate(self.wishes)
        ]
        weights = np.array([wish.weight for wish in self.wishes])
        return Score(
            value=float(np.rint(np.sum(worth) / _QUANTUM) * _QUANTUM),
            weighted=float(weights @ covered / total / area),
            covered=float(covered.sum() / area),
            cropped=float(covered @ cropped / covered.sum()),
            shared_cells=self._shared_cells(boxes),
            bands=(
                min(box.x for box in boxes),
                min(box.y for box in boxes),
                self.width - max(box.right for box in boxes),
                self.height - max(box.bottom for box in boxes),
            ),
        )

    def _shared_cells(self, boxes: tuple[Box, ...]) -> int:
        owners = np.zeros((math.ceil(self.height / self.cell), math.ceil(self.width / self.cell)), np.int64)
        for name in {wish.element for wish in self.wishes}:
            held = np.zeros_like(owners, dtype=bool)
            for wish, box in zip(self.wishes, boxes, strict=True):
                if wish.element == name:
                    rows = slice(box.y // self.cell, (box.bottom - 1) // self.cell + 1)
                    held[rows, box.x // self.cell : (box.right - 1) // self.cell + 1] = True
            owners += held
        return int((owners > 1).sum())


def crop_of(wish: PanelWish, box: Box) -> float:
    """Share of the picture that is cropped away when it fills its box.

    Rounding to whole pixels bends a picture by less than a pixel; that is no crop.
    """
    aspect = min(max(box.w / box.h, wish.min_aspect), wish.max_aspect)
    return 1 - min(aspect / wish.aspect, wish.aspect / aspect)


def _fit(wish: PanelWish, w: Array, h: Array) -> tuple[Array, Array]:
    """Covered area in px and share cropped away of a picture in a room of w x h px."""
    shown = np.clip(w / h, wish.min_aspect, wish.max_aspect)
    covered = np.minimum(w, h * shown) * np.minimum(h, w / shown)
    return covered, 1 - np.minimum(shown / wish.aspect, wish.aspect / shown)


def _fitted(wish: PanelWish, cell: Box) -> tuple[int, int]:
    """Size of the picture in its cell, in whole px."""
    shown = min(max(cell.w / cell.h, wish.min_aspect), wish.max_aspect)
    return min(cell.w, round(cell.h * shown)), min(cell.h, round(cell.w / shown))


def _anchored(spans: list[tuple[int, int, int]], side: int) -> list[int]:
    """Start of each picture along one axis, given (cell start, cell size, picture size).

    At the canvas' edge pictures touch the edge, elsewhere they are centred. Should no picture touch an edge
    because all cells next to it reach from edge to edge, the first of these moves to the start and the last
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


def _turned(placed: list[Placed]) -> list[Placed]:
    return [Placed(p.item, p.y0, p.y1, p.x0, p.x1) for p in placed]
