"""The house as an SVG: a row a floor, a box a room, an arrow where a room imports another.

An arrow is left out if a longer way of arrows leads to the same room, because the picture is for the eye:
`pipeline` imports `errors`, but so does everything between them.
"""

from __future__ import annotations

from itertools import pairwise
from xml.sax.saxutils import escape

from tools.house.code import Tree, circles
from tools.house.order import FRONT_DOOR, HOUSE, PURPOSE

WIDTH, ROW, BOX_WIDTH, BOX_HEIGHT, SPACE, MARGIN = 940, 84, 210, 44, 50, 20
STYLE = (
    "text{font:12px sans-serif;fill:#5c6670;text-anchor:middle}.name{font:bold 14px monospace;fill:#1d2730}"
    "rect{fill:#f4f7fa;stroke:#8fa3b5}.arrow{fill:none;stroke:#6b8fb3;stroke-width:1.3}"
    ".paper{fill:#fff;stroke:none}"
)

Place = tuple[float, float]


def draw(tree: Tree) -> str:
    """The picture of a tree whose rooms all have a floor.

    Raises:
        KeyError: An import names a room that has no floor.
        ValueError: Rooms import each other in a circle, which has no picture by floors.
    """
    found = circles(tree.arrows())
    if found:
        raise ValueError(f"circle: {' - '.join(found[0])}")
    rooms = set(tree.rooms())
    floors = [[room for room in floor if room in rooms] for floor in reversed(HOUSE)]
    floors = [floor for floor in floors if floor]
    places = _places(floors)
    height = ROW * len(floors) + MARGIN
    parts = [_arrow(_way(of, to, places, floors)) for of, to in _reduced(set(tree.arrows()))]
    parts += [_box(room, places[room]) for floor in floors for room in floor]
    tip = '<path d="M0,0 L7,3 L0,6 z" fill="#6b8fb3"/>'
    marker = (
        f'<marker id="tip" markerWidth="8" markerHeight="6" refX="7" refY="3" orient="auto">{tip}</marker>'
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
            "<title>Rooms of castsheet by floor. An arrow leads to the room that is imported.</title>",
            f"<style>{STYLE}</style><defs>{marker}</defs>",
            f'<rect class="paper" width="{WIDTH}" height="{height}"/>',
            *parts,
            "</svg>\n",
        ]
    )


def _reduced(arrows: set[tuple[str, str]]) -> list[tuple[str, str]]:
    """Arrows that no longer way implies, in order. The arrows must have no circle."""
    below: dict[str, set[str]] = {}
    for of, to in arrows:
        below.setdefault(of, set()).add(to)

    def reaches(of: str, to: str) -> bool:
        return to in below.get(of, set()) or any(reaches(other, to) for other in below.get(of, set()))

    return sorted(
        (of, to) for of, to in arrows if not any(reaches(other, to) for other in below[of] if other != to)
    )


def _places(floors: list[list[str]]) -> dict[str, Place]:
    """Middle of each room's box in pixels; the rooms of a floor stand in the order in which it names them."""
    places = {}
    for row, floor in enumerate(floors):
        step = BOX_WIDTH + SPACE
        left = WIDTH / 2 - step * (len(floor) - 1) / 2
        for column, room in enumerate(floor):
            places[room] = (left + step * column, MARGIN + row * ROW + BOX_HEIGHT / 2)
    return places


def _way(of: str, to: str, places: dict[str, Place], floors: list[list[str]]) -> list[Place]:
    """Points from the lower edge of one box to the upper edge of another, past the boxes in between."""
    (x, top), (end, bottom) = places[of], places[to]
    points = [(x, top + BOX_HEIGHT / 2)]
    for floor in floors:
        y = places[floor[0]][1]
        if top < y < bottom:
            straight = x + (end - x) * (y - top) / (bottom - top)
            gap = min(_gaps([places[room][0] for room in floor]), key=lambda place: abs(place - straight))
            points += [(gap, y - BOX_HEIGHT / 2), (gap, y + BOX_HEIGHT / 2)]
    return [*points, (end, bottom - BOX_HEIGHT / 2)]


def _gaps(middles: list[float]) -> list[float]:
    """Where an arrow may pass a floor: left of it, right of it, and between its boxes."""
    beside = (BOX_WIDTH + SPACE) / 2
    return [middles[0] - beside, *(middle + beside for middle in middles)]


def _arrow(points: list[Place]) -> str:
    """A smooth line through points, with a tip."""
    (x, y), *_ = points
    path = f"M{x:.0f},{y:.0f}"
    for (x, y), (to_x, to_y) in pairwise(points):
        half = (y + to_y) / 2
        path += f" C{x:.0f},{half:.0f} {to_x:.0f},{half:.0f} {to_x:.0f},{to_y:.0f}"
    return f'<path class="arrow" marker-end="url(#tip)" d="{path}"/>'


def _box(room: str, place: Place) -> str:
    """A room's box: its name, and what it is for."""
    x, y = place
    name = "castsheet" if room == FRONT_DOOR else room
    return (
        f'<g><rect x="{x - BOX_WIDTH / 2:.0f}" y="{y - BOX_HEIGHT / 2:.0f}" width="{BOX_WIDTH}" '
        f'height="{BOX_HEIGHT}" rx="5"/><text class="name" x="{x:.0f}" y="{y - 4:.0f}">{escape(name)}</text>'
        f'<text x="{x:.0f}" y="{y + 13:.0f}">{escape(PURPOSE[room])}</text></g>'
    )
