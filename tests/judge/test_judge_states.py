"""Three states: what may be called carried, and what may not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from castsheet.judge.cast import Figure, Pixels, read_cast
from castsheet.judge.evidence import Glimpse, looked_at
from castsheet.judge.faces import FaceReport, FaceView, FaceWitness
from castsheet.judge.fields import Find, Searched
from castsheet.judge.figures import Field, Seen, look_of, used
from castsheet.judge.judge import Judge
from castsheet.judge.judgement import LeakReport, TextReport
from castsheet.judge.motion import Motion, measure
from castsheet.judge.pasted import cuts, figures
from castsheet.judge.protocols import Detection, Vectors
from castsheet.judge.search import Template, Wanted, panels, search, whole
from castsheet.judge.states import FIGURE, GROUND, Held, find, worth
from castsheet.judge.verdict import FIGURE as PASTED
from castsheet.judge.verdict import JOLTS, PANEL, conclude
from castsheet.sheet.box import Box, Kind
from tests.doubles.judge_doubles import fixture_clip, fixture_sheet


def seen(likeness: float, margin: float | None = None) -> list[Glimpse]:
    return [Glimpse(at, likeness, (0, 0, 9, 9), margin) for at in range(3)]


def face(likeness: float | None, margin: float | None = None, coverage: float = 1.0) -> FaceReport:
    views = [] if likeness is None else [FaceView(0, likeness, (0, 0, 9, 9))]
    return FaceReport(views, likeness, margin, coverage if likeness else 0.0, likeness)


def held(
    kind: Kind = "character",
    *,
    figure: float | None = 0.9,
    of: FaceReport | None = None,
    faceless: bool = False,
    coverage: float = 1.0,
) -> Held:
    return Held(kind, 0.9, coverage, None if figure is None else seen(figure), of, faceless)


def test_nobody_is_carried_whose_face_was_not_compared() -> None:
    """Red: a stranger in the same clothes is green as soon as no face was looked at."""
    for one in (held(), held(figure=None), held(of=face(None))):
        assert find("mara", one).state == "cannot tell"
        assert find("mara", one).missing == ("face",)


def test_face_decides_whatever_the_clothes() -> None:
    """Red: another face passes in the right clothes, or the right one fails in others."""
    assert find("mara", held(of=face(0.96))).state == "carried"
    changed = find("mara", held(figure=0.3, of=face(0.96)))
    assert changed.state == "carried"
    assert "other clothes" in changed.why
    looks = [replace(one, looks=0.25) for one in seen(0.7)]
    told = find("mara", replace(held(of=face(0.96)), glimpses=looks))
    assert "other clothes" in told.why
    assert told.compared == ("face",)
    assert find("mara", held(of=face(0.9))).state == "not carried"
    assert find("mara", held(of=face(0.94))).state == "cannot tell"
    assert find("mara", held(of=face(0.96, margin=-0.02))).state == "not carried"


def test_backs_of_heads_are_no_absence() -> None:
    """Red: who is seen from behind counts as missing."""
    assert find("mara", held(of=face(None))).state == "cannot tell"
    assert find("mara", held(figure=0.2, of=face(None))).state == "not carried"


def test_figures_decide_what_has_no_face() -> None:
    """Red: animals and robots can never be carried, or are so on a tree trunk."""
    assert find("fox", held(figure=FIGURE.carried + 0.01, faceless=True)).state == "carried"
    assert (
        find("fox", held(figure=(FIGURE.carried + FIGURE.absent) / 2, faceless=True)).state == "cannot tell"
    )
    assert find("fox", held(figure=FIGURE.absent - 0.01, faceless=True)).state == "not carried"
    twin = Held("character", 0.9, 1.0, seen(0.9, margin=-0.1), None, True)
    assert find("fox", twin).state == "cannot tell"


def test_colours_alone_confirm_no_place() -> None:
    """Red: a photograph of somewhere else is green because it has enough green and grey."""
    assert find("barn", held("location", figure=None)).state == "cannot tell"
    assert find("barn", held("location", figure=None, coverage=0.1)).state == "not carried"
    assert find("barn", held("location", figure=GROUND.carried + 0.01)).state == "carried"


def test_faces_rank_takes_where_they_were_compared() -> None:
    """Red: of two takes in the same colours, the one with the stranger is kept."""
    same, other, unseen = (worth(held(of=face(value)), 0.0) for value in (0.965, 0.88, None))
    assert same > unseen > other


def test_window_holds_what_belongs_and_nothing_else() -> None:
    """Red: a picture that holds all colours of a figure among many others counts as the figure."""
    picture = np.full((60, 24, 3), 40, np.uint8)
    picture[:20], picture[20:40], picture[40:] = (200, 160, 130), (200, 30, 30), (30, 30, 160)
    look = look_of(Figure("front", Box(0, 0, 24, 60), picture, np.ones((60, 24), np.bool_)))
    kept = used([look])
    frame, mask = np.full((90, 160, 3), 120, np.uint8), np.zeros((90, 160), np.float32)
    frame[15:75, 60:84], mask[15:75, 60:84] = picture, 1
    right, box = Field(Seen(frame, mask, 1.0), kept).best(look, kept)
    random = np.random.default_rng(1)
    noise = random.choice(
        np.array([(200, 160, 130), (200, 30, 30), (30, 160, 30), (90, 90, 90)], np.uint8), (90, 160)
    )
    wrong, _ = Field(Seen(noise, np.ones((90, 160), np.float32), 1.0), kept).best(look, kept)
    empty, _ = Field(Seen(frame, 0 * mask, 1.0), kept).best(look, kept)
    assert right > 0.9
    assert abs(box.x - 60) < 8
    assert wrong < 0.6
    assert empty == 0


def test_panels_are_found_framed_small_and_zoomed() -> None:
    """Red: pictures of the cast on the wall, a small sheet in a corner or a zoomed one pass."""
    sheet, clean = fixture_sheet(), fixture_clip("clean").frames[:4]
    wanted = Wanted(sheet, read_cast(sheet, 192, 112))
    box = next(panel.box for panel in sheet.panels_of("hero") if panel.view == "turnaround")
    hung, corner, zoomed = (np.repeat(np.repeat(clean, 2, 1), 2, 2) for _ in range(3))
    picture = np.asarray(sheet.image.convert("RGB").crop((box.x, box.y, box.right, box.bottom)))
    small = picture[:120, :120]
    hung[:, 10 : 10 + small.shape[0], 20 : 20 + small.shape[1]] = small
    corner[:, :90, :154] = np.asarray(sheet.conditioning_image(384, 224).resize((154, 90)))
    large = np.asarray(sheet.conditioning_image(442, 258))[17:241, 29:413]
    zoomed[:] = np.rint(0.4 * zoomed + 0.6 * large)
    honest = Searched(np.repeat(np.repeat(clean, 2, 1), 2, 2), [0, 2])
    assert whole(honest, wanted).likeness < 0.55
    assert max(one.likeness for one in panels(honest, wanted.templates)) < 0.7
    assert max(one.likeness for one in panels(Searched(hung, [0, 2]), wanted.templates)) > PANEL
    assert whole(Searched(corner, [0, 2]), wanted).likeness > 0.7
    assert whole(Searched(zoomed, [0, 2]), wanted).likeness > 0.65


def test_the_next_clip_is_searched_for_the_same() -> None:
    """Red: what is kept of a sheet from its first clip changes what is found in the second."""
    sheet, clip = fixture_sheet(), fixture_clip("clean").frames[:4]
    frames = np.repeat(np.repeat(clip, 3, 1), 3, 2)
    cast = read_cast(sheet, 576, 336)
    kept = Wanted(sheet, cast)
    search(frames[::-1], [0, 2], kept)
    assert search(frames, [0, 2], kept) == search(frames, [0, 2], Wanted(sheet, cast))


def test_a_meadow_is_no_copy_of_another_meadow() -> None:
    """Red: every clip of a plain place is called a copy of any panel with a horizon at that height."""
    random = np.random.default_rng(7)

    def meadow(height: int, width: int, horizon: int) -> Pixels:
        tones = np.where(np.arange(height)[:, None] < horizon, 190.0, 90.0)
        grain = Image.fromarray(random.uniform(-40, 40, (height // 6, width // 6)).astype(np.float32))
        grey = tones + np.asarray(grain.resize((width, height), Image.Resampling.BICUBIC))
        return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2)

    plate = Image.fromarray(meadow(120, 120, 60))
    honest = np.stack([meadow(224, 384, 112) for _ in range(2)])
    hung = honest.copy()
    hung[:, 40:120, 60:140] = np.asarray(plate.resize((80, 80)))
    told = [
        panels(Searched(clip, [0, 1]), [Template("place", "location", plate)])[0] for clip in (honest, hung)
    ]
    assert told[0].likeness < PANEL < told[1].likeness
    assert told[1].box == pytest.approx((60, 40, 80, 80), abs=8)


def test_pasted_figure_is_told_from_an_actor_in_its_pose() -> None:
    """Red: a cut-out pasted from the sheet passes, or who acts in the panel's pose counts as pasted."""
    sheet, clean = fixture_sheet(), fixture_clip("clean").frames[:4]
    frames = np.repeat(np.repeat(clean, 3, 1), 3, 2)
    cast = read_cast(sheet, 576, 336)
    look = next(one for one in cast.members if one.kind == "character").body[0]
    tall = 225
    size = round(look.picture_HWC.shape[1] * tall / look.picture_HWC.shape[0]), tall
    picture = np.asarray(Image.fromarray(look.picture_HWC).resize(size))
    mask = np.asarray(Image.fromarray(look.mask_HW).resize(size))
    pasted = frames.copy()
    pasted[:, 60 : 60 + tall, 375 : 375 + size[0]][:, mask] = picture[mask]
    honest, found = (
        max(one.likeness for one in figures(Searched(clip, [0, 2]), cuts(cast))) for clip in (frames, pasted)
    )
    assert honest < PASTED <= found


def test_turned_face_denies_nobody() -> None:
    """Red: a profile that the detector takes for a half turned face fails the right person."""
    views = [FaceView(0, 0.83, (0, 0, 9, 9))]
    turned, straight = (FaceReport(views, 0.83, None, 1.0, one) for one in (None, 0.83))
    assert find("mara", held(of=turned)).state == "cannot tell"
    assert find("mara", held(of=straight)).state == "not carried"


def test_drawn_head_is_no_face() -> None:
    """Red: a rabbit that the detector takes for a person is never carried by its figure."""
    sheet = fixture_sheet()
    known = [FaceWitness(sheet, _Sees(score), _Short()).known for score in (0.9, 0.6)]
    assert known == [tuple(dict.fromkeys(one.element for one in sheet.panels if one.kind == "character")), ()]


def test_a_puppet_has_no_face_that_decides() -> None:
    """Red: a puppet's painted face, which every puppet of the workshop has, says who it is."""
    sheet = fixture_sheet()
    notes = tuple(replace(one, human=one.id != "hero") for one in sheet.elements)
    assert FaceWitness(sheet, _Sees(0.9), _Short()).known == ("hero", "rival")
    assert FaceWitness(replace(sheet, elements=notes), _Sees(0.9), _Short()).known == ("rival",)


class _Sees:
    """Sees one face in every picture, so surely."""

    name = "sees"

    def __init__(self, score: float) -> None:
        self._score = score

    def detect(self, frame_HWC: Pixels) -> list[Detection]:
        return [Detection(Box(0, 0, *frame_HWC.shape[1::-1]), self._score)]


class _Short:
    """Embeds everything as one vector of length 1."""

    name = "short"

    def embed(self, crops: list[Pixels]) -> Vectors:
        return np.ones((len(crops), 1), np.float32)


def test_camera_over_a_still_is_no_motion_and_flicker_no_shaking() -> None:
    """Red: a photograph that the camera closes in on counts as a moving scene."""
    random = np.random.default_rng(3)
    spots = Image.fromarray(random.uniform(20, 230, (15, 25)).astype(np.float32))
    world = np.asarray(spots.resize((400, 240), Image.Resampling.BICUBIC))
    pan = np.stack([world[20:132, at : at + 192] for at in range(24)])
    assert measure(pan).scene < 0.35
    acted = pan.copy()
    for at in range(24):
        acted[at, 30:80, 20 + 5 * at : 50 + 5 * at] = 128
    assert measure(acted).scene > 0.5
    rested = np.concatenate([acted, np.repeat(pan[-1:], 24, axis=0)])
    assert measure(rested).scene > 0.5
    light = np.where(np.arange(24) % 2 == 0, 1.0, 0.85)[:, None, None].astype(np.float32)
    assert measure(acted * light).flicker > 0.1
    held_on = acted.copy()
    held_on[5:] = held_on[5]
    assert measure(held_on).frozen == 18


def test_a_landscape_may_have_nobody_who_moves() -> None:
    """Red: a camera that turns over an empty landscape fails, or a photograph of the hero passes."""
    still = Motion(np.ones(9, np.float32), 0.0, 0, 1.0, 0.0, 0.0, 0.0, 0.05)
    leaks = LeakReport([0.0] * 10, [], [0] * 10, [False] * 10, 0.0, 0.0)
    seen = Judge(fixture_sheet())(fixture_clip("clean")).elements
    for state, grave in (("carried", True), ("cannot tell", True), ("not carried", False)):
        cast = [replace(one, state=state) if one.kind == "character" else one for one in seen]
        told = conclude(leaks, cast, (), still, TextReport(0.0, None), (), True, (1.0,))[0]
        assert [one.grave for one in told if one.measure == "motion"] == [grave]


def test_a_sheet_in_a_corner_costs_rank() -> None:
    """Red: of takes, one that shows the sheet zoomed or in a corner is kept before a clean one."""
    moved = Motion(np.ones(9, np.float32), 0.0, 0, 1.0, 0.0, 0.0, 0.0, 1.0)
    clean = LeakReport([0.0] * 10, [], [0] * 10, [False] * 10, 0.0, 0.0)
    shown = replace(clean, finds=[Find("sheet", "", 0.9, 3, (0, 0, 9, 9))])
    scores = [
        conclude(one, (), (), moved, TextReport(0.0, None), (), True, (1.0,))[1] for one in (clean, shown)
    ]
    assert scores == [1.0, 0.5]


def test_a_cut_is_no_trembling() -> None:
    """Red: a clip with one hard cut, or a fall towards the ground, is called shaking."""
    random = np.random.default_rng(5)
    first, second = random.uniform(30, 220, (2, 112, 192)).astype(np.float32)
    cut = np.stack([np.roll(first if at < 12 else second, at, axis=1) for at in range(24)])
    shaken = np.stack([np.roll(first, tuple(random.integers(-2, 3, 2)), (0, 1)) for _ in range(24)])
    assert measure(cut).jolts < JOLTS <= measure(shaken).jolts


def test_looks_spare_frames_that_show_the_sheet() -> None:
    """Red: the sheet's own faces are found in leaked frames and called carried."""
    leaked = [5 <= at < 40 for at in range(49)]
    assert not any(leaked[at] for at in looked_at(49, leaked))
    assert looked_at(3, [True] * 3)
