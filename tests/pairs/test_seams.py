"""Holes of a place, before which people stand in most shots."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from castsheet.pairs.camera import (
    Looked,
    Placed,
    Plate,
    levels_between,
    plate_of,
    shift_between,
)
from castsheet.pairs.laying import laid_on
from castsheet.pairs.seams import mended

SIZE = 72, 128
HOLE = np.s_[20:60, 50:62]


def _ground():
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    ground = np.stack([80 + y, 90 + x // 2, 160 - y // 2], axis=2).astype(np.uint8)
    ground[:, 55:57] = (150, 90, 60)  # the hole lies before an edge of the place
    return ground


def _with(colour, rows, columns):
    shot = _ground()
    shot[rows, columns] = colour
    return shot


def _placed(shots):
    return [Placed(one, number, (0, 0)) for number, one in enumerate(shots)]


def test_a_place_is_known_from_the_one_shot_in_which_nobody_stands_there():
    """Red: where people stand in three shots of four the place is unknown, or somebody is a part of it."""
    shots = [
        _with((220, 40, 40), slice(20, 60), slice(44, 62)),
        _with((40, 220, 40), slice(18, 66), slice(50, 68)),
        _with((40, 40, 230), slice(10, 70), slice(46, 66)),
        _ground(),
    ]
    plate = plate_of(_placed(shots))
    assert plate.sure.all()
    assert (levels_between(plate.picture, _ground()) <= 2).all()


def test_three_shots_of_people_in_like_clothes_are_no_place():
    """Red: three who wear one colour, and stand in one spot by turns, are a part of the place."""
    red = (220, 40, 40)
    shots = [
        _with(red, slice(20, 60), slice(44, 62)),
        _with(red, slice(18, 66), slice(50, 68)),
        _with(red, slice(10, 70), slice(46, 66)),
        _ground(),
        _ground(),
    ]
    plate = plate_of(_placed(shots))
    assert (levels_between(plate.picture, _ground()) <= 2)[plate.sure].all()
    assert plate.sure.mean() > 0.9


def test_a_hole_stays_where_somebody_stands_in_all_shots():
    """Red: who stands there in the only shot that ends nowhere else becomes a part of the place."""
    shots = [
        _with((220, 40, 40), slice(20, 60), slice(44, 62)),
        _with((40, 220, 40), slice(18, 66), slice(50, 68)),
        _with((40, 40, 230), slice(10, 70), slice(46, 66)),
    ]
    assert not plate_of(_placed(shots)).sure[HOLE].any()


def test_two_pictures_that_both_go_on_leave_the_hole():
    """Red: one of two pictures that differ is believed."""
    sure = np.ones(SIZE, np.bool_)
    sure[HOLE] = False
    known = np.ones(SIZE, np.bool_)
    other = _with((240, 240, 240), slice(28, 52), slice(53, 59))
    picture, found = mended(_ground(), sure, [(_ground(), known), (other, known)])
    assert (found == sure).all()
    assert (picture == _ground()).all()


def _town():
    """A place whose own edges cross the border of every hole."""
    ground = _ground().astype(np.int16)
    ground += 60 * (np.random.default_rng(8).random((18, 32, 1)) < 0.35).repeat(4, 0).repeat(4, 1)
    return ground.astype(np.uint8)


def test_edges_of_the_place_that_cross_a_hole_are_the_place():
    """Red: before houses and windows all holes stay, because nothing goes on smoothly there."""
    shots = [_town() for _ in range(4)]
    shots[0][18:62, 46:60] = (220, 40, 40)
    shots[1][16:66, 50:64] = (40, 220, 40)
    shots[2][10:68, 44:66] = (40, 40, 230)
    plate = plate_of(_placed(shots))
    assert plate.sure.mean() > 0.99
    assert (levels_between(plate.picture, _town()) <= 14)[plate.sure].mean() > 0.99


def test_of_two_pictures_the_one_is_empty_that_has_no_edge_inside_the_hole():
    """Red: a hole stays, and figures fall into pieces, because somebody stands before a small part of it in
    a picture that else goes on as far as the empty one."""
    sure = np.ones(SIZE, np.bool_)
    sure[16:64, 40:80] = False
    known = np.ones(SIZE, np.bool_)
    other = _with((240, 240, 240), slice(16, 64), slice(40, 49))
    picture, found = mended(_ground(), sure, [(_ground(), known), (other, known)])
    assert found.all()
    assert (picture == _ground()).all()


def test_stripes_on_which_a_few_shots_agree_are_no_place():
    """Red: the stripes of two people's shirts are a part of the place."""
    sure = np.ones(SIZE, np.bool_)
    sure[16:64, 40:80] = False
    sure[30:34, 50:60] = True
    known = np.ones(SIZE, np.bool_)
    wrong = _with((20, 20, 90), slice(30, 34), slice(50, 60))
    picture, found = mended(wrong, sure, [(_ground(), known)])
    assert found.all()
    assert (picture == _ground()).all()


def test_a_thin_hole_is_an_edge_of_the_place():
    """Red: figures before edges of the place have cracks along them."""
    sure = np.ones(SIZE, np.bool_)
    sure[:, 55:57] = False
    known = np.ones(SIZE, np.bool_)
    known[:8] = False
    found = mended(_ground(), sure, [(_ground(), known)])[1]
    assert found[8:].all()
    assert not found[:8, 55:57].any()  # nobody has seen it there


def test_a_picture_is_laid_on_what_is_sure_of_a_place():
    """Red: people in a shot, and what is not known of the place, pull the shot off its place."""
    ground = np.random.default_rng(5).integers(60, 190, (9, 20, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    sure = np.ones(ground.shape[:2], np.bool_)
    sure[:, 70:90] = False
    wrong = ground.copy()
    wrong[:, 70:90] = (250, 250, 250)
    shot = ground[:, 23:151].copy()
    shot[10:70, 20:40] = (250, 20, 20)
    for near in (None, (0, 0)):
        corner, share = laid_on(Looked(shot), Plate(wrong, sure, (-40, 0)), near)
        assert corner == (-17, 0)
        assert share > 0.8


def _sea(sun: int, people: tuple[int, ...], width: int = 120) -> NDArray[np.uint8]:
    """A sea with a sun, and people before it at some places."""
    picture = np.linspace((80, 120, 200), (200, 180, 120), 80)[:, None].repeat(width, 1).astype(np.uint8)
    picture[45:] = (40, 60, 120)
    picture[10:20, max(0, sun) : max(0, sun + 10)] = (250, 230, 120)
    for x in people:
        picture[15:75, max(0, x) : max(0, x + 14)] = (20, 20, 20)
        picture[15:30, max(0, x + 4) : max(0, x + 10)] = (200, 150, 120)
    return picture


@pytest.mark.parametrize("people", [(8,), (90,), (8, 90), (20, 70)])
def test_a_sun_tells_where_a_sea_is_seen_from_and_not_who_stands_before_it(people):
    """Red: a shot is laid where its sun is beside the place's: smooth ground fits there, and people do not
    count. The place then holds two suns, and people before it fall into parts."""
    assert shift_between(Looked(_sea(60, people)), Looked(_sea(54, ())))[0] == (6, 0)


def test_a_shot_of_a_sea_finds_its_place_along_the_whole_breadth():
    """Red: a sun of the place stands beside the one of the shot, and is cut out as somebody."""
    ground = _sea(200, (), 260)
    plate = Plate(ground, np.ones(ground.shape[:2], np.bool_), (0, 0))
    shot = _sea(200, (120,), 260)[:, 110:230]
    assert laid_on(Looked(shot), plate, (20, 0))[0] == (110, 0)
