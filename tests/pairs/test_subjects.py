"""Subjects of one frame."""

from __future__ import annotations

import numpy as np

from castsheet.pairs.subjects import sights_of


def test_a_stripe_of_the_place_parts_nobody():
    """Red: who wears the colours of a wave behind them is two, and their clip is left out."""
    picture = np.full((200, 160, 3), 90, np.uint8)
    mask = np.zeros((200, 160), np.bool_)
    mask[40:170, 60:90] = True
    mask[100:106] = False
    (one,) = sights_of(0, picture, mask, None)
    assert (one.box.y, one.box.bottom) == (40, 170)
    assert one.mask.all()


def test_two_who_stand_side_by_side_or_far_apart_stay_two():
    """Red: two people, or somebody and what lies far above them, are one subject."""
    picture = np.full((200, 160, 3), 90, np.uint8)
    mask = np.zeros((200, 160), np.bool_)
    mask[60:170, 20:50] = mask[60:170, 90:120] = True
    mask[10:40, 90:120] = True
    assert len(sights_of(0, picture, mask, None)) == 3
