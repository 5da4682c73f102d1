"""Limbs that reach where they are told, and the matrices that pose a body.

Axes: x to our right, y away from us, z up; a body at rest faces -y. Legend: F frames, B bones.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mini.world.body import BONES, Array, model

MATRICES = BONES + 1
GROUND_BONE = BONES  # follows the place on the ground: the shadow


def turns(axis: str, angle_F: Array) -> Array:
    """Right-handed rotations (F,3,3) about a world axis, radians."""
    c, s = np.cos(angle_F), np.sin(angle_F)
    zero, one = np.zeros_like(c), np.ones_like(c)
    rows = {
        "x": [[one, zero, zero], [zero, c, -s], [zero, s, c]],
        "y": [[c, zero, s], [zero, one, zero], [-s, zero, c]],
        "z": [[c, -s, zero], [s, c, zero], [zero, zero, one]],
    }
    return np.moveaxis(np.array(rows[axis], np.float32), -1, 0)


def reach(rest_33: Array, target_F3: Array, pole_3: Array) -> tuple[Array, Array, Array]:
    """Two-bone inverse kinematics by the law of cosines.

    Args:
        rest_33: hip, knee and ankle (or shoulder, elbow and wrist) at rest.
        target_F3: where the end of the limb shall be; what is out of reach is approached.
        pole_3: the direction to which the middle joint bends.

    Returns:
        Rotations (F,3,3) of the upper bone, of the lower bone relative to the upper, and of the lower bone.
    """
    upper, lower = rest_33[1] - rest_33[0], rest_33[2] - rest_33[1]
    long, short = float(np.linalg.norm(upper)), float(np.linalg.norm(lower))
    to = target_F3 - rest_33[0]
    far = np.linalg.norm(to, axis=1, keepdims=True)
    along = to / np.maximum(far, 1e-6)
    far = np.clip(far, abs(long - short) + 1e-3, 0.998 * (long + short))
    side = _unit(pole_3 - (along @ pole_3)[:, None] * along)
    cosine = np.clip((long**2 + far**2 - short**2) / (2 * long * far), -1, 1)
    middle = long * (cosine * along + np.sqrt(1 - cosine**2) * side)
    hinge = np.cross(along, side)
    rest_along = _unit((rest_33[2] - rest_33[0])[None])
    rest_side = _unit(upper[None] - (rest_along @ upper)[:, None] * rest_along)
    rest_hinge = np.cross(rest_along, rest_side)
    first = _frame(middle, hinge) @ _frame(upper[None], rest_hinge)[0].T
    second = _frame(far * along - middle, hinge) @ _frame(lower[None], rest_hinge)[0].T
    return first, first.swapaxes(1, 2) @ second, second


def _unit(v_F3: Array) -> Array:
    return v_F3 / np.maximum(np.linalg.norm(v_F3, axis=1, keepdims=True), 1e-6)


def _frame(along_F3: Array, hinge_F3: Array) -> Array:
    a, h = _unit(along_F3), _unit(hinge_F3)
    return np.stack([a, h, np.cross(a, h)], 2)


def pose_matrices(heads_B3: Array, rotations: Mapping[str, Array], root_F3: Array, yaw_F: Array) -> Array:
    """Skinning matrices (F, 105, 4, 4), from rotations (F,3,3) of bones relative to their parents."""
    body, count = model(), len(yaw_F)
    turn = turns("z", yaw_F)
    rotated = np.empty((BONES, count, 3, 3), np.float32)
    placed = np.empty((BONES, count, 3), np.float32)
    for bone, parent in enumerate(body.parents):
        above = turn if parent < 0 else rotated[parent]
        own = rotations.get(body.labels[bone])
        rotated[bone] = above if own is None else above @ own
        placed[bone] = (
            turn @ heads_B3[bone] + root_F3
            if parent < 0
            else placed[parent] + above @ (heads_B3[bone] - heads_B3[parent])
        )
    matrices = np.zeros((count, MATRICES, 4, 4), np.float32)
    matrices[:, :, 3, 3] = 1
    matrices[:, :BONES, :3, :3] = rotated.swapaxes(0, 1)
    matrices[:, :BONES, :3, 3] = (placed - np.einsum("bfij,bj->bfi", rotated, heads_B3)).swapaxes(0, 1)
    matrices[:, GROUND_BONE, :3, :3] = np.eye(3)
    matrices[:, GROUND_BONE, :2, 3] = root_F3[:, :2]
    return matrices
