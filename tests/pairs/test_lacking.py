"""What somebody may lack on a sheet: what their clip does not show of them either."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from castsheet.pairs.find import save
from castsheet.pairs.make import Making, make
from castsheet.pairs.records import Sight, Track
from castsheet.pairs.references import candidates, missing, of_one_kind
from castsheet.sheet.box import Box
from castsheet.sheet.manifest import Sheet
from tests.pairs.conftest import rows_of

SIZES = {"one-0001": (384, 224), "one-0002": (384, 224)}
BUST = Box(120, 20, 120, 204)


@pytest.mark.parametrize(
    ("views", "near", "rule"),
    [
        ({"face", "back"}, False, None),
        ({"front"}, False, None),
        ({"three-quarter", "back"}, False, None),
        ({"side", "back"}, False, "R60"),  # nobody knows them by it
        ({"face"}, False, "R61"),
        ({"face"}, True, None),
        ({"front", "side"}, True, "R60"),  # the clip shows a face larger than the sheet does
        (set(), False, "R61"),
    ],
)
def test_a_sheet_shows_of_everybody_what_the_clip_shows(views, near, rule):
    """Red: clips are lost for want of a view that they do not show, or sheets lack one that they do show."""
    assert missing(views, near=near) == rule


def test_a_whole_figure_from_the_front_lends_its_head(found, tmp_path):
    """Red: who is never seen near is in no pair though a whole figure looks at us, or is on a sheet without a
    close-up."""
    work = tmp_path / "work"
    shutil.copytree(found[2], work)
    tracks = tuple(
        replace(
            track, sights=tuple(replace(one, yaw=None, face=0) if one.edge else one for one in track.sights)
        )
        for track in found[0].tracks
    )
    save(replace(found[0], tracks=tracks), work)
    result = make(work, tmp_path / "data", Making(1, False, 0))
    assert len(result.pairs) >= 4
    assert not any(panel["view"] == "face" for row in rows_of(tmp_path / "data") for panel in row["panels"])
    for path in (tmp_path / "data" / "sheets").glob("*.png"):
        assert "face" in {panel.view for panel in Sheet.load(path).panels}


def _near(*faces, box=BUST):
    """A near track with faces that are turned by so many degrees."""
    sights = tuple(Sight(6 * k, box, 9000, True, yaw, 50) for k, yaw in enumerate(faces))
    return Track("one-0001", 0, sights, ())


def test_a_bust_stands_for_whom_nobody_sees_whole():
    """Red: who is seen near only is in no pair, or stands on a sheet in two sizes, or half of them does."""
    near = _near(4.0, 45.0, -85.0)
    assert {(one.view, one.index) for one in candidates([near], SIZES) if one.bust} == {
        ("front", 0),
        ("three-quarter", 1),  # a profile may be the back of a head
    }
    figure = Sight(0, Box(150, 30, 60, 160), 4600, False, 3.0, 16)
    whole = Track("one-0002", 0, (figure,), ())
    shown = of_one_kind(candidates([near, whole], SIZES))
    assert {(one.view, one.track.shot) for one in shown} == {("face", "one-0001"), ("front", "one-0002")}
    assert not any(one.bust for one in candidates([_near(4.0, box=Box(0, 20, 120, 204))], SIZES))


def test_a_turned_face_is_a_close_up_where_no_other_is():
    """Red: somebody has no close-up whose face a detector finds a little turned only, or has it so without
    need."""
    for faces, best in (((30.0, 12.0, 20.0), 12.0), ((30.0, -50.0), 30.0), ((40.0,), None)):
        close = [one for one in candidates([_near(*faces)], SIZES) if one.view == "face"]
        found = max(close, key=lambda one: one.worth).sight.yaw if close else None
        assert found == best, faces
