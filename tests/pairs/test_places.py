"""Which shots show one place, and what of them is the place."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from castsheet.media.encoding import encode
from castsheet.pairs import tools
from castsheet.pairs.camera import corner_at
from castsheet.pairs.eyes import Eyes, subjects_of
from castsheet.pairs.films import Source, opened
from castsheet.pairs.find import plates_of
from castsheet.pairs.places import place_film
from castsheet.pairs.records import Film
from castsheet.pairs.subjects import EVERY
from tests.doubles.paper_films import ANN, FACE, SIZE, PaperFaces, Shot, place, write_film


def _film(path) -> Film:
    film = opened(Source(path, "one", "CC0-1.0", "", "", "synthetic", False), SIZE)
    assert isinstance(film, Film)
    return film


def _spans(starts, length):
    return [[start, start + length] for start in starts]


@pytest.mark.parametrize("faces", ["none", "paper"])
def test_who_is_near_in_all_shots_is_no_part_of_the_place(faces, tmp_path, monkeypatch):
    """Red: three close-ups of one person make a picture of the place with that person in it."""
    monkeypatch.setitem(tools.FACES, "paper", PaperFaces)
    tools.faces_of.cache_clear()
    shots = [Shot(ANN, 1, way, near=True, frames=20) for way in ((90, 92), (94, 97), (86, 88))]
    starts = write_film(tmp_path / "near.mp4", shots)
    made = place_film(_film(tmp_path / "near.mp4"), _spans(starts, 20), faces)
    assert len({one["place"] for one in made.values["places"]}) == 1
    assert bool(made.values["plates"]) == (faces == "none")


def test_a_mirrored_shot_shows_the_place_mirrored(tmp_path):
    """Red: smooth sky and ground fit either way, and what is mirrored counts as somebody in front of the
    place."""
    width, height = SIZE
    sky = np.linspace((80, 120, 200), (200, 180, 120), height)[:, None].repeat(width, 1).astype(np.uint8)
    sky[30:110, 2:42] = (150, 40, 40)
    shots = []
    for x in (70, 100, 130):
        shot = sky.copy()
        shot[50:100, x : x + 12] = (20, 200, 60)
        shots.append(shot)
    shots.append(np.ascontiguousarray(shots[0][:, ::-1]))
    frames = np.concatenate([np.repeat(one[None], 12, 0) for one in shots])
    encode(tmp_path / "smooth.mp4", frames, 24.0, crf=14)
    film = _film(tmp_path / "smooth.mp4")
    made = place_film(film, _spans(range(0, 48, 12), 12))
    assert [one["place"] for one in made.values["places"]] == [0, 0, 0, 0]
    assert ["mirrored" in one for one in made.values["places"]] == [False, False, False, True]
    plate = plates_of(made.values["plates"], made.arrays)[0]
    frames = np.repeat(shots[3][None], 12, 0)
    seen, told, _ = subjects_of(frames, 36, EVERY, made.values["places"][3], plate, Eyes())
    assert told == "plate"
    (one,) = seen[0]
    assert one.box.x == pytest.approx(width - 82, abs=2)
    assert one.box.w == pytest.approx(12, abs=3)


def test_a_shot_fits_others_than_the_first_and_last(tmp_path):
    """Red: a shot stays alone, and is cut out badly, because the two shots that it was compared with show
    people where it shows the place."""
    width, height = SIZE
    ground = np.random.default_rng(4).integers(60, 190, (height // 8, width // 8, 3), np.uint8)
    ground = ground.repeat(8, 0).repeat(8, 1)
    shots = [ground.copy() for _ in range(5)]
    shots[0][:, : width // 4] = (250, 250, 20)
    shots[1][:, width * 74 // 100 :] = (20, 250, 250)  # fits 0 by less than half: alone at first
    for number, x in ((2, 80), (3, 90), (4, 100)):
        shots[number][50:100, x : x + 8] = (20, 20, 250)
    frames = np.concatenate([np.repeat(one[None], 12, 0) for one in shots])
    encode(tmp_path / "late.mp4", frames, 24.0, crf=14)
    made = place_film(_film(tmp_path / "late.mp4"), _spans(range(0, 60, 12), 12))
    places = [one["place"] for one in made.values["places"]]
    assert len(set(places)) == 1


def test_near_shots_lie_on_their_place_even_if_they_are_the_most(tmp_path, monkeypatch):
    """Red: people near are cut out by a network, in parts, because few shots show their place from afar."""
    monkeypatch.setitem(tools.FACES, "paper", PaperFaces)
    tools.faces_of.cache_clear()
    width, height = SIZE
    ground = place(2)
    shots = []
    for x in (30, 90, 150):
        far = ground.copy()
        far[60:110, x : x + 10] = (20, 20, 250)
        shots.append(far)
    box = (50, 20, 50 + width / 2, 20 + height / 2)
    for x in (20, 50, 80, 120):
        near = np.asarray(Image.fromarray(ground).resize(SIZE, Image.Resampling.BICUBIC, box=box)).copy()
        near[30:60, x : x + 20], near[60:, x : x + 20] = FACE, (20, 20, 250)
        shots.append(near)
    encode(
        tmp_path / "most.mp4", np.concatenate([np.repeat(one[None], 12, 0) for one in shots]), 24.0, crf=14
    )
    made = place_film(_film(tmp_path / "most.mp4"), _spans(range(0, 84, 12), 12), "paper")
    assert ["zoom" in one for one in made.values["places"]] == [False] * 3 + [True] * 4


def test_a_camera_that_moves_goes_on_beyond_the_pictures_that_are_compared():
    """Red: of a pan the first and last pictures are laid some px beside their place, and edges of the place
    count as unseen."""
    corners = ((28, 0), (0, 2), (-28, 4))
    assert corner_at(0.5, corners) == (0, 2)
    assert corner_at(0.05, corners) == pytest.approx((36, 2 - 0.9 * 2 / 0.7))
    assert corner_at(0.95, corners)[0] == pytest.approx(-36)
    assert corner_at(0.28, corners)[0] == pytest.approx(17.6)
