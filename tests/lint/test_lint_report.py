"""What follows the checks: a mended sheet, a report, and the commands around them."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image, ImageDraw

from castsheet.authoring.fix import fix
from castsheet.cli import main
from castsheet.lint.findings import Finding, worst
from castsheet.lint.panels import lint_sheet
from castsheet.lint.pixels import Readers
from castsheet.lint.report import report
from castsheet.sheet.box import Box
from castsheet.sheet.look.ocr import TextLine
from castsheet.sheet.manifest import Panel, Sheet
from tests.lint.test_lint_content import CLOSE, LAMP, NOTES, PANELS, QUAY, ROW, Reader, panel, sheet, textured


def rules(found: tuple[Finding, ...] | list[Finding]) -> set[str]:
    return {one.rule for one in found if one.severity != "info"}


def moved(p: Panel, x: int = 0, y: int = 0, w: int = 0, h: int = 0) -> Panel:
    return dataclasses.replace(p, box=Box(p.box.x + x, p.box.y + y, p.box.w + w, p.box.h + h))


def on_white(subject: Sheet) -> Sheet:
    image = Image.new("RGB", subject.image.size, "white")
    for p in subject.panels:
        box = (p.box.x, p.box.y, p.box.right, p.box.bottom)
        image.paste(subject.image.crop(box), box[:2])
    return dataclasses.replace(subject, image=image)


def marked() -> Sheet:
    subject = sheet()
    ImageDraw.Draw(subject.image).rectangle((600, 444, 640, 452), fill="white")
    return subject


def doubled() -> Sheet:
    twice = (*PANELS[:3], moved(PANELS[3], w=-776), panel("quay", "place", Box(776, 456, 760, 440)))
    return sheet(twice)


BANDED = (*PANELS[:3], moved(PANELS[3], h=-80))
TOUCHING = (moved(PANELS[0], w=16), *PANELS[1:])


@pytest.mark.parametrize(
    ("broken", "mends", "did"),
    [
        (on_white(sheet()), "S01", "blackened what lies outside the 4 pictures"),
        (marked(), "S02", "blackened what lies outside the 4 pictures"),
        (sheet(BANDED), "S05", "laid 4 pictures out anew"),
        (sheet(TOUCHING), "S06", "laid 4 pictures out anew"),
        (doubled(), "S18", "dropped 1 picture shown twice"),
    ],
    ids=["S01", "S02", "S05", "S06", "S18"],
)
def test_each_fault_that_can_be_mended_is(broken, mends, did):
    """Red: `--fix` leaves a fault that needs no new pictures, breaks something else, or touches its input."""
    before = broken.sha256
    assert mends in rules(lint_sheet(broken))
    fixed = fix(broken)
    assert did in "; ".join(fixed.done)
    assert mends not in rules(fixed.findings)
    assert len(rules(fixed.findings)) < len(rules(lint_sheet(broken)))
    assert worst(fixed.findings) != "error"
    assert broken.sha256 == before
    assert {p.element for p in fixed.sheet.panels} == {p.element for p in broken.panels}


def test_another_shape_is_a_new_layout():
    """Red: a sheet for one size cannot be carried to another."""
    fixed = fix(sheet(), output=(448, 768))
    assert fixed.sheet.image.size == (896, 1536)
    assert fixed.sheet.output == (448, 768)
    assert "S03" not in rules(fixed.findings)
    scales = [p.sources[0].scale for p in fixed.sheet.panels]
    assert all(scale != 1.0 for scale in scales)  # what was enlarged is known to be


def test_text_inside_a_picture_is_filled(tmp_path):
    """Red: the caption stays on the mended sheet, or more than the caption is lost."""
    subject = sheet()
    box = Box(200, 600, 90, 24)
    clean = subject.image.copy()
    ImageDraw.Draw(subject.image).rectangle((box.x, box.y, box.right - 1, box.bottom - 1), fill="yellow")

    class Once(Reader):
        """Sees the caption as long as it is there."""

        def read(self, image: Image.Image) -> list[TextLine]:
            seen = image.getpixel((box.x + 40, box.y + 10)) == (255, 255, 0)
            return [TextLine("CAPTION", 0.95, box)] if seen else []

    fixed = fix(subject, readers=Readers(text=Once()))
    assert "took text off in 1 place" in fixed.done[0]
    assert "S02" not in rules(fixed.findings)
    difference = np.abs(np.asarray(fixed.sheet.image, int) - np.asarray(clean, int)).max(axis=2)
    assert difference.max() < 40  # a smooth picture is nearly restored
    difference[box.y - 4 : box.bottom + 4, box.x - 4 : box.right + 4] = 0
    assert not difference.any()
    fixed.sheet.save(tmp_path / "mended.png")
    assert Sheet.load(tmp_path / "mended.png").panels == subject.panels


def test_a_bare_collage_on_white_becomes_a_sheet():
    """Red: collages made elsewhere cannot be mended because they have no manifest."""
    image = Image.new("RGB", (1000, 1000), "white")
    for i in range(4):
        image.paste(textured((470, 470), 20 + i), (20 + 490 * (i % 2), 20 + 490 * (i // 2)))
    bare = Sheet(image, output=image.size)
    assert {"S01", "S03"} <= rules(lint_sheet(bare))
    fixed = fix(bare)
    assert fixed.sheet.panels == ()
    assert fixed.sheet.image.size == (1536, 896)
    assert not {"S01", "S03"} & rules(fixed.findings)


def test_what_needs_new_pictures_is_left():
    """Red: `--fix` claims to have mended what it cannot, or makes a good sheet anew."""
    good = fix(sheet())
    assert (good.done, good.findings) == ((), ())
    assert good.sheet.sha256 == sheet().sha256
    small = dataclasses.replace(PANELS[2], sources=(dataclasses.replace(PANELS[2].sources[0], scale=2.0),))
    left = fix(sheet((*PANELS[:2], small, PANELS[3])))
    assert left.done == ()
    assert rules(left.findings) == {"S16"}
    flat = fix(Sheet(textured((1000, 1000), 3), output=(1000, 1000)))
    assert flat.done == ()
    assert flat.left == ("the layout stays: the picture cannot be taken apart",)
    assert "S03" in rules(flat.findings)


FINDINGS = [
    Finding("S16", "warning", "lamp <img src=x> & more", 'use "larger" pictures', LAMP, "lamp"),
    Finding("S11", "error", "no face", "give one", None, "mara"),
    Finding("S12", "info", "a back", "leave it out", ROW, "mara"),
]


class Page(HTMLParser):
    """Tags, attributes and text of a page; complains of tags that do not close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += data


def test_the_report_shows_every_finding_and_nothing_from_elsewhere():
    """Red: the report needs a network, breaks on a strange name, or hides a finding."""
    text = report(sheet(), FINDINGS, title="<b>sheet</b>.png", done=["S01: <done>"])
    page = Page(text)
    assert page.open == []
    targets = [value for _, name, value in page.attributes if name in ("src", "href")]
    assert all(value.startswith(("#", "data:image/jpeg;base64,")) for value in targets)
    assert not re.search(r"<script|url\(|@import|https?:", text)
    (picture,) = [value for value in targets if value.startswith("data:")]
    image = Image.open(io.BytesIO(base64.b64decode(picture.split(",")[1])))
    assert image.size == (1536, 896)
    for finding in FINDINGS:
        assert finding.message in page.words
        assert finding.remedy in page.words
    assert page.words.index("S11 error") < page.words.index("S16 warning") < page.words.index("S12 info")
    assert "1 error, 1 warning, 1 info" in page.words
    assert "S01: <done>" in page.words
    ids = {value for _, name, value in page.attributes if name == "id"}
    assert {value[1:] for value in targets if value.startswith("#")} <= ids
    drawn = {(n, v) for tag, n, v in page.attributes if tag == "rect" and n in ("x", "width")}
    assert {("x", str(LAMP.x)), ("width", str(ROW.w))} <= drawn
    assert "All checks passed." in report(sheet(), [], title="good")


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(one) for one in arguments])
    return int(end.value.code or 0)


def test_the_command_mends_reports_and_never_overwrites(tmp_path, capsys):
    """Red: `--fix` replaces a file that it was not told to, or its exit code tells of the old sheet."""
    png, _ = on_white(sheet()).save(tmp_path / "white.png")
    before = png.read_bytes()
    out, page = tmp_path / "mended.png", tmp_path / "mended.html"
    assert run("lint", png, "--no-look") == 2
    assert run("lint", png, "--no-look", "--fix", out, "--report", page) == 0
    told = capsys.readouterr()
    assert "S01: blackened" in told.err
    assert str(out) in told.out
    assert png.read_bytes() == before
    assert Sheet.load(out).panels == PANELS
    assert "S01: blackened" in page.read_text(encoding="utf-8")
    assert run("lint", png, "--no-look", "--fix", png) == 2
    assert "is an input of this run" in capsys.readouterr().err
    assert png.read_bytes() == before
    assert run("lint", png, "--no-look", "--fix", png, "--overwrite") == 0
    assert png.read_bytes() != before
    capsys.readouterr()
    assert run("lint", out, "--no-look", "--json") == 0
    assert json.loads(capsys.readouterr().out)["fixed"] == []


def test_the_command_reads_workflows(tmp_path, capsys):
    """Red: a ComfyUI graph is refused as a damaged sheet, or a leaking one passes."""
    graph = {
        "1": {"class_type": "LTXVAddGuide", "inputs": {}},
        "2": {"class_type": "VAEDecode", "inputs": {"samples": ["1", 0]}},
    }
    path = tmp_path / "graph.json"
    path.write_text(json.dumps(graph), encoding="utf-8")
    assert run("lint", path) == 2
    assert "LTXVCropGuides" in capsys.readouterr().out
    path.write_text("[1", encoding="utf-8")
    assert run("lint", path) == 2
    assert "error:" in capsys.readouterr().err


def test_the_command_splits(tmp_path, capsys):
    """Red: `castsheet split` writes nothing, or names pictures that nobody labelled."""
    bare = tmp_path / "row.png"
    image = Image.new("RGB", (900, 400), "white")
    for i in range(3):
        image.paste(textured((260, 360), 40 + i), (20 + 290 * i, 20))
    image.save(bare)
    assert run("split", bare, "-o", tmp_path / "views", "--no-look") == 0
    assert "3 pictures, 0 of them named" in capsys.readouterr().err
    assert len(list((tmp_path / "views").glob("*.png"))) == 3


def test_the_fixtures_are_what_they_seem():
    """Red: the sheets above trip other rules than the one that they are made for."""
    assert lint_sheet(sheet()) == []
    assert (CLOSE.area, QUAY.w, len(NOTES)) == (376 * 440, 1536, 3)
