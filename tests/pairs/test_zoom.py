"""Near shots are laid on a place that is known from farther away."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from castsheet.pairs.camera import Plate
from castsheet.pairs.segment import Ground, against
from castsheet.pairs.zoom import located, shown
from tests.doubles.paper_films import SIZE, place


def _near(number, zoom, corner):
    """A near picture of a place, and the plate of the place."""
    ground = place(number)
    box = (*corner, corner[0] + SIZE[0] / zoom, corner[1] + SIZE[1] / zoom)
    picture = np.asarray(Image.fromarray(ground).resize(SIZE, Image.Resampling.BICUBIC, box=box)).copy()
    return picture, Plate(ground, np.ones(ground.shape[:2], np.bool_), (0, 0))


@pytest.mark.parametrize(("zoom", "corner"), [(2.23, (40.0, 20.0)), (1.6, (10.5, 30.25))])
def test_a_near_shot_is_found_on_its_place(zoom, corner):
    """Red: close-ups have no place, are cut out by a slow network, and find nobody of the wide shots."""
    picture, plate = _near(1, zoom, corner)
    picture[50:, 80:130] = (240, 20, 20)
    found = located(picture, plate)
    assert found is not None
    at, share = found
    assert share > 0.6
    assert at.zoom == pytest.approx(zoom, rel=0.03)
    assert at.corner == pytest.approx(corner, abs=3)
    ground, sure = shown(plate, at, SIZE)
    mask = against(picture, Ground(ground, blurred=True))
    true = np.zeros_like(mask)
    true[50:, 80:130] = True
    assert (mask & true).sum() / (mask | true).sum() > 0.85
    assert sure.mean() > 0.9


def test_another_place_does_not_fit():
    """Red: a close-up gets the place of another one."""
    picture, _ = _near(1, 2.0, (40, 20))
    assert located(picture, _near(0, 2.0, (40, 20))[1]) is None


def test_a_near_shot_of_a_sea_finds_its_place_along_the_whole_breadth():
    """Red: the sun of a place is a part of somebody near: it is beside the one of the shot."""
    ground = np.linspace((80, 120, 200), (200, 180, 120), 120)[:, None].repeat(320, 1).astype(np.uint8)
    ground[70:] = (40, 60, 120)
    ground[70::9, ::3] = (60, 80, 140)
    ground[38:50, 250:262] = (250, 230, 120)
    width, height = SIZE
    box = (200, 25, 200 + width / 2.2, 25 + height / 2.2)
    picture = np.asarray(Image.fromarray(ground).resize(SIZE, Image.Resampling.BICUBIC, box=box)).copy()
    picture[20:, 30:75] = (20, 20, 20)
    found = located(picture, Plate(ground, np.ones(ground.shape[:2], np.bool_), (0, 0)))
    assert found is not None
    assert found[0].corner[0] == pytest.approx(200, abs=2)
