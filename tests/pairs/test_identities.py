"""Who is who by looks: what somebody holds, and people in like clothes."""

from __future__ import annotations

import numpy as np

from castsheet.pairs.identities import identify
from castsheet.pairs.looks import PARTS, SIZE
from castsheet.pairs.records import Sight, Track
from castsheet.sheet.box import Box


def _track(shot: str, number: int, **mixed: float) -> Track:
    """A track in the clothes of everybody here, whose named parts show another colour with these shares."""
    looks = np.zeros((len(PARTS), SIZE))
    for row, part in enumerate(PARTS):
        share = mixed.get(part, 0.0)
        looks[row, 3 * row], looks[row, 3 * row + 1] = 1 - share, share
    return Track(shot, number, (Sight(0, Box(0, 0, 9, 9), 9, False),), tuple(looks.ravel()))


def test_somebody_who_carries_a_ball_is_the_same():
    """Red: a ball before the chest, which it covers by half, parts somebody from all their other shots."""
    plain = [_track(f"f-{k}", 0) for k in range(2)]
    (one,) = identify([*plain, _track("f-9", 0, chest=0.55)])
    assert len(one.tracks) == 3


def test_two_in_one_uniform_are_not_surely_one():
    """Red: people whose heads alone differ, because they wear the same, are joined."""
    first = [_track(f"f-{k}", 0) for k in range(2)]
    second = [_track(f"f-{k}", 0, head=0.7) for k in (5, 6)]
    found = identify(first + second)
    assert [len(one.tracks) for one in found] == [2, 2]
    assert all(one.unsure for one in found)
