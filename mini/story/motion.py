"""What people do: where hands and feet go, frame by frame, and when it sounds.

A foot that stands is fixed to the ground and the leg follows by inverse kinematics, so feet do not slide.

Legend: F frames (121), S sides (left, right).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from mini.story import FPS, FRAMES
from mini.story.skeleton import pose_matrices, reach, turns
from mini.world.body import Array, model

Action = Literal[
    "stand", "wave", "jump", "turn round", "walk left", "walk right", "lift", "carry left", "carry right"
]
ACTIONS: tuple[Action, ...] = get_args(Action)
HANDLING: tuple[Action, ...] = ("lift", "carry left", "carry right")
HEADING = {"walk left": -1.0, "walk right": 1.0, "carry left": -1.0, "carry right": 1.0}
SIDES = ("L", "R")

STEP = 0.62  # seconds from one step to the next
_STANCE = 0.6  # share of a stride in which a foot stands
_JUMPS, _CROUCH, _AIR = (0.35, 1.95, 3.55), 0.40, 0.56  # seconds
_GRAVITY = 9.81
_LIFT = (0.7, 1.7, 3.3, 4.3)  # begins to rise, is up, begins to sink, is down
_TURN = (0.3, 4.5, 12)  # begins, ends, steps
_HAND = 0.07  # metres from the wrist to what the hand holds


@dataclass(frozen=True)
class Onset:
    """A moment that sounds: seconds, and what it is (step, landing, swish, chime)."""

    second: float
    kind: Literal["step", "landing", "swish", "chime"]


@dataclass(frozen=True)
class Motion:
    """A body in motion.

    Attributes:
        matrices: (F, 105, 4, 4) for skinning. hands_FS3: wrists; feet_FS3: ankles, as asked (world, metres).
        planted_FS: whether a foot stands. held_F3: where the bottom of a held prop is; None without one.
    """

    matrices: Array
    hands_FS3: Array
    feet_FS3: Array
    planted_FS: Array
    held_F3: Array | None
    onsets: tuple[Onset, ...]


@dataclass
class _Strings:
    """Where everything goes. Hands are relative to the body, before it turns; feet are in the world."""

    seconds: Array
    root: Array
    yaw: Array
    hands: Array
    feet: Array
    foot_yaw: Array
    foot_pitch: Array
    planted: Array
    onsets: list[Onset]
    head: Array
    under: Array  # 0 where a prop is held by its sides, 1 where the hands are under it


def move(
    action: Action,
    heads: Array,
    *,
    start: tuple[float, float] = (0.0, 0.0),
    distance: float = 3.0,
    facing: float = 0.0,
    grip: float = 0.2,
    thickness: float = 0.4,
) -> Motion:
    """An action of a body whose bone heads at rest are `heads` (metres).

    Args:
        start: x and y on the ground; a walk begins there and goes `distance` metres. facing: yaw, radians.
        grip: half the width of a held prop. thickness: its height.
    """
    strings = _stand(heads, start, facing)
    if action in HEADING:
        _walk(strings, heads, HEADING[action], distance)
    elif action == "jump":
        _jump(strings, heads)
    elif action == "turn round":
        _turn(strings)
    elif action == "wave":
        _wave(strings, heads)
    held = action in HANDLING
    if held:
        _hold(strings, heads, grip, up=action == "lift")
    return _motion(strings, heads, thickness if held else None)


def _joints(heads: Array, names: tuple[str, str, str], side: str) -> Array:
    return heads[[model().bone(f"{name}.{side}") for name in names]]


_ARM, _LEG = ("upperarm01", "lowerarm01", "wrist"), ("upperleg01", "lowerleg01", "foot")


def _stand(heads: Array, start: tuple[float, float], facing: float) -> _Strings:
    seconds = (np.arange(FRAMES) / FPS).astype(np.float32)
    root = np.zeros((FRAMES, 3), np.float32)
    root[:, :2] = start
    root[:, 2] = -0.012 + 0.004 * np.sin(2 * np.pi * seconds / 2.5)
    hands = np.empty((FRAMES, 2, 3), np.float32)
    feet = np.empty((FRAMES, 2, 3), np.float32)
    turn = turns("z", np.array([facing], np.float32))[0]
    for side, name in enumerate(SIDES):
        sign = 1 - 2 * side
        shoulder, elbow, wrist = _joints(heads, _ARM, name)
        length = np.linalg.norm(elbow - shoulder) + np.linalg.norm(wrist - elbow)
        hands[:, side] = shoulder + np.array([sign * 0.12, -0.05, -0.955 * length])
        hands[:, side, 1] -= 0.012 * np.sin(2 * np.pi * seconds / 2.5 + side)
        ankle = heads[model().bone(f"foot.{name}")]
        feet[:, side] = turn @ np.array([sign * 0.14, ankle[1], ankle[2]]) + np.array([*start, 0])
    return _Strings(
        seconds=seconds,
        root=root,
        yaw=np.full(FRAMES, facing, np.float32),
        hands=hands,
        feet=feet,
        foot_yaw=np.full((FRAMES, 2), facing, np.float32),
        foot_pitch=np.zeros((FRAMES, 2), np.float32),
        planted=np.ones((FRAMES, 2), np.bool_),
        onsets=[],
        head=(0.06 * np.sin(2 * np.pi * seconds / 4.0)).astype(np.float32),
        under=np.zeros(FRAMES, np.float32),
    )


def _ease(share: Array) -> Array:
    share = np.clip(share, 0, 1)
    return share * share * (3 - 2 * share)


def _walk(strings: _Strings, heads: Array, heading: float, distance: float) -> None:
    seconds, start = strings.seconds, strings.root[0].copy()
    speed = distance / (FRAMES - 1) * FPS
    stride = speed * 2 * STEP
    strings.root[:, 0] = start[0] + heading * speed * seconds
    strings.root[:, 2] = -0.040 + 0.012 * np.cos(2 * np.pi * (seconds / STEP - 0.6))
    strings.yaw[:] = strings.foot_yaw[:] = heading * np.pi / 2
    for side, name in enumerate(SIDES):
        phase = seconds / (2 * STEP) + side / 2
        cycle = np.floor(phase)
        within = phase - cycle
        swing = np.clip((within - _STANCE) / (1 - _STANCE), 0, 1)
        stands = start[0] + heading * stride * (cycle - side / 2 + _STANCE / 2 + _ease(swing))
        ankle = heads[model().bone(f"foot.{name}")]
        # The body has turned by a quarter: its left and right are away from us and towards us.
        strings.feet[:, side, 0] = stands - heading * ankle[1]
        strings.feet[:, side, 1] = start[1] + heading * (1 - 2 * side) * 0.09
        strings.feet[:, side, 2] = ankle[2] + 0.10 * np.sin(np.pi * swing)
        strings.foot_pitch[:, side] = 0.5 * np.sin(2 * np.pi * swing) * (1 - swing)
        strings.planted[:, side] = swing == 0
        strings.hands[:, side, 1] += 0.20 * np.cos(2 * np.pi * (phase - _STANCE / 2 + 0.5))
        down = (np.arange(int(phase[0]) + 1, int(phase[-1]) + 1) - side / 2) * 2 * STEP
        strings.onsets += [Onset(float(second), "step") for second in down]


def _jump(strings: _Strings, heads: Array) -> None:
    seconds = strings.seconds
    for begin in _JUMPS:
        off, land = begin + _CROUCH, begin + _CROUCH + _AIR
        crouch = np.sin(np.pi * np.clip((seconds - begin) / _CROUCH, 0, 1)) + 0.7 * np.sin(
            np.pi * np.clip((seconds - land) / 0.36, 0, 1)
        )
        t = np.clip(seconds - off, 0, _AIR)
        height = 0.5 * _GRAVITY * t * (_AIR - t)
        strings.root[:, 2] += height - 0.17 * crouch
        strings.feet[:, :, 2] += height[:, None]
        aloft = (seconds > off) & (seconds < land)
        strings.planted[aloft] = False
        raised = _ease((seconds - off + 0.12) / 0.25) * (1 - _ease((seconds - land + 0.12) / 0.3))
        for side, name in enumerate(SIDES):
            shoulder = heads[model().bone(f"upperarm01.{name}")]
            up = shoulder + np.array([(1 - 2 * side) * 0.42, -0.05, 0.22])
            strings.hands[:, side] += raised[:, None] * (up - strings.hands[:, side])
            strings.hands[:, side, 1] -= 0.18 * np.clip(crouch, 0, 1)
        strings.onsets.append(Onset(land, "landing"))


def _turn(strings: _Strings) -> None:
    begin, end, steps = _TURN
    seconds, facing = strings.seconds, float(strings.yaw[0])
    strings.yaw[:] = facing + 2 * np.pi * np.clip((seconds - begin) / (end - begin), 0, 1)
    length = (end - begin) / steps
    centre, rest = strings.root[0] * np.array([1, 1, 0]), strings.feet[0].copy()
    for side in range(2):
        angle = np.zeros(FRAMES, np.float32)
        lifted = np.zeros(FRAMES, np.float32)
        done = 0.0
        for step in [k for k in range(steps + 1) if k % 2 == side]:
            off = begin + step * length
            goal = min(2 * np.pi, (step + 1.5) * 2 * np.pi / steps)
            share = np.clip((seconds - off) / length, 0, 1)
            angle += (goal - done) * _ease(share)
            lifted += np.sin(np.pi * share)
            done = goal
            strings.onsets.append(Onset(off + length, "step"))
        spun = turns("z", angle) @ (rest[side] - centre)
        strings.feet[:, side] = centre + spun
        strings.feet[:, side, 2] += 0.06 * lifted
        strings.foot_yaw[:, side] = facing + angle
        strings.planted[:, side] = lifted < 1e-6


def _wave(strings: _Strings, heads: Array) -> None:
    seconds = strings.seconds
    shoulder = heads[model().bone("upperarm01.R")]
    swing = np.sin(2 * np.pi * (seconds - 0.5) * 1.1)
    aim = shoulder + np.stack([-0.34 - 0.20 * swing, np.full(FRAMES, -0.10), 0.40 - 0.05 * swing**2], 1)
    up = _ease((seconds - 0.05) / 0.45)[:, None]
    strings.hands[:, 1] += up * (aim - strings.hands[:, 1])
    crossings = 0.5 + np.arange(1, 9) / 2.2
    strings.onsets += [Onset(float(second), "swish") for second in crossings if second < seconds[-1]]


def _hold(strings: _Strings, heads: Array, grip: float, *, up: bool) -> None:
    seconds = strings.seconds
    shoulder = heads[model().bone("upperarm01.L")]
    low = np.array([0.0, -0.36, shoulder[2] - 0.42])
    aim = np.broadcast_to(low, (FRAMES, 3)).copy()
    if up:
        high = np.array([0.0, -0.20, shoulder[2] + 0.50])
        share = _ease((seconds - _LIFT[0]) / (_LIFT[1] - _LIFT[0])) * (
            1 - _ease((seconds - _LIFT[2]) / (_LIFT[3] - _LIFT[2]))
        )
        aim += share[:, None] * (high - low)
        strings.under[:] = share
        aim[:, 1] -= 0.20 * np.sin(np.pi * share)
        strings.onsets += [Onset(_LIFT[0], "swish"), Onset(_LIFT[1], "chime"), Onset(_LIFT[3], "chime")]
    else:
        strings.onsets += [Onset(second, "chime") for second in (0.5, 2.0, 3.5)]
    for side in range(2):
        strings.hands[:, side] = aim + np.array([(1 - 2 * side) * (grip + 0.01), _HAND, 0.0])


def _motion(strings: _Strings, heads: Array, thickness: float | None) -> Motion:
    rotations: dict[str, Array] = {"head": turns("z", strings.head)}
    back = turns("z", -strings.yaw)
    for side, name in enumerate(SIDES):
        sign = 1 - 2 * side
        pole = np.array([sign * 0.55, 0.75, -0.45], np.float32)
        upper, lower, _ = reach(_joints(heads, _ARM, name), strings.hands[:, side], pole)
        rotations |= {f"upperarm01.{name}": upper, f"lowerarm01.{name}": lower}
        foot = np.einsum("fij,fj->fi", back, strings.feet[:, side] - strings.root)
        knee = np.array([sign * 0.12, -1.0, 0.0], np.float32)
        upper, lower, world = reach(_joints(heads, _LEG, name), foot, knee)
        flat = turns("z", strings.foot_yaw[:, side] - strings.yaw) @ turns("x", strings.foot_pitch[:, side])
        rotations |= {
            f"upperleg01.{name}": upper,
            f"lowerleg01.{name}": lower,
            f"foot.{name}": world.swapaxes(1, 2) @ flat,
        }
    hands = np.einsum("fij,fsj->fsi", turns("z", strings.yaw), strings.hands) + strings.root[:, None]
    held = None
    if thickness is not None:
        ahead = np.einsum("fij,j->fi", turns("z", strings.yaw), np.array([0, -_HAND, 0], np.float32))
        held = hands.mean(1) + ahead
        held[:, 2] -= thickness * (0.5 - 0.4 * strings.under)
    onsets = tuple(sorted(strings.onsets, key=lambda one: one.second))
    matrices = pose_matrices(heads, rotations, strings.root, strings.yaw)
    return Motion(matrices, hands, strings.feet, strings.planted, held, onsets)
