"""The checks of what pictures show: each rule with a sheet that trips it and one that does not."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from PIL import Image, ImageDraw

from castsheet.lint.findings import Finding
from castsheet.lint.panels import lint_sheet
from castsheet.lint.pixels import Readers
from castsheet.lint.prompt import lint_prompt
from castsheet.lint.workflow import lint_workflow
from castsheet.prompt import build
from castsheet.sheet.box import Box
from castsheet.sheet.look.faces import Face
from castsheet.sheet.look.ocr import TextLine
from castsheet.sheet.manifest import ElementNote, Panel, PictureSource, Sheet
from tests.doubles.drawn import figure, thing

NOTES = (
    ElementNote("mara", "character", "a woman in a red coat"),
    ElementNote("lamp", "prop", "a lamp"),
    ElementNote("quay", "location", "a quay"),
)
CLOSE = Box(0, 0, 376, 440)
ROW = Box(392, 0, 752, 440)
LAMP = Box(1160, 0, 376, 440)
QUAY = Box(0, 456, 1536, 440)


class Reader:
    """Reads what it was told."""

    def __init__(self, *lines: TextLine) -> None:
        self.lines = list(lines)

    def read(self, _image: Image.Image) -> list[TextLine]:
        return self.lines


class Detector:
    """Finds one face of a given height in pictures of a given size, and none in others."""

    name = "double"

    def __init__(self, faces: dict[tuple[int, int], int]) -> None:
        self.faces = faces

    def find(self, rgb: Image.Image) -> tuple[Face, ...]:
        height = self.faces.get(rgb.size)
        return (Face(Box(10, 10, height, height), ((0.0, 0.0),) * 5, 0.9),) if height else ()


def panel(element: str, view: str, box: Box, *paths: str) -> Panel:
    kind = next(n.kind for n in NOTES if element.startswith(n.id))
    names = paths or (f"{element}.png",)
    return Panel(element, kind, view, box, tuple(PictureSource(name, "0" * 64, 1.0) for name in names))


def textured(size: tuple[int, int], seed: int) -> Image.Image:
    """Smooth colours with sharp blocks on them."""
    random = np.random.default_rng(seed)
    picture = Image.fromarray(random.integers(30, 206, (6, 6, 3), dtype=np.uint8)).resize(
        size, Image.Resampling.BICUBIC
    )
    blocks = Image.fromarray(random.integers(0, 2, (20, 20), dtype=np.uint8) * np.uint8(255))
    lighter = Image.eval(picture, lambda value: value + 20)
    picture.paste(lighter, mask=blocks.resize(size, Image.Resampling.NEAREST))
    return picture


def lamp(seed: int = 7) -> Image.Image:
    """A patterned disc on black."""
    image = Image.new("RGB", (200, 200))
    mask = Image.new("L", (200, 200))
    ImageDraw.Draw(mask).ellipse((4, 4, 195, 195), fill=255)
    image.paste(textured((200, 200), seed), mask=mask)
    return image


def figures(*coats: str, size: tuple[int, int] = (752, 440)) -> Image.Image:
    """Standing people side by side on black."""
    image = Image.new("RGB", size)
    width = size[0] // len(coats)
    for i, coat in enumerate(coats):
        drawn = figure(("front", "side", "back")[i % 3], coat=coat, size=(width, size[1]))
        image.paste(drawn, (i * width, 0), drawn)
    return image


RED = "#c03030"
PANELS = (
    panel("mara", "face", CLOSE),
    panel("mara", "turnaround", ROW, "mara-front.png", "mara-side.png", "mara-back.png"),
    panel("lamp", "product", LAMP),
    panel("quay", "place", QUAY),
)


def sheet(
    panels: tuple[Panel, ...] = PANELS,
    notes: tuple[ElementNote, ...] = NOTES,
    pictures: dict[tuple[str, str], Image.Image] | None = None,
) -> Sheet:
    known = {
        ("mara", "face"): textured((376, 440), 1),
        ("mara", "turnaround"): figures(RED, RED, RED),
        ("lamp", "product"): lamp(),
        ("quay", "place"): textured((1536, 440), 2),
    } | (pictures or {})
    image = Image.new("RGB", (1536, 896))
    for p in panels:
        image.paste(known[p.element, p.view].resize((p.box.w, p.box.h)), (p.box.x, p.box.y))
    return Sheet(image, panels, notes, layout={"grid": 32})


def rules(found: list[Finding]) -> list[tuple[str, str]]:
    return [(one.rule, one.severity) for one in found]


SEEING = Readers(Reader(), Detector({(376, 440): 240}))


def look(subject: Sheet, readers: Readers | None = SEEING) -> list[Finding]:
    return lint_sheet(subject, readers=readers)


def test_a_good_sheet_is_silent():
    """Red: good sheets are nagged about what they show."""
    assert look(sheet()) == look(sheet(), None) == []


def test_what_was_not_looked_at_is_told():
    """Red: without models, silence about text, faces and bystanders reads as all well."""
    found = look(sheet(), Readers())
    assert rules(found) == [("S02", "info"), ("S10", "info"), ("S15", "info")]
    assert all(one.message.startswith("not checked") and "pip install" in one.remedy for one in found)


def test_s02_text_inside_a_picture_is_named_with_its_element():
    """Red: a caption that was baked into a picture shows up as lettering in the video."""
    line = TextLine("QUAY 7", 0.97, Box(40, 500, 120, 30))
    (found,) = look(sheet(), dataclasses.replace(SEEING, text=Reader(line)))
    assert (found.rule, found.severity, found.element, found.where) == ("S02", "warning", "quay", line.box)
    assert "'QUAY 7'" in found.message
    for doubtful in (dataclasses.replace(line, score=0.6), dataclasses.replace(line, text="|")):
        assert look(sheet(), dataclasses.replace(SEEING, text=Reader(doubtful))) == []


def test_s02_marks_between_panels_need_no_reader():
    """Red: a label in the gutter passes where no reader is installed."""
    subject = sheet()
    ImageDraw.Draw(subject.image).rectangle((600, 444, 640, 452), fill=(255, 255, 255))
    (found,) = look(subject, None)
    assert found.rule == "S02"
    assert found.where == Box(600, 444, 41, 9)


@pytest.mark.parametrize(
    ("faces", "expected"),
    [
        ({(376, 440): 240}, []),
        ({(376, 440): 200}, [("S10", "info")]),
        ({(376, 440): 100}, [("S10", "warning")]),
        ({(376, 440): 100, (752, 440): 240}, []),
        ({}, [("S10", "info")]),
    ],
)
def test_s10_faces_are_measured_at_conditioning_size(faces, expected):
    """Red: faces of a token or two pass, which no video can keep; or large ones are reported."""
    found = look(sheet(), dataclasses.replace(SEEING, faces=Detector(faces)))
    assert [one for one in rules(found) if one[0] != "S23"] == expected  # the doubles' faces float free


def test_s10_asks_no_face_of_a_puppet():
    """Red: every check of a robot says that its face was not found."""
    subject = sheet()
    faceless = dataclasses.replace(SEEING, faces=Detector({}))
    assert "S10" in {one.rule for one in look(subject, faceless)}
    notes = tuple(dataclasses.replace(one, human=False) for one in subject.elements)
    found = look(dataclasses.replace(subject, elements=notes), faceless)
    assert "S10" not in {one.rule for one in found}


def test_s10_a_close_up_too_low_for_any_face_needs_no_detector():
    """Red: a strip of a close-up passes because no detector is installed."""
    low = (dataclasses.replace(PANELS[0], box=Box(0, 0, 376, 100)), *PANELS[1:])
    assert ("S10", "warning") in rules(look(sheet(low), None))


@pytest.mark.parametrize(
    ("sources", "face", "expected"),
    [
        (("mara-front.png", "mara-side.png", "mara-back.png"), True, []),
        (("mara-front.png", "mara-back.png"), True, ["S12"]),
        (("mara-front.png", "mara-side.png", "mara-back.png"), False, ["S11", "S12"]),
        (("mara-front.png", "backpacker.png"), True, []),
    ],
)
def test_s12_backs_that_may_pass_for_strangers(sources, face, expected):
    """Red: the known way in which a back view becomes a second figure goes unsaid."""
    row = dataclasses.replace(
        PANELS[1], sources=tuple(PictureSource(name, "0" * 64, 1.0) for name in sources)
    )
    subject = sheet((*PANELS[: 1 if face else 0], row, *PANELS[2:]), pictures={
        ("mara", "turnaround"): figures(*[RED] * len(sources)),
    })  # fmt: skip
    assert [one.rule for one in look(subject, None) if one.rule in ("S11", "S12")] == expected


def test_s12_knows_a_printed_label():
    """Red: a back view is known by its file's name only."""
    plain = dataclasses.replace(PANELS[1], sources=(PictureSource("row.png", "0" * 64, 1.0),))
    reader = Reader(TextLine("Back View", 0.99, Box(700, 400, 90, 20)))
    found = look(sheet((plain, *PANELS[2:])), dataclasses.replace(SEEING, text=reader))
    assert "S12" in {one.rule for one in found}


def test_s14_a_prop_in_the_hand_is_found_again():
    """Red: a prop that the figure holds on the sheet goes unseen, and sticks to the hand in the video."""
    row = figures(RED, RED, RED)
    row.paste(
        lamp().resize((80, 80)),
        (160, 200),
        lamp().convert("L").resize((80, 80)).point(lambda v: 255 * (v > 0)),
    )
    (found,) = look(sheet(pictures={("mara", "turnaround"): row}), None)
    assert (found.rule, found.severity, found.element) == ("S14", "warning", "mara")
    assert abs(found.where.x - ROW.x - 160) < 16
    assert abs(found.where.y - 200) < 16


def test_s14_other_props_and_plain_ones_are_not_found():
    """Red: any round thing counts as held, or a prop of one tone is found on every coat."""
    row = figures(RED, RED, RED)
    other = lamp(11)
    row.paste(
        other.resize((80, 80)), (160, 200), other.convert("L").resize((80, 80)).point(lambda v: 255 * (v > 0))
    )
    assert look(sheet(pictures={("mara", "turnaround"): row}), None) == []
    flat = Image.new("RGB", (300, 200))
    flat.paste(thing(colour=RED), mask=thing().getchannel("A"))
    assert look(sheet(pictures={("lamp", "product"): flat}), None) == []


def test_s14_a_pattern_in_other_colours_is_no_object():
    """Red: a patch of a coat or a face that correlates with a toy counts as the toy in the hand."""
    row, own = figures(RED, RED, RED), lamp().resize((160, 160))
    tinted = Image.fromarray((np.asarray(own) * 0.6 + np.array((100, 40, 0))).astype(np.uint8))
    row.paste(tinted, (160, 200), own.convert("L").point(lambda v: 255 * (v > 0)))
    assert look(sheet(pictures={("mara", "turnaround"): row}), None) == []


def test_s14_reads_the_description():
    """Red: a character described as holding something passes."""
    holding = dataclasses.replace(NOTES[0], description="a woman holding a lamp")
    assert rules(look(sheet(notes=(holding, *NOTES[1:])))) == [("S14", "warning")]


def test_s15_people_in_a_location():
    """Red: bystanders in a location's picture mix with the characters."""
    detector = Detector({(376, 440): 240, (1536, 440): 60})
    (found,) = look(sheet(), dataclasses.replace(SEEING, faces=detector))
    assert (found.rule, found.element, found.where) == ("S15", "quay", Box(10, 466, 60, 60))


def test_s17_one_person_in_two_outfits():
    """Red: a turnaround of two different outfits passes as one identity."""
    found = look(sheet(pictures={("mara", "turnaround"): figures("#f0f0f0", "#f0f0f0", "#103010")}), None)
    assert found == []  # skin, hair and trousers agree, and a coat alone is not enough to say so
    mixed = figures(RED, RED, RED)
    mixed.paste((240, 240, 240), (520, 20, 740, 420))
    (found,) = look(sheet(pictures={("mara", "turnaround"): mixed}), None)
    assert (found.rule, found.severity, found.element) == ("S17", "warning", "mara")


class Knows:
    """Faces whose vectors lie as far apart as it was told: the close-up's, and every other."""

    def __init__(self, likeness: float) -> None:
        self.other = np.array([likeness, math.sqrt(1 - likeness**2)], np.float32)

    def vector(self, rgb: Image.Image, _face: Face) -> np.ndarray:
        return np.array([1, 0], np.float32) if rgb.size == (376, 440) else self.other


@pytest.mark.parametrize(
    ("likeness", "height", "expected"),
    [(0.93, 120, []), (0.86, 120, ["S17"]), (0.86, 60, []), (0.5, 120, ["S17"])],
)
def test_s17_faces_of_two_people_as_one_character(likeness, height, expected):
    """Red: another person's close-up passes as the character's, one person's photos are reported, or small
    faces, which are anybody's, are compared."""
    detector = Detector({(376, 440): 240, (PANELS[1].box.w, PANELS[1].box.h): height})
    found = look(sheet(), Readers(Reader(), detector, who=Knows(likeness)))
    assert [one.rule for one in found if one.rule == "S17"] == expected
    if expected:
        (told,) = (one for one in found if one.rule == "S17")
        assert told.element == "mara"
        assert told.severity == "warning"
        assert f"{likeness:.2f}" in told.message
    assert [one.rule for one in look(sheet(), Readers(Reader(), detector)) if one.rule == "S17"] == []


@pytest.mark.parametrize(("coat", "expected"), [(RED, ["S17"]), ("#20a0a0", [])])
def test_s17_two_people_in_one_look(coat, expected):
    """Red: two people whom the video will mix up pass, or two in different coats are reported."""
    twin = ElementNote("mara2", "character", "a woman in a coat")
    panels = (
        PANELS[0],
        dataclasses.replace(PANELS[1], sources=PANELS[1].sources[:1]),
        panel("mara2", "face", LAMP),
        panel("mara2", "turnaround", Box(0, 456, 752, 440)),
        panel("quay", "place", Box(768, 456, 768, 440)),
    )
    pictures = {
        ("mara", "turnaround"): figures(RED),
        ("mara2", "turnaround"): figures(coat),
        ("mara2", "face"): textured((376, 440), 5),
    }
    subject = sheet(panels, (NOTES[0], twin, NOTES[2]), pictures)
    assert [one.rule for one in look(subject, None) if one.rule not in ("S18", "S24")] == expected


@pytest.mark.parametrize(
    ("action", "tripped"),
    [
        ("mara lifts the lamp; she smiles. Cut to: mara at the quay, she waves", False),
        ("she lifts the lamp and mara smiles", True),
        ("mara lifts the lamp. Cut to: she waves at the quay", True),
        ("mara lifts the lamp. Cut to the quay, empty in the rain", False),
        ("mara walks. Next shot: the woman turns round", True),
        ("the lamp falls", False),
        ("mara scuttles there, cutting through the crowd with her bag", False),
    ],
)
def test_p03_people_are_named_in_every_shot(action, tripped):
    """Red: a shot that names nobody shows somebody else, and nothing warned of it."""
    found = [one for one in lint_prompt(build(sheet(), action), sheet()) if one.rule == "P03"]
    assert bool(found) == tripped


def test_p05_three_people_are_many():
    """Red: the adapter's known limit of two people goes unsaid."""
    people = tuple(ElementNote(name, "character", f"{name} in a coat") for name in ("ann", "bob", "cleo"))
    for count, expected in ((2, []), (3, ["P05"])):
        cast = Sheet(Image.new("RGB", (64, 64)), elements=people[:count])
        found = lint_prompt(build(cast, "ann meets bob and cleo"), cast)
        assert [one.rule for one in found if one.rule == "P05"] == expected


API = {
    "1": {"class_type": "CheckpointLoaderSimple", "inputs": {}},
    "2": {"class_type": "LTXVAddGuide", "inputs": {"vae": ["1", 2], "strength": 1.0}},
    "3": {"class_type": "KSampler", "inputs": {"latent_image": ["2", 2]}},
    "4": {"class_type": "LTXVCropGuides", "inputs": {"latent": ["3", 0]}},
    "5": {"class_type": "VAEDecodeTiled", "inputs": {"samples": ["4", 2], "vae": ["1", 2]}},
}
UNCROPPED = API | {"5": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0]}}}
EDITOR = {
    "nodes": [{"id": int(id), "type": node["class_type"]} for id, node in API.items()],
    "links": [
        [1, 1, 2, 2, 0, "VAE"],
        [2, 2, 2, 3, 0, "LATENT"],
        [3, 3, 0, 4, 0, "LATENT"],
        [4, 4, 2, 5, 0, "LATENT"],
    ],
}


def test_v03_reads_workflows_of_both_kinds():
    """Red: a ComfyUI graph without the cropping node, the best known cause of leaks, passes."""
    assert lint_workflow(API) == lint_workflow(EDITOR) == []
    links = [*EDITOR["links"][:2], [3, 3, 0, 5, 0, "LATENT"]]
    for graph in (UNCROPPED, EDITOR | {"links": links}):
        (found,) = lint_workflow(graph)
        assert (found.rule, found.severity) == ("V03", "error")
        assert "node 2 (LTXVAddGuide)" in found.message
    assert lint_workflow({"nodes": [None, 3], "links": [7]}) == lint_workflow({"5": 3}) == []
