"""The judge on rendered clips whose truth is known, and on the faults made from them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from castsheet.clip import Clip
from castsheet.errors import SettingsError, SheetError
from castsheet.judge.judge import Judge, Options
from castsheet.judge.judgement import Judgement
from castsheet.media.provenance import dump
from castsheet.sheet.manifest import Sheet
from mini.judged import faults
from tests.doubles.judge_doubles import FOLDER, BlobFaces, MeanColour, Reads, fixture_clip, fixture_sheet


def judged(frames: np.ndarray | str, options: Options | None = None) -> Judgement:
    clip = fixture_clip(frames) if isinstance(frames, str) else Clip(frames, 24.0)
    return Judge(fixture_sheet(), options)(clip)


def measures(one: Judgement) -> set[str]:
    return {problem.measure for problem in one.problems if problem.grave}


def seen_sheet() -> np.ndarray:
    return np.asarray(fixture_sheet().conditioning_image(192, 112))


def test_clip_that_keeps_its_cast_passes() -> None:
    """Red: good takes are thrown away, so re-rolls never end."""
    one = judged("clean")
    assert one.state != "not carried", one.verdict
    assert one.leak.seconds == 0
    assert not one.swaps
    assert all(element.coverage == 1 for element in one.elements)
    assert {element.id for element in one.elements} == {"hero", "rival", "thing", "place"}
    assert all(element.margin > 0.2 for element in one.elements if element.kind == "character")


def test_colours_that_are_off_cost_rank_before_anybody_is_missed() -> None:
    """Red: of takes that all show the cast, the one with the wrong tint is kept as soon as the right one."""
    frames = fixture_clip("clean").frames
    tinted = np.clip(frames.astype(np.int16) + np.array([14, -6, 0]), 0, 255).astype(np.uint8)
    true, off = judged(frames), judged(tinted)
    assert true.state != "not carried"
    assert off.state != "not carried", off.verdict
    assert off.score < true.score
    for before, after in zip(true.elements, off.elements, strict=True):
        assert before.tint + 2 < after.tint < 20, before.id


def test_whose_colours_are_off_is_told() -> None:
    """Red: wrong clothes go by without a word, or honest ones are accused; or colours alone fail a clip."""
    frames = fixture_clip("clean").frames
    tinted = np.clip(frames.astype(np.int16) + np.array([18, -8, 0]), 0, 255).astype(np.uint8)
    assert not [one for one in judged(frames).problems if one.measure == "tint"]
    told = [one for one in judged(tinted).problems if one.measure == "tint"]
    assert [(one.element, one.grave) for one in told] == [("hero", False)]


def test_colours_that_became_others_of_the_sheet_are_off_by_all_of_it() -> None:
    """Red: trousers in quite another colour cost no rank, since no colour of theirs is left to compare."""
    frames = fixture_clip("clean").frames
    slightly = np.clip(frames.astype(np.int16) + np.array([14, -6, 0]), 0, 255).astype(np.uint8)
    quite = np.ascontiguousarray(frames[..., [1, 2, 0]])
    tints = [{one.id: one.tint for one in judged(clip).elements} for clip in (slightly, quite)]
    assert all(tints[1][name] > tints[0][name] + 15 for name in ("hero", "rival", "thing", "place")), tints


@pytest.mark.parametrize("weight", [1.0, 0.6, 0.35])
def test_leak_is_timed_to_the_frame(weight: float) -> None:
    """Red: the dominant failure of sheet-guided video goes unnoticed, or its seconds are wrong."""
    one = judged(faults.leak(fixture_clip("clean").frames, seen_sheet(), (5, 17), weight))
    assert [at for at, flag in enumerate(one.leak.leaked) if flag] == list(range(5, 17))
    assert one.leak.seconds == pytest.approx(0.5)
    assert measures(one) == {"leak"}


def test_leak_of_a_whole_clip_leaves_nobody_present() -> None:
    """Red: the sheet's own panels count as the cast, so a full leak is called perfect identity."""
    frames = fixture_clip("clean").frames
    one = judged(faults.leak(frames, seen_sheet(), (0, len(frames))))
    assert all(element.coverage == 0 for element in one.elements)
    assert one.score == 0


def test_zoomed_leak_is_seen_by_its_black_lines() -> None:
    """Red: a sheet that leaks out of place passes, because it no longer lies on itself."""
    big = np.asarray(fixture_sheet().conditioning_image(230, 134))[11:123, 19:211]
    assert measures(judged(faults.leak(fixture_clip("clean").frames, big, (8, 20)))) >= {"leak"}


@pytest.mark.parametrize(
    ("clip", "element"), [("stranger", "hero"), ("alone", "hero"), ("elsewhere", "place")]
)
def test_who_is_missing_is_named(clip: str, element: str) -> None:
    """Red: another person, nobody, or another place is taken for the one on the sheet."""
    one = judged(clip)
    assert [problem.element for problem in one.problems if problem.measure == "coverage"] == [element]
    assert one.state == "not carried"


def test_two_people_who_swap_are_caught() -> None:
    """Red: identities that jump from one figure to the other pass, as in published metrics."""
    one = judged("swap")
    assert measures(one) == {"swap"}
    assert {one.swaps[0].before, one.swaps[0].after} == {"hero", "rival"}


def test_people_swapped_throughout_need_the_wanted_order() -> None:
    """Red: the one way to catch a clip that is swapped from end to end is gone."""
    assert judged("clean", Options(order=("hero", "rival"))).state != "not carried"
    assert measures(judged("clean", Options(order=("rival", "hero")))) == {"order"}


def test_order_must_name_characters() -> None:
    """Red: a typing error in --order passes silently, and nothing is checked."""
    with pytest.raises(SettingsError, match="villain"):
        Judge(fixture_sheet(), Options(order=("hero", "villain")))


def test_picture_faults() -> None:
    """Red: letterbox, pasted panel, still, shaking picture or wrong colours pass."""
    clean = fixture_clip("clean").frames[:12]
    box = next(panel.box for panel in fixture_sheet().panels_of("hero") if panel.view == "turnaround")
    panel = seen_sheet()[box.y // 2 : box.bottom // 2, box.x // 2 : box.right // 2]
    assert "letterbox" in measures(judged(faults.letterbox(clean, 0.15)))
    assert "letterbox" in measures(judged(faults.letterbox(clean, 0.15, upright=True)))
    assert "copy" in measures(judged(faults.paste(clean, panel, (90, 10))))
    assert "motion" in measures(judged(faults.freeze(clean)))
    assert "motion" in measures(judged(faults.jitter(clean, 2, np.random.default_rng(1))))
    one = clean[:1]
    assert "coverage" in measures(judged(faults.recolour(one, np.ones(one.shape[:3], np.bool_), 0.4)))


def test_text_like_strokes_are_a_remark_and_read_text_fails() -> None:
    """Red: stray captions pass unseen, or a striped coat alone fails a clip."""
    marked = faults.caption(fixture_clip("clean").frames, "COMMERCIAL", (20, 90), 14)
    one = judged(marked)
    assert one.state != "not carried"
    assert [problem.measure for problem in one.problems] == ["text"]
    read = judged("clean", Options(reader=Reads("LOGO")))
    assert measures(read) == {"text"}
    assert read.models == ["reads"]
    assert judged("clean", Options(reader=Reads())).state != "not carried"


def test_bare_picture_is_judged_by_the_panels_found_in_it() -> None:
    """Red: sheets made elsewhere cannot be judged at all."""
    bare = replace(fixture_sheet(), panels=(), elements=())
    frames = fixture_clip("clean").frames
    good = Judge(bare)(Clip(frames, 24.0))
    assert not good.manifest
    assert len(good.elements) >= 4
    assert all(problem.measure != "leak" for problem in good.problems)
    assert "leak" in measures(Judge(bare)(Clip(faults.leak(frames, seen_sheet(), (3, 9)), 24.0)))


def test_larger_clip_is_judged_alike_and_boxes_are_its_own_pixels() -> None:
    """Red: thresholds hold at one size only, or boxes lie elsewhere on large clips."""
    small = fixture_clip("clean").frames[:8]
    one = judged(np.repeat(np.repeat(small, 4, axis=1), 4, axis=2))
    two = judged(small)
    for big, little in zip(one.elements, two.elements, strict=True):
        assert big.identity == pytest.approx(little.identity, abs=0.02)
        assert big.boxes[0][2] == pytest.approx(4 * little.boxes[0][2], abs=8)


def test_one_frame_is_enough() -> None:
    """Red: a still, or a clip cut to one frame, crashes the judge."""
    one = judged(fixture_clip("clean").frames[:1])
    assert one.motion.smoothness is None
    assert one.sampled == [0]


def test_sheet_without_any_panel_is_refused() -> None:
    """Red: an all-black picture gives numbers about nothing."""
    black = Sheet(fixture_sheet().image.point(lambda _value: 0))
    with pytest.raises(SheetError):
        Judge(black)(fixture_clip("clean"))


def test_judgement_is_strict_json() -> None:
    """Red: tools that read --json fail on NaN or on a type that JSON does not have."""
    held = json.loads(dump(judged("swap")))
    assert held["swaps"][0]["before"] in ("hero", "rival")
    assert len(held["leak"]["likeness"]) == held["frames"]


def test_faces_come_from_whatever_is_installed() -> None:
    """Red: FaceSim is not computed, or crashes where the face panel shows no face to the detector."""
    one = judged("clean", Options(faces=(BlobFaces(), MeanColour())))
    assert one.models == ["blobs", "mean-colour"]


def test_fixtures_stay_small() -> None:
    """Red: the repository grows by rendered video."""
    assert sum(path.stat().st_size for path in Path(FOLDER).iterdir()) < 300_000
