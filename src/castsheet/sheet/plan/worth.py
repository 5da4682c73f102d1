"""What a plan is worth: each picture's value in a room of a given size, and a layout's score.

The value of a plan is

    sum_i  w_i * (log(a_i) + CROP * log(v_i)) + COVER * a_i - SMALL * max(0, 1 - a_i / SMALL_SHARE)
           - SHARED * share of latent cells that hold two elements - BAND * black bands along whole edges

with a_i the share of the canvas that picture i covers, v_i the share of the picture that is not cropped away,
and w_i its weight (the weights are scaled to sum to 1). The logarithm makes areas follow the weights (without
the other terms, and with room for all, the best areas are proportional to them) and keeps every panel from
vanishing. COVER rewards every share that is not black. SMALL keeps panels legible.

The first line is a sum over panels and never falls when a room grows (because CROP <= 1): the search and its
upper bound need this. The second line only subtracts, so the bound holds for the whole value.

Array legend: I panel, V variant (arrangement of a panel's pictures).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from castsheet.sheet.box import Box, Kind, PanelView

Array = NDArray[np.float64]

COVER = 0.5
CROP = 0.5
SMALL = 0.1
SMALL_SHARE = 0.045
# A shared latent cell costs as much as half a black cell. Where that leaves a shared cell, the planner
# compares with a plan on latent edges.
SHARED = 0.6
# From this share of a cell on, the lesser of two elements makes a mixture of it, which the checks warn of.
MIXED = 0.25
BAND = 2.0
MIN_PANEL_SIDE = 8


@dataclass(frozen=True)
class PanelShape:
    """A way to show a panel's pictures.

    Args:
        aspect: width / height.
        height: largest height in sheet px that the sources' resolution allows.
    """

    aspect: float
    height: float = math.inf


@dataclass(frozen=True)
class PanelWish:
    """A panel to place.

    Args:
        aspect: width / height of the picture.
        min_aspect, max_aspect: the range to which it may be cropped; equal to `aspect` to stay whole.
        weight: how much its area counts, relative to the other wishes.
        height: largest height in sheet px of the whole picture; a larger one would enlarge the source too
            much.
        variants: other shapes in which the same pictures can be shown (a turnaround in two rows). Each may
            be cropped as much as the first.
    """

    element: str
    kind: Kind
    view: PanelView
    aspect: float
    min_aspect: float
    max_aspect: float
    weight: float
    height: float = math.inf
    variants: tuple[PanelShape, ...] = ()

    @property
    def shapes(self) -> tuple[PanelShape, ...]:
        """All shapes, the wish's own first."""
        return (PanelShape(self.aspect, self.height), *self.variants)

    @property
    def name(self) -> str:
        """How settings name the panel: `element/view`."""
        return f"{self.element}/{self.view}"


@dataclass(frozen=True)
class Score:
    """What a layout achieves. Shares are of the canvas' area.

    Args:
        value: the plan's value (see the module).
        bound: no guillotine partition has a higher value, on the lattice of the search or off it.
        gap: bound - value. The panels' areas (their weighted geometric mean) are within this share of those
            of any better partition, roughly: 0.1 is 10 %.
        weighted: sum of each picture's share times its weight, weights summing to 1.
        covered: share covered by pictures; the rest is black.
        smallest: the smallest panel's share.
        cropped: share of the pictures' own area that is cropped away.
        enlarged: factor by which pictures were enlarged beyond their wishes; 1 if none was.
        shared_cells: latent cells that hold pixels of two elements.
        bands: black rows or columns over the full side, in px: left, top, right, bottom.
    """

    value: float
    bound: float
    gap: float
    weighted: float
    covered: float
    smallest: float
    cropped: float
    enlarged: float
    shared_cells: int
    bands: tuple[int, int, int, int]


def _mix(a: Box, b: Box, cell: int) -> float:
    """The share of a cell that the lesser of two boxes covers, in the worst cell that both reach."""
    most = 0.0
    for column in range(max(a.x, b.x) // cell, (min(a.right, b.right) - 1) // cell + 1):
        for row in range(max(a.y, b.y) // cell, (min(a.bottom, b.bottom) - 1) // cell + 1):
            square = Box(column * cell, row * cell, cell, cell)
            most = max(most, min(a.shared(square), b.shared(square)) / square.area)
    return most


class Worth:
    """Values of the panels of one planning task.

    Args:
        cell: side of a latent cell in sheet px.
        enlarge: factor on every wish's largest height.
        price: of shared latent cells.
    """

    def __init__(
        self,
        wishes: Sequence[PanelWish],
        width: int,
        height: int,
        cell: int,
        enlarge: float = 1.0,
        price: float = SHARED,
    ) -> None:
        self.price = price
        self.width, self.height, self.cell, self.area = width, height, cell, float(width * height)
        self.wishes, self.enlarge = tuple(wishes), enlarge
        count = max(len(wish.shapes) for wish in wishes)
        shapes = [[*wish.shapes, *[wish.shapes[0]] * (count - len(wish.shapes))] for wish in wishes]
        self.aspect_IV = np.array([[shape.aspect for shape in row] for row in shapes])
        self.height_IV = np.array([[shape.height * enlarge for shape in row] for row in shapes])
        slack = np.array([(wish.min_aspect / wish.aspect, wish.max_aspect / wish.aspect) for wish in wishes])
        self.low_IV, self.high_IV = self.aspect_IV * slack[:, :1], self.aspect_IV * slack[:, 1:]
        self.weight_I = np.array([wish.weight for wish in wishes])
        self.weight_I = self.weight_I / self.weight_I.sum()
        names = list(dict.fromkeys(wish.element for wish in wishes))
        self.element_I = np.array([names.index(wish.element) for wish in wishes])

    def table(self, w: Array, h: Array) -> Array:
        """Value of every panel in rooms of all widths and heights (px): (I, len(w), len(h))."""
        room_w, room_h = (np.maximum(side, 1.0)[None] for side in np.broadcast_arrays(w[:, None], h[None]))
        fits = (w[:, None] >= MIN_PANEL_SIDE) & (h[None] >= MIN_PANEL_SIDE)
        best = np.full((len(self.wishes), len(w), len(h)), -np.inf)
        for v in range(self.aspect_IV.shape[1]):
            part = self._column(v, (..., None, None))
            np.maximum(best, self._value(*self._shown(room_w, room_h, *part), part[0]), out=best)
        return np.where(fits[None], best, -np.inf)

    def fitted(self, rooms: Sequence[Box]) -> tuple[list[int], list[tuple[int, int]]]:
        """Variant and size in whole px of each panel in its room."""
        w = np.array([float(room.w) for room in rooms])
        h = np.array([float(room.h) for room in rooms])
        shown = [self._shown(w, h, *self._column(v, (...,))) for v in range(self.aspect_IV.shape[1])]
        values = np.stack([self._value(*one, self.aspect_IV[:, v]) for v, one in enumerate(shown)])
        # Rounded: equal variants must tie on every machine; the first wins.
        chosen = np.argmax(np.rint(values * 2**18), axis=0)
        every = range(len(rooms))
        sizes = [(shown[v][0][i], shown[v][1][i]) for v, i in zip(chosen, every, strict=True)]
        return [int(v) for v in chosen], [
            (max(1, min(room.w, round(width))), max(1, min(room.h, round(height))))
            for room, (width, height) in zip(rooms, sizes, strict=True)
        ]

    def panels(self, variants: Sequence[int], sizes: Sequence[tuple[int, int]]) -> Array:
        """Value of each panel at its size in px."""
        w, h = np.array(sizes, dtype=np.float64).T
        every = np.arange(len(sizes))
        aspect = self.aspect_IV[every, list(variants)]
        return self._value(w, h, aspect, self.crops(variants, sizes))

    def crops(self, variants: Sequence[int], sizes: Sequence[tuple[int, int]]) -> Array:
        """Share of each picture that is cropped away when it fills its box.

        Rounding to whole pixels distorts a picture by less than a pixel and does not count as a crop.
        """
        w, h = np.array(sizes, dtype=np.float64).T
        every, chosen = np.arange(len(sizes)), list(variants)
        aspect = self.aspect_IV[every, chosen]
        shown = np.clip(w / h, self.low_IV[every, chosen], self.high_IV[every, chosen])
        return 1 - np.minimum(shown / aspect, aspect / shown)

    def shared(self, boxes: Sequence[Box]) -> int:
        """Latent cells that hold pixels of two elements or more."""
        # Sets of cells are integers, a bit for each cell: this runs a thousand times a plan.
        stride = self.width // self.cell + 1
        held: dict[int, int] = {}
        for element, box in zip(self.element_I.tolist(), boxes, strict=True):
            first, top = box.x // self.cell, box.y // self.cell
            across = (1 << (box.right - 1) // self.cell + 1 - first) - 1 << first
            down = (box.bottom - 1) // self.cell + 1 - top
            rows = ((1 << stride * down) - 1) // ((1 << stride) - 1) << stride * top
            held[element] = held.get(element, 0) | across * rows
        seen = twice = 0
        for cells in held.values():
            twice |= seen & cells
            seen |= cells
        return twice.bit_count()

    def mixed(self, boxes: Sequence[Box]) -> int:
        """Pairs of panels of two elements between which a latent cell is a mixture."""
        pairs = combinations(zip(self.element_I.tolist(), boxes, strict=True), 2)
        return sum(one != other and _mix(a, b, self.cell) >= MIXED for (one, a), (other, b) in pairs)

    def dearer(self, factor: float) -> Worth:
        """The same task, with shared cells at another price."""
        return Worth(self.wishes, self.width, self.height, self.cell, self.enlarge, factor * self.price)

    def bands(self, boxes: Sequence[Box]) -> tuple[int, int, int, int]:
        """Black rows or columns over the full side, in px: left, top, right, bottom."""
        return (
            min(box.x for box in boxes),
            min(box.y for box in boxes),
            self.width - max(box.right for box in boxes),
            self.height - max(box.bottom for box in boxes),
        )

    def total(self, variants: Sequence[int], boxes: Sequence[Box]) -> float:
        """The plan's value."""
        left, top, right, bottom = self.bands(boxes)
        black = (left + right) / self.width + (top + bottom) / self.height
        cells = self.area / self.cell**2
        panels = float(self.panels(variants, [(box.w, box.h) for box in boxes]).sum())
        return panels - self.price * self.shared(boxes) / cells - BAND * black

    def of_pinned(self, cells: dict[int, Box]) -> float:
        """Value of the panels in cells that are given, by panel."""
        whole = Box(0, 0, self.width, self.height)
        rooms = [cells.get(i, whole) for i in range(len(self.wishes))]
        values = self.panels(*self.fitted(rooms))
        return float(values[list(cells)].sum())

    def area_bound(self) -> float:
        """An upper bound for all layouts: areas that fill the canvas are best in proportion to weights."""
        return float(self.weight_I @ np.log(self.weight_I)) + COVER

    def score(self, variants: Sequence[int], boxes: Sequence[Box], bound: float) -> Score:
        """Everything that the manifest says about a layout."""
        sizes = [(box.w, box.h) for box in boxes]
        covered = np.array([box.area for box in boxes]) / self.area
        cropped = self.crops(variants, sizes)
        value = self.total(variants, boxes)
        return Score(
            value=round(value, 6),
            bound=round(bound, 6),
            gap=round(max(0.0, bound - value), 6),
            weighted=round(float(self.weight_I @ covered), 6),
            covered=round(float(covered.sum()), 6),
            smallest=round(float(covered.min()), 6),
            cropped=round(float(covered @ cropped / covered.sum()), 6),
            enlarged=self.enlarge,
            shared_cells=self.shared(boxes),
            bands=self.bands(boxes),
        )

    def _column(self, v: int, index: tuple[object, ...]) -> tuple[Array, Array, Array, Array]:
        columns = (self.aspect_IV, self.low_IV, self.high_IV, self.height_IV)
        aspect, low, high, height = (column[:, v][index] for column in columns)  # type: ignore[index]
        return aspect, low, high, height

    def _shown(
        self, w: Array, h: Array, aspect: Array, low: Array, high: Array, height: Array
    ) -> tuple[Array, Array]:
        """Size in px of a picture in a room of w x h px: as large as allowed, rather cropped than boxed."""
        w, h = np.minimum(w, height * aspect), np.minimum(h, height)
        shown = np.clip(w / h, low, high)
        return np.minimum(w, h * shown), np.minimum(h, w / shown)

    def _value(self, w: Array, h: Array, aspect: Array, cropped: Array | None = None) -> Array:
        if cropped is None:
            shown = w / h
            visible = np.minimum(shown / aspect, aspect / shown)
        else:
            visible = 1 - cropped
        share = w * h / self.area
        weight = self.weight_I.reshape(-1, *[1] * (share.ndim - 1))
        small = np.maximum(0.0, 1 - share / SMALL_SHARE)
        value: Array = weight * (np.log(share) + CROP * np.log(visible)) + COVER * share - SMALL * small
        return value
