"""Composing from photographs: cut-outs, masks made by hand, close-ups by the face."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from castsheet.elements import Character, Location
from castsheet.errors import ImageError
from castsheet.sheet.box import Box
from castsheet.sheet.compose import compose
from castsheet.sheet.look.tools import RememberedFaces, Tools
from tests.doubles.composed import one, panel, pixels, save
from tests.doubles.drawn import figure, place
from tests.doubles.faces import Finds, a_face


class Halves:
    """A network's double: the subject is what is not sky, hill or meadow, known by its colours."""

    name = "double-coat"

    def __init__(self) -> None:
        self.asked = 0

    def mask(self, rgb: Image.Image) -> np.ndarray:
        self.asked += 1
        seen = np.asarray(rgb.convert("RGB")).astype(int)
        warm = seen[..., 0] > seen[..., 1] + 20  # coat, skin and hair
        blue = (np.abs(seen - (0x30, 0x40, 0x80)).max(axis=2) < 30) | (seen[..., 0] > seen[..., 1] + 20)
        return (warm | blue).astype(np.float32)


def photo(view: str, size: tuple[int, int] = (600, 800)) -> Image.Image:
    """A person in front of a place, as a phone takes it: smaller than the picture."""
    person, ground = figure(view, size=(size[0] // 2, size[1] * 3 // 4)), place(size=size)
    ground.paste(person, (size[0] // 4, size[1] // 6), person)
    return ground


def test_photos_are_cut_out_and_places_are_not(tmp_path: Path) -> None:
    """Red: a sheet shows people in the rectangles of their photos, or a place with holes."""
    person = save(photo("front"), tmp_path / "IMG_1.jpg")
    scene_ = one(
        Character(id="ann", description="", images={"front": [person]}),
        Location(id="town", description="", images=[save(place(), tmp_path / "town.png")]),
    )
    network = Halves()
    tools = Tools(cut="u2netp", matter=network, cache=tmp_path / "cache")
    sheet = compose(scene_, output=(384, 224), tools=tools)
    body = panel(sheet, "ann", "turnaround")
    seen = pixels(sheet, body.box).max(axis=2)
    assert (seen <= 8).mean() > 0.15  # black beside head and legs, where the photo has sky and grass
    assert body.box.w / body.box.h == pytest.approx(0.48 * 300 / (0.9 * 600), rel=0.1)
    assert pixels(sheet, panel(sheet, "town", "place").box).max(axis=2).min() > 40
    assert sheet.layout["cut"] == {person.as_posix(): "u2netp"}
    assert compose(scene_, output=(384, 224), tools=tools) == sheet
    assert network.asked == 1
    plain = compose(scene_, output=(384, 224))
    assert (pixels(plain, panel(plain, "ann", "turnaround").box).max(axis=2) > 8).mean() > 0.99


def test_a_mask_made_by_hand_cuts_without_any_network(tmp_path: Path) -> None:
    """Red: the mask that a user drew beside a photo is not used for the sheet."""
    person = save(photo("front"), tmp_path / "IMG_1.png")
    mask = Image.new("L", (600, 800))
    mask.paste(255, (200, 150, 400, 700))
    mask.save(tmp_path / "IMG_1.mask.png")
    tools = Tools(cut="plain")
    sheet = compose(one(Character(id="ann", description="", images={"front": [person]})), tools=tools)
    assert sheet.layout["cut"] == {person.as_posix(): "mask"}
    body = panel(sheet, "ann", "turnaround")
    assert body.box.w / body.box.h == pytest.approx(200 / 550, rel=0.02)


def test_what_cannot_be_cut_stays_and_is_told(tmp_path: Path) -> None:
    """Red: without the optional network no sheet comes out, or a photo's background slips in unsaid."""
    person = save(photo("front"), tmp_path / "IMG_1.png")
    given = one(Character(id="ann", description="", images={"front": [person]}))
    sheet = compose(given, tools=Tools(cut="plain"))
    (doubt,) = sheet.layout["doubts"]
    assert "IMG_1.png keeps its background" in doubt
    assert sheet.layout["cut"] == {}


def test_the_close_up_is_cropped_to_the_face(tmp_path: Path) -> None:
    """Red: a half-length portrait wastes the close-up's area on a coat, or hair is cut off."""
    head = save(figure(size=(400, 800)), tmp_path / "ann.png")
    for views in ({"face": [head]}, {"front": [head]}):
        given = one(Character(id="ann", description="", images=views))
        plain, near = compose(given), compose(given, tools=Tools(faces=Finds(a_face(Box(165, 80, 70, 70)))))
        part = panel(near, "ann", "face")
        assert part.sources[0].crop > 0.6  # of the whole figure
        top = pixels(near, part.box)[: part.box.h // 8].max(axis=2)
        assert (top > 8).any()  # the hair
        if "face" in views:
            assert panel(plain, "ann", "face").sources[0].crop == 0


def test_a_close_up_of_two_people_is_refused(tmp_path: Path) -> None:
    """Red: a stranger's face becomes the hero's close-up without a word."""
    pair = save(figure(size=(400, 800)), tmp_path / "ann.png")
    two = Finds(a_face(Box(60, 80, 70, 70)), a_face(Box(265, 80, 70, 70)))
    given = one(Character(id="ann", description="", images={"face": [pair]}))
    with pytest.raises(ImageError, match=r"ann\.png shows 2 faces"):
        compose(given, tools=Tools(faces=two))


def test_faces_are_remembered_by_their_pixels(tmp_path: Path) -> None:
    """Red: every run loads the detector again, or another picture gets an earlier one's face."""
    loads = []

    def load() -> Finds:
        loads.append(1)
        return Finds(a_face(Box(10, 20, 30, 40)))

    picture = figure().convert("RGB")
    first = RememberedFaces("double", load, tmp_path).find(picture)
    assert RememberedFaces("double", load, tmp_path).find(picture) == first == (a_face(Box(10, 20, 30, 40)),)
    assert len(loads) == 1
    (entry,) = tmp_path.iterdir()
    entry.write_text("[[1")
    assert RememberedFaces("double", load, tmp_path).find(picture) == first
    RememberedFaces("double", load, tmp_path).find(figure("back").convert("RGB"))
    assert len(loads) == 3
