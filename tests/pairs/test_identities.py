"""Who is who by looks: what somebody holds, and people in like clothes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from castsheet.pairs.identities import identify, replaced
from castsheet.pairs.looks import PARTS, SIZE
from castsheet.pairs.records import Sight, Track
from castsheet.pairs.subjects import evened, sights_of
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


def test_somebody_who_takes_anothers_place_tells_of_a_transition():
    """Red: a dissolve that changes nothing but a walker is in a clip; or who leaves by the frame's side is
    called a transition."""

    def walks(number: int, frames: range, x: int, share: float) -> Track:
        one = _track("f-0", number, head=share, chest=share, legs=share)
        return replace(one, sights=tuple(Sight(at, Box(x, 9, 20, 50), 900, False) for at in frames))

    first, second = walks(0, range(0, 60, 6), 100, 0.0), walks(1, range(48, 120, 6), 150, 1.0)
    assert replaced([first, second], 384) == [(48, 54)]
    assert not replaced([first, walks(1, range(48, 120, 6), 150, 0.1)], 384)
    assert not replaced([first, walks(1, range(48, 120, 6), 364, 1.0)], 384)
    assert not replaced([first, walks(1, range(96, 120, 6), 150, 1.0)], 384)


def _bust(turned: bool) -> tuple[np.ndarray, np.ndarray]:
    """Head and chest of somebody from behind, whom the frame cuts off below, and the mask of them."""
    frame = np.full((100, 80, 3), 90, np.uint8)
    mask = np.zeros((100, 80), np.bool_)
    mask[20:50, 30:48] = True
    frame[20:50, 30:48] = (200, 160, 60)
    columns = slice(28, 50) if turned else slice(14, 64)
    mask[50:, columns] = True
    frame[50:, columns] = (30, 60, 200)
    return frame, mask


def test_shoulders_tell_how_much_is_seen_of_somebody_without_a_face():
    """Red: who is near and shows no face to the detector stays apart from all their other shots."""
    busts = [_bust(turned=k == 2) for k in range(5)]
    frames = np.stack([frame for frame, _ in busts])
    seen = []
    for k, (frame, mask) in enumerate(busts):
        (one,) = sights_of(k, frame, mask, None)
        assert not one.look.parts
        seen.append(one)
    for one in evened(frames, 0, seen):
        assert set(one.look.parts) == {"head", "chest"}
    profile = [one for one in seen if one.frame == 2] * 4
    assert not any(one.look.parts for one in evened(frames, 0, profile))


def test_two_in_one_uniform_are_not_surely_one():
    """Red: people whose heads alone differ, because they wear the same, are joined."""
    first = [_track(f"f-{k}", 0) for k in range(2)]
    second = [_track(f"f-{k}", 0, head=0.7) for k in (5, 6)]
    found = identify(first + second)
    assert [len(one.tracks) for one in found] == [2, 2]
    assert all(one.unsure for one in found)
