"""Scenes: YAML equals Python, mistakes are named. Pictures: every usual format becomes upright RGBA."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from castsheet.elements import Character, Location, Prop, Scene
from castsheet.errors import CastsheetError, ImageError, SceneError
from castsheet.media.pictures import load_image
from castsheet.sheet.compose import compose
from castsheet.sheet.manifest import Sheet

YAML = """\
title: A walk
elements:
- kind: character
  id: ann
  description: a tall woman
  importance: 2
  images: {face: a.png, front: [a.png, sub/b.png]}
- {kind: prop, id: hat, description: a hat, images: [a.png]}
- {kind: location, id: sea, description: the sea, images: a.png}
action: ann walks
settings: {seed: 3}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    for name in ("a.png", "sub/b.png"):
        Image.new("RGB", (32, 32), "red").save(tmp_path / name)
    (tmp_path / "scene.yaml").write_text(YAML)
    return tmp_path


def python_scene(folder: Path) -> Scene:
    a, b = folder / "a.png", folder / "sub" / "b.png"
    ann = Character(id="ann", description="a tall woman", importance=2, images={"front": [a, b], "face": [a]})
    hat = Prop(id="hat", description="a hat", images=[a])
    sea = Location(id="sea", description="the sea", images=a)
    return Scene(title="A walk", elements=(ann, hat, sea), action="ann walks", settings={"seed": 3})


def test_yaml_equals_python(folder: Path) -> None:
    """Red: the two ways to describe a scene mean different things."""
    loaded = Scene.load(folder / "scene.yaml")
    assert loaded == python_scene(folder)
    assert loaded.elements[0].images["front"] == (folder / "a.png", folder / "sub" / "b.png")
    assert loaded.elements[1].images == {"front": (folder / "a.png",)}


def test_a_puppet_stays_a_puppet_from_scene_to_sheet(folder: Path) -> None:
    """Red: a scene's robot is a person again on the sheet, where the judge reads it."""
    scene = python_scene(folder)
    fox = scene.elements[0].model_copy(update={"human": False})
    changed = scene.model_copy(update={"elements": (fox, *scene.elements[1:])})
    again = Scene.load(changed.save(folder / "f.yaml"))
    assert isinstance(again.elements[0], Character)
    assert not again.elements[0].human
    compose(again).save(folder / "sheet.png")
    assert [one.human for one in Sheet.load(folder / "sheet.png").elements] == [False, True, True]
    assert "human" not in scene.save(folder / "g.yaml").read_text()


def test_save_and_load_give_the_same_scene(folder: Path) -> None:
    """Red: a saved scene loses a field or its pictures, or stores paths of this machine."""
    scene = python_scene(folder)
    for target in (folder / "copy.yaml", folder / "sub" / "copy.yaml"):
        scene.save(target)
        assert str(folder) not in target.read_text()
        again = Scene.load(target)
        images = [
            path.resolve()
            for element in again.elements
            for paths in element.images.values()
            for path in paths
        ]
        wanted = [
            path.resolve()
            for element in scene.elements
            for paths in element.images.values()
            for path in paths
        ]
        assert images == wanted
        assert [e.id for e in again.elements] == ["ann", "hat", "sea"]
    assert Scene.load(folder / "copy.yaml") == scene


def test_relative_paths_do_not_depend_on_where_the_program_runs(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Red: a scene loads only from its own folder."""
    monkeypatch.chdir(folder.parent)
    loaded = Scene.load(Path(folder.name) / "scene.yaml")
    assert loaded.elements[1].images["front"] == (Path(folder.name) / "a.png",)


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("id: hat", "id: ann", r"field elements: the id 'ann' is used 2 times"),
        ("id: hat", "id: Hat", r"elements\[1\] prop 'Hat': field id"),
        ("id: hat, ", "", r"elements\[1\] prop: field id"),
        ("face: a.png", "face: nose.png", r"character 'ann': field images\.face: there is no file nose\.png"),
        ("face: a.png", "face: sub", r"field images\.face: there is no file sub"),
        ("face: a.png", "face: " + "x" * 400, r"field images\.face: there is no file"),
        ("face: a.png", "nose: a.png", r"character 'ann': field images\.nose"),
        ("face: a.png", "face: 7", r"field images\.face"),
        ("{face: a.png, front: [a.png, sub/b.png]}", "{}", "field images: no picture"),
        ("{face: a.png, front: [a.png, sub/b.png]}", "{front: []}", "field images: no picture"),
        ("{face: a.png, front: [a.png, sub/b.png]}", "{detail: a.png}", "needs a face or a figure"),
        ("images: a.png", "images: []", "location 'sea': field images: no picture"),
        (", images: a.png", "", "location 'sea': field images"),
        ("importance: 2", "importance: -1", "character 'ann': field importance"),
        ("importance: 2", "importance: 0", "field importance"),
        ("importance: 2", "importance: .nan", "field importance"),
        ("importance: 2", "importance: .inf", "field importance"),
        ("importance: 2", "importance: big", "field importance"),
        ("importance: 2", "height: 2", "field height"),
        ("importance: 2", "human: sometimes", "character 'ann': field human"),
        ("description: a hat,", "description: a hat, human: false,", "prop 'hat': field human"),
        ("kind: prop", "kind: dog", r"elements\[1\] \(hat\): field kind is 'dog'"),
        ("kind: prop, ", "", "field kind is missing"),
        ("kind: prop", "kind: [prop]", "field kind"),
        ("description: a hat", "description: 5", "prop 'hat': field description"),
        ("action: ann walks", "plot: ann walks", "scene: field plot"),
        ("settings: {seed: 3}", "settings: 3", "scene: field settings"),
    ],
)
def test_mistakes_name_file_field_and_remedy(folder: Path, old: str, new: str, what: str) -> None:
    """Red: a mistake in a scene file passes, or is reported without where it is and what to do."""
    path = folder / "scene.yaml"
    assert old in YAML
    path.write_text(YAML.replace(old, new, 1))
    with pytest.raises(SceneError, match=what) as caught:
        Scene.load(path)
    assert caught.value.what.startswith(f"{path}: ")
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "it is empty"),
        ("- a\n- b\n", "it is a list"),
        ("42", "it is a int"),
        ("title: x", "field elements: is missing"),
        ("elements: []", "at least one element"),
        ("elements: ann", "at least one element"),
        ("elements: [5]", r"elements\[0\] is 5, not a mapping"),
        ("elements: [a", "not plain YAML at line 2"),
        ("a: !!python/object/apply:os.getcwd []", "not plain YAML at line 1.*python/object"),
        ("a: !!python/name:os.system", "not plain YAML"),
        ("a: &x [*y]", "not plain YAML"),
        ("\ufeff\x07", "not plain YAML"),
        ("[" * 1500, "more than 60 levels"),
    ],
)
def test_files_that_are_no_scene(folder: Path, text: str, what: str) -> None:
    """Red: such a file gives a traceback, or runs code."""
    path = folder / "scene.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SceneError, match=what) as caught:
        Scene.load(path)
    assert str(path) in caught.value.what


def test_unreadable_files(folder: Path) -> None:
    """Red: a missing or binary file gives a traceback."""
    with pytest.raises(SceneError, match="does not exist"):
        Scene.load(folder / "none.yaml")
    with pytest.raises(SceneError, match="folder"):
        Scene.load(folder)
    with pytest.raises(SceneError, match="UTF-8"):
        Scene.load(folder / "a.png")


def test_python_mistakes_are_scene_errors_too() -> None:
    """Red: Python users get another kind of error than YAML users."""
    with pytest.raises(SceneError, match="character 'Ann': field id"):
        Character(id="Ann", description="", images={"face": "a.png"})
    with pytest.raises(SceneError, match="scene: field elements"):
        Scene(elements=())
    assert issubclass(SceneError, CastsheetError)


def picture(mode: str) -> Image.Image:
    """A red left half and a green right half, as far as the mode can tell them apart."""
    rgb = Image.new("RGB", (48, 32), (200, 30, 30))
    rgb.paste((30, 200, 30), (24, 0, 48, 32))
    return rgb.convert(mode)


@pytest.mark.parametrize(
    ("mode", "suffix", "play"),
    [
        ("RGB", "png", 0),
        ("RGBA", "png", 0),
        ("P", "png", 0),
        ("P", "gif", 0),
        ("L", "png", 0),
        ("LA", "png", 0),
        ("1", "png", 0),
        ("1", "tiff", 0),
        ("RGB", "bmp", 0),
        ("RGB", "tiff", 0),
        ("CMYK", "tiff", 0),
        ("RGB", "jpg", 12),
        ("L", "jpg", 12),
        ("CMYK", "jpg", 12),
        ("RGB", "webp", 12),
        ("RGBA", "webp", 12),
        ("YCbCr", "tiff", 12),
        ("LAB", "tiff", 0),
    ],
)
def test_formats_and_modes(tmp_path: Path, mode: str, suffix: str, play: int) -> None:
    """Red: a usual kind of file is refused or changes its colours."""
    original = Image.new("LAB", (48, 32), (120, 140, 150)) if mode == "LAB" else picture(mode)
    path = tmp_path / f"x.{suffix}"
    if suffix in ("jpg", "webp"):
        original.save(path, quality=95)
    else:
        # TIFFs in YCbCr hold JPEG data; Pillow 12 cannot read the raw ones that it writes.
        original.save(path, compression="jpeg" if mode == "YCbCr" else None)
    loaded = load_image(path)
    assert (loaded.mode, loaded.size) == ("RGBA", (48, 32))
    # Away from the edge between the halves, where lossy formats ring.
    for x in (8, 40):
        wanted, seen = np.array(original.convert("RGB").getpixel((x, 16))), np.array(loaded.getpixel((x, 16)))
        assert np.abs(wanted.astype(int) - seen[:3]).max() <= play
        assert seen[3] == 255


@pytest.mark.parametrize(
    ("values", "suffix"),
    [
        (np.array([0, 32768, 65535], np.uint16), "png"),
        (np.array([0, 32768, 65535], np.uint16), "tiff"),
        (np.array([0, 32768, 65535], np.int32), "tiff"),
        (np.array([0, 0.5, 1], np.float32), "tiff"),
        (np.array([0, 127.5, 255], np.float32), "tiff"),
    ],
)
def test_deep_greys_become_eight_bits(tmp_path: Path, values: np.ndarray, suffix: str) -> None:
    """Red: 16-bit and float pictures come out white, black or wrapped round."""
    path = tmp_path / f"x.{suffix}"
    Image.fromarray(np.repeat(values, 10)[None].repeat(20, 0)).save(path)
    loaded = load_image(path)
    assert [loaded.getpixel((x, 10))[0] for x in (5, 15, 25)] == [0, 128, 255]


def test_alpha_survives_every_way_to_say_it(tmp_path: Path) -> None:
    """Red: a cut-out gets a black or coloured box around it."""
    mask = Image.new("L", (48, 32))
    mask.paste(255, (24, 0, 48, 32))
    rgba = picture("RGB")
    rgba.putalpha(mask)
    rgba.save(tmp_path / "rgba.png")
    rgba.save(tmp_path / "rgba.webp", lossless=True, exact=True)
    rgba.save(tmp_path / "rgba.tiff")
    rgba.convert("LA").save(tmp_path / "la.png")
    rgba.save(tmp_path / "p.gif")
    indexed = picture("RGB").quantize(4, dither=Image.Dither.NONE)
    indexed.save(tmp_path / "p.png", transparency=indexed.getpixel((8, 16)))
    picture("RGB").save(tmp_path / "rgb.png", transparency=(200, 30, 30))
    picture("L").save(tmp_path / "l.png", transparency=picture("L").getpixel((0, 0)))
    for path in sorted(tmp_path.iterdir()):
        loaded = load_image(path)
        assert [loaded.getpixel((x, 16))[3] for x in (8, 40)] == [0, 255], path.name


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    """Red: phone pictures lie on their side."""
    back = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    upright = picture("RGB")
    upright.paste("blue", (0, 0, 12, 12))
    stored = upright.transpose(back[orientation]) if orientation in back else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name in ("x.png", "x.tiff"):
        stored.save(tmp_path / name, exif=exif)
        assert load_image(tmp_path / name).convert("RGB").tobytes() == upright.tobytes()
    grey = Image.fromarray(np.asarray(stored.convert("L")).astype(np.uint16) * 257)
    grey.save(tmp_path / "deep.png", exif=exif)
    assert load_image(tmp_path / "deep.png").size == (48, 32)


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    """Red: an animation shows a later frame or is refused."""
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "lime", "blue")]
    for name in ("x.gif", "x.webp", "x.png"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], lossless=True)
        assert load_image(tmp_path / name).getpixel((16, 16)) == (255, 0, 0, 255)


def test_colour_profiles_are_honoured(tmp_path: Path) -> None:
    """Red: a picture with an embedded profile changes its colours, or a broken profile stops the work."""
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for name, profile in {"srgb": srgb, "foreign": lab, "broken": b"no profile"}.items():
        path = tmp_path / f"{name}.png"
        picture("RGB").save(path, icc_profile=profile)
        assert np.abs(np.array(load_image(path).getpixel((8, 16))) - (200, 30, 30, 255)).max() <= 1


def test_what_is_no_usable_picture_is_refused(tmp_path: Path) -> None:
    """Red: an unusable file gives a traceback, eats the memory, or slips through."""
    (tmp_path / "text.png").write_text("not a picture")
    (tmp_path / "empty.png").write_bytes(b"")
    Image.new("RGB", (15, 400)).save(tmp_path / "thin.png")
    Image.new("1", (15_000, 15_000)).save(tmp_path / "bomb.png")
    nan = np.full((20, 20), np.nan, np.float32)
    Image.fromarray(nan).save(tmp_path / "nan.tiff")
    for name, what in {
        "text.png": "not a picture",
        "empty.png": "not a picture",
        "thin.png": "15x400; both sides",
        "bomb.png": "million pixels",
        "nan.tiff": "NaN",
        "none.png": "does not exist",
        "": "is a folder",
        "x" * 400: "too long",
    }.items():
        with pytest.raises(ImageError, match=what) as caught:
            load_image(tmp_path / name)
        assert caught.value.remedy


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "gif", "bmp", "tiff"])
def test_cut_short_or_scrambled_files_are_refused_or_read(tmp_path: Path, suffix: str) -> None:
    """Red: damage gives anything but a picture or an `ImageError`."""
    whole = tmp_path / f"whole.{suffix}"
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(whole)
    data = whole.read_bytes()
    broken = tmp_path / f"broken.{suffix}"
    broken.write_bytes(data[: len(data) // 2])
    with pytest.raises(ImageError):
        load_image(broken)
    for _ in range(60):
        scrambled = bytearray(data)
        for _ in range(4):
            scrambled[int(rng.integers(min(len(data), 120)))] = int(rng.integers(256))
        broken.write_bytes(scrambled)
        with contextlib.suppress(ImageError):
            assert load_image(broken).mode == "RGBA"
