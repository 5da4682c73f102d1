"""Subjects of one frame."""

from __future__ import annotations

import numpy as np
import pytest

from castsheet.pairs.looks import Look
from castsheet.pairs.subjects import Seen, evened, second_look, sights_of
from castsheet.sheet.box import Box
from tests.doubles.faces import Finds, a_face


def test_a_stripe_of_the_place_parts_nobody():
    """Red: who wears the colours of a wave behind them is two, and their clip is left out."""
    picture = np.full((200, 160, 3), 90, np.uint8)
    mask = np.zeros((200, 160), np.bool_)
    mask[40:170, 60:90] = True
    mask[100:106] = False
    (one,) = sights_of(0, picture, mask, None)
    assert (one.box.y, one.box.bottom) == (40, 170)
    assert one.mask.all()


def test_trousers_in_the_colour_of_the_floor_part_nobody():
    """Red: of somebody before a floor in the colour of their trousers, chest and shoes are two people."""
    picture = np.full((200, 160, 3), 90, np.uint8)
    mask = np.zeros((200, 160), np.bool_)
    mask[40:100, 60:90] = True
    mask[135:170, 62:72] = mask[140:170, 76:88] = True
    (one,) = sights_of(0, picture, mask, None)
    assert (one.box.y, one.box.bottom) == (40, 170)
    assert one.mask[70:90, 5:10].all()
    assert not one.mask[:, 13:15][100:].any()


def test_two_who_stand_side_by_side_or_far_apart_stay_two():
    """Red: two people, or somebody and what lies far above them, are one subject."""
    picture = np.full((200, 160, 3), 90, np.uint8)
    mask = np.zeros((200, 160), np.bool_)
    mask[60:170, 20:50] = mask[90:170, 90:120] = True
    mask[10:40, 90:120] = True
    assert len(sights_of(0, picture, mask, None)) == 3


def test_a_frame_of_a_window_that_lies_a_pixel_off_belongs_to_nobody():
    """Red: a thin line above somebody, where a place is laid a little wrongly, is a part of them."""
    picture = np.full((200, 160, 3), 90, np.uint8)
    mask = np.zeros((200, 160), np.bool_)
    mask[60:170, 60:100] = True
    mask[30:32, 50:110] = True
    (one,) = sights_of(0, picture, mask, None)
    assert one.box.y == 60


def test_of_two_whose_boxes_overlap_each_keeps_their_own():
    """Red: a cut-out holds the raised hand of somebody beside them, and its colours."""
    picture = np.full((200, 160, 3), 90, np.uint8)
    mask = np.zeros((200, 160), np.bool_)
    mask[60:170, 20:60] = True
    mask[60:170, 90:130] = mask[40:50, 40:130] = mask[40:70, 120:130] = True
    first, second = sights_of(0, picture, mask, None)
    assert (first.area, second.area) == (110 * 40, int(mask.sum()) - 110 * 40)


def _near(bottoms, yaw=None):
    """Sights of somebody near in frames of 100 px, each down to another row."""
    masks = [np.ones((bottom - 20, 40), np.bool_) for bottom in bottoms]
    return [
        Seen(k, Box(40, 20, 40, bottom - 20), mask.size, True, Look({}), mask, yaw, 36)
        for k, (bottom, mask) in enumerate(zip(bottoms, masks, strict=True))
    ]


def test_a_stripe_at_the_frames_edge_makes_no_whole_figure_of_a_bust():
    """Red: a belt in the colours of the floor ends a bust above the frame's edge, and what is seen of its
    chest counts as legs: the same person far away is somebody else."""
    frames = np.full((4, 100, 120, 3), 90, np.uint8)
    looks = [one.look for one in evened(frames, 0, _near((100, 96, 100, 100)))]
    assert all("legs" not in look.parts for look in looks)
    whole = [one.look for one in evened(frames, 0, _near((96, 96, 100, 96)))]
    assert not any("legs" in look.parts for look in whole[2:3])


@pytest.mark.parametrize(("yaw", "looked"), [(None, True), (80.0, False), (5.0, False)])
def test_a_patient_detector_looks_where_no_face_looks_at_us(yaw, looked):
    """Red: somebody in whom the first detector finds no face becomes no pair, or every track is looked at
    twice, which is dear."""
    frames = np.full((4, 100, 120, 3), 90, np.uint8)
    seen = second_look(frames, 0, _near((100, 100, 100, 100), yaw), Finds(a_face(Box(90, 60, 90, 110))))
    assert [one.yaw is not None and one.yaw != yaw for one in seen] == [looked] * 4
