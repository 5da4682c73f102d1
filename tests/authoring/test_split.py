"""Taking ready-made sheets apart: pictures found, labels read and held against them, text taken off."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from castsheet.authoring.labels import Label, assign, contradictions, element_view, read_label
from castsheet.authoring.split import find_pictures, split
from castsheet.errors import DependencyError, SheetError
from castsheet.sheet.box import Box
from castsheet.sheet.look.components import boxes_of
from castsheet.sheet.look.faces import Face
from castsheet.sheet.look.ocr import RapidReader, TextLine, erase, installed
from tests.doubles.drawn import figure

GREY = (128, 128, 128)
SKIN = (224, 172, 140)
HAIR = (40, 24, 16)


class Reader:
    """Reads what it was told."""

    def __init__(self, *lines: TextLine) -> None:
        self.lines = list(lines)

    def read(self, _image: Image.Image) -> list[TextLine]:
        return self.lines


def head(size: tuple[int, int] = (240, 260), *, turn: int = 0, back: bool = False) -> Image.Image:
    """A head on grey: hair, and skin in the middle, towards a side (-1 left, 1 right), or none (the back)."""
    w, h = size
    image = Image.new("RGB", size, GREY)
    draw = ImageDraw.Draw(image)
    draw.ellipse((w * 0.25, h * 0.1, w * 0.75, h * 0.75), fill=HAIR)
    if not back:
        middle = w / 2 + turn * w * 0.12
        draw.ellipse((middle - w * 0.13, h * 0.25, middle + w * 0.13, h * 0.7), fill=SKIN)
    draw.rectangle((w * 0.15, h * 0.75, w * 0.85, h), fill="white")
    return image


def body(size: tuple[int, int] = (240, 380), view: str = "front") -> Image.Image:
    image = Image.new("RGB", size, GREY)
    drawn = figure(view, size=size)
    image.paste(drawn, mask=drawn.getchannel("A"))
    return image


def character_sheet(heads: list[Image.Image], bodies: list[Image.Image]) -> tuple[Image.Image, Reader]:
    """Two rows of white-framed pictures on grey, labels below them, a heading above each row."""
    image = Image.new("RGB", (1200, 900), GREY)
    draw = ImageDraw.Draw(image)
    lines = []

    def say(text: str, x: int, y: int) -> None:
        font = ImageFont.load_default(22)
        draw.text((x, y), text, fill="white", font=font, stroke_width=2, stroke_fill="black")
        left, top, right, bottom = (int(v) for v in draw.textbbox((x, y), text, font=font, stroke_width=2))
        lines.append(TextLine(text, 0.99, Box(left, top, right - left, bottom - top)))

    for y, extent, pictures in ((60, "FACE ANGLES:", heads), (430, "POSTURE ANGLES:", bodies)):
        say(extent, 20, y - 40)
        for i, (picture, view) in enumerate(zip(pictures, ("Front", "Left", "Back", "Right"), strict=True)):
            x = 30 + 290 * i
            image.paste(picture, (x, y))
            draw.rectangle(
                (x - 4, y - 4, x + picture.width + 3, y + picture.height + 3), outline="white", width=4
            )
            say(f"{view} View" if y == 60 else f"Full Body {view}", x + 50, y + picture.height + 12)
    return image, Reader(*lines)


HEADS = [head(), head(turn=-1), head(back=True), head(turn=1)]
BODIES = [body(view=view) for view in ("front", "side", "back", "side")]


def test_a_labelled_sheet_becomes_eight_views(tmp_path):
    """Red: a character sheet, the commonest thing that users have, cannot be used as pictures."""
    image, reader = character_sheet(HEADS, BODIES)
    found = split(image, reader=reader)
    assert [part.label.slug for part in found.parts] == [
        *("head-front", "head-left", "head-back", "head-right"),
        *("body-front", "body-left", "body-back", "body-right"),
    ]
    assert found.doubts == ()
    for part, picture in zip(found.parts, [*HEADS, *BODIES], strict=True):
        assert abs(part.box.w - picture.width) <= 8
        assert abs(part.box.h - picture.height) <= 8
        edge = np.asarray(part.image, int)[:, [0, -1]]
        assert (np.abs(edge - 255).max(axis=2) < 20).mean() < 0.3  # the frame is gone; a shirt may be white
    views = found.save(tmp_path)
    assert {view: [path.name for path in paths] for view, paths in views.items()} == {
        "face": ["01-head-front.png"],
        "detail": ["02-head-left.png", "03-head-back.png", "04-head-right.png"],
        "front": ["05-body-front.png"],
        "side": ["06-body-left.png", "08-body-right.png"],
        "back": ["07-body-back.png"],
    }
    assert all(path.is_file() for paths in views.values() for path in paths)


def test_without_a_reader_the_pictures_are_found_unnamed(tmp_path):
    """Red: without the optional reader nothing can be split, or labels are pasted as pictures."""
    image, _ = character_sheet(HEADS, BODIES)
    found = split(image)
    assert [part.view for part in found.parts] == [None] * 8
    assert found.save(tmp_path) == {}
    assert len(list(tmp_path.glob("*-unnamed.png"))) == 8


@pytest.mark.parametrize("tone", [(255, 255, 255), (0, 0, 0), (30, 60, 90)])
def test_figures_that_stand_free_on_one_ground(tone):
    """Red: turnarounds without frames, as most artists draw them, stay one picture."""
    image = Image.new("RGB", (1400, 700), tone)
    for i, view in enumerate(("front", "side", "back")):
        drawn = figure(view)
        image.paste(drawn, (100 + 420 * i, 50), drawn)
    found = find_pictures(image)
    assert len(found) == 3
    assert [box.x for box in found] == sorted(box.x for box in found)
    assert all(abs(box.h - 540) < 12 for box in found)


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(1, 4),
    columns=st.integers(2, 5),
    gap=st.integers(8, 24),
    margin=st.sampled_from([0, 6, 15, 30]),
    tone=st.sampled_from([0, 255, 128]),
    seed=st.integers(0, 999),
)
@example(rows=4, columns=4, gap=8, margin=6, tone=0, seed=4)  # a margin of less than a hundredth
def test_grids_of_pictures_are_found_exactly(rows, columns, gap, margin, tone, seed):
    """Red: expression grids and collages come apart in the wrong places."""
    rng = np.random.default_rng(seed)
    w, h = int(rng.integers(160, 240)), int(rng.integers(160, 240))
    size = (2 * margin + columns * w + (columns - 1) * gap, 2 * margin + rows * h + (rows - 1) * gap)
    image = Image.new("RGB", size, (tone,) * 3)
    wanted = []
    for r in range(rows):
        for c in range(columns):
            colours = rng.integers(20, 100, (4, 4, 3)) + (0 if tone == 255 else 130)
            cell = Image.fromarray(colours.astype(np.uint8)).resize((w, h), Image.Resampling.BICUBIC)
            x, y = margin + c * (w + gap), margin + r * (h + gap)
            image.paste(cell, (x, y))
            wanted.append((x, y, x + w, y + h))
    found = find_pictures(image)
    assert len(found) == len(wanted)
    for box, edges in zip(found, wanted, strict=True):
        assert max(abs(a - b) for a, b in zip((box.x, box.y, box.right, box.bottom), edges, strict=True)) <= 4


def test_sides_that_look_the_same_way_are_told():
    """Red: a sheet whose left and right are one side teaches the model a wrong person."""
    image, reader = character_sheet([HEADS[0], head(turn=1), HEADS[2], HEADS[3]], BODIES)
    (doubt,) = split(image, reader=reader).doubts
    assert "'Left View' and 'Right View' both look to the right" in doubt.message
    assert doubt.severity is None
    assert doubt.where == split(image, reader=reader).parts[1].box


def test_swapped_sides_are_remarked():
    """Red: mirrored labels, which may follow another convention, are passed over or called errors."""
    image, reader = character_sheet([HEADS[0], HEADS[3], HEADS[2], HEADS[1]], BODIES)
    doubts = split(image, reader=reader).doubts
    assert [(doubt.severity, doubt.message.split(" looks")[0]) for doubt in doubts] == [
        ("info", "'Left View'"),
        ("info", "'Right View'"),
    ]


def test_a_face_called_back_is_told():
    """Red: swapped front and back labels make the close-up the back of a head."""
    image, reader = character_sheet([HEADS[2], HEADS[1], HEADS[0], HEADS[3]], BODIES)
    (doubt,) = split(image, reader=reader).doubts
    assert "'Back View' shows more skin" in doubt.message


def test_a_head_called_a_body_is_told():
    """Red: a portrait is taken for a whole figure, and the video makes up the legs."""
    wide = Image.new("RGB", (300, 260), GREY)
    ImageDraw.Draw(wide).ellipse((20, 40, 280, 500), fill=HAIR)
    label = Label("Full Body Front", "front", "body")
    (doubt,) = contradictions([(Box(0, 0, 300, 260), label, wide)])
    assert "no whole body" in doubt.message


class Turned:
    """A detector that sees every face turned one way."""

    name = "double"

    def find(self, rgb: Image.Image) -> tuple[Face, ...]:
        w = float(rgb.width)
        points = ((0.5 * w, 10.0), (0.55 * w, 10.0), (0.8 * w, 20.0), (0.5 * w, 30.0), (0.55 * w, 30.0))
        return (Face(Box(0, 0, 20, 30), points, 0.9),)


def test_a_detector_tells_the_sides_of_bodies():
    """Red: whole figures, whose heads are too small for the colour of skin, are never checked."""
    image, reader = character_sheet(HEADS, BODIES)
    doubts = split(image, reader=reader, faces=Turned()).doubts
    assert [doubt.message[:16] for doubt in doubts] == ["'Left View' and ", "'Full Body Left'"]


@pytest.mark.parametrize(
    ("text", "facing", "extent", "view"),
    [
        ("Front View", "front", None, "front"),
        ("FullBodyBack", "back", "body", "back"),
        ("3/4 view", "three-quarter", None, "three-quarter"),
        ("Three-Quarter Face", "three-quarter", "head", "face"),
        ("LEFT PROFILE (head)", "left", "head", "detail"),
        ("side", "side", None, "side"),
        ("Face close-up", None, "head", "face"),
        ("Backpack", None, None, None),
        ("happy", None, None, None),
    ],
)
def test_labels_are_understood(text, facing, extent, view):
    """Red: pictures are filed under the wrong view, or a prop's name turns it into a back."""
    label = read_label(text)
    assert (label.facing, label.extent) == (facing, extent)
    assert element_view(label) == view


@pytest.mark.parametrize("below", [True, False])
def test_labels_go_with_the_side_on_which_they_are_printed(below):
    """Red: in tight grids every picture takes its neighbour's label."""
    boxes = [Box(100, 100 + 140 * r, 100, 100) for r in range(3)]
    y = [box.bottom + 6 if below else box.y - 22 for box in boxes]
    lines = [
        TextLine(t, 0.9, Box(110, at, 60, 16)) for t, at in zip(("front", "side", "back"), y, strict=True)
    ]
    assert [label.facing for label in assign(boxes, lines)] == ["front", "side", "back"]


def test_text_on_a_picture_is_taken_off():
    """Red: printed labels are pasted onto the sheet, and show up as lettering in the video."""
    image = Image.new("RGB", (900, 400), "white")
    shade = np.linspace(60, 160, 300).astype(np.uint8)
    for i in range(2):
        ramp = np.broadcast_to(shade[:, None, None], (300, 350, 3)).copy()
        image.paste(Image.fromarray(ramp), (50 + 450 * i, 50))
    clean = image.copy()
    ImageDraw.Draw(image).text((620, 180), "FRONT", fill="yellow", font=ImageFont.load_default(40))
    ImageDraw.Draw(image).rectangle((50, 320, 399, 349), fill=(20, 20, 20))
    ImageDraw.Draw(image).text((60, 322), "caption", fill="white", font=ImageFont.load_default(20))
    reader = Reader(
        TextLine("FRONT", 0.9, Box(615, 185, 140, 40)), TextLine("caption", 0.9, Box(58, 322, 80, 26))
    )
    left, right = split(image, reader=reader).parts
    assert left.box.bottom <= 324  # the strip of the caption is cropped off
    middle = np.asarray(right.image, float)
    wanted = clean.crop((right.box.x, right.box.y, right.box.right, right.box.bottom))
    assert np.abs(middle - np.asarray(wanted, float)).max() < 6
    assert len(right.text) == 1
    assert right.label.facing == "front"


def test_erasing_reaches_the_edges():
    """Red: text at a picture's border, or over all of it, crashes or leaves marks."""
    image = Image.new("RGB", (40, 30), (90, 100, 110))
    for box in (Box(0, 0, 10, 8), Box(30, 22, 10, 8), Box(0, 10, 40, 5), Box(10, 0, 5, 30)):
        assert np.array_equal(np.asarray(erase(image, [box])), np.asarray(image))
    assert not np.asarray(erase(image, [Box(0, 0, 40, 30)])).any()


def test_a_blank_picture_is_refused():
    """Red: an empty sheet becomes an empty element instead of an error."""
    with pytest.raises(SheetError, match="has no parts"):
        split(Image.new("RGBA", (400, 300), (200, 200, 200, 255)))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 3))
def test_components_are_the_islands_of_a_mask(seed, reach):
    """Red: parts of one figure fall apart, or two pictures are taken as one."""
    rng = np.random.default_rng(seed)
    mask = rng.random((14, 18)) < 0.12
    found = boxes_of(mask, reach)
    assert sum(count for _, count in found) == mask.sum()
    points = [tuple(p) for p in np.argwhere(mask)]
    seen: set[tuple[int, int]] = set()
    wanted = []
    for start in points:  # a flood fill, slow and plain; grown pixels touch when they are 2 reach + 1 apart
        if start in seen:
            continue
        island, waiting = [], [start]
        seen.add(start)
        while waiting:
            y, x = waiting.pop()
            island.append((y, x))
            near = [p for p in points if p not in seen and max(abs(p[0] - y), abs(p[1] - x)) <= 2 * reach + 1]
            seen.update(near)
            waiting.extend(near)
        ys, xs = [p[0] for p in island], [p[1] for p in island]
        wanted.append((min(xs), min(ys), max(xs) + 1, max(ys) + 1, len(island)))
    assert sorted((b.x, b.y, b.right, b.bottom, n) for b, n in found) == sorted(wanted)


def test_the_optional_reader_reads_labels_or_says_what_to_install():
    """Red: where the reader is installed labels stay unread; where it is not, a traceback appears."""
    assert installed() == all(importlib.util.find_spec(name) for name in ("rapidocr", "onnxruntime"))
    if not installed():
        with pytest.raises(DependencyError, match="rapidocr"):
            RapidReader()
        return
    image, told = character_sheet(HEADS, BODIES)
    reader = RapidReader()
    read = {line.text.replace(" ", "").lower() for line in reader.read(image) if line.score > 0.8}
    assert {line.text.replace(" ", "").lower() for line in told.lines} <= read
    assert reader.read(Image.new("RGB", (200, 100))) == []
