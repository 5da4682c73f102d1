"""Panels that stay where a person put them, and the room that is left for the others.

Cuts along the sides of pinned cells, each from side to side, divide the rest of the canvas until no part
holds a pin. Dynamic programming over subsets chooses exactly which elements go to which part.

Array legend: S subset of elements (bit mask), P pair of a subset and a subset of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from castsheet.errors import LayoutError
from castsheet.sheet.box import Box
from castsheet.sheet.plan.polish import halves
from castsheet.sheet.plan.search import Axis

Array = NDArray[np.float64]
# Value of every subset of elements in a free rectangle (index 0: none, worth 0).
RoomValue = Callable[[Box], Array]

_FIELD = "settings.layout"


def read_pins(settings: Any, canvas: tuple[int, int]) -> dict[str, Box]:
    """Pinned cells in sheet px by panel name, from `layout:` under a scene's settings.

    `pin: {hero/face: [x, y, w, h]}`: in px of the composed sheet, or in shares of its sides when no number
    exceeds 1.

    Raises:
        LayoutError: an entry has another form, or a cell leaves the sheet.
    """
    example = "write it like  layout: {pin: {hero/face: [0, 0, 0.4, 1]}}"
    if settings is None:
        return {}
    if not isinstance(settings, Mapping) or set(settings) - {"pin", "cut"}:
        raise LayoutError(f"{_FIELD} is {settings!r}; it knows only `pin` and `cut`", remedy=example)
    given = settings.get("pin") or {}
    if not isinstance(given, Mapping):
        raise LayoutError(f"{_FIELD}.pin is {given!r}, not a mapping", remedy=example)
    return {str(name): _cell(str(name), sides, canvas) for name, sides in given.items()}


def _cell(name: str, sides: Any, canvas: tuple[int, int]) -> Box:
    numbers = isinstance(sides, list | tuple) and len(sides) == 4
    if not numbers or not all(type(side) in (int, float) and math.isfinite(side) for side in sides):
        raise LayoutError(
            f"{_FIELD}.pin.{name} is {sides!r}, not four numbers",
            remedy="give x, y, width, height in px of the sheet, or as shares of its sides (0 to 1)",
        )
    x, y, w, h = (float(side) for side in sides)
    scale = canvas if max(x, y, w, h) <= 1 else (1, 1)
    left, top = round(x * scale[0]), round(y * scale[1])
    box = Box(left, top, round((x + w) * scale[0]) - left, round((y + h) * scale[1]) - top)
    if not box.inside(*canvas):
        raise LayoutError(
            f"{_FIELD}.pin.{name}: {list(sides)} is empty or leaves the sheet of {canvas[0]}x{canvas[1]} px",
            remedy="keep x + width and y + height within the sheet",
        )
    return box


def check_pins(pins: Mapping[str, Box], names: set[str]) -> None:
    """Refuse pins of panels that are not there, and pins that overlap.

    Raises:
        LayoutError: a pinned panel is not there, or pins overlap.
    """
    for name in pins:
        if name not in names:
            raise LayoutError(
                f"{_FIELD}.pin names {name!r}, which is no panel of this scene",
                remedy=f"the panels are {', '.join(sorted(names))}",
            )
    listed = list(pins.items())
    for number, (name, box) in enumerate(listed):
        for other, its_box in listed[:number]:
            if box.overlaps(its_box):
                raise LayoutError(
                    f"{_FIELD}.pin: {name} and {other} overlap", remedy="move or shrink one of them"
                )


@dataclass
class Division:
    """Divides the free rectangles around pins among elements.

    Args:
        pins: pinned cells.
        items: number of elements to place.
        gutter: px between two cells.
        value: value of every subset in a free rectangle.
    """

    pins: tuple[Box, ...]
    items: int
    gutter: int
    value: RoomValue
    _known: dict[Box, Array] = field(default_factory=dict)

    def best(self, room: Box) -> Array:
        """Best value of every subset of elements (S) in a room that may hold pins."""
        if room not in self._known:
            self._known[room] = self._found(room)
        return self._known[room]

    def parts(self, room: Box, mask: int) -> Iterator[tuple[Box, int]]:
        """The division that reaches `best(room)[mask]`: free rectangles, each with its subset."""
        if not mask:
            return
        if not self._inside(room):
            yield room, mask
            return
        target = self.best(room)[mask]
        subsets = [sub for sub in range(mask + 1) if sub & mask == sub]
        for one, other in self._cuts(room):
            first, second = self.best(one), self.best(other)
            for sub in subsets:
                if first[sub] + second[mask ^ sub] == target:
                    yield from self.parts(one, sub)
                    yield from self.parts(other, mask ^ sub)
                    return
        raise AssertionError("a best value without a division")

    def _found(self, room: Box) -> Array:
        if not self._inside(room):
            return self.value(room)
        best = np.full(1 << self.items, -np.inf)
        best[0] = 0.0
        masks_P, subs_P, starts_S = _subsets(self.items)
        for one, other in self._cuts(room):
            total_P = self.best(one)[subs_P] + self.best(other)[masks_P ^ subs_P]
            np.maximum(best, np.maximum.reduceat(total_P, starts_S), out=best)
        return best

    def _inside(self, room: Box) -> list[Box]:
        return [pin for pin in self.pins if pin.overlaps(room)]

    def _cuts(self, room: Box) -> Iterator[tuple[Box, Box]]:
        """Cuts along sides of the room's pins that cross no pin and leave two rooms."""
        pins = self._inside(room)
        places: list[tuple[Axis, int]] = []
        for pin in pins:
            places += [("x", pin.right), ("x", pin.x - self.gutter)]
            places += [("y", pin.bottom), ("y", pin.y - self.gutter)]
        for axis, at in dict.fromkeys(places):
            one, other = halves(room, axis, at, self.gutter)
            if min(one.w, one.h, other.w, other.h) < 1:
                continue
            whole = [
                (one.overlaps(pin) and _within(pin, one)) or (other.overlaps(pin) and _within(pin, other))
                for pin in pins
            ]
            if all(whole):
                yield one, other


def _within(pin: Box, room: Box) -> bool:
    across = room.x <= pin.x and pin.right <= room.right
    return across and room.y <= pin.y and pin.bottom <= room.bottom


@cache
def _subsets(items: int) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]:
    """Every mask with every subset of it (P), and where each mask's first pair stands (S)."""
    masks: list[int] = []
    subs: list[int] = []
    starts: list[int] = []
    for mask in range(1 << items):
        starts.append(len(masks))
        sub = mask
        while True:
            masks.append(mask)
            subs.append(sub)
            if not sub:
                break
            sub = (sub - 1) & mask
    return np.array(masks, np.int32), np.array(subs, np.int32), np.array(starts)
