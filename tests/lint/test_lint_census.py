"""The checks as a whole: every rule catches a fault made by hand, and good sheets give no error."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from castsheet.lint.findings import RULES, Finding
from castsheet.lint.panels import lint_sheet
from castsheet.lint.pixels import Readers
from castsheet.lint.prompt import lint_prompt
from castsheet.lint.video import lint_distilled, lint_reader
from castsheet.lint.workflow import lint_workflow
from castsheet.ltx.adapters.distilled import Distilled
from castsheet.prompt import build
from castsheet.settings import PRESETS
from castsheet.sheet.box import Box
from castsheet.sheet.compose import compose
from castsheet.sheet.look.ocr import TextLine
from castsheet.sheet.manifest import ElementNote, Sheet
from tests.doubles.drawn import scene
from tests.lint import test_lint as plain
from tests.lint import test_lint_content as content
from tests.lint import test_lint_cutouts as cutouts
from tests.lint import test_lint_workflow as workflows

VALIDATION = Path(__file__).parents[2] / "mini/validation/sheets"


def prompted(text: str) -> list[Finding]:
    """Findings of a prompt against the content tests' sheet (mara, lamp, quay)."""
    return lint_prompt(text, content.sheet())


def marked() -> list[Finding]:
    sheet = content.sheet()
    ImageDraw.Draw(sheet.image).rectangle((600, 444, 640, 452), fill=(255, 255, 255))
    return lint_sheet(sheet)


def seen(faces: dict[tuple[int, int], int], *lines: TextLine) -> list[Finding]:
    return content.look(content.sheet(), Readers(content.Reader(*lines), content.Detector(faces)))


class TwoFaces(content.Detector):
    """Finds two people on a figure panel, and a head in profile close up."""

    def find(self, rgb: Image.Image) -> tuple:
        points = ((10.0, 40.0), (14.0, 40.0), (40.0, 60.0), (12.0, 80.0), (16.0, 80.0))
        (face,) = content.Detector({rgb.size: 240}).find(rgb)
        turned = dataclasses.replace(face, points=points)
        return (turned,) if rgb.size == (376, 440) else (face,) * 4


def swapped(*sources: str) -> list[Finding]:
    row = content.panel("mara", "turnaround", content.ROW, *sources)
    return lint_sheet(content.sheet((content.PANELS[0], row, *content.PANELS[2:])))


def of(name: str) -> Callable[[], list[Finding]]:
    """A fixture of the pixel and layout tests."""
    return lambda: lint_sheet(plain.CASES[name][0])


def crowd() -> list[Finding]:
    people = tuple(ElementNote(name, "character", f"{name} in a coat") for name in ("ann", "bob", "cleo"))
    cast = Sheet(Image.new("RGB", (64, 64)), elements=people)
    return lint_prompt(build(cast, "ann meets bob and cleo"), cast)


HALF = "Reference sheet: mara: a woman in a red coat; lamp: a lamp; quay: a quay\n\nGenerated video: "
FAULTS: tuple[tuple[str, Callable[[], list[Finding]]], ...] = (
    *((name.split()[0], of(name)) for name in plain.CASES),
    ("S02", marked),
    ("S02", lambda: seen({(376, 440): 240}, TextLine("QUAY 7", 0.97, Box(40, 500, 120, 30)))),
    ("S03", lambda: lint_sheet(plain.sheet(), output=(960, 544))),
    ("S10", lambda: seen({(376, 440): 100})),
    ("S10", lambda: content.look(content.sheet(), Readers(content.Reader(), TwoFaces({})))),
    ("S12", lambda: swapped("mara-front.png", "mara-back.png")),
    (
        "S14",
        lambda: lint_sheet(
            content.sheet(notes=(ElementNote("mara", "character", "a woman holding a lamp"),))
        ),
    ),
    ("S15", lambda: seen({(376, 440): 240, (1536, 440): 60})),
    ("S17", lambda: content.look(content.sheet(), Readers(content.Reader(), TwoFaces({})))),
    ("P01", lambda: prompted("mara waves")),
    ("P01", lambda: prompted("reference SHEET: mara: a woman\n\nGenerated video: mara waves")),
    ("P02", lambda: prompted(HALF + "mara meets old_man")),
    ("P02", lambda: prompted("Reference sheet: mara: a woman; quay: a quay\n\nGenerated video: mara waves")),
    ("P03", lambda: prompted(HALF + "she lifts the lamp and mara smiles")),
    ("P04", lambda: prompted(HALF + "mara walks past a logo")),
    ("P04", lambda: prompted(HALF + "**mara** waves")),
    ("P05", crowd),
    ("P06", lambda: prompted(HALF + "mara waves " * 800)),
    ("V01", lambda: plain.video(frames=120)),
    ("V01", lambda: plain.video(width=100)),
    ("V02", lambda: plain.video(lora_strength=1.0, adapters=("ltx-2.3",))),
    ("V02", lambda: plain.video(adapters=("ltx-2.5",))),
    ("V03", lambda: lint_workflow(content.UNCROPPED)),
    ("V04", lambda: lint_distilled(PRESETS["card"], {"fast.safetensors": Distilled({}, {}, {})})),
    ("V06", lambda: lint_reader({"ltx-2.3-22b-distilled-lora-384.safetensors": None})),
    ("V05", lambda: plain.video(stages=[{"sigmas": [0.9, 0.0], "scale": 2}], upsampler="up.safetensors")),
    *((rule, partial(lint_workflow, graph)) for graph, rule, _ in workflows.FAULTS.values()),
    *((rule, partial(lint_sheet, sheets[0])) for rule, sheets in cutouts.FAULTY.items()),
    ("S23", partial(lint_sheet, cutouts.dressed(*cutouts.PAIRS[0]), readers=Readers(faces=cutouts.DRESSED))),
    ("P07", lambda: cutouts.told(ElementNote("mara", "character", ""))),
)


@pytest.mark.parametrize(("rule", "made"), FAULTS, ids=[f"{rule}-{i}" for i, (rule, _) in enumerate(FAULTS)])
def test_every_fault_is_caught(rule: str, made: Callable[[], list[Finding]]) -> None:
    """Red: a fault made by hand passes its rule."""
    assert rule in {finding.rule for finding in made()}


def test_every_rule_has_a_fault() -> None:
    """Red: a rule was added that nothing shows to catch anything."""
    assert {rule for rule, _ in FAULTS} == set(RULES)


def good_sheet(seed: int, folder: Path) -> Sheet:
    """A scene as people have them: one or two characters, up to two props and places, several sizes."""
    draw = random.Random(seed)
    made = scene(
        folder,
        characters=draw.choice([1, 1, 2]),
        props=draw.choice([0, 1, 2]),
        locations=draw.choice([0, 1, 1]),
    )
    output, grid = draw.choice([((192, 112), 16), ((192, 112), 16), ((256, 256), 32), ((384, 224), 32)])
    return compose(made, output=output, grid=grid)


@pytest.mark.parametrize("seed", range(12))
def test_good_sheets_give_no_error(seed: int, tmp_path: Path) -> None:
    """Red: a sheet that the compiler itself made is refused by its checks."""
    assert [one for one in lint_sheet(good_sheet(seed, tmp_path)) if one.severity == "error"] == []


def test_the_rendered_sheets_give_no_error() -> None:
    """Red: a sheet of the small model's world is refused; these are 64."""
    paths = sorted(VALIDATION.glob("*.png"))
    assert len(paths) == 64
    for path in paths:
        assert [one for one in lint_sheet(Sheet.load(path)) if one.severity == "error"] == []
