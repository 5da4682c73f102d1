"""Single measures of the judge against cases that can be worked out by hand."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from castsheet.errors import SettingsError
from castsheet.judge import leak, motion
from castsheet.judge.assign import assign, order, swaps
from castsheet.judge.cast import figure_mask, read_cast, working_size
from castsheet.judge.published import evenly, face_sim, nexus_score
from castsheet.sheet.box import Box
from castsheet.sheet.manifest import Panel, PictureSource, Sheet
from mini.judged import thresholds as calibrate
from mini.judged.calibration import frames_told
from tests.doubles.judge_doubles import BlobFaces, MeanColour


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 10_000))
def test_assignment_is_the_best_of_all(rows: int, columns: int, seed: int) -> None:
    """Red: people are matched to the wrong panels, so swaps and margins mean nothing."""
    value = np.random.default_rng(seed).normal(size=(rows, columns))
    pairs = assign(value)
    few, many = sorted((rows, columns))
    table = value if rows <= columns else value.T
    best = max(sum(table[i, p] for i, p in enumerate(chosen)) for chosen in permutations(range(many), few))
    assert sum(value[i, j] for i, j in pairs) == pytest.approx(best)
    assert len({i for i, _ in pairs}) == len({j for _, j in pairs}) == few


def test_assignment_of_nothing() -> None:
    """Red: a frame without faces crashes the judge."""
    assert assign(np.zeros((0, 3))) == []


def test_swap_is_an_exchange_not_a_walk() -> None:
    """Red: people who walk, or one who leaves, count as swapped; or a real exchange does not."""
    left, right = Box(10, 0, 10, 40), Box(100, 0, 10, 40)
    walk = [{"a": Box(10 + 8 * t, 0, 10, 40), "b": Box(100 - 8 * t, 0, 10, 40)} for t in range(4)]
    assert swaps(walk, reach=20) == []
    assert swaps([{"a": left, "b": right}, {"a": left}, {"a": left}], reach=20) == []
    found = swaps([{"a": left, "b": right}, {"a": right, "b": left}], reach=20)
    assert {(one.frame, one.before, one.after) for one in found} == {(1, "a", "b"), (1, "b", "a")}
    # A gap, such as leaked frames between, does not hide it.
    assert swaps([{"a": left, "b": right}, {}, {"a": right, "b": left}], reach=20)


def test_order_is_from_left_to_right() -> None:
    """Red: --order reports the mirror image."""
    assert order([{"b": Box(50, 0, 9, 9), "a": Box(0, 0, 9, 9)}]) == ["a", "b"]


def test_likeness_is_one_for_the_sheet_and_none_for_flat_frames() -> None:
    """Red: black frames divide by zero, or the sheet itself is not a leak."""
    sheet = np.random.default_rng(0).uniform(0, 255, (40, 60)).astype(np.float32)
    frames = np.stack([sheet, np.zeros_like(sheet)])
    assert leak.likeness(frames, sheet) == pytest.approx([1, 0], abs=1e-5)


def test_bars_are_measured_and_a_dark_scene_has_none() -> None:
    """Red: night scenes fail as letterboxed, or bars pass."""
    frame = np.full((100, 100), 120, np.float32)
    assert leak.bars(frame) == 0
    frame[:10] = frame[90:] = 0
    assert leak.bars(frame) == pytest.approx(0.2)
    assert leak.bars(np.zeros((100, 100), np.float32)) == 0
    rows, columns = np.mgrid[0:100, 0:100]
    ball = np.where((rows - 50) ** 2 + (columns - 50) ** 2 < 900, 200, 0).astype(np.float32)
    assert leak.bars(ball) == 0
    dim = np.tile(np.linspace(0, 40, 100, dtype=np.float32)[:, None], (1, 100))
    assert leak.bars(dim) == 0


def test_smoothness_tells_drift_from_shaking() -> None:
    """Red: jitter and steady motion score alike."""
    base = np.zeros((12, 30, 60), np.float32)
    steady, shaking = base.copy(), base.copy()
    for t in range(12):
        steady[t, 10:20, 4 * t : 4 * t + 10] = 200
        shaking[t, 10:20, 20 + 4 * (t % 2) : 30 + 4 * (t % 2)] = 200
    assert motion.measure(steady).smoothness > 0.95
    assert motion.measure(shaking).smoothness < 0.05
    assert motion.measure(base).still == 1
    assert motion.measure(base).smoothness is None


def test_a_waving_arm_is_no_shaking_picture() -> None:
    """Red: a clip in which somebody waves fails as shaking, or a shaking picture passes."""
    random = np.random.default_rng(4)
    scene = random.uniform(40, 200, (112, 192)).astype(np.float32)
    waving = np.repeat(scene[None], 24, axis=0)
    for t in range(24):
        x = 60 + round(24 * np.sin(t))  # farther than its width from frame to frame
        waving[t, 20:40, x : x + 6] = 255
    shaken = np.stack([np.roll(scene, int(random.integers(-2, 3)), axis=1) for _ in range(24)])
    assert motion.measure(waving).smoothness < 0.72
    assert motion.measure(waving).shaking < 0.1
    assert motion.measure(shaken).shaking > 0.9


@pytest.mark.parametrize("gap", [6, 0])
@pytest.mark.parametrize("sources", [4, 0])
def test_stacked_turnarounds_are_taken_apart(gap: int, sources: int) -> None:
    """Red: views that the planner stacked count as one figure as tall as both, and a clean clip fails.

    Rows that touch can only be told apart when the manifest says how many views there are.
    """
    width, height = 192, 112
    picture = np.zeros((height, width, 3), np.uint8)
    tall = (height - gap) // 2
    for row in range(2):
        for column in range(2):
            y, x = row * (tall + gap), 4 + 34 * column
            picture[y : y + tall, x : x + 22] = (200, 40, 40)
    box = Box(4, 0, 56, 2 * tall + gap)
    known = tuple(PictureSource(f"{n}.png", "0" * 64, 1.0) for n in range(sources))
    sheet = Sheet(Image.fromarray(picture), (Panel("hero", "character", "turnaround", box, known),))
    looks = read_cast(sheet, width, height).members[0].looks
    if gap or sources:
        assert [look.picture_HWC.shape[:2] for look in looks] == [(tall, 22)] * 4
    else:
        assert len(looks) == 2


def test_figure_mask_keeps_dark_clothes_inside() -> None:
    """Red: black trousers fall out of the figure, and the black around it gets in."""
    picture = np.zeros((30, 20, 3), np.uint8)
    picture[5:25, 5:15] = 200
    picture[12:16, 8:12] = 0
    mask = figure_mask(picture)
    assert mask[14, 10]
    assert mask.sum() == 200


def test_working_size_keeps_shape_and_never_enlarges() -> None:
    """Red: portrait clips are squeezed, or tiny ones blown up."""
    assert working_size(768, 448) == (192, 112)
    assert working_size(448, 768) == (112, 192)
    assert working_size(96, 64) == (96, 64)


RED, GREEN = (200, 40, 40), (40, 200, 40)


def _people(frames: int, *, red: range = range(0), green: range = range(0)) -> np.ndarray:
    """Frames with a large red face on the left and a small green one on the right, where they are present."""
    out = np.zeros((frames, 40, 80, 3), np.uint8)
    out[list(red), 5:25, 5:25] = RED
    out[list(green), 5:15, 55:65] = GREEN
    return out


def _panels() -> dict[str, np.ndarray]:
    return {name: np.full((9, 9, 3), colour, np.uint8) for name, colour in (("r", RED), ("g", GREEN))}


def test_published_face_sim_ignores_absence_and_the_corrected_one_does_not() -> None:
    """Red: the comparison with published numbers breaks, or its flaw is inherited."""
    found = face_sim(_people(10, red=range(10), green=range(5)), _panels(), BlobFaces(), MeanColour())
    assert found.published == pytest.approx(1)
    assert found.corrected == pytest.approx({"r": 1.0, "g": 0.5})
    assert found.coverage == pytest.approx({"r": 1.0, "g": 0.5})
    assert found.margin["r"] > 0.5
    nobody = face_sim(_people(4), _panels(), BlobFaces(), MeanColour())
    assert nobody.published is None
    assert nobody.corrected == {"r": 0, "g": 0}


def test_published_nexus_score_falls_with_presence_and_the_corrected_one_rises() -> None:
    """Red: the published artefact is not reproduced, or the corrected score has it too."""
    panel = _panels()["r"]
    often = nexus_score(_people(8, red=range(8)), panel, BlobFaces(), MeanColour())
    rarely = nexus_score(_people(8, red=range(2)), panel, BlobFaces(), MeanColour())
    assert often.published == pytest.approx(1 / 8)
    assert rarely.published == pytest.approx(1 / 2)
    assert (often.corrected, rarely.corrected) == pytest.approx((1.0, 0.25))
    assert (often.seen, rarely.seen) == pytest.approx((1.0, 0.25))
    gated = nexus_score(_people(8, red=range(8)), panel, BlobFaces(), MeanColour(), fits=lambda _crop: 0.1)
    assert gated.published is None


@given(st.integers(1, 500))
@settings(max_examples=50, deadline=None)
def test_even_sampling_has_both_ends(count: int) -> None:
    """Red: published metrics sample frames that do not exist, or leave out the end."""
    at = evenly(count)
    assert at[0] == 0
    assert at[-1] == count - 1
    assert len(at) == min(count, 32)


def test_auc_and_threshold_by_hand() -> None:
    """Red: the calibration table is wrong."""
    assert calibrate.auc([3, 4], [1, 2]) == 1
    assert calibrate.auc([1, 2], [1, 2]) == 0.5
    assert calibrate.threshold([3, 4], [1, 2]) == pytest.approx(2.5)
    found = calibrate.calibrate(([3, 4], [3, 1]), ([1, 2], [0, 2]))
    assert (found.detected, found.false_alarms) == (0.5, 0)
    with pytest.raises(SettingsError):
        calibrate.auc([], [1])


def test_leaked_frames_are_counted_on_both_sides() -> None:
    """Red: the docs' sentence on frames swaps hits and misses."""
    records = [{"leaked": [10, 9], "unleaked": [1000, 0]}, {"leaked": [5, 5], "unleaked": [500, 3]}]
    assert "in 14 of 15 leaked held-out frames and in 1,497 of 1,500 others" in frames_told(records)
