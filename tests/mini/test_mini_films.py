"""Films of the mini world: scripts hold what the figures need, and scores count right. Nothing is drawn."""

from __future__ import annotations

import json

import numpy as np

from castsheet.pairs.protocols import Change
from castsheet.pairs.shots import PlainShots
from mini.films.bunny import LABELS, score
from mini.films.cut import cut
from mini.films.script import FAULTS, FilmPlan, ShotPlan, film_plan
from mini.films.shoot import Take


def test_a_film_holds_every_fault_once_and_everybody_near_and_whole():
    """Red: a figure is measured on films that do not hold what it asks for."""
    plan = film_plan(100_000, shots=30)
    faults = [shot.fault for shot in plan.shots if shot.fault]
    assert sorted(faults) == sorted(FAULTS)
    for number in range(4):
        shown = [s for s in plan.shots for act in s.acts if act.person.seed == 100_000 + number]
        assert sum(shot.near for shot in shown) >= 2
        assert any(not shot.near for shot in shown)
    assert plan == film_plan(100_000, shots=30)


def _take(value, frames=40, **given):
    random = np.random.default_rng(value)
    picture = random.integers(0, 255, (28, 48, 3), np.uint8)
    plan = ShotPlan((), value, frames / 24, **given)
    pictures = np.repeat(picture[None], frames, 0)
    return Take(plan, pictures, np.zeros((-(-frames // 6), 28, 48), np.uint8), np.zeros((0, frames)))


def test_the_truth_says_where_shots_begin():
    """Red: a film's truth is not what its frames show, and every figure is wrong."""
    takes = [_take(1), _take(2), _take(3, join="dissolve"), _take(4, join="fade")]
    film = cut(FilmPlan("f", 1, 24.0, tuple(take.plan for take in takes)), takes)
    assert len(film.frames) == film.truth["frames"]
    for take, shot in zip(takes, film.truth["shots"], strict=True):
        for at in (shot["first"], shot["last"] - 1):
            assert (film.frames[at] == take.frames[0]).all()
    found = PlainShots().changes(film.frames[:, :27])
    assert len(found) == 3
    for one, true in zip(found, film.truth["transitions"], strict=True):
        assert abs(one.first - true["first"]) <= 2
        assert abs(one.last - true["last"]) <= 2


def test_a_short_shot_has_room_for_what_joins_it():
    """Red: a film whose short shot is dissolved at both ends cannot be made, or its truth is wrong."""
    for middle, kinds in ((26, ["dissolve", "dissolve"]), (20, ["dissolve", "cut"])):
        takes = [_take(1), _take(2, middle, join="dissolve"), _take(3, join="dissolve")]
        film = cut(FilmPlan("f", 1, 24.0, tuple(take.plan for take in takes)), takes)
        assert len(film.frames) == film.truth["frames"]
        assert [one["kind"] for one in film.truth["transitions"]] == kinds
        last = film.truth["shots"][2]
        assert (film.frames[last["first"]] == takes[2].frames[0]).all()


def test_labels_of_a_real_film_are_counted():
    """Red: the score of the shot rule on a real film counts wrong."""
    labels = json.loads(LABELS.read_text(encoding="utf-8"))
    exact = [Change(at, at) for at in labels["cuts"]]
    exact += [Change(first, last) for first, last, _ in labels["slow"]]
    assert score(exact, labels).f1 == 1
    fooled = score([*exact, Change(500, 500)], labels)
    assert fooled.right == fooled.found - 1
    assert fooled.movements == [500]
    assert score(exact[1:], labels).seen == len(exact) - 1
