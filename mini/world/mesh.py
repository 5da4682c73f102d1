"""One identity's triangles: the body, plus hair, hat, prop and shadow as simple solids bound to a bone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mini.world.body import GROUND_BONE, PROP_BONE, Array, Part, model, rest_shape
from mini.world.look import Look, sample_look

Solid = tuple[Array, NDArray[np.int32]]  # vertices (V, 3), triangles (T, 3)


@dataclass(frozen=True)
class Actor:
    """What the renderer needs of one identity."""

    look: Look
    vertices: Array  # (V, 3) rest positions, metres
    bones: NDArray[np.int32]  # (V, 4)
    weights: Array  # (V, 4)
    faces: NDArray[np.int32]  # (T, 3)
    parts: NDArray[np.int32]  # (T,)
    heads: Array  # (104, 3) rest bone heads
    lines: tuple[float, float, float]  # heights of belt, collar and knee at rest


def build_actor(seed: int) -> Actor:
    """The identity that belongs to a seed."""
    look, body = sample_look(seed), model()
    vertices, heads = rest_shape(seed)
    pieces = [_Piece(vertices, body.faces, body.triangle_part, body.bone_index, body.bone_weight)]
    head = body.bone("head")
    skull = vertices[
        (body.bone_index == head).any(1) & ((body.bone_weight * (body.bone_index == head)).sum(1) > 0.9)
    ]
    for solid, part in [*_hair(look, skull), *_hat(look, skull), *_eyes(heads)]:
        pieces.append(_bound(solid, part, head))
    pieces += _prop(look)
    pieces.append(_bound(_ellipsoid((0, 0, 0.004), (0.36, 0.22, 0.004)), Part.SHADOW, GROUND_BONE))
    pieces.append(_bound(_ellipsoid((0, 0, 0.004), (0.30, 0.18, 0.004)), Part.SHADOW, PROP_BONE))
    offsets = np.cumsum([0, *(len(piece.vertices) for piece in pieces[:-1])])
    return Actor(
        look=look,
        vertices=np.concatenate([piece.vertices for piece in pieces]).astype(np.float32),
        bones=np.concatenate([piece.bones for piece in pieces]).astype(np.int32),
        weights=np.concatenate([piece.weights for piece in pieces]).astype(np.float32),
        faces=np.concatenate([piece.faces + o for piece, o in zip(pieces, offsets, strict=True)]).astype(
            np.int32
        ),
        parts=np.concatenate([piece.parts for piece in pieces]).astype(np.int32),
        heads=heads,
        lines=(
            float(heads[body.bone("spine05"), 2]) + 0.06,
            float(heads[body.bone("neck01"), 2]) - 0.01,
            float(heads[body.bone("lowerleg01.L"), 2]),
        ),
    )


@dataclass(frozen=True)
class _Piece:
    vertices: Array
    faces: NDArray[np.int32]
    parts: NDArray[np.int32]
    bones: NDArray[np.int32]
    weights: Array


def _bound(solid: Solid, part: Part, bone: int) -> _Piece:
    vertices, faces = solid
    bones = np.full((len(vertices), 4), bone, np.int32)
    weights = np.zeros((len(vertices), 4), np.float32)
    weights[:, 0] = 1
    return _Piece(vertices, faces, np.full(len(faces), part, np.int32), bones, weights)


def _hair(look: Look, skull: Array) -> list[tuple[Solid, Part]]:
    low, high = skull.min(0), skull.max(0)
    middle = (low + high) / 2
    wide, deep, tall = (high - low) / 2
    back, crown = float(high[1]), float(high[2])
    solids: dict[str, list[Solid]] = {
        "crop": [],
        "short": [
            _ellipsoid((0, back - 0.80 * deep, crown - 0.52 * tall), (1.16 * wide, 0.95 * deep, 0.62 * tall))
        ],
        "round": [
            _ellipsoid((0, back - 0.55 * deep, crown - 0.35 * tall), (1.75 * wide, 1.35 * deep, 0.95 * tall))
        ],
        "long": [
            _ellipsoid((0, back - 0.80 * deep, crown - 0.52 * tall), (1.2 * wide, 0.95 * deep, 0.62 * tall)),
            _ellipsoid(
                (0, back - 0.25 * deep, middle[2] - 0.55 * tall), (1.4 * wide, 0.52 * deep, 1.55 * tall)
            ),
        ],
        "bun": [
            _ellipsoid((0, back - 0.80 * deep, crown - 0.52 * tall), (1.14 * wide, 0.95 * deep, 0.60 * tall)),
            _ellipsoid((0, back - 0.6 * deep, crown + 0.32 * tall), (0.55 * wide, 0.55 * wide, 0.5 * wide)),
        ],
    }
    return [(solid, Part.HAIR) for solid in solids[look.hair_style]]


def _eyes(heads: Array) -> list[tuple[Solid, Part]]:
    """Eyes that still read at ten pixels a head."""
    solids: list[tuple[Solid, Part]] = []
    for name in ("eye.L", "eye.R"):
        x, y, z = (float(value) for value in heads[model().bone(name)])
        solids.append((_ellipsoid((1.12 * x, y + 0.012, z), (0.034, 0.045, 0.034)), Part.EYE))
        solids.append((_ellipsoid((1.12 * x, y - 0.02, z), (0.019, 0.022, 0.021)), Part.PUPIL))
    return solids


def _hat(look: Look, skull: Array) -> list[tuple[Solid, Part]]:
    low, high = skull.min(0), skull.max(0)
    wide, deep, tall = (high - low) / 2
    centre = (0.0, float((low[1] + high[1]) / 2 + 0.15 * deep))
    top = float(high[2])
    wide, deep = 1.12 * wide, 1.12 * deep
    solids: dict[str, list[Solid]] = {
        "none": [],
        "cap": [
            _lathe(
                [(top - 0.42 * tall, 1.06), (top + 0.02 * tall, 1.0), (top + 0.2 * tall, 0.05)],
                wide,
                deep,
                centre,
            ),
            _lathe(
                [(top - 0.42 * tall, 1.0), (top - 0.34 * tall, 1.0)],
                0.9 * wide,
                deep,
                (0, centre[1] - 0.8 * deep),
            ),
        ],
        "brim": [
            _lathe([(top - 0.32 * tall, 1.0), (top + 0.55 * tall, 0.9)], wide, deep, centre),
            _lathe([(top - 0.36 * tall, 1.75), (top - 0.28 * tall, 1.75)], wide, deep, centre),
        ],
        "cone": [_lathe([(top - 0.36 * tall, 1.12), (top + 1.15 * tall, 0.05)], wide, deep, centre)],
    }
    return [(solid, Part.HAT) for solid in solids[look.hat_style]]


def _prop(look: Look) -> list[_Piece]:
    size = 0.24
    if look.prop_shape == "box":
        solids = [_box(size, 0, 2 * size)], [_box(size * 1.02, 0.75 * size, 1.25 * size)]
    elif look.prop_shape == "ball":
        solids = (
            [_ellipsoid((0, 0, size), (size, size, size))],
            [_lathe([(0.8 * size, 1.0), (1.2 * size, 1.0)], size * 1.03)],
        )
    elif look.prop_shape == "cone":
        solids = (
            [_lathe([(0, 1.05), (2.3 * size, 0.03)], size)],
            [_lathe([(0, 1.25), (0.3 * size, 1.2)], size)],
        )
    elif look.prop_shape == "drum":
        solids = (
            [_lathe([(0, 1.0), (1.7 * size, 1.0)], size)],
            [
                _lathe([(0.0, 1.06), (0.3 * size, 1.06)], size),
                _lathe([(1.4 * size, 1.06), (1.7 * size, 1.06)], size),
            ],
        )
    else:
        solids = (
            [_star(1.25 * size, 1.3 * size)],
            [_ellipsoid((0, -0.09, 1.3 * size), (0.4 * size, 0.06, 0.4 * size))],
        )
    main, trim = solids
    return [_bound(s, Part.PROP, PROP_BONE) for s in main] + [
        _bound(s, Part.PROP_TRIM, PROP_BONE) for s in trim
    ]


def _lathe(
    profile: list[tuple[float, float]],
    wide: float,
    deep: float | None = None,
    centre: tuple[float, float] = (0, 0),
) -> Solid:
    """A solid of revolution from (height, relative radius) pairs, closed by caps."""
    deep = wide if deep is None else deep
    turn = np.linspace(0, 2 * np.pi, 25)[:-1]
    rings = [
        np.stack(
            [centre[0] + wide * r * np.cos(turn), centre[1] + deep * r * np.sin(turn), np.full(24, z)], 1
        )
        for z, r in [(profile[0][0], 0.0), *profile, (profile[-1][0], 0.0)]
    ]
    return np.concatenate(rings).astype(np.float32), _strips(len(rings), 24)


def _ellipsoid(centre: tuple[float, float, float], radii: tuple[float, float, float]) -> Solid:
    tilt = np.linspace(-np.pi / 2, np.pi / 2, 13)
    turn = np.linspace(0, 2 * np.pi, 25)[:-1]
    rings = [
        np.stack([np.cos(t) * np.cos(turn), np.cos(t) * np.sin(turn), np.full(24, np.sin(t))], 1)
        for t in tilt
    ]
    vertices = np.concatenate(rings) * np.array(radii) + np.array(centre)
    return vertices.astype(np.float32), _strips(13, 24)


def _strips(rings: int, around: int) -> NDArray[np.int32]:
    faces = []
    for ring in range(rings - 1):
        a = ring * around + np.arange(around)
        b = ring * around + (np.arange(around) + 1) % around
        faces += [np.stack([a, b, b + around], 1), np.stack([a, b + around, a + around], 1)]
    return np.concatenate(faces).astype(np.int32)


def _box(half: float, bottom: float, top: float) -> Solid:
    corners = [
        (x, y, z)
        for z in (bottom, top)
        for x, y in ((-half, -half), (half, -half), (half, half), (-half, half))
    ]
    faces = [
        (0, 1, 5),
        (0, 5, 4),
        (1, 2, 6),
        (1, 6, 5),
        (2, 3, 7),
        (2, 7, 6),
        (3, 0, 4),
        (3, 4, 7),
        (4, 5, 6),
        (4, 6, 7),
        (0, 2, 1),
        (0, 3, 2),
    ]
    return np.array(corners, np.float32), np.array(faces, np.int32)


def _star(radius: float, height: float) -> Solid:
    """A five-pointed star facing us, 12 cm thick."""
    turn = np.pi / 2 + np.arange(10) * np.pi / 5
    reach = np.where(np.arange(10) % 2 == 0, radius, 0.45 * radius)
    outline = np.stack([reach * np.cos(turn), np.zeros(10), reach * np.sin(turn) + height], 1)
    front, back = outline + np.array([0, -0.06, 0]), outline + np.array([0, 0.06, 0])
    centre = np.array([[0, -0.06, height], [0, 0.06, height]])
    i, j = np.arange(10), (np.arange(10) + 1) % 10
    faces = [
        np.stack([np.full(10, 20), i, j], 1),
        np.stack([np.full(10, 21), j + 10, i + 10], 1),
        np.stack([i, i + 10, j + 10], 1),
        np.stack([i, j + 10, j], 1),
    ]
    return np.concatenate([front, back, centre]).astype(np.float32), np.concatenate(faces).astype(np.int32)
