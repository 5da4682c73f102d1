"""Triangles of people and props: a body clothed by colour, hair, hat and face as solids bound to a bone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mini.story.look import PARTS, Look, Part, look_of
from mini.story.skeleton import GROUND_BONE
from mini.story.solids import Solid, ellipsoid, lathe
from mini.world.body import STATURE, VERTICES, Array, model

HEAD_SCALE, GIRTH = 1.45, 1.20  # wider than life, as a cartoonist draws: at 224 px a true face is 20 px wide
CARICATURE = 0.7  # by how much more than in life heads differ from the mean head


@dataclass(frozen=True)
class Figure:
    """What the renderer needs of one person or prop. `lines`: heights of belt, collar and knee at rest."""

    vertices: Array  # (V, 3) rest positions, metres
    normals: Array  # (V, 3)
    bones: NDArray[np.int32]  # (V, 4)
    weights: Array  # (V, 4)
    faces: NDArray[np.int32]  # (T, 3)
    parts: NDArray[np.int32]  # (T,)
    palette: Array  # (17, 3)
    heads: Array  # (104, 3) rest bone heads; (0, 3) of a prop
    lines: tuple[float, float, float] = (0.0, 0.0, 0.0)
    look: Look | None = None


@dataclass(frozen=True)
class Piece:
    """Some triangles of one figure."""

    vertices: Array
    faces: NDArray[np.int32]
    parts: NDArray[np.int32]
    bones: NDArray[np.int32]
    weights: Array


def bound(solid: Solid, part: Part, bone: int) -> Piece:
    """A solid that one bone carries."""
    vertices, faces = solid
    bones = np.full((len(vertices), 4), bone, np.int32)
    weights = np.zeros((len(vertices), 4), np.float32)
    weights[:, 0] = 1
    return Piece(vertices, faces, np.full(len(faces), part, np.int32), bones, weights)


def joined(
    pieces: Sequence[Piece],
    palette: Array,
    heads: Array,
    lines: tuple[float, float, float] = (0.0, 0.0, 0.0),
    look: Look | None = None,
) -> Figure:
    """One figure of many pieces."""
    offsets = np.cumsum([0, *(len(piece.vertices) for piece in pieces[:-1])])
    return Figure(
        vertices=np.concatenate([piece.vertices for piece in pieces]).astype(np.float32),
        normals=np.concatenate([_normals(piece) for piece in pieces]).astype(np.float32),
        bones=np.concatenate([piece.bones for piece in pieces]),
        weights=np.concatenate([piece.weights for piece in pieces]),
        faces=np.concatenate([piece.faces + o for piece, o in zip(pieces, offsets, strict=True)]),
        parts=np.concatenate([piece.parts for piece in pieces]),
        palette=palette,
        heads=heads,
        lines=lines,
        look=look,
    )


def _normals(piece: Piece) -> Array:
    a, b, c = (piece.vertices[piece.faces[:, i]] for i in range(3))
    across = np.cross(b - a, c - a)
    normals = np.zeros_like(piece.vertices)
    for corner in range(3):
        for axis in range(3):
            normals[:, axis] += np.bincount(piece.faces[:, corner], across[:, axis], minlength=len(normals))
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)


def person(seed: int, index: int = 0) -> Figure:
    """The first or second person of a seed."""
    look = look_of(seed, index)
    body = model()
    vertices, heads = rest_shape(seed, index)
    pieces = [Piece(vertices, body.faces, _parts(), body.bone_index, body.bone_weight)]
    head = body.bone("head")
    share = (body.bone_weight * (body.bone_index == head)).sum(1)
    skull = vertices[share > 0.9]
    solids = [*_hair(look, skull), *_hat(look, skull), *_face(look, vertices, heads)]
    pieces += [bound(solid, part, head) for solid, part in solids]
    pieces.append(bound(ellipsoid((0, 0, 0.004), (0.36, 0.30, 0.003)), Part.SHADOW, GROUND_BONE))
    lines = (
        float(heads[body.bone("spine05"), 2]) + 0.06,
        float(heads[body.bone("neck01"), 2]) - 0.01,
        float(heads[body.bone("lowerleg01.L"), 2]),
    )
    return joined(pieces, look.palette(), heads, lines, look)


def _mean() -> Array:
    return model().mu[: 3 * VERTICES].reshape(-1, 3)


def _parts() -> NDArray[np.int32]:
    """The body's parts, lips among them: decided on the mean body, so they fit every face."""
    body = model()
    centre = _mean()[body.faces].mean(1)
    x, y, z = centre.T
    lips = (y < -0.140) & (np.abs(x) < 0.023) & (np.abs(z - 0.8235) < 0.0105 * (1 - (x / 0.025) ** 2) + 0.002)
    skin = body.triangle_part == Part.SKIN
    return np.where(lips & skin, int(Part.LIPS), body.triangle_part).astype(np.int32)


def rest_shape(seed: int, index: int) -> tuple[Array, Array]:
    """Vertices (13718, 3) and bone heads (104, 3) of one person at rest, metres, soles on z = 0."""
    body = model()
    random = np.random.default_rng([seed, 11, index])
    drawn = body.covariance_root @ random.standard_normal(len(body.mean)).astype(np.float32)
    flat = body.mu + (body.mean + drawn) @ body.basis
    average = body.mu + body.mean @ body.basis
    vertices, heads = flat[: 3 * VERTICES].reshape(-1, 3), flat[3 * VERTICES :].reshape(-1, 3)
    mean_vertices, mean_heads = average[: 3 * VERTICES].reshape(-1, 3), average[3 * VERTICES :].reshape(-1, 3)
    neck = body.bone("neck02")
    head_bones = [body.bone(name) for name in ("head", "eye.L", "eye.R")]
    share = (np.isin(body.bone_index, head_bones) * body.bone_weight).sum(1, keepdims=True)
    carried = heads[neck] - mean_heads[neck]
    vertices = vertices + CARICATURE * share * (vertices - mean_vertices - carried)
    heads = heads.copy()
    heads[head_bones] += CARICATURE * (heads[head_bones] - mean_heads[head_bones] - carried)
    wider = np.array([GIRTH, GIRTH, 1.0], np.float32)
    vertices, heads = vertices * wider, heads * wider
    growth = HEAD_SCALE / wider - 1
    vertices = vertices + share * growth * (vertices - heads[neck])
    heads[head_bones] += growth * (heads[head_bones] - heads[neck])
    soles = vertices[:, 2].min()
    vertices[:, 2] -= soles
    heads[:, 2] -= soles
    tall = float(vertices[:, 2].max())
    scale = (STATURE + (tall - STATURE) / 3) / tall  # statures differ by a third of what they do in life
    return (vertices * scale).astype(np.float32), (heads * scale).astype(np.float32)


def _at(vertices: Array, x: float, z: float) -> Array:
    """Where the vertex lies that is foremost near (x, z) on the mean face."""
    mean = _mean()
    near = (np.abs(mean[:, 0] - x) < 0.008) & (np.abs(mean[:, 2] - z) < 0.008) & (mean[:, 1] < -0.05)
    chosen = np.flatnonzero(near)
    return vertices[chosen[mean[chosen, 1].argmin()]]


def _face(look: Look, vertices: Array, heads: Array) -> list[tuple[Solid, Part]]:
    solids: list[tuple[Solid, Part]] = []
    thick, tilt = look.brow
    for sign, name in ((1, "eye.L"), (-1, "eye.R")):
        x, y, z = (float(value) for value in heads[model().bone(name)])
        x *= 1.06
        solids.append((ellipsoid((x, y + 0.006, z), (0.030, 0.040, 0.027)), Part.EYE))
        solids.append((ellipsoid((x, y - 0.022, z), (0.0165, 0.020, 0.0185)), Part.PUPIL))
        front = float(_at(vertices, sign * 0.031, 0.915)[1])
        for step in np.linspace(-1, 1, 5):
            height = z + 0.046 + tilt * 0.020 * step - 0.006 * step * step
            spot = (x + sign * 0.030 * float(step), front + 0.004 + 0.012 * abs(float(step)), height)
            solids.append((ellipsoid(spot, (0.012, 0.016, 0.0062 * thick)), Part.BROW))
        if look.spectacled:
            turn = np.linspace(0, 2 * np.pi, 21)[:-1]
            ring = [(x + 0.043 * np.cos(t), y - 0.050, z + 0.037 * np.sin(t)) for t in turn]
            solids += [(ellipsoid(spot, (0.0085, 0.008, 0.0085)), Part.GLASSES) for spot in ring]
    if look.spectacled:
        y, z = (float(value) for value in heads[model().bone("eye.L")][1:])
        solids.append((ellipsoid((0, y - 0.055, z), (0.022, 0.008, 0.006)), Part.GLASSES))
    lip, chin = _at(vertices, 0.0, 0.835), _at(vertices, 0.0, 0.800)
    if look.beard != "none":
        spot = (0.0, float(lip[1]) + 0.008, float(lip[2]) + 0.012)
        solids.append((ellipsoid(spot, (0.052, 0.020, 0.012)), Part.HAIR))
    if look.beard == "full":
        spot = (0.0, float(chin[1]) + 0.045, float(chin[2]) - 0.018)
        solids.append((ellipsoid(spot, (0.092, 0.070, 0.045)), Part.HAIR))
    return solids


def _hair(look: Look, skull: Array) -> list[tuple[Solid, Part]]:
    low, high = skull.min(0), skull.max(0)
    middle, (wide, deep, tall) = (low + high) / 2, (high - low) / 2
    back, crown = float(high[1]), float(high[2])

    def blob(y: float, z: float, *radii: float) -> Solid:
        x_radius, y_radius, z_radius = radii
        return ellipsoid(
            (0, back - y * deep, crown - z * tall), (x_radius * wide, y_radius * deep, z_radius * tall)
        )

    cap = blob(0.80, 0.52, 1.15, 0.95, 0.62)
    fall = 1 - float(middle[2] - crown) / float(tall)
    solids: dict[str, list[Solid]] = {
        "crop": [],
        "short": [cap],
        "round": [blob(0.55, 0.35, 1.6, 1.3, 0.9)],
        "long": [cap, blob(0.25, fall - 0.45, 1.35, 0.52, 1.5)],
        "bun": [cap, blob(0.6, -0.32, 0.5, 0.5, 0.4)],
        "crest": [blob(0.8, 0.1, 0.28, 1.1, 0.75)],
    }
    return [(solid, Part.HAIR) for solid in solids[look.hair_style]]


def _hat(look: Look, skull: Array) -> list[tuple[Solid, Part]]:
    low, high = skull.min(0), skull.max(0)
    wide, deep, tall = (float(value) for value in (high - low) / 2)
    centre = (0.0, float((low[1] + high[1]) / 2 + 0.15 * deep))
    top, wide, deep = float(high[2]), 1.12 * wide, 1.12 * deep
    crown = [(top - 0.42 * tall, 1.06), (top + 0.02 * tall, 1.0), (top + 0.2 * tall, 0.05)]
    peak = [(top - 0.42 * tall, 1.0), (top - 0.34 * tall, 1.0)]
    solids: dict[str, list[Solid]] = {
        "none": [],
        "cap": [
            lathe(crown, wide, deep, centre),
            lathe(peak, 0.9 * wide, deep, (0, centre[1] - 0.8 * deep)),
        ],
        "brim": [
            lathe([(top - 0.32 * tall, 1.0), (top + 0.55 * tall, 0.9)], wide, deep, centre),
            lathe([(top - 0.36 * tall, 1.6), (top - 0.28 * tall, 1.6)], wide, deep, centre),
        ],
        "cone": [lathe([(top - 0.36 * tall, 1.12), (top + 1.05 * tall, 0.05)], wide, deep, centre)],
    }
    return [(solid, Part.HAT) for solid in solids[look.hat_style]]


def blank_palette() -> Array:
    """Black for every part."""
    return np.zeros((PARTS, 3), np.float32)
