"""The parametric body: shape from a seed, exact parts per triangle, forward kinematics.

The linear model (`people.npz`, CC0 MakeHuman data, see NOTICE) gives x = mu + c @ basis for 13,718 vertices
and 104 bone heads in metres, z up, facing -y. Skinning is linear blend with four bones a vertex.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

VERTICES = 13_718
BONES = 104
PROP_BONE = BONES  # follows the prop, not the person
GROUND_BONE = BONES + 1  # follows the person's place on the ground: the shadow
MATRICES = BONES + 2
STATURE = 1.78  # metres, soles to crown


class Part(IntEnum):
    """What a triangle belongs to. A look gives each part its colour."""

    PUPIL = 0
    SKIN = 1
    HAIR = 2
    SLEEVE = 3
    FOREARM = 4
    CHEST = 5
    HIPS = 6
    SHIN = 7
    SHOE = 8
    EYE = 9
    HAT = 10
    PROP = 11
    PROP_TRIM = 12
    SHADOW = 13


PROP_PLACE = np.array([1.35, -0.25, 0.0], np.float32)  # where the prop stands when nobody lifts it


@dataclass(frozen=True)
class Pose:
    """Bone rotations (3x3, world axes of the rest pose), the person's place and heading, the prop's place.

    Places are in metres, the heading in radians; 0 faces us.
    """

    rotations: dict[str, Array]
    root: Array = field(default_factory=lambda: np.zeros(3, np.float32))
    yaw: float = 0.0
    prop: Array = field(default_factory=lambda: PROP_PLACE)


@dataclass(frozen=True)
class Model:
    """The linear body model, read once."""

    mu: Array
    basis: Array
    mean: Array
    covariance_root: Array
    faces: NDArray[np.int32]
    bone_index: NDArray[np.int32]
    bone_weight: Array
    labels: tuple[str, ...]
    parents: NDArray[np.int32]
    triangle_part: NDArray[np.int32]

    def bone(self, name: str) -> int:
        return self.labels.index(name)


@cache
def model() -> Model:
    """Read the body model that the package carries."""
    with np.load(Path(__file__).with_name("people.npz"), allow_pickle=False) as data:
        raw = {name: data[name] for name in data.files}
    mu = raw["mu"].astype(np.float32)
    weights = raw["bone_w"].astype(np.float32)
    eigenvalues, eigenvectors = np.linalg.eigh(raw["coef_cov"].astype(np.float64))
    root = (eigenvectors * np.sqrt(np.maximum(eigenvalues, 0))).astype(np.float32)
    return Model(
        mu=mu,
        basis=raw["basis"].astype(np.float32),
        mean=raw["coef_mean"].astype(np.float32),
        covariance_root=root,
        faces=raw["faces"].astype(np.int32),
        bone_index=raw["bone_idx"].astype(np.int32),
        bone_weight=weights / weights.sum(1, keepdims=True),
        labels=tuple(str(label) for label in raw["labels"]),
        parents=raw["parents"].astype(np.int32),
        triangle_part=_triangle_parts(raw, mu[: 3 * VERTICES].reshape(-1, 3)),
    )


def _triangle_parts(raw: dict[str, NDArray[np.generic]], rest: Array) -> NDArray[np.int32]:
    """One part a triangle, decided on the mean body: parts then have crisp edges on every body."""
    faces = raw["faces"].astype(np.int32)
    regions = np.stack([raw[f"g_{name}"].astype(np.float32) for name in _REGIONS], 1)
    region = regions[faces].sum(1).argmax(1)
    centre = rest[faces].mean(1)
    height, depth = centre[:, 2], centre[:, 1]
    # Belt, collar and knee are straight lines that the renderer draws through the torso and the legs.
    part = np.choose(region, [Part.SHOE, Part.HIPS, Part.CHEST, Part.SLEEVE, Part.SKIN, Part.SKIN, Part.EYE])
    bone = raw["bone_idx"].astype(np.int32)[
        faces[:, 0], raw["bone_w"].astype(np.float32)[faces[:, 0]].argmax(1)
    ]
    labels = [str(label) for label in raw["labels"]]
    lower = np.array([label.startswith(("lowerarm", "wrist")) for label in labels])[bone]
    part = np.where((region == 3) & lower, Part.FOREARM, part)
    # The hairline runs from the forehead over the temples down to the nape.
    hairline = 0.972 + 0.55 * np.minimum(depth + 0.075, 0.0) - 1.55 * np.maximum(depth + 0.075, 0.0)
    head = (region == 5) & (height > 0.78)
    part = np.where(head & (height > np.maximum(hairline, 0.80)), Part.HAIR, part)
    return part.astype(np.int32)


_REGIONS = ("foot", "leg", "torso", "arm", "hand", "head", "eye")


def rest_shape(seed: int, *, head_scale: float = 1.45, girth: float = 1.22) -> tuple[Array, Array]:
    """Vertices (13718, 3) and bone heads (104, 3) of one identity at rest, metres, soles on z = 0.

    Drawn as a cartoonist would, with heads `head_scale` and bodies `girth` times wider than life: at 112 px a
    true face is eight pixels wide.
    """
    body = model()
    random = np.random.default_rng([seed, 1])
    coefficients = body.mean + body.covariance_root @ random.standard_normal(len(body.mean)).astype(
        np.float32
    )
    flat = body.mu + coefficients @ body.basis
    vertices, heads = flat[: 3 * VERTICES].reshape(-1, 3), flat[3 * VERTICES :].reshape(-1, 3)
    wider = np.array([girth, girth, 1.0], np.float32)
    vertices, heads = vertices * wider, heads * wider
    neck = heads[body.bone("neck02")]
    head_bones = [body.bone(name) for name in ("head", "eye.L", "eye.R")]
    share = (np.isin(body.bone_index, head_bones) * body.bone_weight).sum(1, keepdims=True)
    growth = np.array([head_scale / girth, head_scale / girth, head_scale], np.float32) - 1
    vertices = vertices + share * growth * (vertices - neck)
    heads[head_bones] += growth * (heads[head_bones] - neck)
    soles = vertices[:, 2].min()
    vertices[:, 2] -= soles
    heads[:, 2] -= soles
    # Statures differ by a third of what they do in life, so that everybody fills the frame.
    tall = float(vertices[:, 2].max())
    scale = (STATURE + (tall - STATURE) / 3) / tall
    return (vertices * scale).astype(np.float32), (heads * scale).astype(np.float32)


def pose_matrices(heads: Array, poses: Sequence[Pose]) -> Array:
    """Skinning matrices (frames, 106, 4, 4) of a body at rest (`heads`, metres) in a sequence of poses."""
    body, count = model(), len(poses)
    named = {name for pose in poses for name in pose.rotations}
    identity = np.eye(3, dtype=np.float32)
    local = {name: np.stack([pose.rotations.get(name, identity) for pose in poses]) for name in named}
    turn = np.stack([rotation("z", pose.yaw) for pose in poses])
    root = np.stack([pose.root for pose in poses])
    rotated = np.empty((BONES, count, 3, 3), np.float32)
    placed = np.empty((BONES, count, 3), np.float32)
    for bone, parent in enumerate(body.parents):
        own = local.get(body.labels[bone])
        above = turn if parent < 0 else rotated[parent]
        rotated[bone] = above if own is None else above @ own
        placed[bone] = (
            turn @ heads[bone] + root
            if parent < 0
            else placed[parent] + above @ (heads[bone] - heads[parent])
        )
    matrices = np.zeros((count, MATRICES, 4, 4), np.float32)
    matrices[:, :, 3, 3] = 1
    matrices[:, :BONES, :3, :3] = rotated.swapaxes(0, 1)
    matrices[:, :BONES, :3, 3] = (placed - np.einsum("bfij,bj->bfi", rotated, heads)).swapaxes(0, 1)
    matrices[:, PROP_BONE:, :3, :3] = identity
    matrices[:, PROP_BONE, :3, 3] = np.stack([pose.prop for pose in poses])
    matrices[:, GROUND_BONE, :2, 3] = root[:, :2]
    return matrices


def rotation(axis: str, angle: float) -> Array:
    """A right-handed rotation about a world axis, radians."""
    c, s = np.cos(angle), np.sin(angle)
    rows = {
        "x": [[1, 0, 0], [0, c, -s], [0, s, c]],
        "y": [[c, 0, s], [0, 1, 0], [-s, 0, c]],
        "z": [[c, -s, 0], [s, c, 0], [0, 0, 1]],
    }
    return np.array(rows[axis], np.float32)
