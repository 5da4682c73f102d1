"""The picture of a place behind people whose masks are known."""

from __future__ import annotations

import numpy as np

from castsheet.pairs.camera import Placed, Plate, levels_between, plate_of
from castsheet.pairs.plain import Backdrop, clean_part, free_of

GROUND = np.random.default_rng(3).integers(60, 190, (9, 16, 3), np.uint8).repeat(8, 0).repeat(8, 1)
SPOT = np.s_[20:60, 50:64]


def _placed(number: int, colour: tuple[int, int, int] | None, told: bool) -> Placed:
    picture, free = GROUND.copy(), np.ones(GROUND.shape[:2], np.bool_)
    if colour is not None:
        picture[SPOT], free[SPOT] = colour, False
    return Placed(picture, number, (0, 0), free if told else None)


def test_who_stands_on_one_spot_in_most_shots_is_no_part_of_the_place():
    """Red: the picture of a place shows parts of people, or has a hole, where they stand in three shots of
    four."""
    red, blue = (220, 40, 40), (40, 40, 230)
    for told in (False, True):
        plate = plate_of([_placed(k, colour, told) for k, colour in enumerate((red, red, blue, None))])
        right = plate.sure & (levels_between(plate.picture, GROUND) <= 2)
        assert bool(right.all()) == told


def test_a_part_of_the_place_is_enough_where_nobody_stood_all_the_time():
    """Red: a clip is lost (R70) because somebody stood at one side of its place in all shots, or what nobody
    knows is on its sheet."""
    sure = np.ones(GROUND.shape[:2], np.bool_)
    sure[:, :20] = False
    part = clean_part(Plate(GROUND, sure, (0, 0)), (128, 72))
    assert part is not None
    picture, known = part
    assert picture.shape[:2] == (58, 102)
    assert (picture == GROUND[7:65, 20:122]).all()
    assert known.all()
    sure[:, 60:70] = False
    assert clean_part(Plate(GROUND, sure, (0, 0)), (128, 72)) is None
    assert clean_part(Plate(GROUND, np.ones_like(sure), (0, 0)), (400, 225)) is None


def test_the_room_of_people_is_known_from_their_masks(found):
    """Red: people are looked for at the wrong place or time, or their shadows stay on the ground."""
    everybody, _, work = found
    track = next(one for one in everybody.tracks if len(one.sights) > 4)
    size = everybody.sizes[track.shot]
    stored = work / "results" / "watched" / f"{everybody.results[track.shot]}.json"
    sight = track.sights[len(track.sights) // 2]
    shot = Backdrop(track.shot, (0, 9), ((0, 0),) * 3, False, (track,), str(stored))
    free = free_of(shot, sight.frame, size)
    box = sight.box
    assert free.shape == (size[1], size[0])
    assert free[box.y : box.bottom, box.x : box.right].mean() < 0.6
    assert not free[min(size[1] - 1, box.bottom), box.x + box.w // 2]
    assert free.mean() > 0.5
    assert free_of(Backdrop("empty", (0, 9), ((0, 0),) * 3, True), 3, size).all()
