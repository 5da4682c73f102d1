"""Props: six shapes, each with two colours and a timbre of its own (see `sound`)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mini.story.figure import Figure, blank_palette, bound, joined
from mini.story.look import Colour, Part, cloth
from mini.story.solids import Solid, box, ellipsoid, lathe, star

SHAPES = ("box", "ball", "cone", "drum", "star", "bell")
SIZE = 0.19  # metres: half the width


@dataclass(frozen=True)
class Thing:
    """A prop's looks."""

    shape: str
    colour: Colour
    trim: Colour


def sample_thing(seed: int, index: int, *, unlike: Thing | None = None) -> Thing:
    """A seed's first or second prop; a second one has another shape and colour."""
    random = np.random.default_rng([seed, 13, index])
    shapes = [shape for shape in SHAPES if unlike is None or shape != unlike.shape]
    colour = cloth(random, *(() if unlike is None else (unlike.colour,)), apart=30.0)
    return Thing(shapes[int(random.integers(len(shapes)))], colour, cloth(random, colour, apart=30.0))


def things_of(seed: int, count: int) -> list[Thing]:
    """A seed's first props."""
    things: list[Thing] = []
    for index in range(count):
        things.append(sample_thing(seed, index, unlike=things[0] if things else None))
    return things


def build_thing(thing: Thing) -> Figure:
    """The prop's triangles; it stands on z = 0 and follows matrix 0."""
    palette = blank_palette()
    palette[Part.PROP], palette[Part.PROP_TRIM] = thing.colour, thing.trim
    main, trim = _solids(thing.shape)
    shadow = ellipsoid((0, 0, 0.004), (0.24, 0.20, 0.003))
    pieces = [bound(solid, Part.PROP, 0) for solid in main]
    pieces += [bound(solid, Part.PROP_TRIM, 0) for solid in trim]
    pieces.append(bound(shadow, Part.SHADOW, 1))
    return joined(pieces, palette, np.zeros((0, 3), np.float32))


def height(shape: str) -> float:
    """How high a prop of that shape is, metres."""
    return float(max(solid[0][:, 2].max() for solid in _solids(shape)[0]))


def _solids(shape: str) -> tuple[list[Solid], list[Solid]]:
    s = SIZE
    if shape == "box":
        return [box((s, s, s), 0)], [box((1.02 * s, 1.02 * s, 0.25 * s), 0.75 * s)]
    if shape == "ball":
        return [ellipsoid((0, 0, s), (s, s, s))], [
            lathe([(0.8 * s, 1.0), (1.2 * s, 1.0)], 1.03 * s, 1.03 * s)
        ]
    if shape == "cone":
        return [lathe([(0, 1.0), (2.3 * s, 0.03)], s, s)], [lathe([(0, 1.15), (0.35 * s, 1.1)], s, s)]
    if shape == "drum":
        rims = [[(0.0, 1.06), (0.3 * s, 1.06)], [(1.4 * s, 1.06), (1.7 * s, 1.06)]]
        # The skin lies a little above its rim: in one plane the two would flicker.
        return [lathe([(0, 1.0), (1.73 * s, 1.0)], s, s)], [lathe(rim, s, s) for rim in rims]
    if shape == "star":
        return [star(1.3 * s, 1.2 * s, 0.07)], [ellipsoid((0, -0.07, 1.2 * s), (0.42 * s, 0.05, 0.42 * s))]
    bell = [(0.25 * s, 1.05), (0.6 * s, 0.8), (1.5 * s, 0.6), (1.9 * s, 0.15)]
    return [lathe(bell, s, s)], [
        ellipsoid((0, 0, 0.2 * s), (0.3 * s, 0.3 * s, 0.2 * s)),
        lathe([(0.2 * s, 1.1), (0.45 * s, 1.05)], s, s),
    ]
