"""The named actions: a pose for every frame of a 121-frame clip.

Actions are the same for every identity, so a caption says all there is to know of the motion.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mini.world.body import Array, Pose, rotation

FRAMES = 121
FPS = 24.0


def _arms_down(left_swing: float = 0.0, right_swing: float = 0.0, bend: float = 0.25) -> dict[str, Array]:
    return {
        "upperarm01.L": rotation("x", left_swing) @ rotation("y", 0.58),
        "upperarm01.R": rotation("x", right_swing) @ rotation("y", -0.58),
        "lowerarm01.L": rotation("x", -bend * 0.2),
        "lowerarm01.R": rotation("x", -bend * 0.2),
    }


def _legs(left: float, right: float, left_knee: float, right_knee: float) -> dict[str, Array]:
    return {
        "upperleg01.L": rotation("x", left) @ rotation("y", 0.06),
        "upperleg01.R": rotation("x", right) @ rotation("y", -0.06),
        "lowerleg01.L": rotation("x", left_knee),
        "lowerleg01.R": rotation("x", right_knee),
    }


def _walk(seconds: float, heading: float) -> Pose:
    phase = 2 * np.pi * seconds * 1.1
    swing = 0.55 * np.sin(phase)
    knees = 0.75 * np.maximum(0, np.sin(phase + np.pi / 2)), 0.75 * np.maximum(0, np.sin(phase - np.pi / 2))
    rotations = _arms_down(0.6 * np.sin(phase), -0.6 * np.sin(phase), 1.5) | _legs(-swing, swing, *knees)
    across = heading * (-1.25 + 2.5 * seconds / 5.0)
    bob = 0.02 * np.abs(np.cos(phase)) - 0.03
    return Pose(rotations, np.array([across, 0, bob], np.float32), heading * np.pi / 2)


def walk_left(seconds: float) -> Pose:
    """From the right edge to the left, in profile."""
    return _walk(seconds, -1.0)


def walk_right(seconds: float) -> Pose:
    """From the left edge to the right, in profile."""
    return _walk(seconds, 1.0)


def wave(seconds: float) -> Pose:
    """Facing us, one arm up, the forearm swinging."""
    rotations = _arms_down() | {
        "upperarm01.R": rotation("y", 1.35),
        "lowerarm01.R": rotation("y", 0.35 + 0.6 * np.sin(2 * np.pi * 1.2 * seconds)) @ rotation("x", 0.7),
    }
    return Pose(rotations)


def jump(seconds: float) -> Pose:
    """Facing us, one jump every 1.25 seconds, arms flung out."""
    phase = (seconds / 1.25) % 1.0
    air = np.sin(np.pi * np.clip((phase - 0.3) / 0.5, 0, 1))
    crouch = np.sin(np.pi * np.clip(phase / 0.3, 0, 1)) + 0.6 * np.sin(
        np.pi * np.clip((phase - 0.8) / 0.2, 0, 1)
    )
    rotations = _legs(-0.7 * crouch, -0.7 * crouch, 1.3 * crouch, 1.3 * crouch) | {
        "upperarm01.L": rotation("y", 0.58 - 1.5 * air),
        "upperarm01.R": rotation("y", -0.58 + 1.5 * air),
    }
    return Pose(rotations, np.array([0, 0, 0.22 * air - 0.13 * crouch], np.float32))


def turn_round(seconds: float) -> Pose:
    """A full turn on the spot."""
    return Pose(_arms_down(), yaw=2 * np.pi * seconds / 5.0)


def lift(seconds: float) -> Pose:
    """Facing us, the prop goes up over the head and down again, in both hands."""
    height = 0.5 - 0.5 * np.cos(2 * np.pi * seconds / 5.0)
    raise_ = -0.55 - 2.1 * height
    rotations = _arms_down(raise_, raise_, 0.4)
    reach = np.array(
        [0, -0.15 - 0.42 * np.sin(np.pi * np.clip(height, 0.08, 1)), 0.62 + 1.1 * height], np.float32
    )
    return Pose(rotations, prop=reach)


ACTIONS: dict[str, Callable[[float], Pose]] = {
    "walk left": walk_left,
    "walk right": walk_right,
    "wave": wave,
    "jump": jump,
    "turn round": turn_round,
    "lift": lift,
}


def clip_poses(action: str, frames: int = FRAMES) -> list[Pose]:
    """The poses of a clip, one a frame at 24 fps."""
    return [ACTIONS[action](frame / FPS) for frame in range(frames)]
