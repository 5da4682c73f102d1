"""The manifest: what is saved comes back, what contradicts itself is refused, and the model's view of it."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from castsheet.errors import ImageError, OutputError, SheetError
from castsheet.sheet.box import Box
from castsheet.sheet.manifest import ElementNote, Panel, PictureSource, Sheet

WORDS = st.text(max_size=30)
SIDES = st.lists(st.sampled_from(["left", "top", "right", "bottom"]), unique=True).map(tuple)
SHARES = st.floats(0, 1)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)


def noise(width: int = 64, height: int = 48, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def sheet(**changes: object) -> Sheet:
    values: dict = {
        "image": noise(),
        "panels": (
            Panel("ann", "character", "face", Box(0, 0, 20, 20), (PictureSource("ann.png", "0" * 64, 0.5),)),
            Panel("sea", "location", "place", Box(24, 0, 40, 48)),
        ),
        "elements": (
            ElementNote("ann", "character", "Ann, tall"),
            ElementNote("sea", "location", "the sea", 0.5),
        ),
        "output": (32, 24),
        "layout": {"grid": 32},
    }
    return Sheet(**(values | changes))


@st.composite
def sheets(draw: st.DrawFn) -> Sheet:
    width, height = draw(st.integers(16, 80)), draw(st.integers(16, 80))
    ids = draw(st.lists(st.from_regex(r"[a-z][a-z0-9_-]{0,8}", fullmatch=True), unique=True, max_size=4))
    views = {"character": ("face", "turnaround"), "prop": ("product",), "location": ("place",)}
    notes, panels = [], []
    for number, name in enumerate(ids):
        kind = draw(st.sampled_from(list(views)))
        notes.append(ElementNote(name, kind, draw(WORDS), draw(st.floats(0.01, 100))))
        sources = st.builds(PictureSource, WORDS, WORDS, st.floats(0.001, 100), SHARES, SIDES)
        # Columns of four px each, so that nothing overlaps.
        box = Box(4 * number, draw(st.integers(0, 8)), draw(st.integers(1, 4)), draw(st.integers(1, 8)))
        some = tuple(draw(st.lists(sources, max_size=2)))
        panels.append(Panel(name, kind, draw(st.sampled_from(views[kind])), box, some))
    return Sheet(
        noise(width, height, draw(st.integers(0, 99))),
        tuple(panels),
        tuple(notes),
        (draw(st.integers(1, 4096)), draw(st.integers(1, 4096))),
        draw(st.dictionaries(WORDS, JSON, max_size=4)),
    )


@settings(max_examples=50, deadline=None)
@given(sheets())
def test_save_and_load_give_the_same_sheet(original: Sheet) -> None:
    """Red: something that a sheet knows is lost or altered on disk."""
    with TemporaryDirectory() as folder:
        png, manifest = original.save(Path(folder) / "sheet.png")
        for path in (png, manifest):
            loaded = Sheet.load(path)
            assert loaded == original
            assert loaded.path == png
        first = manifest.read_bytes()
        loaded.save(png)
        assert manifest.read_bytes() == first


def test_bare_pictures_are_sheets_without_knowledge(tmp_path: Path) -> None:
    """Red: a sheet made by another tool cannot be used, or its transparent parts turn white."""
    rgba = noise().convert("RGBA")
    rgba.putalpha(0)
    for name in ("bare.png", "bare.webp"):
        rgba.save(tmp_path / name)
        loaded = Sheet.load(tmp_path / name)
        assert loaded.panels == loaded.elements == ()
        assert loaded.output == (64, 48)
        assert loaded.image.mode == "RGB"
        assert loaded.image.getextrema() == ((0, 0),) * 3


def test_a_changed_picture_is_noticed(tmp_path: Path) -> None:
    """Red: boxes and hashes are trusted for pixels that they do not describe."""
    png, _ = sheet().save(tmp_path / "s.png")
    noise(seed=1).save(png)
    with pytest.raises(SheetError, match="the image no longer matches"):
        Sheet.load(png)
    noise(96, 48).save(png)
    with pytest.raises(SheetError, match="the image no longer matches"):
        Sheet.load(png)


def test_recompressing_the_same_pixels_is_no_change(tmp_path: Path) -> None:
    """Red: an image optimiser makes a sheet unreadable though no pixel changed."""
    png, _ = sheet().save(tmp_path / "s.png")
    Image.open(png).copy().save(png, compress_level=0)
    assert Sheet.load(png) == sheet()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"panels": (Panel("bob", "prop", "product", Box(0, 0, 9, 9)),)}, "'bob' is not among"),
        ({"panels": (Panel("ann", "prop", "product", Box(0, 0, 9, 9)),)}, "kind 'prop'"),
        ({"panels": (Panel("ann", "character", "face", Box(60, 0, 9, 9)),)}, "outside the 64x48"),
        ({"panels": (Panel("ann", "character", "face", Box(-1, 0, 9, 9)),)}, "outside the 64x48"),
        ({"panels": (Panel("ann", "character", "face", Box(0, 0, 0, 9)),)}, "empty or lies outside"),
        ({"panels": (Panel("sea", "location", "place", Box(0, 0, 9, 9)),) * 2}, "overlaps the place panel"),
        ({"elements": (ElementNote("ann", "character", ""),) * 2, "panels": ()}, "'ann' is listed twice"),
        ({"output": (0, 24)}, "not a size"),
    ],
)
def test_contradictions_are_refused(tmp_path: Path, change: dict, what: str) -> None:
    """Red: a sheet whose boxes lie is written or read, and every later step works on wrong pixels."""
    broken = sheet(**change)
    with pytest.raises(SheetError, match=what):
        broken.save(tmp_path / "s.png")
    assert not list(tmp_path.iterdir())
    _, manifest = sheet().save(tmp_path / "s.png")
    document = json.loads(manifest.read_text())
    other = json.loads(json.dumps({key: _plain(value) for key, value in change.items()}))
    manifest.write_text(json.dumps(document | other))
    with pytest.raises(SheetError, match=what) as caught:
        Sheet.load(manifest)
    assert caught.value.remedy


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return {key: _plain(item) for key, item in vars(value).items()} if hasattr(value, "__dict__") else value


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        ("\x00\xff", "not UTF-8"),
        ("[" * 100_000, "60 levels"),
        ("[]", "no `version`"),
        ('{"fps": 24}', "no `version`"),
        ('{"version": 2}', "version: 2"),
        ('{"version": 1}', "field image"),
    ],
)
def test_damaged_json_is_refused(tmp_path: Path, text: str, what: str) -> None:
    """Red: a traceback, or a half-read manifest, instead of a sentence."""
    png, manifest = sheet().save(tmp_path / "s.png")
    manifest.write_text(text, encoding="latin-1")
    for path in (png, manifest):
        with pytest.raises(SheetError, match=what):
            Sheet.load(path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("output", [1]),
        ("panels", [{"element": "ann"}]),
        (
            "panels",
            [{"element": "ann", "kind": "dog", "view": "face", "box": {"x": 0, "y": 0, "w": 1, "h": 1}}],
        ),
        ("elements", "ann"),
        ("layout", []),
        ("image", {"width": 64, "height": 48}),
    ],
)
def test_wrong_fields_are_named(tmp_path: Path, field: str, value: object) -> None:
    """Red: a hand-edited manifest fails without saying where."""
    png, manifest = sheet().save(tmp_path / "s.png")
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {field: value}))
    with pytest.raises(SheetError, match=f"field {field}"):
        Sheet.load(png)


def test_missing_files_are_named(tmp_path: Path) -> None:
    """Red: a wrong path gives a traceback."""
    with pytest.raises(SheetError, match="no such file"):
        Sheet.load(tmp_path / "s.json")
    with pytest.raises(ImageError, match="does not exist"):
        Sheet.load(tmp_path / "s.png")
    png, manifest = sheet().save(tmp_path / "s.png")
    png.unlink()
    with pytest.raises(SheetError, match=r"its picture s\.png is missing"):
        Sheet.load(manifest)


def test_nothing_half_written(tmp_path: Path) -> None:
    """Red: a failed save leaves a torn sheet or temporary files behind."""
    with pytest.raises(SheetError, match=r"saved as \.png"):
        sheet().save(tmp_path / "s.jpg")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        sheet().save(tmp_path / "file" / "s.png")
    # A folder in the JSON's place: a picture without its JSON would pass for a bare sheet, so nothing is
    # written.
    (tmp_path / "s.json").mkdir()
    with pytest.raises(OutputError):
        sheet().save(tmp_path / "s.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "s.json"]


def test_panels_of_an_element() -> None:
    """Red: per-element strength or scores look at another element's pixels."""
    assert [panel.view for panel in sheet().panels_of("ann")] == ["face"]
    assert sheet().panels_of("bob") == ()


def test_conditioning_image_halves_by_averaging() -> None:
    """Red: the model sees other pixels than the official resize gives (bilinear, pixel centres aligned)."""
    pixels = np.asarray(sheet().image, dtype=np.float64)
    mean = pixels.reshape(24, 2, 32, 2, 3).mean(axis=(1, 3))
    seen = np.asarray(sheet().conditioning_image(32, 24), dtype=np.float64)
    assert np.abs(seen - mean).max() <= 0.5


@pytest.mark.parametrize(
    ("size", "target"), [((300, 200), (50, 50)), ((97, 61), (48, 32)), ((64, 90), (96, 96))]
)
def test_a_box_is_where_its_pixels_are_seen(size: tuple[int, int], target: tuple[int, int]) -> None:
    """Red: strengths, checks or the judge look for a panel beside where the model sees it."""
    box = Box(size[0] // 3, size[1] // 4, size[0] // 3, size[1] // 2)
    image = Image.new("RGB", size)
    image.paste((255, 255, 255), (box.x, box.y, box.right, box.bottom))
    bare = Sheet(image)
    levels = np.asarray(bare.conditioning_image(*target))[..., 0] / 255
    left, top, right, bottom = bare.seen(box, target)
    # A white box covers as much of its middle row and column as it is long.
    middle = levels[round((top + bottom) / 2)].sum(), levels[:, round((left + right) / 2)].sum()
    assert middle == pytest.approx((right - left, bottom - top), abs=0.51)
    lit = np.flatnonzero(levels[round((top + bottom) / 2)] > 0.5)
    assert (lit[0], lit[-1] + 1) == pytest.approx((left, right), abs=0.51)


def test_conditioning_image_fills_and_crops_the_centre() -> None:
    """Red: a sheet of another shape is stretched or letterboxed, or cropped at one side."""
    wide = Image.new("RGB", (300, 100), "red")
    wide.paste("lime", (100, 0, 200, 100))
    assert wide.size == (300, 100)
    seen = Sheet(wide).conditioning_image(50, 50)
    assert seen.size == (50, 50)
    assert seen.getextrema() == ((0, 0), (255, 255), (0, 0))
    enlarged = np.asarray(Sheet(wide).conditioning_image(600, 200))
    # Between two pixel centres the weights go 1/4, 3/4 when doubling.
    assert enlarged[0, 198:202, 1].tolist() == [0, 64, 191, 255]
    assert enlarged.shape == (200, 600, 3)
