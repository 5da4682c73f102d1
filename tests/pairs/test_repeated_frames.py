"""Frames that are shown more than once, and people who hardly move."""

from __future__ import annotations

import numpy as np
import pytest

from castsheet.pairs.quality import REPEATS, fault_of, measured

COUNT = 121
AT = np.arange(COUNT)
SIZE = 112, 192


def _wall():
    """A place with some texture."""
    return np.random.default_rng(3).integers(90, 130, SIZE).astype(np.float32)


def _rule(frames):
    """What is wrong with a window of such frames."""
    pictures = np.stack([np.stack(frames).clip(0, 255).astype(np.uint8)] * 3, -1)
    window = measured("one-0000", 0, tuple(range(COUNT)), pictures)
    fault = fault_of(window, window.sharp)
    return window, None if fault is None else fault.rule


def test_who_hardly_moves_shows_no_frame_twice():
    """Red: frames seem repeated in which somebody sways by so little that compression hides some steps."""
    wall, grain = _wall(), np.random.default_rng(4).random((90, 40))
    frames = []
    for k in range(COUNT):
        frames.append(wall.copy())
        frames[-1][10:100, 80:120] = np.floor(180 + 0.7 * np.sin(k / 5) + grain)
    window, rule = _rule(frames)
    assert rule is None, window


def _walk(order, noise):
    """Somebody walks to and fro; compression changes some pixels (a share) of each frame all the same."""
    wall, random = _wall(), np.random.default_rng(5)
    frames = []
    for at in order:
        frames.append(wall + 2.0 * (random.random(SIZE) < noise))
        left = 75 + round(40 * np.sin(at / 9))
        frames[-1][10:100, left : left + 40] = 190
    return frames


@pytest.mark.parametrize("order", [AT // 2 * 2, AT // 3 * 3, AT - AT % 5 % 2])
def test_repeated_frames_are_found_below_the_noise_of_compression(order):
    """Red: a film of twelve or eight pictures a second becomes clips."""
    window, rule = _rule(_walk(order, 0.02))
    assert rule == "R33", window
    assert _rule(_walk(AT, 0.02))[1] is None


def test_a_film_that_stops_is_found():
    """Red: a clip whose second half stands still is used, because few of its frames stand beside a step."""
    window, rule = _rule(_walk(np.minimum(AT, 72), 0.0))
    assert rule == "R33", window
    assert window.repeats > REPEATS
