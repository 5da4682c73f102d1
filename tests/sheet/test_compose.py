"""Composing: what is on the sheet, where it came from, and what is left of each picture."""

from __future__ import annotations

import dataclasses
import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from castsheet.elements import Character, Location, Prop
from castsheet.errors import ImageError, LayoutError, SheetError
from castsheet.lint.panels import lint_sheet
from castsheet.machine.files import sha256
from castsheet.sheet.compose import compose
from castsheet.sheet.look.tools import Tools
from castsheet.sheet.manifest import Sheet
from castsheet.sheet.plan.layout import MAX_CROP
from castsheet.sheet.preview import preview, save_preview
from castsheet.sheet.sources import artworks, open_picture
from tests.doubles.composed import one, panel, pixels, save
from tests.doubles.drawn import face, figure, place, scene, thing

MINI = {"output": (192, 112), "grid": 16}


@pytest.mark.parametrize(
    ("cast", "canvas", "size"),
    [
        ((1, 1, 1), {}, (1536, 896)),
        ((2, 2, 1), {}, (1536, 896)),
        ((1, 1, 1), MINI, (384, 224)),
        ((1, 0, 1), {"output": (448, 768), "scale": 1}, (448, 768)),
    ],
)
def test_panels_hold_everything_and_the_rest_is_black(
    tmp_path: Path, cast: tuple[int, int, int], canvas: dict, size: tuple[int, int]
) -> None:
    """Red: light gutters, text or stray pixels, a panel lost or left empty."""
    characters, props, locations = cast
    given = scene(tmp_path, characters=characters, props=props, locations=locations)
    sheet = compose(given, **canvas)
    assert sheet.image.mode == "RGB"
    assert sheet.image.size == size
    assert len(sheet.panels) == 2 * characters + props + locations
    left = np.asarray(sheet.image).copy()
    for shown in sheet.panels:
        box = shown.box
        # Pictures are trimmed to what they show, so every side of the box has something on it.
        inside = pixels(sheet, box).max(axis=2) > 8
        assert inside[0].any()
        assert inside[-1].any()
        assert inside[:, :2].any()
        assert inside[:, -2:].any()
        left[box.y : box.bottom, box.x : box.right] = 0
    assert left.max() == 0
    assert [note.id for note in sheet.elements] == [element.id for element in given.elements]
    assert sheet.output == canvas.get("output", (768, 448))
    assert sheet.layout["grid"] == canvas.get("grid", 32)
    assert len(sheet.layout["cells"]) == len(sheet.panels)


def test_same_scene_same_sheet_and_back_from_disk(tmp_path: Path) -> None:
    """Red: composing twice gives different bytes, or what was composed cannot be loaded."""
    given = scene(tmp_path)
    first = compose(given)
    assert first == compose(given)
    png, _ = first.save(tmp_path / "sheet.png")
    assert Sheet.load(png) == first


def test_sources_are_remembered(tmp_path: Path) -> None:
    """Red: nobody can tell from which file, at which scale, a panel was made."""
    given = scene(tmp_path)
    sheet = compose(given)
    turnaround = panel(sheet, "c0", "turnaround")
    assert [Path(source.path).name for source in turnaround.sources] == [
        f"c0-{view}.png" for view in ("front", "three-quarter", "side", "back")
    ]
    for shown in sheet.panels:
        for source in shown.sources:
            assert source.sha256 == sha256(Path(source.path))
    # Four figures from one canvas share one scale, and stand as high as the panel.
    figure_height = figure().getbbox()[3] - figure().getbbox()[1]
    for source in turnaround.sources:
        assert source.scale == pytest.approx(turnaround.box.h / figure_height, rel=0.02)
        assert source.crop == 0


def stripes(height: int, width: int = 60, margin: int = 20) -> Image.Image:
    """A free figure with a red top edge, a green body and a blue bottom edge."""
    image = Image.new("RGBA", (width + 2 * margin, height + 2 * margin))
    image.paste("lime", (margin, margin, margin + width, margin + height))
    image.paste("red", (margin, margin, margin + width, margin + height // 10))
    image.paste("blue", (margin, margin + height - height // 10, margin + width, margin + height))
    return image


@pytest.mark.parametrize("heights", [(300, 300), (300, 240), (500, 250)], ids=str)
def test_figures_are_whole_and_stand_on_one_line(tmp_path: Path, heights: tuple[int, int]) -> None:
    """Red: heads or feet are cut off, or a person changes size between views."""
    images = {
        view: [save(stripes(height), tmp_path / f"{view}.png")]
        for view, height in zip(("front", "back"), heights, strict=True)
    }
    sheet = compose(one(Character(id="ann", description="", images=images)))
    shown = panel(sheet, "ann", "turnaround")
    body = pixels(sheet, shown.box)
    for part in (body[:, : shown.box.w // 3], body[:, -shown.box.w // 3 :]):
        middle = part[:, part.shape[1] // 2]
        assert (middle[2] - [255, 0, 0] == 0).all()
        assert (middle[-3] - [0, 0, 255] == 0).all()


def test_pictures_of_one_canvas_keep_their_sizes(tmp_path: Path) -> None:
    """Red: a crouching view is blown up to the height of the standing one."""
    tall, low = stripes(400), Image.new("RGBA", (100, 440))
    low.paste(stripes(200, margin=0), (20, 220))
    images = {"front": [save(tall, tmp_path / "t.png")], "side": [save(low, tmp_path / "l.png")]}
    sheet = compose(one(Character(id="ann", description="", images=images)))
    first, second = panel(sheet, "ann", "turnaround").sources
    assert first.scale == pytest.approx(second.scale, rel=0.02)


def test_the_head_is_taken_from_the_figure(tmp_path: Path) -> None:
    """Red: a character without a face picture has no close-up, or its close-up misses the head."""
    front = save(figure(size=(600, 1200)), tmp_path / "f.png")
    sheet = compose(one(Character(id="ann", description="", images={"front": [front]})))
    close = panel(sheet, "ann", "face")
    assert close.sources[0].crop == pytest.approx(0.75, abs=0.01)
    seen = pixels(sheet, close.box)
    hair, skin, coat = (0x60, 0x40, 0x20), (0xE0, 0xB0, 0x90), (0xC0, 0x30, 0x30)
    centre = seen[:, seen.shape[1] // 2]
    for colour in (hair, skin, coat):
        assert (np.abs(centre - colour).max(axis=1) < 12).any()
    # The three-quarter view does where there is no front; a back view shows no face.
    turned = {"three-quarter": [front]}
    assert panel(compose(one(Character(id="ann", description="", images=turned))), "ann", "face")
    behind = compose(one(Character(id="ann", description="", images={"back": [front]})))
    assert [shown.view for shown in behind.panels] == ["turnaround"]


def test_black_is_as_good_as_transparent_but_other_backgrounds_stay(tmp_path: Path) -> None:
    """Red: renders on black get wide margins, or a photo's background is mistaken for nothing."""
    cut_out = figure(size=(600, 1200))
    for name, colour in (("black", "black"), ("white", "white")):
        photo = Image.new("RGB", cut_out.size, colour)
        photo.paste(cut_out, mask=cut_out.getchannel("A"))
        photo.save(tmp_path / f"{name}.jpg", quality=90)
    free = compose(
        one(Character(id="ann", description="", images={"front": [save(cut_out, tmp_path / "cut.png")]}))
    )
    black = compose(one(Character(id="ann", description="", images={"front": [tmp_path / "black.jpg"]})))
    for one_panel, other in zip(free.panels, black.panels, strict=True):
        sides = zip(dataclasses.astuple(one_panel.box), dataclasses.astuple(other.box), strict=True)
        assert all(abs(a - b) <= 12 for a, b in sides)
    white = compose(one(Character(id="ann", description="", images={"front": [tmp_path / "white.jpg"]})))
    (whole,) = white.panels
    assert whole.view == "turnaround"
    assert whole.box.w / whole.box.h == pytest.approx(0.5, abs=0.01)


def test_clipped_sides_are_told(tmp_path: Path) -> None:
    """Red: a figure whose feet the photo cut off passes as whole, or a trimmed one as cut off."""
    whole = figure()
    cut = whole.crop((0, 0, 300, 480))
    trimmed = whole.crop(whole.getbbox())
    for image, clipped in ((whole, ()), (cut, ("bottom",)), (trimmed, ())):
        images = {"front": [save(image, tmp_path / "f.png")]}
        sheet = compose(one(Character(id="ann", description="", images=images)))
        assert panel(sheet, "ann", "turnaround").sources[0].clipped == clipped
        # The feet are not in the close-up, so their loss is not its fault.
        assert panel(sheet, "ann", "face").sources[0].clipped == ()


def test_a_location_is_cropped_within_the_limit_and_centred(tmp_path: Path) -> None:
    """Red: a location is stretched, or loses more than is allowed, or its middle."""
    wide = place(size=(1600, 400))
    wide.paste("red", (780, 180, 820, 220))
    sheet = compose(
        one(
            Character(id="ann", description="", images={"face": [save(face(), tmp_path / "f.png")]}),
            Location(id="sea", description="", images=[save(wide, tmp_path / "l.png")]),
        )
    )
    shown = panel(sheet, "sea", "place")
    (source,) = shown.sources
    assert 0 < source.crop <= MAX_CROP + 0.01
    seen = pixels(sheet, shown.box)
    rows, columns = np.nonzero(np.abs(seen - (255, 0, 0)).max(axis=2) < 30)
    assert (rows.mean(), columns.mean()) == pytest.approx((shown.box.h / 2, shown.box.w / 2), abs=2)
    assert np.ptp(columns) == pytest.approx(np.ptp(rows), abs=2)


def test_props_show_all_their_pictures_and_leftovers_are_listed(tmp_path: Path) -> None:
    """Red: pictures that a user gave vanish without a word."""
    things = [save(thing(colour=colour), tmp_path / f"{colour}.png") for colour in ("red", "lime", "blue")]
    places = [save(place(), tmp_path / f"l{number}.png") for number in range(2)]
    faces = [save(face(), tmp_path / f"f{number}.png") for number in range(2)]
    sheet = compose(
        one(
            Character(id="ann", description="", images={"face": faces, "detail": things[:1]}),
            Prop(id="ball", description="", images=things),
            Location(id="sea", description="", images=places),
        )
    )
    shown = panel(sheet, "ball", "product")
    assert [Path(source.path).stem for source in shown.sources] == ["red", "lime", "blue"]
    seen = pixels(sheet, shown.box)
    thirds = [seen[:, k * seen.shape[1] // 3 : (k + 1) * seen.shape[1] // 3] for k in range(3)]
    for third, colour in zip(thirds, np.eye(3, dtype=int) * 255, strict=True):
        assert (np.abs(third - colour).max(axis=2) == 0).mean() > 0.4
    assert sorted(Path(path).name for path in sheet.layout["unused"]) == ["f1.png", "l1.png", "red.png"]


def test_a_turnaround_of_four_wraps_at_one_scale(tmp_path: Path) -> None:
    """Red: two rows of figures differ in scale, lose one, or overlap."""
    images = {
        view: [save(figure(view), tmp_path / f"{view}.png")]
        for view in ("front", "three-quarter", "side", "back")
    }
    shapes = artworks(
        Character(id="ann", description="", images=images),
        {path: open_picture(path, free=True) for (path,) in images.values()},
    )["turnaround"]
    row, wrapped = shapes
    assert wrapped.width < row.width
    assert wrapped.height == pytest.approx(2 * row.height, rel=0.05)
    assert [piece.h for piece in wrapped.pieces] == [piece.h for piece in row.pieces]
    corners = [(p.x, p.y, p.x + p.w, p.y + p.h) for p in wrapped.pieces]
    for a, b in itertools.combinations(corners, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
    # A sheet with room for a square, but not for a row, shows them wrapped, all four.
    sheet = compose(one(Character(id="ann", description="", images=images)), output=(448, 768))
    assert len(panel(sheet, "ann", "turnaround").sources) == 4


def test_pinned_panels_are_where_the_scene_says(tmp_path: Path) -> None:
    """Red: a scene's `layout` setting is ignored, or a mistake in it goes unnoticed."""
    given = scene(tmp_path)
    pinned = given.model_copy(update={"settings": {"layout": {"pin": {"c0/face": [0.5, 0.5, 0.5, 0.5]}}}})
    sheet = compose(pinned)
    box = panel(sheet, "c0", "face").box
    assert box.x >= 768
    assert box.y >= 448
    assert sheet.layout["pinned"] == ["c0/face"]
    wrong = given.model_copy(update={"settings": {"layout": {"pin": {"c0/product": [0, 0, 9, 9]}}}})
    with pytest.raises(LayoutError, match="no panel of this scene") as caught:
        compose(wrong)
    assert "c0/face" in caught.value.remedy


def test_small_pictures_are_not_blown_up(tmp_path: Path) -> None:
    """Red: the planner makes what the lint rule S16 then complains of."""
    small = save(thing(size=(120, 120)), tmp_path / "s.png")
    given = scene(tmp_path, props=0)
    sheet = compose(one(*given.elements, Prop(id="pin", description="", images=[small])))
    assert panel(sheet, "pin", "product").sources[0].scale <= 1.5 + 0.02
    assert not [found for found in lint_sheet(sheet) if found.rule == "S16" and found.element == "pin"]


def test_large_pictures_are_reduced_and_kept(tmp_path: Path) -> None:
    """Red: the second sheet of a cast is as slow as the first, or differs, or a damaged cache kills."""
    images = {"front": [save(figure(size=(1500, 3000)), tmp_path / "f.png")]}
    given, cache = one(Character(id="ann", description="", images=images)), tmp_path / "cache"
    plain, cold = (
        compose(given, output=(384, 224)),
        compose(given, output=(384, 224), tools=Tools(cache=cache)),
    )
    (entry,) = (cache / "pictures").iterdir()
    assert plain == cold == compose(given, output=(384, 224), tools=Tools(cache=cache))
    # The scale counts pixels of the picture that the user gave.
    source = panel(cold, "ann", "turnaround").sources[0]
    assert source.scale == pytest.approx(448 / 2700, rel=0.05)
    entry.write_bytes(entry.read_bytes()[:99])
    assert compose(given, output=(384, 224), tools=Tools(cache=cache)) == plain
    assert entry.stat().st_size > 99


def test_a_preview_names_panels_outside_the_sheet(tmp_path: Path) -> None:
    """Red: words are written into the picture that the model sees, or a panel has no name."""
    sheet = compose(scene(tmp_path))
    page = preview(sheet)
    assert page.size == (sheet.image.width, 2 * sheet.image.height)
    assert (np.asarray(page)[: sheet.image.height] == np.asarray(sheet.image)).all()
    for shown in sheet.panels:
        box = shown.box
        below = page.crop((box.x, box.y + sheet.image.height, box.right, box.bottom + sheet.image.height))
        assert np.asarray(below.convert("L")).min() < 64
    assert save_preview(sheet, tmp_path / "preview.png").is_file()
    with pytest.raises(SheetError, match=r"saved as \.png"):
        save_preview(sheet, tmp_path / "preview.jpg")


def test_pictures_that_cannot_be_shown_are_named(tmp_path: Path) -> None:
    """Red: an empty or missing picture, or too large a cast, ends in a traceback or an empty panel."""
    empty = save(Image.new("RGBA", (64, 64)), tmp_path / "empty.png")
    for path, what in ((empty, "empty"), (tmp_path / "none.png", "does not exist")):
        with pytest.raises(ImageError, match=what):
            compose(one(Prop(id="p", description="", images=[path])))
    dot = save(thing(), tmp_path / "p.png")
    crowd = [Prop(id=f"p{number}", description="", images=[dot]) for number in range(13)]
    with pytest.raises(LayoutError, match="13 panels"):
        compose(one(*crowd))


def test_sheets_need_no_torch() -> None:
    """Red: making a sheet costs seconds of imports, or fails on a machine without torch."""
    code = "import sys, castsheet.sheet.compose; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
