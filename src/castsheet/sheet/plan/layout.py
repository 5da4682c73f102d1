"""Where each picture goes on the sheet. Pure functions of numbers: no pictures are read here.

The plan with the highest value (see `worth`) is searched over all guillotine partitions (see `search`) on two
lattices: the latent grid, on which no two elements share a latent cell, and a finer one. Both are then taken
to pixels (see `polish`), and the better one is the plan. The same search with `grant=1` gives an upper bound
for any partition; the plan's score says how far the plan may be from the bound.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from castsheet.elements import Scene
from castsheet.errors import LayoutError
from castsheet.media.formats import MAX_PIXELS
from castsheet.sheet.box import Box, PanelView
from castsheet.sheet.plan.pins import Division, check_pins
from castsheet.sheet.plan.polish import Part, Placed, Polisher, in_pixels, refined
from castsheet.sheet.plan.search import Leaf, Slicing, Tree, cells_per_unit, lattice_units, replaced
from castsheet.sheet.plan.worth import MIN_PANEL_SIDE, PanelShape, PanelWish, Score, Worth

Array = NDArray[np.float64]

MAX_PANELS = 12
# A location may lose this share of its width or height to fill its cell.
MAX_CROP = 0.4
# Official sheets are composed at 1536x896 with gutters of 16 px.
GUTTER_SHARE = 16 / 896
# The face decides whether a person is recognised, but a turnaround shows everything else.
VIEW_WEIGHT: dict[PanelView, float] = {"face": 1.0, "turnaround": 1.3, "product": 0.5, "place": 0.8}
# Factors on the limits of enlargement. The next factor is tried while too much of the sheet is black.
_ENLARGE = (1.0, 1.5, 2.5, math.inf)
_MAX_BAND = 0.03
# What a plan on latent edges may be worth less than one with mixed cells, and than one with cells that are
# shared a little (0.1 is 10 % of all areas); and how much dearer shared cells are while it is sought.
_FOR_PURE, _FOR_CLEAN, _DEARER = 0.12, 0.03, 8.0
_MIN_COVERED = 0.5


@dataclass(frozen=True)
class Layout:
    """A plan in pixels.

    Args:
        canvas: width and height of the composed sheet.
        gutter: least distance between two cells (pinned ones excepted).
        boxes: what each picture covers, in the order of the wishes.
        cells: the room that each picture was given; its box lies inside.
        variants: which of its wish's shapes each picture has.
    """

    canvas: tuple[int, int]
    gutter: int
    boxes: tuple[Box, ...]
    cells: tuple[Box, ...]
    variants: tuple[int, ...]
    score: Score


def wishes(
    scene: Scene, shapes: Mapping[tuple[str, PanelView], Sequence[PanelShape]]
) -> tuple[PanelWish, ...]:
    """The panels that a scene wants.

    Args:
        shapes: the shapes that each panel's pictures may take, by element id and view, the usual one first.
            A view without shapes is left out.
    """
    found = []
    for element in scene.elements:
        for view, weight in VIEW_WEIGHT.items():
            if (element.id, view) in shapes:
                first, *others = shapes[element.id, view]
                slack = 1 - MAX_CROP if view == "place" else 1.0
                found.append(
                    PanelWish(
                        element=element.id,
                        kind=element.kind,
                        view=view,
                        aspect=first.aspect,
                        min_aspect=first.aspect * slack,
                        max_aspect=first.aspect / slack,
                        weight=weight * element.importance,
                        height=first.height,
                        variants=tuple(others),
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
    pins: Mapping[str, Box] | None = None,
) -> Layout:
    """Choose cells and boxes for 1 to 12 panels. Deterministic.

    Unpinned panels of one element share a rectangle that no other element enters. Pictures are as large as
    their cells allow, are cropped only as far as their wish permits, and touch the canvas' edges.

    Args:
        output: conditioning width and height in px, multiples of `grid`.
        scale: sheet px per conditioning px.
        grid: side of a latent cell at the conditioning size (32 for LTX-2.3 and mini).
        gutter: px on the sheet; by default 16 px per 896 px of the short side.
        pins: cells of panels by `element/view`, in sheet px; their pictures stay inside at any score.

    Raises:
        LayoutError: no panels or too many, sizes off the grid, pins that contradict, or a picture would
            have a side below 8 px.
    """
    width, height = canvas_size(output, scale, grid)
    gutter = max(1, round(GUTTER_SHARE * min(width, height))) if gutter is None else gutter
    _check(wishes, grid * scale, gutter)
    check_pins(pins or {}, {wish.name for wish in wishes})
    best: Layout | None = None
    for enlarge in _ENLARGE:
        worth = Worth(wishes, width, height, grid * scale, enlarge)
        found = _Planner(worth, gutter, dict(pins or {})).best()
        if found is not None and (best is None or _black(found) < _black(best)):
            best = found
        if not np.isfinite(worth.height_IV).any() or (best is not None and not _black(best)):
            break
    if best is None:
        raise LayoutError(
            f"{len(wishes)} panels do not fit on {width}x{height} px"
            f"{' beside the pinned ones' if pins else ''}: one would have a side below {MIN_PANEL_SIDE} px",
            remedy="use fewer elements, a larger output, or pictures that are less long and thin",
        )
    return best


def _black(layout: Layout) -> float:
    """How far black bands exceed `_MAX_BAND`, and the covered area misses `_MIN_COVERED`; 0 if neither."""
    left, top, right, bottom = layout.score.bands
    bands = max((left + right) / layout.canvas[0], (top + bottom) / layout.canvas[1])
    return round(max(0.0, bands - _MAX_BAND) + max(0.0, _MIN_COVERED - layout.score.covered), 3)


def canvas_size(output: tuple[int, int], scale: int, grid: int) -> tuple[int, int]:
    """Width and height of the composed sheet, in px.

    Raises:
        LayoutError: the sizes are off the grid, not positive, or make a sheet too large to be read back.
    """
    if grid < 1 or scale < 1:
        raise LayoutError(
            f"grid {grid} and scale {scale}: both must be at least 1",
            remedy="leave them out: 32 px and 2 are right for LTX-2.3 and mini",
        )
    if min(output) < grid or output[0] % grid or output[1] % grid:
        raise LayoutError(
            f"output {output[0]}x{output[1]} at scale {scale}: the sides must be multiples of {grid} px",
            remedy=f"round the sides to multiples of {grid}",
        )
    if output[0] * output[1] * scale**2 > MAX_PIXELS:
        raise LayoutError(
            f"a sheet of {output[0] * scale}x{output[1] * scale} px has more than"
            f" {MAX_PIXELS // 1_000_000} million pixels, the most that is read back",
            remedy="use a smaller output or scale; scale 2 is plenty",
        )
    return output[0] * scale, output[1] * scale


def _check(wishes: Sequence[PanelWish], cell: int, gutter: int) -> None:
    if not 1 <= len(wishes) <= MAX_PANELS:
        raise LayoutError(
            f"{len(wishes)} panels were asked for; a sheet holds 1 to {MAX_PANELS}",
            remedy="give pictures for at least one element, and split large casts over several sheets",
        )
    if not 1 <= gutter < cell:
        raise LayoutError(
            f"gutter {gutter} px does not lie between 1 and {cell - 1}, inside one latent cell",
            remedy="leave the gutter out, so that it follows the canvas",
        )
    for wish in wishes:
        sizes = (wish.weight, wish.min_aspect, wish.aspect, wish.max_aspect)
        shapes = [side for shape in wish.shapes for side in (shape.aspect, shape.height)]
        ordered = wish.min_aspect <= wish.aspect <= wish.max_aspect
        sound = all(map(math.isfinite, sizes)) and all(side > 0 for side in shapes)
        if not ordered or not sound or min(sizes) <= 0:
            raise LayoutError(
                f"panel {wish.element} {wish.view}: weight and aspects must be positive, in order: {sizes}",
                remedy="check the picture's size and the element's importance",
            )


@dataclass
class _Search:
    """Best partitions of elements on one lattice: within each element's panels, then among the elements.

    Args:
        unit: px of a unit along x and y; a room of n units is a gutter smaller than n * unit.
    """

    worth: Worth
    groups: list[tuple[int, ...]]
    gutter: int
    unit: tuple[float, float]
    units: tuple[int, int]
    grant: int = 0
    within: list[Slicing] = field(init=False)
    among: Slicing = field(init=False)

    def __post_init__(self) -> None:
        w, h = (
            np.arange(n + 1, dtype=np.float64) * unit - self.gutter
            for n, unit in zip(self.units, self.unit, strict=True)
        )
        table = self.worth.table(w, h)
        self.within = [Slicing(table[list(group)], grant=self.grant) for group in self.groups]
        rooms = np.stack([one.best[-1].astype(np.float64) for one in self.within])
        self.among = Slicing(rooms, grant=self.grant)

    def size(self, room: Box) -> tuple[int, int]:
        """A room in units, rounded down; for an upper bound rounded up."""
        sides = (room.w + self.gutter) / self.unit[0], (room.h + self.gutter) / self.unit[1]
        whole = [math.ceil(side - 1e-9) if self.grant else math.floor(side + 1e-9) for side in sides]
        return min(whole[0], self.units[0]), min(whole[1], self.units[1])

    def values(self, room: Box) -> Array:
        """Value of every subset of elements in a room; nothing is worth 0."""
        found = self.among.best[:, *self.size(room)].astype(np.float64)
        found[0] = 0.0
        return found

    def tree(self, room: Box, mask: int) -> Tree:
        """The best tree of panels for a subset of elements in a room; proportions are the lattice's."""
        return self._whole(self.among.tree(mask, *self.size(room)), room)

    def trees(self, room: Box) -> list[tuple[float, Tree]]:
        """The best trees of all panels for different first cuts, each with its value on this lattice."""
        every = (1 << len(self.groups)) - 1
        return [
            (value, self._whole(among, room))
            for value, among in self.among.divisions(every, *self.size(room))
        ]

    def _whole(self, among: Tree, room: Box) -> Tree:
        return replaced(among, [self._inner(i, among, self.size(room)) for i in range(len(self.groups))])

    def _inner(self, element: int, among: Tree, size: tuple[int, int]) -> Tree:
        found = _room_of(element, among, size)
        if found is None:
            return among  # not in this subset; never used
        group = self.groups[element]
        return replaced(self.within[element].tree((1 << len(group)) - 1, *found), [Leaf(i) for i in group])


def _room_of(element: int, tree: Tree, size: tuple[int, int]) -> tuple[int, int] | None:
    """Size in units of the room that a tree gives to an element; None if the element is not in the tree."""
    if isinstance(tree, Leaf):
        return size if tree.item == element else None
    x, y = size
    one = (tree.at, y) if tree.axis == "x" else (x, tree.at)
    other = (x - tree.at, y) if tree.axis == "x" else (x, y - tree.at)
    return _room_of(element, tree.first, one) or _room_of(element, tree.second, other)


@dataclass(frozen=True)
class _Planner:
    """One planning task."""

    worth: Worth
    gutter: int
    pins: dict[str, Box]

    @property
    def canvas(self) -> Box:
        return Box(0, 0, self.worth.width, self.worth.height)

    @property
    def pinned(self) -> dict[int, Box]:
        """Pinned cells by panel."""
        return {i: self.pins[wish.name] for i, wish in enumerate(self.worth.wishes) if wish.name in self.pins}

    @property
    def groups(self) -> list[tuple[int, ...]]:
        """Indices of each element's free panels, elements in order of their first."""
        free = [(i, wish) for i, wish in enumerate(self.worth.wishes) if wish.name not in self.pins]
        names = list(dict.fromkeys(wish.element for _, wish in free))
        return [tuple(i for i, wish in free if wish.element == name) for name in names]

    def best(self) -> Layout | None:
        """The best plan, None when the panels do not fit."""
        groups, polisher = self.groups, Polisher(self.worth, self.gutter, self.pinned)
        if not groups:
            placed = polisher.placed([], [])
            return None if placed is None else self._layout(placed, placed.value)
        fine = self._fine(len(groups))
        found = [self._from_fine(_Search(self.worth, groups, self.gutter, *fine), polisher)]
        if not self.pins:
            found.append(self._from_grid(groups, polisher))
        fitting = [placed for placed in found if placed is not None]
        if not fitting:
            return None
        most = max(fitting, key=lambda placed: round(placed.value, 5))
        return self._layout(self._unmixed(most, groups), self._bound(groups, fine))

    def _unmixed(self, most: Placed, groups: list[tuple[int, ...]]) -> Placed:
        """A plan on latent edges in place of one with shared cells, if it is worth nearly as much."""
        if self.pins or not self.worth.shared(most.boxes):
            return most
        strict = Polisher(self.worth.dearer(_DEARER), self.gutter, self.pinned)
        other = self._from_grid(groups, strict)
        if other is None or self.worth.mixed(other.boxes):
            return most
        value = self.worth.total(other.variants, other.boxes)
        allowed = _FOR_PURE if self.worth.mixed(most.boxes) else _FOR_CLEAN
        return replace(other, value=value) if value >= most.value - allowed else most

    def _fine(self, items: int) -> tuple[tuple[float, float], tuple[int, int]]:
        """Unit in px and number of units of the finer lattice."""
        across = self.worth.width + self.gutter, self.worth.height + self.gutter
        units = lattice_units(items, across[0] / across[1], most=max(8, min(128, max(across) // 4)))
        return (across[0] / units[0], across[1] / units[1]), units

    def _from_fine(self, search: _Search, polisher: Polisher) -> Placed | None:
        every = (1 << len(search.groups)) - 1
        division = Division(tuple(self.pinned.values()), len(search.groups), self.gutter, search.values)
        if not np.isfinite(division.best(self.canvas)[every]):
            return None
        if not self.pins:
            return self._first_cuts(
                search, self.canvas, lambda tree: self._climbed([Part(self.canvas, tree)], polisher)
            )
        parts = [Part(room, search.tree(room, mask)) for room, mask in division.parts(self.canvas, every)]
        return self._climbed(parts, polisher)

    def _climbed(self, parts: list[Part], polisher: Polisher) -> Placed | None:
        better = [refined(part, self.worth, self.gutter) for part in parts]
        rooms = [part.room for part in parts]
        return polisher.best(rooms, [in_pixels(part.tree, part.room, self.gutter) for part in better])

    def _first_cuts(
        self, search: _Search, room: Box, climbed: Callable[[Tree], Placed | None]
    ) -> Placed | None:
        """The best of several first cuts. What the search leaves out only subtracts: a tree that is worth
        less before the climb than another after it cannot win, but for the little that finer cuts add."""
        best: Placed | None = None
        for value, tree in search.trees(room):
            if best is not None and value <= best.value:
                break
            found = climbed(tree)
            if found is not None and (best is None or found.value > best.value + 1e-6):
                best = found
        return best

    def _from_grid(self, groups: list[tuple[int, ...]], polisher: Polisher) -> Placed | None:
        """The climb from the best plan whose cuts lie on latent edges: a gutter starts the cell after it."""
        cells = self.worth.width // self.worth.cell, self.worth.height // self.worth.cell
        coarse = cells_per_unit(len(groups), cells)
        units = cells[0] // coarse, cells[1] // coarse
        unit = float(self.worth.cell * coarse)
        search = _Search(self.worth, groups, self.gutter, (unit, unit), units)
        every = (1 << len(groups)) - 1
        if not np.isfinite(search.among.value(every, *units)):
            return None
        room = Box(0, 0, int(unit) * units[0] - self.gutter, int(unit) * units[1] - self.gutter)

        def climbed(tree: Tree) -> Placed | None:
            return polisher.best(
                [self.canvas], [in_pixels(tree, self.canvas, self.gutter, snap=self.worth.cell)]
            )

        return self._first_cuts(search, room, climbed)

    def _bound(
        self, groups: list[tuple[int, ...]], fine: tuple[tuple[float, float], tuple[int, int]]
    ) -> float:
        """No partition of this family is worth more."""
        search = _Search(self.worth, groups, self.gutter, *fine, grant=1)
        division = Division(tuple(self.pinned.values()), len(groups), self.gutter, search.values)
        free = float(division.best(self.canvas)[(1 << len(groups)) - 1])
        return min(free + self.worth.of_pinned(self.pinned), self.worth.area_bound())

    def _layout(self, placed: Placed, bound: float) -> Layout:
        score = self.worth.score(placed.variants, placed.boxes, bound)
        canvas = self.worth.width, self.worth.height
        return Layout(canvas, self.gutter, placed.boxes, placed.cells, placed.variants, score)
