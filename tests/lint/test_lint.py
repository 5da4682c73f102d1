"""The checks of a sheet and of a video's settings: each rule with what trips it and what does not."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image, ImageDraw

from castsheet.lint import workflow  # noqa: F401 - V03 joins the rules when it is imported
from castsheet.lint.findings import RULES, Finding, exit_code, family, worst
from castsheet.lint.panels import lint_sheet
from castsheet.lint.prompt import lint_prompt
from castsheet.lint.video import lint_video
from castsheet.settings import CARD, PRESETS, Settings, override
from castsheet.sheet.box import Box
from castsheet.sheet.manifest import ElementNote, Panel, PictureSource, Sheet
from tests.doubles.drawn import photo

NOTES = (
    ElementNote("mara", "character", "a woman"),
    ElementNote("lamp", "prop", "a lamp"),
    ElementNote("rope", "prop", "a rope"),
    ElementNote("quay", "location", "a quay"),
)


def panel(element: str, view: str, box: Box, **source) -> Panel:
    kind = next(n.kind for n in NOTES if n.id == element)
    values = {"path": f"{element}.png", "sha256": "0" * 64, "scale": 1.0} | source
    return Panel(element, kind, view, box, (PictureSource(**values),))


FACE = panel("mara", "face", Box(0, 0, 760, 440))
BODY = panel("mara", "turnaround", Box(0, 456, 760, 440))
LAMP = panel("lamp", "product", Box(776, 0, 368, 440))
ROPE = panel("rope", "product", Box(1160, 0, 376, 440))
QUAY = panel("quay", "place", Box(776, 456, 760, 440))
PANELS = (FACE, BODY, LAMP, ROPE, QUAY)


def sheet(
    panels: tuple[Panel, ...] = PANELS,
    *,
    size: tuple[int, int] = (1536, 896),
    background: int = 0,
    notes: tuple[ElementNote, ...] = NOTES,
    seeds: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10),
) -> Sheet:
    image = Image.new("RGB", size, (background,) * 3)
    for p, seed in zip(panels, seeds, strict=False):
        image.paste(photo(p.box.w, p.box.h, seed), (p.box.x, p.box.y))
        if p.kind != "location":  # black at both sides, as of a figure that stands free
            edge = max(2, p.box.h // 50)
            for x in (p.box.x, p.box.right - edge):
                image.paste(0, (x, p.box.y, x + edge, p.box.bottom))
    return Sheet(image, panels, notes, layout={"grid": 32})


def swap(old: Panel, new: Panel, panels: tuple[Panel, ...] = PANELS) -> tuple[Panel, ...]:
    return tuple(new if p is old else p for p in panels)


def moved(p: Panel, x: int = 0, y: int = 0, w: int = 0, h: int = 0) -> Panel:
    return dataclasses.replace(p, box=Box(p.box.x + x, p.box.y + y, p.box.w + w, p.box.h + h))


def source(p: Panel, **values) -> Panel:
    return dataclasses.replace(p, sources=(dataclasses.replace(p.sources[0], **values),))


def rules(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(f.rule, f.severity) for f in findings]


def bare(image: Image.Image) -> Sheet:
    return Sheet(image, output=image.size)


def test_a_good_sheet_is_silent():
    """Red: every sheet is nagged about, so that nobody reads the checks."""
    assert lint_sheet(sheet()) == []
    assert lint_sheet(sheet(), output=(768, 448), grid=32) == []
    assert lint_sheet(bare(sheet().image)) == []


NINE = tuple(panel("quay", "place", Box(512 * c, 304 * r, 496, 288)) for r in range(3) for c in range(3))
SMALL = (
    moved(FACE, w=776),
    moved(BODY, h=-200, w=776),
    panel("lamp", "product", Box(0, 712, 256, 184)),
    panel("quay", "place", Box(272, 712, 1264, 184)),
)

CASES = {
    "S01 grey gutters": (sheet(background=30), [("S01", "warning")], "luma 30 of 255"),
    "S01 white gutters": (sheet(background=255), [("S01", "error")], "luma 255 of 255"),
    "S04 small": (
        sheet(
            tuple(
                dataclasses.replace(p, box=Box(p.box.x // 2, p.box.y // 2, p.box.w // 2, p.box.h // 2))
                for p in PANELS
            ),
            size=(768, 448),
        ),
        [("S04", "warning")],
        "768 x 448, 1.00 x",
    ),
    "S05 thin band": (
        sheet((moved(FACE, y=36, h=-36), BODY, moved(LAMP, y=36, h=-36), moved(ROPE, y=36, h=-36), QUAY)),
        [("S05", "warning")],
        "36 px lies along the top: 4.0% of 896",
    ),
    "S05 thick band": (
        sheet((FACE, BODY, LAMP, moved(ROPE, w=-128), moved(QUAY, w=-128))),
        [("S05", "error")],
        "128 px lies along the right: 8.3% of 1536",
    ),
    "S06 touching": (
        sheet((moved(FACE, h=16), *PANELS[1:])),
        [("S06", "error")],
        "0 px (0.0%) part mara (face) and mara (turnaround)",
    ),
    "S06 overlapping": (sheet((moved(FACE, h=20), *PANELS[1:])), [("S06", "error")], "overlap by 4 px"),
    "S06 wide": (sheet((moved(FACE, h=-32), *PANELS[1:])), [("S06", "warning")], "48 px (5.4%)"),
    "S06 narrow": (sheet((moved(FACE, h=12), *PANELS[1:])), [("S06", "warning")], "4 px (0.4%)"),
    "S07 shared cells": (
        sheet(swap(ROPE, moved(ROPE, x=-24, w=24), swap(LAMP, moved(LAMP, w=-24)))),
        [("S07", "warning")],
        "lamp (product) and rope (product) share 7 latent cells of 32 px at 768 x 448",
    ),
    "S08 nine": (sheet(NINE, notes=NOTES[3:]), [("S08", "warning")], "9 panels"),
    "S08 one": (
        sheet((panel("quay", "place", Box(0, 0, 1536, 896)),), notes=NOTES[3:]),
        [("S08", "info")],
        "1 panel",
    ),
    "S09 small panel": (sheet(SMALL, notes=(NOTES[0], NOTES[1], NOTES[3])), [("S09", "warning")], "3.4%"),
    "S09 small lead": (
        sheet(
            (
                panel("mara", "face", Box(0, 0, 376, 896)),
                panel("mara", "turnaround", Box(392, 0, 376, 896)),
                panel("lamp", "product", Box(784, 0, 752, 896)),
            ),
            notes=NOTES[:2],
        ),
        [("S09", "warning")],
        "mara, holds 1.00 x the median prop's area",
    ),
    "S11 neither": (
        sheet((panel("quay", "place", FACE.box), panel("quay", "place", BODY.box), *PANELS[2:])),
        [("S11", "error")],
        "mara has no face and no body panel (views: none)",
    ),
    "S11 no face": (sheet(swap(FACE, moved(BODY, y=-456))), [("S11", "warning")], "no close-up"),
    "S11 no body": (
        sheet(swap(BODY, panel("mara", "face", BODY.box))),
        [("S11", "warning")],
        "no whole figure",
    ),
    "S13 feet": (sheet(swap(BODY, source(BODY, clipped=("bottom",)))), [("S13", "warning")], "feet"),
    "S13 hair": (sheet(swap(FACE, source(FACE, clipped=("top",)))), [("S13", "warning")], "head"),
    "S16 enlarged": (sheet(swap(LAMP, source(LAMP, scale=1.8))), [("S16", "warning")], "1.80 x"),
    "S18 twice": (
        sheet(seeds=(1, 2, 3, 4, 1)),
        [("S18", "warning")],
        "mara (face) and quay (place) show the same picture (hash distance 2",
    ),
}


@pytest.mark.parametrize(("subject", "expected", "says"), CASES.values(), ids=CASES.keys())
def test_each_rule_is_tripped_alone(subject, expected, says):
    """Red: a fault of a sheet that is known to spoil clips goes unseen, or is reported as another one."""
    found = lint_sheet(subject)
    assert rules(found) == expected
    assert says in found[0].message
    assert found[0].remedy


FINE = {
    "S01 nearly black": sheet(background=8),
    "S05 half a gutter": sheet((moved(FACE, y=16, h=-16), BODY, moved(LAMP, y=16, h=-16), ROPE, QUAY)),
    "S06 seven px": sheet(swap(FACE, moved(FACE, h=8), swap(BODY, moved(BODY, y=-1, h=1)))),
    "S07 one element": sheet(swap(FACE, moved(FACE, h=-20), swap(BODY, moved(BODY, y=-20, h=20)))),
    "S13 shoulders": sheet(swap(FACE, source(FACE, clipped=("left", "right", "bottom")))),
    "S13 a prop may be cut": sheet(swap(LAMP, source(LAMP, clipped=("bottom",)))),
    "S16 half as large again": sheet(swap(LAMP, source(LAMP, scale=1.5))),
}


@pytest.mark.parametrize("subject", FINE.values(), ids=FINE.keys())
def test_what_lies_within_the_limits_is_silent(subject):
    """Red: a limit has moved, and sheets that are fine are reported."""
    assert lint_sheet(subject) == []


def test_s03_needs_the_videos_shape():
    """Red: a sheet of another shape is cropped without a word."""
    found = [f for f in lint_sheet(sheet(), output=(960, 544)) if f.rule == "S03"]
    assert rules(found) == [("S03", "error")]
    assert "2.9% apart" in found[0].message
    slightly_off = Image.new("RGB", (1536, 890))
    assert not [f for f in lint_sheet(bare(slightly_off)) if f.rule == "S03"]


def test_s06_black_around_a_whole_picture_is_no_gutter():
    """Red: every picture that does not fill its room is reported as a wrong gutter."""
    narrow = sheet(swap(ROPE, moved(ROPE, x=40, w=-40)))
    assert rules(lint_sheet(narrow)) == [("S06", "warning")]
    rooms = [[p.box.x, p.box.y, p.box.w, p.box.h] for p in PANELS]
    assert lint_sheet(dataclasses.replace(narrow, layout={"cells": rooms})) == []


@pytest.mark.parametrize(
    "layout", [{"grid": "x"}, {"grid": 0}, {"cells": 5}, {"cells": [[0, 0, 1]] * 5}, {"cells": ["abcd"] * 5}]
)
def test_a_strange_layout_is_passed_over(layout):
    """Red: a manifest that another program wrote crashes the checks."""
    assert lint_sheet(dataclasses.replace(sheet(), layout=layout)) == []


def test_s18_parts_people_in_one_pose():
    """Red: two people in the same pose on black, in different clothes, are called one picture."""
    image = sheet().image.copy()
    for p, colour in ((LAMP, (200, 60, 50)), (ROPE, (60, 90, 210))):
        draw = ImageDraw.Draw(image)
        draw.rectangle((p.box.x, p.box.y, p.box.right - 1, p.box.bottom - 1), fill=0)
        draw.ellipse((p.box.x + 150, p.box.y + 40, p.box.x + 220, p.box.y + 110), fill=(220, 180, 150))
        draw.rectangle((p.box.x + 140, p.box.y + 110, p.box.x + 230, p.box.y + 400), fill=colour)
    assert lint_sheet(dataclasses.replace(sheet(), image=image)) == []


def grid(gutter: int, background: int, seeds: tuple[int, ...] = (1, 2, 3, 4)) -> Image.Image:
    """Four photographs, two by two."""
    image = Image.new("RGB", (1536, 896), (background,) * 3)
    width, height = (1536 - gutter) // 2, (896 - gutter) // 2
    for i, seed in enumerate(seeds):
        spot = ((i % 2) * (width + gutter), (i // 2) * (height + gutter))
        image.paste(photo(width, height, seed), spot)
    return image


def sky() -> Image.Image:
    """A photograph whose upper third is blown-out sky."""
    image = photo(1536, 896, 11)
    image.paste((255, 255, 255), (0, 0, 1536, 300))
    return image


def ramp() -> Image.Image:
    """A studio backdrop: every row is of one tone."""
    rows = np.linspace(40, 250, 896).astype(np.uint8)
    return Image.fromarray(np.broadcast_to(rows[:, None, None], (896, 1536, 3)).copy())


def figures_on(tone: int) -> Image.Image:
    image = Image.new("RGB", (1536, 896), (tone,) * 3)
    for i in range(3):
        ImageDraw.Draw(image).ellipse((100 + 500 * i, 100, 430 + 500 * i, 800), fill=(90 + 30 * i, 60, 120))
    return image


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (grid(16, 255), ["S01"]),
        (grid(16, 40), ["S01"]),
        (figures_on(255), ["S01"]),
        (grid(16, 0), []),
        (grid(0, 0), []),
        (photo(1536, 896, 12), []),
        (sky(), []),
        (ramp(), []),
        (grid(16, 0, (1, 2, 3, 2)), ["S18"]),
        (photo(768, 448, 13), ["S04"]),
        (photo(1536, 1024, 13), ["S03"]),
    ],
    ids=[
        "a white grid",
        "a grey grid",
        "figures on white",
        "a black grid",
        "pictures without gutters",
        "a photograph",
        "a sky",
        "a studio backdrop",
        "a grid of several sizes",
        "a photograph of half the size",
        "a photograph of another shape",
    ],
)
def test_bare_pictures(image, expected):
    """Red: sheets made elsewhere go unchecked, or all-photo sheets are called light-backgrounded."""
    assert [f.rule for f in lint_sheet(bare(image))] == expected


def test_a_black_picture_is_one_error():
    """Red: an empty sheet passes, or fills the screen with four bands."""
    assert rules(lint_sheet(bare(Image.new("RGB", (1536, 896))))) == [("S05", "error")]


def test_the_small_models_bucket():
    """Red: sheets for a model with another size or latent grid are held to the 22B model's."""
    small = (
        panel("mara", "face", Box(0, 0, 190, 126)),
        panel("mara", "turnaround", Box(0, 130, 190, 94)),
        panel("lamp", "product", Box(194, 0, 92, 126)),
        panel("rope", "product", Box(290, 0, 94, 126)),
        panel("quay", "place", Box(194, 130, 190, 94)),
    )
    subject = dataclasses.replace(sheet(small, size=(384, 224)), output=(192, 112), layout={"grid": 16})
    assert lint_sheet(subject) == lint_sheet(subject, output=(192, 112), grid=16) == []
    assert {f.rule for f in lint_sheet(subject, grid=32)} == {"S07", "S10"}


def video(usual: Settings = CARD, grid: int = 32, adapters=(), **settings) -> list[Finding]:
    return lint_video(override(usual, settings), usual, grid=grid, family="ltx-2.3", adapters=adapters)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, []),
        ({"frames": 241}, [("V01", "warning")]),
        ({"frames": 129}, []),
        ({"frames": 120}, [("V01", "error")]),
        ({"frames": 97}, [("V01", "warning")]),
        ({"fps": 30.0}, [("V01", "warning")]),
        ({"width": 100}, [("V01", "error"), ("V01", "warning")]),
        ({"height": 100}, [("V01", "error"), ("V01", "warning")]),
        ({"width": 960, "height": 544}, [("V01", "warning")]),
        ({"usual": override(CARD, {"width": 192, "height": 112}), "grid": 16}, []),
        ({"lora_strength": 1.4, "adapters": ("ltx-2.3",)}, []),
        ({"lora_strength": 1.0, "adapters": ("ltx-2.3",)}, [("V02", "warning")]),
        ({"lora_strength": 1.0}, []),
        ({"guidance": 1.0, "negative_prompt": "blurry, jittery"}, [("V02", "warning")]),
        ({"guidance": 1.0, "negative_prompt": ""}, []),
        ({"guidance": 4.0, "negative_prompt": "blurry"}, []),
        ({"upsampler": "up.safetensors"}, [("V05", "warning")]),
        ({"usual": PRESETS["space"]}, []),
    ],
    ids=str,
)
def test_video_settings(settings, expected):
    """Red: minutes of computing are spent on settings that cannot work, or good ones are refused."""
    assert rules(video(**settings)) == expected


@pytest.mark.parametrize(
    ("base", "adapters", "expected"),
    [
        ("ltx-2.3", ("ltx-2.3",), []),
        ("ltx-2.5", ("ltx-2.3",), [("V02", "warning")]),  # the vendor's own app does it
        ("ltx-2.3", ("ltx-2.3", "ltx-2.5"), [("V02", "error")]),
        ("ltx-2.3", ("unknown",), [("V02", "warning")]),
        ("unknown", ("ltx-2.3",), [("V02", "warning")]),
        ("ltx-2.5", (), []),
    ],
)
def test_families_must_match(base, adapters, expected):
    """Red: a 2.3 adapter is merged into a 2.5 checkpoint without a word, which users report as failing."""
    assert rules(lint_video(CARD, CARD, grid=32, family=base, adapters=adapters)) == expected


def test_remedies_name_legal_values():
    """Red: following the advice leads to the next error."""
    (frames,) = video(frames=120)
    assert frames.remedy == "use 113 or 121 frames"
    (width, _) = video(width=100)
    assert width.remedy == "use width 96 or 128"


def test_every_rule_is_listed():
    """Red: `castsheet lint` cannot tell what it checks."""
    assert [rule.id for rule in family("S")] == [f"S{number:02d}" for number in range(1, 26)]
    assert lint_prompt("Reference sheet: a lamp\n\nGenerated video: it falls") == []
    assert [rule.id for rule in family("P")] == ["P01", "P02", "P03", "P04", "P05", "P06", "P07"]
    assert [rule.id for rule in family("V")] == [f"V{number:02d}" for number in range(1, 7)]
    assert all(rule.id == key and rule.meaning and "\n" not in rule.meaning for key, rule in RULES.items())


def test_severity_becomes_an_exit_code():
    """Red: scripts cannot tell a sheet that is fine from one that is not."""
    info, warning, error = (Finding("S00", s, "m", "r") for s in ("info", "warning", "error"))
    assert [exit_code(f) for f in ([], [info], [info, warning], [error, info, warning])] == [0, 0, 1, 2]
    assert [worst(f) for f in ([], [info], [warning, info], [warning, error])] == [
        None,
        "info",
        "warning",
        "error",
    ]
    boxed = dataclasses.replace(error, where=Box(1, 2, 3, 4), element="mara")
    assert json.loads(json.dumps(boxed.to_dict()))["where"] == [1, 2, 3, 4]
