"""How mini's takes are counted: colours of each person, sheets told apart, sound in time."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from castsheet.errors import DependencyError
from mini.data.corpus import PROMPTS, Stories
from mini.data.windows import begin_of, frames_of
from mini.evaluation.leaked import leaked
from mini.evaluation.stories import (
    CLOTHES,
    Given,
    Measured,
    Source,
    add_source,
    given_sheet,
    looks_of,
    own_clothes,
    right_sheet,
    strangers,
    won,
)
from mini.evaluation.strengths import against, distances
from mini.story import HEIGHT, WIDTH
from mini.story.listen import in_time, onsets, place_heard
from mini.story.measure import WORN
from mini.story.place import kind_of
from mini.story.plot import POSES, plot_of
from mini.story.render import Renderer
from mini.story.sample import cast, draw
from mini.story.sound import RATE, sound
from mini.world import TEST, VALIDATION

SEEDS = VALIDATION[:8]


def random_colours(people: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 100, (people, len(WORN), 3))


def test_colours_count_for_whom_they_are_nearer_to() -> None:
    """Red: a take in the stranger's clothes passes, or a prop's colour counts as a person's."""
    own, other = random_colours(3, 1), random_colours(3, 2)
    hits, total = won(own + 1, own, other, 2)
    assert hits == total > 10
    assert won(other + 1, own, other, 2) == (0, total)
    assert won(np.full_like(own, np.nan), own, other, 2) == (0, 0)


def test_two_people_keep_their_own_clothes() -> None:
    """Red: two people who exchange their clothes, or both wear one person's, are counted as right."""
    own = random_colours(2, 3)
    own[1, list(CLOTHES)] = own[0, list(CLOTHES)] + 40
    assert own_clothes(own, own) == (4, 4)
    assert own_clothes(own[::-1], own) == (0, 4)
    assert own_clothes(own[[0, 0]], own) == (2, 4)


def test_what_a_strength_does_is_told_apart_for_the_two() -> None:
    """Red: the other person's change is taken for the raised one's, or a story that shows nobody counts."""
    own = random_colours(2, 4)
    usual = [Measured({}, own + 6, own), Measured({}, np.full_like(own, np.nan), own)]
    nearer = [Measured({}, np.stack([own[0] + 3, own[1] + 7]), own), usual[1]]
    before, after = distances(usual), distances(nearer)
    assert np.isnan(before[1]).all()
    told = against(after, before)
    step = 3**0.5  # of one level in each of three channels
    assert told["raised"]["change"] == pytest.approx(-3 * step, abs=1e-3)
    assert told["other"]["change"] == pytest.approx(step, abs=1e-3)
    assert told["raised"]["stories"] == 1


def test_the_right_sheet_is_the_nearest_of_sixteen() -> None:
    """Red: retrieval compares a take with sheets of another number of people, or misses a wrong one."""
    takes = [
        Measured({f"colours, {'2 people' if people > 1 else '1 person'}": (1, 1)}, own, own)
        for people in (1, 2)
        for own in (random_colours(people, seed) for seed in range(16))
    ]
    assert right_sheet(takes) == (32, 32)
    takes[3] = Measured(takes[3].counts, takes[4].own, takes[3].own)
    assert right_sheet(takes[:20]) == (15, 16)


def test_a_storys_looks_are_those_of_its_masks() -> None:
    """Red: a person is measured by another's clothes; or the stranger is the same person."""
    for seed in SEEDS[:4]:
        plot = plot_of(seed)
        looks, others = looks_of(plot), looks_of(strangers(plot))
        assert len(looks) == len(plot.roles) + len(plot.things)
        assert all(look is not None for look in looks[: len(plot.roles)])
        assert looks[len(plot.roles) :] == [None] * len(plot.things)
        assert looks[0] != others[0]


def test_steps_are_heard_when_they_fall() -> None:
    """Red: a sound that comes a quarter of a second late passes, or the true one does not."""
    true = late = total = 0
    for seed in SEEDS:
        heard = cast(plot_of(seed))[1]
        wave = sound(kind_of(seed), heard, seed)
        hits, count = in_time(wave, heard)
        true, total = true + hits, total + count
        late += in_time(np.roll(wave, RATE // 4, axis=1), heard)[0]
    assert total > 20
    assert true >= 0.9 * total
    assert late < 0.3 * total
    assert len(onsets(np.zeros((2, RATE), np.float32))) == 0


def test_a_place_is_heard() -> None:
    """Red: the ambience of another place passes as the story's."""
    right = sum(
        place_heard(sound(kind_of(seed), cast(plot_of(seed))[1], seed)) == kind_of(seed) for seed in SEEDS
    )
    assert right == len(SEEDS)
    assert place_heard(sound("town", (), 3)) == "town"


def test_sheets_show_people_in_poses_of_clips() -> None:
    """Red: the study of in-clip pictures compares sheets that show the same, or other people."""
    try:
        renderer = Renderer()
    except DependencyError:
        pytest.skip("no renderer here")
    seed = SEEDS[0]
    views, own, other = (given_sheet(renderer, seed, "own", poses) for poses in POSES)
    again = given_sheet(renderer, seed, "own", "own")
    assert own.sha256 == again.sha256
    assert len({sheet.sha256 for sheet in (views, own, other)}) == 3
    names = [note.id for note in views.elements]
    assert [note.id for note in own.elements] == [note.id for note in other.elements] == names


def test_controls_are_given_other_sheets() -> None:
    """Red: a control is given the story's own looks, or names that its words do not know."""
    try:
        renderer = Renderer()
    except DependencyError:
        pytest.skip("no renderer here")
    own, swapped, blank = (given_sheet(renderer, SEEDS[0], given) for given in get_args(Given))
    assert own.sha256 == given_sheet(renderer, SEEDS[0], "own").sha256
    assert [note.id for note in swapped.elements] == [note.id for note in own.elements]
    assert swapped.sha256 != own.sha256
    assert blank.image.getextrema() == ((0, 0),) * 3
    still = np.asarray(own.conditioning_image(384, 224))
    grey = np.full_like(still, 90)
    assert leaked(np.stack([still, grey]), own) == [True, False]


def test_a_run_says_what_a_bundle_is_given() -> None:
    """Red: a control or a setting of the command line does not reach the model."""
    parser = argparse.ArgumentParser()
    add_source(parser)
    words = ["--bundle", "b", "--test", "--sheet", "swapped", "--set", "guidance=1.5", "--reference", "still"]
    seeds, source = Source.told(parser.parse_args(words))
    assert seeds == TEST
    assert dict(source.settings) == {"reference": "still", "guidance": 1.5}
    assert (source.given, source.bare) == ("swapped", False)


@pytest.mark.parametrize("count", [2000])
def test_stories_draw_actions_evenly(count: int) -> None:
    """Red: some actions are rare in training, as waving was in the first edition."""
    told = [role.action for seed in range(count) for role in plot_of(seed).roles]
    shares = {action: told.count(action) / len(told) for action in set(told)}
    assert len(shares) == 9
    assert min(shares.values()) > 0.08
    assert max(shares.values()) < 0.15


def test_masks_of_some_frames_stand_for_those_around() -> None:
    """Red: mini's base learns from pictures that differ, or from masks of another moment."""
    try:
        renderer = Renderer()
    except DependencyError:
        pytest.skip("no renderer here")
    plot, indices = plot_of(8), tuple(range(50, 59))
    frames, parts, figures = draw(renderer, plot, indices)
    again, few_parts, few_figures = draw(renderer, plot, indices, masks_every=4)
    assert np.array_equal(again, frames)
    for number, drawn in enumerate((0, 0, 4, 4, 4, 4, 8, 8, 8)):
        assert np.array_equal(few_parts[number], parts[drawn])
        assert np.array_equal(few_figures[number], figures[drawn])


@pytest.mark.parametrize("seed", [19, 5], ids=["near, cut by the frame", "the camera pans"])
def test_frames_drawn_together_are_as_drawn_alone(seed: int) -> None:
    """Red: a frame shows another moment, or what stands outside its picture appears in its neighbour's."""
    try:
        renderer = Renderer()
    except DependencyError:
        pytest.skip("no renderer here")
    plot = plot_of(seed)
    assert plot.near or plot.pan
    indices = tuple(range(0, 119, 7))
    assert len(indices) == 17  # four by four, and one more
    together = draw(renderer, plot, indices)
    for number, index in enumerate(indices):
        alone = draw(renderer, plot, (index,))
        for one, other in zip(together, alone, strict=True):
            assert (one[number] != other[0]).mean() < 1e-3, index


def test_windows_are_drawn_in_software_beside_training() -> None:
    """Red: the worker needs a graphics card, or the renderer chosen for it is the one of all that follows; or
    a window shows other frames than its story has there.
    """
    if not Path("/usr/share/glvnd/egl_vendor.d/50_mesa.json").exists():
        pytest.skip("no Mesa here")
    before = dict(os.environ)
    stories = Stories([100_008, 100_009], processes=1, card=None, masks_every=4, windows=True, software=True)
    assert dict(os.environ) == before
    for number, one in enumerate(stories):
        shown = frames_of(begin_of(number))
        assert len(shown) == 33
        assert one.clip.shape[:3] == one.regions.shape == (len(shown), HEIGHT, WIDTH)
        assert one.sound is None
        assert len(one.prompts) == PROMPTS
        assert len(one.regions.unique()) > 10
        frames = draw(Renderer(), plot_of(100_008 + number), shown)[0]
        assert np.abs(one.clip.numpy().astype(int) - frames).mean() < 1
