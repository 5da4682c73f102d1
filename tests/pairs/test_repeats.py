"""What the film has shown before is no clip, whether or not a clip came of the first showing."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from castsheet.pairs.quality import sifted
from castsheet.pairs.records import Reject, Window
from castsheet.pairs.repeats import Footage, repeat_of, strip_of

LENGTH = 121
FIRST = 140  # frames of the first shot


def _walk(frames, start=0.0, seed=0):
    """Somebody walks through a place of blocks: (F, H, W, 3)."""
    rng = np.random.default_rng(seed)
    place = np.repeat(np.repeat(rng.integers(40, 160, (9, 16, 3)), 3, 0), 3, 1).astype(np.uint8)
    film = np.repeat(place[None], frames, 0)
    for k in range(frames):
        x = 4 + round((start + k) * 0.2)
        film[k, 6:25, x : x + 6] = 240
    return film


def _found(*parts):
    """The verdict on the middle of the last part."""
    edges = np.cumsum([0, *map(len, parts)])
    shots = {f"one-{k:04d}": (int(a), int(b)) for k, (a, b) in enumerate(pairwise(edges))}
    first, last = shots[name := list(shots)[-1]]
    start = (first + last - LENGTH) // 2
    window = Window(name, 0, tuple(range(start, start + LENGTH)), 5.0, 10.0, 0.0, 0.0, (120.0, 40.0))
    return repeat_of(window, Footage(strip_of(np.concatenate(parts)), shots))


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize(("begin", "end"), [(0, 140), (16, 140), (0, 124), (16, 124), (21, 140)])
def test_what_was_shown_before_is_no_clip_however_short_it_was_shown(begin, end, mirrored):
    """Red: a repeat of a shot that a dissolve made too short for a clip becomes one, or one cut elsewhere."""
    whole, other = _walk(FIRST), _walk(90, seed=1)
    again = whole[:, :, ::-1] if mirrored else whole
    found = _found(whole[begin:end], other, again)
    assert found is not None
    assert found.rule == "R36"
    assert found.value.endswith("in one-0000")


def test_an_excerpt_shown_before_leaves_the_scene_a_clip():
    """Red: a teaser of two seconds costs the film its scene."""
    assert _found(_walk(FIRST)[40:100], _walk(90, seed=1), _walk(FIRST)) is None


@pytest.mark.parametrize("other", [_walk(FIRST, seed=1), _walk(FIRST, start=50), _walk(FIRST)[::-1]])
def test_another_walk_in_the_same_place_and_another_place_are_no_repeats(other):
    """Red: a film of one place has one clip."""
    assert _found(other, _walk(FIRST)) is None


def _shown_twice(fault, **first):
    """The windows that stay of a film that shows one shot twice, and the rules that leave others out.

    Args:
        fault: of both windows, a transition that they hold. first: measures of the first one.
    """
    parts = (_walk(FIRST), _walk(90, seed=1), _walk(FIRST))
    shots = {"one-0000": (0, 140), "one-0001": (140, 230), "one-0002": (230, 370)}
    footage = Footage(strip_of(np.concatenate(parts)), shots)
    one, again = (
        Window(shot, 0, tuple(range(start, start + LENGTH)), 5.0, 10.0, 0.0, 0.0, (120.0, 40.0))
        for shot, start in (("one-0000", 10), ("one-0002", 240))
    )
    changed = {unit.id: Reject(unit.id, "R37", "frame 7") for unit in (one, again) if fault}
    kept, left_out = sifted([replace(one, **first), again], footage, changed, 0.0)
    return [unit.id for unit in kept], [(unit.unit, unit.rule) for unit in left_out]


def test_a_repeat_of_what_holds_a_transition_is_left_out_as_a_repeat():
    """Red: where somebody takes another one's place unseen, the copy of it becomes a clip."""
    assert _shown_twice(True) == ([], [("one-0000w0", "R37"), ("one-0002w0", "R36")])
    assert _shown_twice(False) == (["one-0000w0"], [("one-0002w0", "R36")])


def test_a_copy_without_the_fault_of_the_first_showing_stays():
    """Red: titles over a shot cost the film the same shot without titles."""
    assert _shown_twice(False, strokes=0.5) == (["one-0002w0"], [("one-0000w0", "R34")])
    assert _shown_twice(False, sharp=1.0) == (["one-0002w0"], [("one-0000w0", "R31")])
