"""What was found becomes pairs, and no panel comes from its clip."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace

import numpy as np
import pytest
import yaml

from castsheet.media.video import read_video
from castsheet.pairs.captions import Part, action_words
from castsheet.pairs.find import save
from castsheet.pairs.gates import MARGIN, nearest
from castsheet.pairs.make import Making, make
from castsheet.pairs.records import Reject, Sight, Track
from castsheet.pairs.references import candidates
from castsheet.pairs.split import components, split
from castsheet.prompt import parse
from castsheet.sheet.box import Box
from castsheet.sheet.manifest import Sheet
from castsheet.train.data.encode import read_table
from tests.doubles.paper_films import ANN, BOB, SIZE
from tests.pairs.conftest import rows_of


@pytest.fixture(scope="module")
def made(found, tmp_path_factory):
    """Pairs of the paper film, two versions of each sheet."""
    out = tmp_path_factory.mktemp("data") / "data"
    return make(found[2], out, Making(2, False, 0)), out


def test_counts_add_up(found, made):
    """Red: a window is neither a pair nor rejected nor quarantined."""
    result, out = made
    counts = result.counts
    assert counts["found"] == len(found[0].windows)
    assert counts["found"] == counts["accepted"] + counts["rejected"] + counts["quarantined"]
    assert counts["accepted"] == len(rows_of(out)) == len(list((out / "clips").iterdir())) >= 6


def test_no_panel_comes_from_the_clip(found, made):
    """Red: the one rule above all others is broken: a panel's source frame lies in its own clip."""
    windows = {one.id: one for one in found[0].windows}
    for row in rows_of(made[1]):
        window = windows[row["video"].split("/")[1].removesuffix(".mp4")]
        frames = [frame for panel in row["panels"] for _, frame in panel["frames"]]
        assert frames
        for frame in frames:
            assert not window.frames[0] - MARGIN <= frame <= window.frames[-1] + MARGIN


def test_no_panel_comes_from_a_repeat_of_the_clip(found, made):
    """Red: footage that is shown twice lends a clip its own pictures."""
    first = next(one for one in found[0].windows if one.shot.endswith("-0000"))
    row = next(row for row in rows_of(made[1]) if first.id in row["video"])
    tracks = [panel["track"] for panel in row["panels"] if "track" in panel]
    assert tracks
    assert not any("-0012." in track for track in tracks)


def test_a_shot_that_was_shown_before_lends_nothing(found, made, tmp_path):
    """Red: a repeat of the clip's shot lends a moment just beyond the clip, which the clip resembles."""
    tracks = [p["track"] for row in rows_of(made[1]) for p in row["panels"] if "track" in p]
    shot = tracks[0].rpartition(".")[0]
    work = tmp_path / "work"
    shutil.copytree(found[2], work)
    left_out = Reject(f"{shot}w0", "R36", "100.0% as in another", "98%")
    save(replace(found[0], rejects=(*found[0].rejects, left_out)), work)
    make(work, tmp_path / "data", Making(1, False, 0))
    lent = [p["track"] for row in rows_of(tmp_path / "data") for p in row["panels"] if "track" in p]
    assert lent
    assert not any(track.startswith(f"{shot}.") for track in lent)


def test_pairs_are_what_encode_reads(made):
    """Red: the next command refuses the table, or a sheet, or finds half a caption."""
    _, out = made
    rows = read_table(out / "train.csv")
    assert len(rows) == len(rows_of(out))
    assert any(row.others for row in rows)
    for row in rows:
        assert all(Sheet.load(path).sha256 != Sheet.load(row.sheet).sha256 for path in row.others)
        frames, fps = read_video(row.video)
        assert frames.shape == (25, SIZE[1], SIZE[0], 3)
        assert fps == 24
        sheet = Sheet.load(row.sheet)
        prompt = parse(row.caption)
        assert {panel.element for panel in sheet.panels} == {note.id for note in sheet.elements}
        assert any(note.id in prompt.action for note in sheet.elements if note.kind == "character")


def test_close_ups_show_the_head(made):
    """Red: a close-up shows the whole figure, and no panel shows a face large."""
    _, out = made
    for row in read_table(out / "train.csv"):
        sheet = Sheet.load(row.sheet)
        for panel in sheet.panels:
            if panel.view == "face":
                pixels = np.asarray(sheet.image.crop(panel.box.corners)).astype(int)
                trousers = [np.abs(pixels - doll.trousers).max(axis=2) < 25 for doll in (ANN, BOB)]
                assert not any(mask.mean() > 0.02 for mask in trousers)


def test_sheets_have_other_versions(made):
    """Red: every step of training sees one sheet of a clip only, though there are other pictures."""
    _, out = made
    versions = list((out / "sheets").glob("*.1.png"))
    assert versions
    for path in versions:
        plain = path.with_name(path.name.replace(".1.png", ".png"))
        assert Sheet.load(path).sha256 != Sheet.load(plain).sha256


def test_made_again_is_the_same(found, made, tmp_path):
    """Red: two runs, or other processes, make other bytes."""
    _, out = made
    make(found[2], tmp_path / "data", Making(2, False, 0))
    for path in sorted(out.rglob("*")):
        if path.is_file() and path.name != ".castsheet":
            assert path.read_bytes() == (tmp_path / "data" / path.relative_to(out)).read_bytes(), path


def test_rejects_have_reasons(made):
    """Red: a row of the reject table lacks its rule or what the rule means."""
    _, out = made
    with (out / "rejects.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows
    assert all(row["rule"] and row["meaning"] for row in rows)
    assert '<img class="still"' in (out / "report.html").read_text()


def test_unsure_people_are_never_paired(found, tmp_path):
    """Red: somebody of whom nobody is sure lends pictures to somebody else's clip."""
    work = tmp_path / "work"
    shutil.copytree(found[2], work)
    raw = yaml.safe_load((work / "cast.yaml").read_text())
    people = raw["titles"]["one"]
    for one in ("p1", "p2"):
        people[one]["unsure"] = list(people[one]["tracks"])
    (work / "cast.yaml").write_text(yaml.safe_dump(raw))
    result = make(work, tmp_path / "data", Making(1, False, 0))
    assert not result.pairs
    assert {one.rule for one in result.rejects if "w0" in one.unit} >= {"R51"}


def test_what_is_surely_one_person_is_paired_whoever_else_it_may_be(found, tmp_path):
    """Red: one doubtful glimpse of somebody throws all their clips away, or lends them its picture."""
    work = tmp_path / "work"
    shutil.copytree(found[2], work)
    raw = yaml.safe_load((work / "cast.yaml").read_text())
    people = raw["titles"]["one"]
    glimpse = people["p1"]["tracks"].pop()
    people["p1"]["unsure"] = [glimpse]
    people["p9"] = {"name": "", "tracks": [glimpse], "unsure": list(people["p1"]["tracks"])}
    (work / "cast.yaml").write_text(yaml.safe_dump(raw))
    result = make(work, tmp_path / "data", Making(1, False, 0))
    assert result.pairs
    tracks = {panel.get("track") for row in rows_of(tmp_path / "data") for panel in row["panels"]}
    assert glimpse not in tracks


def test_a_shot_of_somebody_in_no_track_is_no_picture_of_its_place(films, found, made, tmp_path):
    """Red: somebody is seen for a moment only, and stands in the picture of the place without people."""
    first, end = films[1][2], films[1][3]
    work = tmp_path / "work"
    shutil.copytree(found[2], work)
    save(replace(found[0], strays=(f"{found[0].films[0].id}-0002",)), work)
    make(work, tmp_path / "data", Making(1, False, 0, placeless=True))
    for data, lends in ((made[1], True), (tmp_path / "data", False)):
        panels = [panel for row in rows_of(data) for panel in row["panels"] if panel["element"] == "place"]
        assert any(first <= at < end for panel in panels for _, at in panel["frames"]) == lends


def test_a_sheet_may_lack_its_place_if_asked(found, tmp_path):
    """Red: clips whose place nobody knows are lost though the user asked for them, or made though not."""
    work = tmp_path / "work"
    shutil.copytree(found[2], work)
    save(replace(found[0], places={}), work)
    strict = make(work, tmp_path / "strict", Making(1, False, 0))
    assert not strict.pairs
    assert "R70" in {one.rule for one in strict.rejects}
    loose = make(work, tmp_path / "loose", Making(1, False, 0, placeless=True))
    assert len(loose.pairs) >= 6
    assert all(panel["element"] != "place" for row in rows_of(tmp_path / "loose") for panel in row["panels"])


def test_a_copy_is_near_and_another_pose_is_not():
    """Red: the pixel gate misses a picture of the clip, mirrored or a little moved, or refuses everything."""
    random = np.random.default_rng(0)
    clip = random.integers(0, 255, (9, 60, 80, 3), np.uint8)
    box, mask = Box(20, 10, 16, 30), np.ones((30, 16), np.bool_)
    own = clip[4, 10:40, 20:36]
    assert nearest(own, mask, box, clip) == 0
    assert nearest(own, mask, replace(box, x=21), clip) == 0
    assert nearest(own[:, ::-1], mask, replace(box, x=80 - 36), clip) == 0
    assert nearest(random.integers(0, 255, (30, 16, 3), np.uint8), mask, box, clip) > 60


def test_parts_share_nobody():
    """Red: a person, a place or a title of the training set is also in the held-out sets."""
    shared = {
        "a": ["ann", "title 1"],
        "b": ["ann", "title 2"],
        "c": ["bob", "title 3"],
        "d": ["kim", "title 4"],
        "e": ["lea", "title 5"],
    }
    assert components(shared) == [["a", "b"], ["c"], ["d"], ["e"]]
    parts = split(shared)
    assert set(parts) == set(shared)
    assert parts["a"] == parts["b"]
    assert set(parts.values()) == {"train", "validation", "test"}
    assert set(split({"a": ["x"], "b": ["y"]}).values()) == {"train"}


def test_somebody_who_turns_round_is_told_by_their_outline():
    """Red: the words say that somebody stays who turns round where no face is found, or that one who waves
    or jumps turns."""
    turn = (17, 17, 16, 14, 10, 12, 16, 17, 16, 13, 10, 12, 17, 17)
    wave = (16, 16, 17, 17, 16, 15, 16, 17, 17, 16, 15, 16, 17, 17)
    jump = (28, 21, 18, 17, 23, 25, 23, 24, 26, 23, 17, 17, 22, 25)
    for breadths, told in ((turn, "turns round"), (wave, "stays there"), (jump, "stays there")):
        tall = [112 if breadths is jump and b < 20 else 100 for b in breadths]
        sights = [
            Sight(6 * k, Box(180, 20, 40, tall[k]), tall[k] ** 2 * b // 100, False)
            for k, b in enumerate(breadths)
        ]
        assert action_words([Part("p1", tuple(sights))], 384, 0) == f"p1 {told}."


def test_a_side_is_told_by_an_outline_where_no_face_is_found():
    """Red: who shows no detector a face has no whole figure on any sheet, and becomes no pair."""
    turn = (17, 17, 16, 14, 10, 12, 16, 17, 16, 13, 10, 12, 17, 17)
    box = Box(180, 20, 40, 150)
    sights = tuple(Sight(6 * k, box, 225 * b, False) for k, b in enumerate(turn))
    found = candidates([Track("one-0001", 0, sights, ())], {"one-0001": (384, 224)})
    assert [(one.view, one.index) for one in found] == [("side", 4), ("side", 10)]


def test_a_face_that_the_whole_figure_cannot_have_names_no_view():
    """Red: half a body that passes for a face is a close-up, and a back with a profile on it a side."""
    turn = (17, 17, 15, 11, 10, 12, 16, 17)
    box, size = Box(180, 20, 40, 150), {"one-0001": (384, 224)}
    for index, yaw, face, view in (
        (0, -5.0, 45, None),
        (0, 5.0, 16, "front"),
        (0, 5.0, 28, None),
        (4, -85.0, 17, "side"),
        (2, -85.0, 17, None),
    ):
        sights = tuple(
            Sight(6 * k, box, 225 * b, False, yaw if k == index else None, face if k == index else 0)
            for k, b in enumerate(turn)
        )
        found = candidates([Track("one-0001", 0, sights, ())], size)
        assert [one.view for one in found if one.index == index] == ([view] if view else []), (index, yaw)


def test_a_face_that_is_larger_than_the_others_is_no_close_up():
    """Red: the back of a head passes for a face, and as the largest it is the sheet's close-up."""
    faces = ((0.0, 46), (3.0, 47), (8.0, 69), (None, 0), (2.0, 45))
    for shown, close in ((faces, {0, 1, 4}), (faces[2:3], {0})):
        sights = tuple(
            Sight(6 * k, Box(100, 24, 90, 200), 9000, True, yaw, face) for k, (yaw, face) in enumerate(shown)
        )
        found = candidates([Track("one-0001", 0, sights, ())], {"one-0001": (384, 224)})
        assert {one.index for one in found if one.view == "face"} == close


def test_who_looks_up_and_down_is_not_seen_from_behind():
    """Red: a face that is missed between a turned one and one that looks at us passes for a back."""
    yaws = (63.0, None, None, None, None, None, 6.0)
    for slim, backs in ((5000, 0), (3500, 1)):
        sights = tuple(
            Sight(6 * k, Box(100, 20, 60, 150), slim if k in (1, 5) else 5000, False, yaw, 20)
            for k, yaw in enumerate(yaws)
        )
        found = candidates([Track("one-0001", 0, sights, ())], {"one-0001": (384, 224)})
        assert sum(one.view == "back" for one in found) == backs


def test_who_raises_their_arms_does_not_turn_their_back():
    """Red: arms make a figure broader, and the figure as it is between two waves passes for a side."""
    turn = (5000, 5000, 4500, 3500, 4000, 5000, 4500, 3500, 5000, 5000)
    box, size = Box(100, 20, 60, 150), {"one-0001": (384, 224), "one-0002": (384, 224)}
    turned = Track("one-0002", 0, tuple(Sight(6 * k, box, area, False) for k, area in enumerate(turn)), ())
    yaws = (25.0, *[None] * 7, -25.0)
    waved = tuple(
        Sight(6 * k, box, 6200 if k in (0, 4, 8) else 5000, False, yaw, 18) for k, yaw in enumerate(yaws)
    )
    found = candidates([Track("one-0001", 0, waved, ()), turned], size)
    assert not any(one.view == "back" for one in found)


def test_who_walks_in_profile_is_not_seen_from_behind():
    """Red: a profile in which no face is found for some frames passes for a back."""
    yaws = (-83.0, None, None, None, None, None, -84.0)
    sights = tuple(Sight(6 * k, Box(100, 20, 60, 150), 5000, False, yaw, 20) for k, yaw in enumerate(yaws))
    turned = tuple(replace(one, yaw=None if one.yaw is None else -one.yaw) for one in sights[:1])
    for every, backs in ((sights, 0), ((*turned, *sights[1:]), 1)):
        track = Track("one-0001", 0, every, ())
        found = candidates([track], {"one-0001": (384, 224)})
        assert sum(one.view == "back" for one in found) == backs
