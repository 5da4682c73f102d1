"""Transitions that no detector saw: tracks break off, and one picture becomes another in a straight line."""

from types import SimpleNamespace

import numpy as np
import pytest

from castsheet.media.encoding import encode
from castsheet.pairs import scan
from castsheet.pairs.breaks import parts, unseen
from castsheet.pairs.eyes import Eyes
from castsheet.pairs.films import Source, opened
from castsheet.pairs.protocols import Change
from castsheet.pairs.records import Clips, Film
from castsheet.sheet.box import Box

WIDTH, HEIGHT, TALL, WIDE = 384, 224, 160, 70
LENGTH, MIDDLE = 80, 40


def _shot(start, pace, colour, frames=LENGTH):
    """Somebody goes sideways before blocks that stand still (F, H, W, 3)."""
    blocks = np.random.default_rng(3).integers(60, 180, (14, 24, 3))
    place = np.repeat(np.repeat(blocks, 16, 0), 16, 1).astype(np.float32)
    film = np.repeat(place[None], frames, 0)
    for k in range(frames):
        x = round(start + pace * k)
        film[k, 30 : 30 + TALL, x : x + WIDE] = colour
    return film


def _joined(length):
    """Two shots of one place, dissolved in the middle over some frames."""
    one, other = _shot(60, 0.5, (250, 30, 30)), _shot(230, -0.5, (20, 20, 240))
    share = np.clip((np.arange(LENGTH) - MIDDLE + length / 2 + 0.5) / length, 0, 1)[:, None, None, None]
    return (one * (1 - share) + other * share).astype(np.uint8)


def _line(first, last, x=60):
    return [SimpleNamespace(frame=at, box=Box(x, 30, WIDE, TALL)) for at in range(first, last + 1, 6)]


BROKEN = [_line(100, 136), _line(142, 178, x=220)]


@pytest.mark.parametrize("length", [12, 16, 24])
def test_a_dissolve_within_one_place_is_found_where_tracks_break_off(length):
    """Red: a clip holds a dissolve, because people move on both of its sides."""
    (found,) = unseen(_joined(length), 100, BROKEN)
    assert found.first <= 100 + MIDDLE - length // 2
    assert 100 + MIDDLE + length // 2 <= found.last
    assert found.last - found.first < length + 24


def test_a_track_that_breaks_off_is_no_transition_by_itself():
    """Red: somebody who is lost and found again costs the film a clip."""
    assert unseen(_shot(60, 0.5, (250, 30, 30)).astype(np.uint8), 100, BROKEN) == []


def test_a_dissolve_in_which_one_track_leaps_is_found():
    """Red: a track that goes on with somebody else, or the same one in another pose, hides a dissolve."""
    leaping = [*_line(100, 136), *_line(142, 178, x=120)]
    (found,) = unseen(_joined(16), 100, [leaping])
    assert found.first <= 100 + MIDDLE - 8
    assert found.last >= 100 + MIDDLE + 8
    assert unseen(_shot(60, 0.5, (250, 30, 30)).astype(np.uint8), 100, [leaping]) == []


def test_a_mixture_without_a_break_is_left_to_the_detectors():
    """Red: grass in the wind parts a shot in two."""
    assert unseen(_joined(16), 100, [_line(100, 178)[:1] * 2]) == []
    assert unseen(_joined(16), 100, [_line(100, 136, x=0), _line(142, 178, x=WIDTH - WIDE)]) == []


def test_parts_of_a_shot_lie_between_its_transitions():
    """Red: frames of a transition, or none of a shot, are in its parts."""
    assert parts(10, 90, []) == [(10, 90)]
    assert parts(10, 90, [Change(10, 20), Change(50, 60)]) == [(20, 50), (60, 90)]
    assert parts(10, 90, [Change(40, 70), Change(60, 90)]) == [(10, 40)]


def test_windows_lie_on_both_sides_of_a_transition(tmp_path, monkeypatch):
    """Red: a shot with a transition that was missed gives clips that hold it, or none."""
    path = tmp_path / "one.mp4"
    encode(path, _joined(16), 24.0)
    film = opened(Source(path, "one", "CC0-1.0", "", "", "none", False), (WIDTH, HEIGHT))
    assert isinstance(film, Film)
    monkeypatch.setattr(scan, "unseen", lambda *_: [Change(MIDDLE - 10, MIDDLE + 10)])
    clips, times = Clips(WIDTH, HEIGHT, 9, 24.0), np.arange(LENGTH) / 24
    made = scan.watch_shot(film, "one-0000", [0, LENGTH], times, clips, None, None, Eyes())
    windows = [(one["frames"][0], one["frames"][-1]) for one in made.values["windows"]]
    assert [last < MIDDLE - 10 or first >= MIDDLE + 10 for first, last in windows] == [True, True]
    assert made.values["longest"] == MIDDLE - 10
