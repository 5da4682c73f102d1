"""Films in, windows and a cast out."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import yaml

from castsheet.media.encoding import encode
from castsheet.pairs.cast import Member, read_cast, write_cast
from castsheet.pairs.corners import MARK, mark_in_corner
from castsheet.pairs.films import Source, opened
from castsheet.pairs.find import find, load
from castsheet.pairs.frames import read_frames
from castsheet.pairs.identities import identify
from castsheet.pairs.ledger import Ledger
from castsheet.pairs.looks import SIZE, Look, apart, look_at, share_seen
from castsheet.pairs.records import Film, PairsError, Reject, Sight, Track
from castsheet.pairs.subjects import Seen, evened
from castsheet.sheet.box import Box
from tests.doubles.paper_films import frame_of, place
from tests.pairs.conftest import REPEAT, SHOTS


def _by_shot(found):
    """The numbers of shots that have a window."""
    return {int(one.shot.rsplit("-", 1)[1]) for one in found.windows}


def test_shots_and_windows(films, found):
    """Red: cuts are missed or invented, or a window reaches into a transition."""
    result, _, _ = found
    spans = {int(t.shot.rsplit("-", 1)[1]) for t in result.tracks}
    assert max(spans) == len(films[1]) - 1
    for one in result.windows:
        start = films[1][int(one.shot.rsplit("-", 1)[1])]
        assert start + 6 <= one.frames[0]
        assert one.frames[-1] < start + 52 - 6


def test_rules_say_what_was_left_out(found):
    """Red: something is left out without a reason, or the counts do not add up."""
    result, _, _ = found
    reasons = {(one.unit.rsplit("-", 1)[-1], one.rule) for one in result.rejects}
    assert {("empty", "R01"), ("bare", "R00"), ("0002w0", "R30")} <= reasons
    assert (f"{REPEAT:04d}w0", "R36") in reasons  # the first shot, shown again
    for counts in result.counts.values():
        assert counts["found"] == counts["accepted"] + counts["rejected"] + counts["quarantined"]


def test_people_are_told_apart_and_found_again(found):
    """Red: two people become one, or one person in other shots, from the side or near, becomes two."""
    _, cast, _ = found
    people = [
        sorted(int(track.rsplit("-", 1)[1].split(".")[0]) for track in one.tracks)
        for one in cast["one"].values()
    ]
    assert sorted(people) == [[0, 3, 4, 8, 12], [1, 5, 6, 10, 11]]


def test_places_are_found_again(found):
    """Red: shots of one place are not joined, or shots of two places are."""
    result, _, _ = found
    of = {int(shot.rsplit("-", 1)[1]): place for shot, place in result.places.items()}
    assert of[0] == of[1] == of[2] == of[10] != of[4] == of[5] == of[7] != of[8] == of[9]


def test_nothing_is_made_twice(films, found, how):
    """Red: a second run makes results again that are there, or finds something else."""
    result, cast, work = found
    before = {path: path.stat().st_mtime_ns for path in (work / "results").rglob("*.json")}
    again, same = find(films[0], work, how)
    assert {path: path.stat().st_mtime_ns for path in (work / "results").rglob("*.json")} == before
    assert (again, same) == (result, cast)
    assert load(work) == result


def test_more_processes_find_the_same(films, how, tmp_path):
    """Red: what is found depends on how many processes look."""
    # A child process does not know the paper faces: both look without any.
    plain = replace(how, eyes=replace(how.eyes, faces="none"))
    find(films[0], tmp_path / "one", plain)
    find(films[0], tmp_path / "two", replace(plain, workers=2))
    files = [path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.*")]
    assert len(files) > 20
    for path in files:
        assert (tmp_path / "one" / path).read_bytes() == (tmp_path / "two" / path).read_bytes(), path


def test_a_proposal_that_nobody_edited_counts_for_nothing(films, found, how, tmp_path):
    """Red: the first guess at who is who stays for ever, though films or thresholds have changed."""
    work = tmp_path / "work"
    shutil.copytree(found[2], work)
    cast = {"one": {"p1": Member("p1", "", tuple(track.id for track in found[0].tracks))}}
    write_cast(work / "cast.yaml", cast, edited=False)
    assert find(films[0], work, how)[1] == found[1]


def test_corrections_win(films, found, how, tmp_path):
    """Red: what a person wrote into cast.yaml is lost or overruled by the next run, or the one after."""
    work = tmp_path / "work"
    shutil.copytree(found[2], work)
    path = work / "cast.yaml"
    raw = yaml.safe_load(path.read_text())
    people = raw["titles"]["one"]
    people["p1"]["name"] = "ann"
    moved = people["p1"]["tracks"].pop()
    people["nobody"] = {"tracks": [moved]}
    del people["p2"]["tracks"][0]  # forgotten: it comes back as somebody new, in doubt
    path.write_text(yaml.safe_dump(raw))
    _, cast = find(films[0], work, how)
    assert cast["one"]["p1"].name == "ann"
    assert moved not in cast["one"]["p1"].tracks
    assert cast["one"]["nobody"].tracks == (moved,)
    assert cast["one"]["new1"].unsure
    assert read_cast(path) == cast
    assert find(films[0], work, how)[1] == cast


def test_a_track_of_two_people_is_refused(found, tmp_path):
    """Red: a slip in cast.yaml gives one person's pictures to another one in silence."""
    raw = yaml.safe_load((found[2] / "cast.yaml").read_text())
    people = raw["titles"]["one"]
    people["p2"]["tracks"].append(people["p1"]["tracks"][0])
    (tmp_path / "cast.yaml").write_text(yaml.safe_dump(raw))
    with pytest.raises(PairsError, match="is given to one: p1 and to one: p2"):
        read_cast(tmp_path / "cast.yaml")


def test_a_table_without_a_column(how, tmp_path):
    """Red: a table that forgets the licence is read as if all were well."""
    (tmp_path / "films.csv").write_text("path,title\none.mp4,one\n")
    with pytest.raises(PairsError, match="no column licence"):
        find(tmp_path / "films.csv", tmp_path / "work", how)
    assert not (tmp_path / "work").exists()


def test_ledger_names_depend_on_settings(found):
    """Red: a changed setting finds the result of another one."""
    from castsheet.pairs.ledger import Made, Task

    ledger = Ledger(found[2] / "results")
    one, other = (Task("t", "unit", [1, value], Made, ({}, {})) for value in ("a", "b"))
    ledger.put(one, Made({"x": 1}, {}))
    assert ledger.find(one) is not None
    assert ledger.find(other) is None


def test_black_bars_are_cropped_away(tmp_path):
    """Red: clips of a letterboxed film have black bars, or a dark film loses its edges."""
    frames = np.stack([frame_of(SHOTS[0], at) for at in range(52)])
    framed = np.pad(frames, ((0, 0), (24, 24), (0, 0), (0, 0)))
    encode(tmp_path / "bars.mp4", np.concatenate([framed, framed[::-1]] * 3), 24.0, crf=14)
    source = Source(tmp_path / "bars.mp4", "bars", "CC0-1.0", "", "", "synthetic", False)
    film = opened(source, (192, 96))
    assert isinstance(film, Film)
    assert film.bars[0] == 0
    assert 24 <= film.bars[1] <= 28
    assert film.size == (192, 176 - 2 * film.bars[1])
    _, frame = next(read_frames(film))
    assert frame.shape[:2] == (film.size[1], 192)
    assert frame[0].mean() > 50
    refused = opened(source, (192, 160))
    assert isinstance(refused, Reject)
    assert refused.rule == "R02"


def test_a_mark_in_a_corner_is_what_stays_wherever_the_film_goes():
    """Red: a channel's logo is trained into clips, or a corner that one place shows counts as a logo."""
    places = [[place(number)] for number in range(4)]
    assert mark_in_corner(places) < MARK
    for (picture,) in places:
        picture[4:12, 160:164] = picture[4:12, 168:172] = picture[4:12, 176:180] = 255
    assert mark_in_corner(places) > MARK
    assert mark_in_corner(places[:2]) == 0


def _seen(shot, number, bins, vector):
    """A track whose three parts have a colour of two neighbouring bins, mixed."""
    part = np.zeros(SIZE)
    part[0], part[1] = bins
    box = Box(0, 0, 9, 9)
    return Track(shot, number, (Sight(0, box, 9, False),), tuple(np.tile(part, 3)), vector)


def test_an_embedder_settles_what_colours_leave_open():
    """Red: a named embedder changes nothing, or joins two who are seen at once."""
    ann, bob = (1.0, 0.0), (0.0, 1.0)
    doubtful = (0.6, 0.4)  # 0.47 from the first colour: neither the same nor another
    tracks = [_seen(f"f-{k}", n, c, v) for k in range(3) for n, c, v in ((0, (1, 0), ann), (1, (0, 1), bob))]
    glimpse = [_seen("f-9", 0, doubtful, ann)]
    plain = identify([replace(one, vector=()) for one in tracks + glimpse])
    assert next(one for one in plain if "f-9.0" in one.tracks).unsure
    settled = identify(tracks + glimpse)
    assert {len(one.tracks) for one in settled} == {4, 3}
    assert next(one for one in settled if "f-9.0" in one.tracks).tracks[0] == "f-0.0"
    blind = [replace(one, vector=(0.0,) * len(one.vector)) for one in tracks + glimpse]
    assert identify(blind) == plain


def test_a_face_that_looks_too_large_still_shows_a_chest():
    """Red: of somebody near, whose face a detector sees too large, only the head is known: they stay apart
    from all others."""
    frames = np.full((4, 100, 60, 3), (90, 90, 90), np.uint8)
    frames[:, 20:55, 20:40] = (220, 180, 150)
    frames[:, 55:, 15:45] = (30, 60, 200)
    masks = (frames != 90).any(axis=3)
    box = Box(15, 20, 30, 80)
    seen = []
    for k, face in enumerate((36, 0, 28, 38)):
        crop = masks[k, 20:, 15:45]
        look = look_at(frames[k], crop, box, share_seen(box, 100, face))
        seen.append(Seen(k, box, int(crop.sum()), True, look, crop, 0.0 if face else None, face))
    assert not any("chest" in one.look.parts for one in seen if one.face != 28)
    looks = [one.look for one in evened(frames, 0, seen)]
    assert all({"head", "chest"} == set(look.parts) for look in looks)
    shirt = np.full((60, 60, 3), (30, 60, 200), np.uint8)
    whole = look_at(shirt, np.ones((60, 60), np.bool_), Box(0, 0, 60, 60), 1.0)
    blue = Look({"chest": whole.parts["chest"]})
    assert all(apart(look, blue)[0] < 0.05 for look in looks)
