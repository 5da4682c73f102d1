"""Mini's evaluation: its arithmetic where the truth is known, the shipped set, one run on random weights.

Clips are painted from the shipped masks and true colours, so nothing here renders or trusts a model.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from castsheet.errors import CheckpointError, SettingsError
from castsheet.loading.bundle import MINI
from castsheet.pipeline import Castsheet
from mini.evaluation import deeds, score
from mini.evaluation.evaluate import contact_sheet, evaluate, open_set, run, score_mode, table
from mini.evaluation.identities import ACTIONS, CELL, SIZE
from mini.evaluation.parts import MIN_PIXELS, NONE, PERSON, REGIONS, eroded, lab, mean_colours
from mini.evaluation.takes import Takes
from mini.evaluation.validation import COUNT, MASK_FRAMES, ValidationSet, action_of, partner_of

torch.set_num_threads(1)
WIDTH, HEIGHT = SIZE


@pytest.fixture(scope="module")
def truths() -> ValidationSet:
    return ValidationSet.load()


def shown(count: int = COUNT) -> list[str]:
    return [action_of(index) for index in range(count)]


def test_the_set_is_balanced_and_telling(truths: ValidationSet) -> None:
    """Red: the shipped set lost identities, its pairs do different things, or too few colours compare."""
    assert len(truths) == COUNT == 64
    actions = shown()
    assert all(actions[index] == actions[partner_of(index)] for index in range(COUNT))
    assert {actions.count(action) for action in ACTIONS} == {10, 12}
    own = truths.colours_NR3
    counted, won = score.comparisons(own, own, own[[partner_of(index) for index in range(COUNT)]])
    person = [REGIONS.index(name) for name in PERSON]
    assert counted[:, person].sum() >= 3 * COUNT
    assert np.array_equal(counted, won)
    for index in (0, 63):
        assert truths.sheet(index).image.size == SIZE
        assert [note.description for note in truths.sheet(index).elements] == [
            "a person",
            "an object",
            "a place",
        ]


def test_truth_scores_all_and_swapped_none(truths: ValidationSet) -> None:
    """Red: the measure would not give a perfect model 100 %, or would give one that shows the other's looks
    more than nothing."""
    own = truths.colours_NR3
    swapped = own[[partner_of(index) for index in range(COUNT)]]
    perfect = score_mode(own, truths, shown())
    assert [perfect["identity"][group]["share"] for group in ("person", "prop", "location")] == [1, 1, 1]
    assert perfect["retrieval"]["share"] == 1
    assert perfect["action"]["share"] == 1
    opposite = score_mode(swapped, truths, shown())
    assert opposite["identity"]["person"]["share"] == 0
    assert opposite["retrieval"]["share"] < 0.1
    assert "100.0 %" in table({"sheet": perfect, "swapped": opposite})


def test_a_model_that_ignores_the_sheet_scores_half(truths: ValidationSet) -> None:
    """Red: the control has a bias, so that 90 % could be reached without looking at the sheet.

    Partners share noise and prompt, so such a model shows both the same: it wins one in two comparisons.
    """
    random = np.random.default_rng(1)
    pairs = random.uniform((20, -50, -50), (90, 50, 50), (COUNT // 2, len(REGIONS), 3)).repeat(2, axis=0)
    measured = np.where(np.isfinite(truths.colours_NR3), pairs, np.nan)
    blind = score_mode(measured, truths, shown())
    # A region that only one of the two shows on enough pixels is measured there only, hence not exactly half.
    assert 0.45 < blind["identity"]["person"]["share"] < 0.55
    assert blind["retrieval"]["share"] < 0.25


def test_measuring_painted_frames_gives_their_colours(truths: ValidationSet) -> None:
    """Red: colours are measured under the wrong masks, frames or colour space."""
    masks = truths.masks_NFHW[5]
    palette = np.random.default_rng(2).integers(0, 256, (256, 3)).astype(np.uint8)
    measured = mean_colours(palette[masks], masks)
    for number in range(len(REGIONS)):
        if np.count_nonzero(masks == number) >= MIN_PIXELS:
            np.testing.assert_allclose(measured[number], lab(palette[number]), atol=1e-6)
        else:
            assert np.isnan(measured[number]).all()


def test_lab_reference_colours() -> None:
    """Red: CIE76 distances are not CIE76. Values: sRGB primaries, D65, as published by Lindbloom."""
    rgb = np.array([[255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255], [0, 0, 0]], np.uint8)
    wanted = [
        (100, 0, 0),
        (53.2408, 80.0925, 67.2032),
        (87.7347, -86.1827, 83.1793),
        (32.2970, 79.1875, -107.8602),
        (0, 0, 0),
    ]
    np.testing.assert_allclose(lab(rgb), wanted, atol=0.02)


def test_erosion_keeps_only_what_is_surrounded_by_itself() -> None:
    """Red: soft edges between two colours count as one of them."""
    regions = np.full((1, 7, 7), 3, np.uint8)
    regions[0, 3, 3] = 4
    left = eroded(regions)
    assert left[0, 3, 3] == NONE
    assert (left[0, 2:5, 2:5] == NONE).all()
    assert (left == 3).sum() == 49 - 9


def test_motion_tells_painted_actions_apart(truths: ValidationSet) -> None:
    """Red: the action measure takes stillness for motion, or its averages are not of the six actions."""
    masks = truths.masks_NFHW
    assert truths.centroids_AM.shape == (6, 840)
    likeness = truths.centroids_AM @ truths.centroids_AM.T
    assert np.allclose(np.diag(likeness), 1, atol=1e-2)
    assert (likeness - np.eye(6)).max() < 0.95
    still = np.full((len(deeds.INDICES), HEIGHT, WIDTH, 3), 90, np.uint8)
    assert not deeds.motion(still).any()
    walker = still.copy()
    for number in range(len(deeds.INDICES)):
        left = round((170 - 5 * number) / 192 * WIDTH)
        walker[number, HEIGHT * 30 // 112 : HEIGHT * 100 // 112, left : left + CELL] = 220
    assert deeds.classify(walker, truths.centroids_AM) == "walk left"
    assert deeds.classify(walker[:, :, ::-1], truths.centroids_AM) == "walk right"
    assert masks.shape == (COUNT, len(MASK_FRAMES), HEIGHT, WIDTH)


def test_shares_have_wilson_intervals() -> None:
    """Red: the report understates how uncertain its figures are. Wanted: Wilson's interval for 81 of 263."""
    share = score.Share(81, 263).to_dict()
    assert share["interval"] == pytest.approx([0.2553, 0.3662], abs=2e-4)
    assert score.Share(0, 0).to_dict()["share"] is None


def test_damaged_sets_and_odd_counts_are_refused(tmp_path: Path) -> None:
    """Red: a broken set gives figures, or a crash, instead of an error that says what to do."""
    with pytest.raises(CheckpointError, match="no validation set"):
        ValidationSet.load(tmp_path)
    for count in (0, 7):
        with pytest.raises(SettingsError, match="--count"):
            open_set(count, tmp_path)


def painted(truths: ValidationSet, index: int) -> np.ndarray:
    """Frames in which every region has one colour near its true one: what a perfect model makes."""
    gamut = (
        np.stack(np.meshgrid(*[np.arange(0, 256, 17)] * 3, indexing="ij"), -1).reshape(-1, 3).astype(np.uint8)
    )
    palette = np.zeros((256, 3), np.uint8)
    for number, colour in enumerate(truths.colours_NR3[index]):
        if np.isfinite(colour).all():
            palette[number] = gamut[np.linalg.norm(lab(gamut) - colour, axis=1).argmin()]
    frames = np.zeros((len(deeds.INDICES), HEIGHT, WIDTH, 3), np.uint8)
    for frame, mask in zip(MASK_FRAMES, truths.masks_NFHW[index], strict=True):
        frames[deeds.INDICES.index(frame)] = palette[mask]
    return frames


def test_perfect_takes_score_full_marks(truths: ValidationSet, tmp_path: Path) -> None:
    """Red: frames, masks and identities are not matched up, or partners' takes are made twice."""
    takes = Takes(Castsheet.load(MINI, device="cpu", dtype="fp32"), truths, tmp_path)
    assert takes.path("swapped", 4) == takes.path("sheet", 5)
    assert takes.path("blank", 4) == takes.path("blank", 5)
    assert takes.path("no-adapter", 4) != takes.path("sheet", 4)
    assert takes.path("truth", 4) != takes.path("codec", 4)
    for index in range(16):
        np.savez(takes.path("sheet", index), frames=painted(truths, index))
    results = evaluate(takes, ("sheet", "swapped"), 16)
    assert results["sheet"]["identity"]["person"]["share"] == 1
    assert results["sheet"]["retrieval"] == score.Share(16, 16).to_dict()
    assert results["swapped"]["identity"]["person"]["share"] < 0.2  # outlines differ
    assert contact_sheet(takes, "sheet", 16).size == (5 * WIDTH, 16 * HEIGHT)


def test_run_makes_figures_and_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Red: the command does not go from a bundle to figures and pictures, or makes finished clips again."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    options = argparse.Namespace(
        attention="auto",
        bundle=MINI,
        adapter=[],
        preset=None,
        count=2,
        modes=("blank",),
        json=tmp_path / "figures.json",
        pictures=tmp_path / "pictures",
        work=tmp_path / "work",
        device="cpu",
        dtype="fp32",
        set=[("steps", 1), ("guidance", 1.0)],
    )
    report = run(options)
    assert json.loads(options.json.read_text()) == report
    (take,) = options.work.glob("*.npz")
    made = take.stat().st_mtime_ns
    assert report["modes"]["blank"]["action"]["total"] == 2
    assert "person" in capsys.readouterr().out
    assert [path.name for path in options.pictures.iterdir()] == ["blank.png"]
    assert run(options) == report
    assert take.stat().st_mtime_ns == made
