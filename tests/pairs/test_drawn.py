"""Boxes that a person draws in cast.yaml, for what no detector knows."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import yaml

from castsheet.pairs.cast import read_cast
from castsheet.pairs.drawn import Drawn, followed
from castsheet.pairs.eyes import Eyes
from castsheet.pairs.find import find
from castsheet.pairs.make import Making, make
from castsheet.pairs.records import PairsError
from castsheet.sheet.box import Box
from castsheet.sheet.manifest import Sheet
from tests.doubles.paper_films import SIZE, place

ANN_AT = {0: (30, 18, 28, 98), 4: (30, 22, 28, 98), 8: (136, 26, 28, 98)}
"""Boxes of Ann on the first frame of the shots that show her from afar."""


def _cast(path, people):
    path.write_text(yaml.safe_dump({"titles": {"one": people}}))


def _boxes(starts):
    return [{"frame": starts[shot], "box": list(box)} for shot, box in ANN_AT.items()]


@pytest.fixture(scope="module")
def drawn(films, found, how, tmp_path_factory):
    """The paper film with Ann drawn by hand in three shots; nobody is looked for."""
    work = tmp_path_factory.mktemp("drawn") / "work"
    shutil.copytree(found[2], work)
    people = {"rabbit": {"name": "bunny", "what": "a rabbit", "boxes": _boxes(films[1])}}
    _cast(work / "cast.yaml", people)
    by_hand = replace(how, eyes=Eyes(faces="paper", by_hand=True))
    return (*find(films[0], work, by_hand), work, by_hand)


def test_a_box_is_followed_through_its_shot():
    """Red: a drawn box stays where it was drawn while the subject moves away, before or after."""
    ground = place(0)
    frames = np.stack([ground.copy() for _ in range(37)])
    for at, frame in enumerate(frames):
        frame[40 : 40 + 50, 20 + 2 * at : 20 + 2 * at + 24] = (240, 20, 30)
        frame[50:60, 26 + 2 * at : 32 + 2 * at] = (20, 200, 250)
    seen = followed(frames, 100, Drawn("a", 117, Box(54, 40, 24, 50)), SIZE, None, 6)
    assert [one.frame for one in seen] == [100, 106, 112, 117, 118, 124, 130, 136]
    for one in seen:
        assert abs(one.box.x - (20 + 2 * (one.frame - 100))) <= 3
        assert abs(one.box.y - 40) <= 3
    assert [one.view for one in seen if one.view] == ["front"]


def test_a_subject_that_leaves_is_lost():
    """Red: an empty place is called the subject after it has gone."""
    frames = np.stack([place(1)] * 25)
    frames[:13, 40:90, 60:90] = (250, 0, 250)
    seen = followed(frames, 0, Drawn("a", 6, Box(60, 40, 30, 50)), SIZE, None, 6)
    assert [one.frame for one in seen] == [0, 6, 12]


def test_who_is_drawn_is_paired_with_the_drawn_pictures(drawn, tmp_path):
    """Red: a creature that no detector knows gets no pair, or a panel that nobody chose."""
    found, cast, work, _ = drawn
    assert len(cast["one"]["rabbit"].tracks) == len(ANN_AT)
    result = make(work, tmp_path / "data", Making(1, False, 0, placeless=True))
    assert len(result.pairs) == len(ANN_AT)
    chosen = {sight.frame for track in found.tracks for sight in track.sights if sight.view}
    for line in (tmp_path / "data" / "pairs.jsonl").read_text().splitlines():
        row = json.loads(line)
        panels = [panel for panel in row["panels"] if panel["element"] == "bunny"]
        assert panels
        assert all(panel["frames"][0][1] in chosen and panel["view"] == "front" for panel in panels)
        assert "a rabbit" in row["caption"]


def test_boxes_stay_for_the_next_run(films, drawn):
    """Red: the second run after a correction forgets the boxes."""
    _, cast, work, how = drawn
    assert find(films[0], work, how)[1] == cast
    assert len(read_cast(work / "cast.yaml")["one"]["rabbit"].boxes) == len(ANN_AT)


def test_what_was_found_under_a_drawn_box_gives_way(films, found, how, tmp_path):
    """Red: somebody is two people, the one that was found and the one that was drawn."""
    work = tmp_path / "work"
    shutil.copytree(found[2], work)
    _cast(work / "cast.yaml", {"ann": {"name": "ann", "boxes": _boxes(films[1])[:1]}})
    seen, cast = find(films[0], work, how)
    first = [track for track in seen.tracks if track.shot.endswith("-0000")]
    assert [track.owner for track in first] == ["ann"]
    assert cast["one"]["ann"].tracks == (first[0].id,)


def test_a_thing_gets_a_panel_of_its_own_kind(films, found, how, tmp_path):
    """Red: a prop that a person drew is put on the sheet as somebody, or acts in the caption."""
    work = tmp_path / "work"
    shutil.copytree(found[2], work)
    _cast(work / "cast.yaml", {"post": {"name": "post", "kind": "prop", "boxes": _boxes(films[1])}})
    find(films[0], work, replace(how, eyes=Eyes(faces="paper", by_hand=True)))
    make(work, tmp_path / "data", Making(1, False, 0, placeless=True))
    row = json.loads((tmp_path / "data" / "pairs.jsonl").read_text().splitlines()[0])
    sheet = Sheet.load(tmp_path / "data" / row["sheet"])
    assert {note.kind for note in sheet.elements if note.id == "post"} == {"prop"}
    assert "post can be seen" in row["caption"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"boxes": [{"frame": -1, "box": [1, 2, 30, 40]}]},
        {"boxes": [{"frame": 1, "box": [1, 2, 30]}]},
        {"boxes": [{"frame": 1, "box": [1, 2, 3, 4]}]},
        {"boxes": [{"frame": 1, "box": [1, 2, 30, 40], "view": "above"}]},
        {"boxes": [{"frame": 1, "box": [1, 2, 30, 40], "who": "ann"}]},
        {"boxes": "none"},
        {"kind": "animal"},
        {"colour": "red"},
    ],
)
def test_a_box_that_is_none_is_refused(tmp_path, wrong):
    """Red: a slip in a box is passed over in silence, or ends in a traceback."""
    _cast(tmp_path / "cast.yaml", {"rabbit": wrong})
    with pytest.raises(PairsError, match="rabbit"):
        read_cast(tmp_path / "cast.yaml")


def test_a_box_outside_all_shots_is_told(films, found, how, tmp_path):
    """Red: a box on a wrong frame shows nothing, and nobody is told."""
    work = tmp_path / "work"
    shutil.copytree(found[2], work)
    _cast(work / "cast.yaml", {"rabbit": {"boxes": [{"frame": 99999, "box": [1, 2, 30, 40]}]}})
    told: list[str] = []
    find(films[0], work, how, say=told.append)
    assert any("frame 99999" in line for line in told)
