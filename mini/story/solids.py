"""Simple solids: vertices (V, 3) in metres and triangles (T, 3)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mini.world.body import Array

Solid = tuple[Array, NDArray[np.int32]]
Triple = tuple[float, float, float]
_AROUND = 24


def ellipsoid(centre: Triple, radii: Triple) -> Solid:
    """An ellipsoid whose axes are those of the world."""
    tilt = np.linspace(-np.pi / 2, np.pi / 2, 13)
    x, y = _circle()
    rings = [np.stack([np.cos(t) * x, np.cos(t) * y, np.full(_AROUND, np.sin(t))], 1) for t in tilt]
    vertices = np.concatenate(rings) * np.array(radii) + np.array(centre)
    return vertices.astype(np.float32), _strips(13)


def lathe(
    profile: Sequence[tuple[float, float]], wide: float, deep: float, centre: tuple[float, float] = (0, 0)
) -> Solid:
    """A solid of revolution about a vertical axis, from (height, relative radius) pairs, closed by caps."""
    x, y = _circle()
    closed = [(profile[0][0], 0.0), *profile, (profile[-1][0], 0.0)]
    rings = [
        np.stack([centre[0] + wide * r * x, centre[1] + deep * r * y, np.full(_AROUND, z)], 1)
        for z, r in closed
    ]
    return np.concatenate(rings).astype(np.float32), _strips(len(rings))


def box(half: Triple, bottom: float) -> Solid:
    """A box that stands at `bottom`, centred on the axis."""
    x, y, z = half
    corners = [
        (a * x, b * y, h) for h in (bottom, bottom + 2 * z) for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))
    ]
    sides = [t for i in range(4) for t in ((i, (i + 1) % 4, (i + 1) % 4 + 4), (i, (i + 1) % 4 + 4, i + 4))]
    faces = [*sides, (4, 5, 6), (4, 6, 7), (0, 2, 1), (0, 3, 2)]
    return np.array(corners, np.float32), np.array(faces, np.int32)


def star(radius: float, height: float, half_depth: float) -> Solid:
    """A five-pointed star that faces us."""
    turn = np.pi / 2 + np.arange(10) * np.pi / 5
    reach = np.where(np.arange(10) % 2 == 0, radius, 0.48 * radius)
    outline = np.stack([reach * np.cos(turn), np.zeros(10), reach * np.sin(turn) + height], 1)
    shift = np.array([0, half_depth, 0])
    centre = np.array([[0, -half_depth, height], [0, half_depth, height]])
    i, j = np.arange(10), (np.arange(10) + 1) % 10
    faces = [
        np.stack([np.full(10, 20), i, j], 1),
        np.stack([np.full(10, 21), j + 10, i + 10], 1),
        np.stack([i, i + 10, j + 10], 1),
        np.stack([i, j + 10, j], 1),
    ]
    vertices = np.concatenate([outline - shift, outline + shift, centre])
    return vertices.astype(np.float32), np.concatenate(faces).astype(np.int32)


def _circle() -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    turn = np.linspace(0, 2 * np.pi, _AROUND + 1)[:-1]
    return np.cos(turn), np.sin(turn)


def _strips(rings: int) -> NDArray[np.int32]:
    faces = []
    for ring in range(rings - 1):
        a = ring * _AROUND + np.arange(_AROUND)
        b = ring * _AROUND + (np.arange(_AROUND) + 1) % _AROUND
        faces += [np.stack([a, b, b + _AROUND], 1), np.stack([a, b + _AROUND, a + _AROUND], 1)]
    return np.concatenate(faces).astype(np.int32)
