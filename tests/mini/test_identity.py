"""Identities: regions are what a look colours, and the demo tells of two people."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from castsheet.elements import Scene
from castsheet.errors import DependencyError
from castsheet.sheet.compose import compose
from mini.evaluation.demo_scene import make, story
from mini.evaluation.identities import ACTIONS, CELL, SIZE, Stage, story_of
from mini.evaluation.parts import PLACE, REGIONS, eroded, lab, mean_colours
from mini.story.figure import person
from mini.story.plot import Plot
from mini.story.sample import cast
from mini.world import VALIDATION

SHOWN = (8, 56)
PLACES = [REGIONS.index(name) for name in PLACE]


@pytest.fixture(scope="module")
def stage() -> Stage:
    try:
        return Stage()
    except DependencyError:
        pytest.skip("no renderer here")


@pytest.mark.parametrize("seed", VALIDATION[2:6])
def test_regions_have_the_colours_of_the_look(stage: Stage, seed: int) -> None:
    """Red: colours are measured on another part, on a shadow, or on the prop instead of the person."""
    look = person(seed, 0).look
    frames, regions = stage.regions(seed, "wave", SHOWN)
    colours = mean_colours(frames, eroded(regions))
    wanted = {"bottom": look.bottom, "shoes": look.shoes, "skin": look.skin, "hair": look.hair}
    for name, colour in wanted.items():
        found = colours[REGIONS.index(name)]
        if np.isfinite(found).all():  # light makes a part darker, and moves its hue little
            true = lab((np.array(colour) * 255).round().astype(np.uint8))
            assert np.linalg.norm((found - true)[1:]) < 12
            assert -30 < found[0] - true[0] < 8
    assert all((regions == band).any() for band in PLACES)


def test_a_place_is_measured_where_nobody_stands(stage: Stage) -> None:
    """Red: a person's pixels, or their shadow's, count as the place's."""
    seed = VALIDATION[0]
    frames, regions = stage.regions(seed, "walk left", SHOWN)
    other, elsewhere = stage.regions(seed, "lift", SHOWN)
    there = np.isin(regions, PLACES)
    nobody = there & np.isin(elsewhere, PLACES)
    assert nobody.mean() > 0.3
    assert np.abs(frames.astype(int) - other)[nobody].max() <= 12


def test_a_scene_shows_and_tells_an_identity(stage: Stage, tmp_path: Path) -> None:
    """Red: an identity's scene lacks an element, says what it looks like, or its sheet is not mini's size."""
    silent, told = stage.scene(7, tmp_path), stage.scene(7, tmp_path, "lift")
    assert silent.action is None
    assert told.action == "hero lifts prop."
    assert [one.id for one in told.elements] == ["hero", "prop", "place"]
    assert compose(told, output=SIZE, grid=CELL).output == SIZE


@pytest.mark.usefixtures("stage")
def test_the_demo_tells_of_two_people(tmp_path: Path) -> None:
    """Red: the demo shows one person, or its words do not say who does what."""
    scene = Scene.load(make(tmp_path, seed=VALIDATION[8]))
    assert [one.id for one in scene.elements] == ["hero", "friend", "prop", "place"]
    assert scene.action == "hero on the left waves and friend on the right lifts prop."


@pytest.mark.parametrize("told", [*(story_of(3, action) for action in ACTIONS), story(3)])
def test_stories_can_be_played(told: Plot) -> None:
    """Red: an identity's or the demo's story asks for what nobody can do."""
    played, _ = cast(told)
    assert len(played) == len(told.roles) + len(told.things)
