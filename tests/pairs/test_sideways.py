"""Whole figures that are seen from the side all the time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from castsheet.pairs.records import Sight, Track
from castsheet.pairs.references import candidates
from castsheet.sheet.box import Box

SIZES = {"one-0001": (384, 224), "one-0002": (384, 224)}


def _track(shot, area, wide, goes=0, **told):
    """A figure of 160 px for 12 sights, so many px wide, which goes so far from one sight to the next."""
    boxes = [Box(150 + goes * k, 40, wide, 160) for k in range(12)]
    return Track(shot, 0, tuple(Sight(6 * k, box, area, False, **told) for k, box in enumerate(boxes)), ())


FRONT = _track("one-0001", 4600, 64)


def _views(track, *others):
    return {one.view for one in candidates([track, *others], SIZES) if one.track.shot == track.shot}


def test_who_is_slim_all_the_time_is_seen_from_the_side():
    """Red: somebody whose face is not found, and who stands in profile, has no whole view (R61)."""
    assert _views(_track("one-0002", 2800, 40), FRONT) == {"side"}


@pytest.mark.parametrize(
    "track",
    [
        _track("one-0002", 3600, 44),  # a slim front, or a turned one
        _track("one-0002", 2800, 64),  # holes in a front
        _track("one-0002", 2000, 32),  # what is left of a figure
        _track("one-0002", 2800, 40, yaw=50.0, face=18),  # a face says that it is turned by less
    ],
)
def test_other_slim_figures_are_not(track):
    """Red: a figure with holes, or from the front, is called a side."""
    assert "side" not in _views(track, FRONT)


def test_nobody_is_slim_against_themselves():
    """Red: a side is named where nothing tells how broad somebody is."""
    brief = replace(FRONT, sights=FRONT.sights[:3])
    assert _views(_track("one-0002", 2800, 40)) == set()
    assert _views(_track("one-0002", 2800, 40), brief) == set()


def test_who_carries_something_and_walks_in_profile_is_seen_from_the_side():
    """Red: a profile is not believed, because what somebody carries makes them as broad as from the front."""
    turned = (4600, 4600, 3600, 2900, 3000, 4600, 4600, 3600, 2900, 4600, 4600, 4600)
    sights = tuple(replace(one, area=area) for one, area in zip(FRONT.sights, turned, strict=True))
    known = replace(FRONT, sights=sights)
    walk = _track("one-0002", 4500, 64, 10, yaw=82.0, face=20)
    assert _views(walk, known) == {"side"}
    stands, backwards = (_track("one-0002", 4500, 64, goes, yaw=82.0, face=20) for goes in (0, -10))
    looks_round = replace(walk, sights=(replace(walk.sights[0], yaw=-82.0), *walk.sights[1:]))
    faces_us = replace(walk, sights=(replace(walk.sights[0], yaw=4.0), *walk.sights[1:]))
    for other in (stands, backwards, looks_round, faces_us):
        assert "side" not in _views(other, known)
