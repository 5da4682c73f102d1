"""Which shots show one place, and what of them is the place."""

from __future__ import annotations

import numpy as np
import pytest

from castsheet.clip import encode
from castsheet.pairs import tools
from castsheet.pairs.eyes import Eyes, subjects_of
from castsheet.pairs.films import Source, opened
from castsheet.pairs.find import plates_of
from castsheet.pairs.records import Film
from castsheet.pairs.scan import place_film
from tests.doubles.paper_films import ANN, SIZE, PaperFaces, Shot, write_film


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
    seen, told, _ = subjects_of(frames, 36, film, made.values["places"][3], plate, Eyes())
    assert told == "plate"
    (one,) = seen[0]
    assert one.box.x == pytest.approx(width - 82, abs=2)
    assert one.box.w == pytest.approx(12, abs=3)
