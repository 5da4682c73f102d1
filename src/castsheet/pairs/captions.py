"""What happens in a clip, in words from its tracks: who, where, which way; nothing of how anybody looks.

This is the offline captioner. It says what boxes and faces tell, and no more: that somebody walks, turns or
stays, on which side, and what the camera does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from castsheet.pairs.records import Sight

WALKS = 0.28  # of the frame's width: a middle that moves less has stayed
TURNS = 60.0  # degrees between the faces that are seen
SIDES = 0.12  # of the width, from the middle: nearer than this is no side
PANS = 0.04  # of the width


@dataclass(frozen=True)
class Part:
    """What one person does: their name, and their sights in the clip, in order."""

    name: str
    sights: tuple[Sight, ...]


def action_words(parts: Sequence[Part], width: int, moved: int) -> str:
    """The prompt's second half.

    Args:
        width: px of the frames that the sights are of. moved: px that the camera goes to the right.
    """
    told = [_deed(part, width, alone=len(parts) == 1) for part in sorted(parts, key=lambda part: part.name)]
    near = all(one.box.w > 0.33 * width for part in parts for one in part.sights)
    words = " and ".join(told)
    if near:
        words = f"close shot: {words}"
    if abs(moved) > PANS * width:
        words += f", the camera pans slowly to the {'right' if moved > 0 else 'left'}"
    return f"{words}."


def _deed(part: Part, width: int, *, alone: bool) -> str:
    middles = np.array([one.box.x + one.box.w / 2 for one in part.sights]) / width
    way = float(middles[-1] - middles[0])
    if abs(way) > WALKS:
        return f"{part.name} walks to the {'right' if way > 0 else 'left'}"
    side = float(np.median(middles)) - 0.5
    where = "" if alone or abs(side) < SIDES else f" on the {'right' if side > 0 else 'left'}"
    return f"{part.name}{where} {_staying(part.sights)}"


def _staying(sights: Sequence[Sight]) -> str:
    yaws = [one.yaw for one in sights if one.yaw is not None]
    unseen = sum(one.yaw is None for one in sights)
    if len(yaws) >= 2 and max(yaws) - min(yaws) > TURNS and unseen >= 2:
        return "turns round"
    return "stays there"
