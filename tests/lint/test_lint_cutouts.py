"""Rules about cut-outs and single pictures: for each, faults made by hand that trip it, and good sheets."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from castsheet.lint.findings import Finding
from castsheet.lint.panels import lint_sheet
from castsheet.lint.pixels import Readers, larger
from castsheet.lint.prompt import lint_prompt
from castsheet.prompt import build
from castsheet.sheet.box import Box
from castsheet.sheet.look.faces import Face
from castsheet.sheet.look.litert import Body
from castsheet.sheet.manifest import ElementNote, Panel, PictureSource, Sheet
from tests.doubles.drawn import face, figure
from tests.doubles.faces import a_face

CLOSE, ROW, PLACE = Box(0, 0, 376, 440), Box(392, 0, 752, 440), Box(0, 456, 1536, 440)
NOTES = (
    ElementNote("mara", "character", "a woman in a red coat"),
    ElementNote("quay", "location", "a grey quay by the sea"),
)


def grain(seed: int, size: tuple[int, int], tint: tuple[int, int, int] = (128, 128, 128)) -> Image.Image:
    """A place with sharp edges: blocks of many tones of one tint."""
    random = np.random.default_rng(seed)
    tones = random.integers(-70, 70, (size[1] // 20 + 1, size[0] // 20 + 1, 1)) + np.array(tint)
    image = Image.fromarray(tones.clip(20, 255).astype(np.uint8))
    return image.resize((size[0] + 20, size[1] + 20), Image.Resampling.NEAREST).crop((0, 0, *size))


def on_black(picture: Image.Image, box: Box) -> Image.Image:
    """A figure, whole, in the middle of its panel."""
    scale = min(box.w / picture.width, box.h / picture.height)
    size = round(picture.width * scale), round(picture.height * scale)
    part, panel = picture.resize(size, Image.Resampling.LANCZOS), Image.new("RGB", (box.w, box.h))
    panel.paste(part, ((box.w - size[0]) // 2, (box.h - size[1]) // 2), part)
    return panel


def good(seed: int = 0) -> Sheet:
    """A close-up, a figure and a place, as the compiler lays them out."""
    coats = ("#c03030", "#d0a020", "#8040b0", "#20a0a0", "#c06090", "#40b060")
    coat = coats[seed % len(coats)]
    image = Image.new("RGB", (1536, 896))
    image.paste(on_black(face(coat=coat), CLOSE), (CLOSE.x, CLOSE.y))
    image.paste(on_black(figure(coat=coat), ROW), (ROW.x, ROW.y))
    image.paste(grain(seed, (PLACE.w, PLACE.h), (90 + 9 * (seed % 8), 120, 150)), (PLACE.x, PLACE.y))
    views: tuple[tuple[str, str, Box], ...] = (
        ("mara", "face", CLOSE),
        ("mara", "turnaround", ROW),
        ("quay", "place", PLACE),
    )
    panels = tuple(
        Panel(
            name,
            "character" if name == "mara" else "location",
            view,  # type: ignore[arg-type]
            box,
            (PictureSource(f"{name}-{view}.jpg", "0" * 64, 1.0),),
        )
        for name, view, box in views
    )
    return Sheet(image, panels, NOTES, layout={"grid": 32})


def rules(found: list[Finding], severity: str = "warning") -> set[str]:
    return {one.rule for one in found if one.severity == severity}


def painted(paint: Callable[[Image.Image], None], seed: int = 0) -> Sheet:
    sheet = good(seed)
    paint(sheet.image)
    return sheet


def faulty(path: str, line: str) -> Sheet:
    return dataclasses.replace(good(), layout={"grid": 32, "faults": {path: [line]}})


LOST = [
    faulty(path, f"{kind}: {words}")
    for path, kind, words in (
        ("mara-face.jpg", "head", "the face is not in the cut-out"),
        ("mara-face.jpg", "hair", "the hair above the face is not in the cut-out"),
        ("mara-turnaround.jpg", "head", "the head is not in the cut-out"),
        ("mara-turnaround.jpg", "hair", "a part of the head or its hair may be missing"),
        ("mara-turnaround.jpg", "hands", "the left hand may be missing"),
        ("mara-turnaround.jpg", "hands", "the left hand and the right hand may be missing"),
        ("mara-turnaround.jpg", "feet", "the right foot may be missing"),
        ("mara-turnaround.jpg", "feet", "the left foot and the right foot may be missing"),
    )
]


def island(x: int, y: int, size: int) -> Sheet:
    def paint(image: Image.Image) -> None:
        ImageDraw.Draw(image).ellipse((x, y, x + size, y + size), fill=(90, 110, 60))

    return painted(paint)


LEFT_OVER = [
    *(island(x, y, 36) for x, y in ((410, 20), (1080, 30), (410, 380), (1080, 390), (450, 200), (1060, 200))),
    faulty("mara-face.jpg", "background: a loose piece beside the subject may be background"),
    faulty("mara-turnaround.jpg", "background: 3 loose pieces beside the subject may be background"),
]


def changed(box: Box, change: Callable[[Image.Image], Image.Image], seed: int = 0) -> Sheet:
    """A sheet of which one panel is changed."""

    def paint(image: Image.Image) -> None:
        image.paste(change(image.crop(box.corners)), (box.x, box.y))

    return painted(paint, seed)


def dimmed(share: float) -> Callable[[Image.Image], Image.Image]:
    return lambda part: part.point(lambda value: round(value * share))


LIGHT = [
    *(changed(box, dimmed(share)) for box in (CLOSE, ROW, PLACE) for share in (0.15, 0.22)),
    *(changed(PLACE, lambda part: part.point(lambda value: min(255, value + 160)), seed) for seed in (0, 1)),
]
BLURRED = [
    changed(box, lambda part, radius=radius: part.filter(ImageFilter.GaussianBlur(radius)), seed)
    for box, radius, seed in (
        (PLACE, 9, 0),
        (PLACE, 14, 1),
        (PLACE, 12, 2),
        (PLACE, 18, 3),
        (CLOSE, 12, 0),
        (CLOSE, 16, 1),
        (ROW, 12, 0),
        (ROW, 14, 2),
    )
]


def shaded(part: Image.Image) -> Image.Image:
    """Round ribs with a slot: light that changes slowly everywhere, and one sharp edge."""
    light = (150 + 90 * np.sin(np.arange(part.height) / 10))[:, None] * np.ones((1, part.width))
    ball = Image.fromarray(light.astype(np.uint8)).convert("RGB")
    ImageDraw.Draw(ball).rectangle((part.width // 3, part.height // 3, part.width // 2, part.height // 2))
    return ball


FRAMED = [
    changed(box, lambda part, seed=seed, tint=tint: grain(seed, part.size, tint))
    for box in (ROW, CLOSE)
    for seed, tint in ((5, (200, 90, 60)), (6, (60, 160, 60)), (7, (190, 190, 80)), (8, (90, 60, 160)))
]


def in_the_scene(seed: int, box: Box) -> Sheet:
    """The figure stands before the sheet's own place."""
    sheet = good(seed)
    place = sheet.image.crop((0, PLACE.y, box.w, PLACE.y + box.h))
    part = on_black(figure(), box)
    place.paste(part, mask=part.convert("L").point(lambda value: 255 * (value > 20)))
    sheet.image.paste(place, (box.x, box.y))
    return sheet


SHOWN = [in_the_scene(seed, box) for seed in range(4) for box in (ROW, CLOSE)]


FAULTY = {"S19": LOST, "S20": LEFT_OVER, "S21": LIGHT, "S22": BLURRED, "S24": FRAMED, "S25": SHOWN}


@pytest.mark.parametrize("rule", FAULTY)
def test_every_faulty_sheet_trips_its_rule(rule: str) -> None:
    """Red: a fault of this kind passes unseen."""
    sheets = FAULTY[rule]
    assert len(sheets) >= 8
    missed = [number for number, sheet in enumerate(sheets) if rule not in rules(lint_sheet(sheet))]
    assert missed == []


@pytest.mark.parametrize("seed", range(24))
def test_good_sheets_are_silent(seed: int) -> None:
    """Red: a false alarm on sheets that have none of the faults."""
    found = rules(lint_sheet(good(seed)))
    assert found & {"S19", "S20", "S21", "S22", "S23", "S24", "S25"} == set()


def test_smooth_shading_is_no_blur() -> None:
    """Red: toys and fur, which have few sharp places, are told to be blurred."""
    for box in (CLOSE, ROW):
        assert "S22" not in rules(lint_sheet(changed(box, shaded)))


class Looks:
    """A face detector's double: one face a panel size."""

    name = "double"

    def __init__(self, faces: dict[tuple[int, int], Face]) -> None:
        self._faces = faces

    def find(self, rgb: Image.Image) -> tuple[Face, ...]:
        found = self._faces.get(rgb.size)
        return () if found is None else (found,)


DRESSED = Looks({(376, 440): a_face(Box(130, 70, 116, 120)), (752, 440): a_face(Box(356, 30, 40, 44))})


def dressed(close: str, whole: str) -> Sheet:
    """Clothes of two colours below the two faces."""

    def paint(image: Image.Image) -> None:
        draw = ImageDraw.Draw(image)
        draw.rectangle((90, 210, 286, 400), fill=close)
        draw.rectangle((ROW.x + 330, 80, ROW.x + 420, 140), fill=whole)

    return painted(paint)


PAIRS = [
    ("#c03030", "#3050c0"),
    ("#20a040", "#c03030"),
    ("#d0c030", "#6030a0"),
    ("#3050c0", "#d08020"),
    ("#b0b0b0", "#c03030"),
    ("#802020", "#20a0a0"),
    ("#e080a0", "#306030"),
    ("#3050c0", "#a0a0a0"),
]


@pytest.mark.parametrize(("close", "whole"), PAIRS)
def test_other_clothes_close_up_are_seen(close: str, whole: str) -> None:
    """Red: close-up and figure in different clothes pass."""
    assert "S23" in rules(lint_sheet(dressed(close, whole), readers=Readers(faces=DRESSED)))


@pytest.mark.parametrize(
    ("close", "whole"), [("#c03030", "#902424"), ("#3050c0", "#4a70ff"), ("#808080", "#a8a8a8")]
)
def test_the_same_clothes_in_other_light_pass(close: str, whole: str) -> None:
    """Red: sun and shade count as two outfits."""
    assert "S23" not in rules(lint_sheet(dressed(close, whole), readers=Readers(faces=DRESSED)))


class Sees:
    """A double of the networks that know people."""

    name = "double"

    def __init__(self, seen: int, cover: float, at: float = 0.0) -> None:
        visible = np.zeros(33, np.float32)
        visible[:seen] = 0.9
        mask = np.zeros((100, 100), np.float32)
        mask[: round(100 * cover)] = 0.95
        self._body = Body(np.full((33, 2), at, np.float32), visible, mask, 0.95)

    def body(self, rgb: Image.Image) -> Body:  # noqa: ARG002
        return self._body


def test_somebody_without_a_face_in_the_place_is_seen() -> None:
    """Red: a person from behind in the location passes, or a tree is taken for one."""
    assert "S15" in rules(lint_sheet(good(), readers=Readers(faces=Looks({}), people=Sees(30, 0.1))))
    assert "S15" not in rules(lint_sheet(good(), readers=Readers(faces=Looks({}), people=Sees(9, 0.1))))
    assert "S15" not in rules(lint_sheet(good(), readers=Readers(faces=Looks({}), people=Sees(30, 0.0))))
    assert "S15" not in rules(lint_sheet(good(), readers=Readers(faces=Looks({}), people=Sees(30, 0.1, 200))))


class StandsOut:
    """A double of the network of salient things: a thing that covers a share of the picture."""

    name = "double"

    def __init__(self, share: float) -> None:
        self._side = round(320 * share**0.5)

    def mask(self, rgb: Image.Image) -> np.ndarray:  # noqa: ARG002
        mask = np.zeros((320, 320), np.float32)
        mask[100 : 100 + self._side, 40 : 40 + self._side] = 0.9
        return mask


@pytest.mark.parametrize("share", [0.012, 0.02, 0.03, 0.05, 0.08, 0.12, 0.2, 0.3])
def test_what_stands_out_of_a_place_is_a_remark(share: float) -> None:
    """Red: an animal in the location passes without a word, or counts as somebody for sure."""
    found = lint_sheet(good(), readers=Readers(faces=Looks({}), things=StandsOut(share)))
    assert "S15" in rules(found, "info")
    assert "S15" not in rules(found)
    assert next(one for one in found if one.rule == "S15").where.overlaps(PLACE)  # type: ignore[union-attr]


@pytest.mark.parametrize("share", [0.0, 0.004, 0.7])
def test_dust_and_scenery_do_not_stand_out(share: float) -> None:
    """Red: every place is told to have something on it."""
    readers = Readers(faces=Looks({}), things=StandsOut(share))
    assert "S15" not in rules(lint_sheet(good(), readers=readers), "info")


def test_one_side_alone_is_a_remark() -> None:
    """Red: nothing says that a figure's other sides are made up."""
    planned = dataclasses.replace(good(), layout={"grid": 32, "score": {}})
    assert "S11" in rules(lint_sheet(planned), "info")


def told(*notes: ElementNote, action: str = "mara walks along the quay") -> list[Finding]:
    sheet = Sheet(Image.new("RGB", (64, 64)), elements=notes)
    return lint_prompt(build(sheet, action), sheet)


@pytest.mark.parametrize("description", ["", " ", "\t", "  \n"])
@pytest.mark.parametrize("kind", ["character", "prop"])
def test_an_empty_description_is_told(description: str, kind: str) -> None:
    """Red: an element without a word of its looks passes all checks."""
    assert "P07" in rules(told(ElementNote("mara", kind, description)))  # type: ignore[arg-type]


def test_descriptions_are_held_against_the_action() -> None:
    """Red: a prop that the action calls by another word passes, or one that it names is told."""
    cup = ElementNote("cup_1", "prop", "a white porcelain cup")
    hero = ElementNote("mara", "character", "a woman in a red coat")
    assert "P07" in rules(told(hero, cup, action="mara lifts the mug"), "info")
    assert "P07" in rules(told(ElementNote("mara", "character", "a person")), "info")
    for action in ("mara lifts the cup", "mara lifts cup_1"):
        assert "P07" not in rules(told(hero, cup, action=action), "info")


def test_advice_to_raise_importance_is_given_only_where_it_helps() -> None:
    """Red: a panel that its picture's pixels limit is told to be made more important, which changes
    nothing."""
    panel = good().panels[1]
    full = dataclasses.replace(panel.sources[0], scale=1.5)
    assert larger(panel).startswith("raise the importance")
    assert "use a larger picture" in larger(dataclasses.replace(panel, sources=(full,)))


@pytest.mark.parametrize(("top", "expected"), [(60, {"S21"}), (200, {"S05"})])
def test_a_dark_picture_at_the_edge_is_no_black_band(top: int, expected: set[str]) -> None:
    """Red: of a photo taken in the dark the checks say that pictures shall fill the sheet, and refuse to go
    on; or a bright picture with a black bar passes."""

    def dim(image: Image.Image) -> None:
        rows = np.linspace(top, 12, PLACE.h - 50)[:, None, None] * np.ones((1, PLACE.w, 3))
        image.paste(0, (PLACE.x, PLACE.y, PLACE.right, PLACE.bottom))
        image.paste(Image.fromarray(rows.astype(np.uint8)), (PLACE.x, PLACE.y))

    found = [one for one in lint_sheet(painted(dim)) if one.rule in ("S05", "S21")]
    assert {one.rule for one in found} == expected
