"""Everything wrong that a user can hand in, through the real command line: pictures, scenes, sheets.

Whatever it is: exit code 2, a message with a remedy, no traceback, and no file left in the output folder.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.doubles.hostile import GOOD, Run, Work, expect_refusal, good, half, picture, run, work


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")


def jpeg(path: Path) -> bytes:
    picture().save(path, "JPEG")
    return path.read_bytes()


# --- pictures: what replaces face.png


def _folder_as_picture(path: Path) -> None:
    path.unlink()
    path.mkdir()


PICTURES: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated JPEG": (lambda p: p.write_bytes(jpeg(p)[:2000]), "cannot be read"),
    "truncated PNG": (half, "cannot be read"),
    "1 x 1": (lambda p: Image.new("RGB", (1, 1)).save(p), "at least 16 px"),
    "15 px wide": (lambda p: picture(15, 300).save(p), "at least 16 px"),
    "no bytes": (lambda p: p.write_bytes(b""), "not a picture"),
    "text": (lambda p: p.write_text("a picture of mara"), "not a picture"),
    "HTML of an expired link": (lambda p: p.write_text("<html>403</html>"), "not a picture"),
    "40,000 px bomb": (lambda p: p.write_bytes(png_header(40_000, 40_000)), "million pixels"),
    "header without pixels": (lambda p: p.write_bytes(png_header(300, 300)), "cannot be read"),
    "a folder": (_folder_as_picture, "no file face.png"),
    "missing": (lambda p: p.unlink(), "no file face.png"),
    "link to nothing": (lambda p: (p.unlink(), p.symlink_to("gone.png")), "no file face.png"),
    "wholly transparent": (lambda p: Image.new("RGBA", (300, 300)).save(p), "transparent"),
}


@pytest.mark.parametrize(("damage", "says"), PICTURES.values(), ids=PICTURES.keys())
def test_pictures(run: Run, work: Work, damage: Callable[[Path], object], says: str) -> None:
    """Red: a damaged picture crashes the program, or ends up black on a sheet."""
    damage(work.folder / "face.png")
    expect_refusal(run, work, ["sheet", work.scene, "-o", work.out / "s.png"], says)


FINE_PICTURES: dict[str, Callable[[Path], object]] = {
    "CMYK JPEG": lambda p: picture().convert("CMYK").save(p, "JPEG"),
    "16-bit grey": lambda p: Image.fromarray(np.asarray(picture().convert("L")).astype(np.uint16) * 257).save(
        p
    ),
    "animated GIF": lambda p: picture().save(p, "GIF", save_all=True, append_images=[picture(seed=9)]),
    "palette": lambda p: picture().quantize(16).save(p),
    "grey with alpha": lambda p: picture().convert("LA").save(p),
    "turned by EXIF": lambda p: picture().save(
        p, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    ),
}


@pytest.mark.parametrize("convert", FINE_PICTURES.values(), ids=FINE_PICTURES.keys())
def test_unusual_pictures_are_taken(run: Run, work: Work, convert: Callable[[Path], object]) -> None:
    """Red: pictures that every viewer shows are refused."""
    convert(work.folder / "face.png")
    result = run(["sheet", work.scene, "-o", work.out / "s.png", "--output", "192x128"])
    assert result.code == 0, result.err
    assert sorted(path.name for path in work.out.iterdir()) == ["s.json", "s.png"]


# --- scene files


def scene(**changes: object) -> bytes:
    """The good scene with changes to its first element; None leaves a field out."""
    first = GOOD["elements"][0] | changes
    first = {key: value for key, value in first.items() if value is not None}
    return yaml.safe_dump(GOOD | {"elements": [first, GOOD["elements"][1]]}).encode()


def whole(**changes: object) -> bytes:
    """The good scene with changes at its top."""
    return yaml.safe_dump(GOOD | changes).encode()


SCENES: dict[str, tuple[bytes, str]] = {
    "not YAML": (b"elements: [\n  {kind: character", "line "),
    "tabs": (b"elements:\n\t- kind: prop\n", "line 2"),
    "a list": (b"- kind: character\n", "must be a mapping"),
    "a word": (b"castsheet", "must be a mapping"),
    "empty": (b"", "it is empty"),
    "comments only": (b"# to do\n", "it is empty"),
    "binary": (bytes(range(256)) * 8, "UTF-8"),
    "UTF-16": ("elements: []".encode("utf-16"), "UTF-8"),
    "python tags": (b"elements: !!python/object/apply:os.system ['true']\n", "tags such as"),
    "endless aliases": (b"a: &a [*a, *a]\nelements: *a\n", "holds itself"),
    "no elements": (whole(elements=[]), "at least one element"),
    "elements left out": (b"action: mara walks\n", "elements"),
    "elements are words": (whole(elements=["mara", "quay"]), "not a mapping"),
    "one id twice": (whole(elements=[GOOD["elements"][0]] * 2), "used 2 times"),
    "id with spaces": (scene(id="Mara the Great"), "lower-case letter"),
    "id is a path": (scene(id="../../etc"), "lower-case letter"),
    "id left out": (scene(id=None), "id"),
    "unknown kind": (scene(kind="villain"), "kind: character"),
    "unknown view": (scene(images={"face": "face.png", "profile": "front.png"}), "three-quarter"),
    "unknown field": (scene(colour="red"), "the fields are"),
    "unknown field at the top": (whole(elemets=[]), "elemets"),
    "negative importance": (scene(importance=-1), "importance"),
    "importance is a word": (scene(importance="very"), "importance"),
    "importance is NaN": (scene(importance=float("nan")), "importance"),
    "no images": (scene(images={}), "no picture"),
    "images left out": (scene(images=None), "images"),
    "an image is a number": (scene(images={"face": 7}), "images"),
    "missing image": (scene(images={"face": "gone.png"}), "no file gone.png"),
    "a name of 5,000 letters": (scene(images={"face": "x" * 5000}), "no file"),
    "a name with a null": (scene(images={"face": "a\0b.png"}), "no file|images"),
    "thirteen props": (
        whole(
            elements=[
                {"kind": "prop", "id": f"p{i}", "description": "a thing", "images": ["face.png"]}
                for i in range(13)
            ]
        ),
        "12",
    ),
}


@pytest.mark.parametrize(("text", "says"), SCENES.values(), ids=SCENES.keys())
def test_scene_files(run: Run, work: Work, text: bytes, says: str) -> None:
    """Red: a typing mistake in a scene gives a traceback, or is silently passed over."""
    work.scene.write_bytes(text)
    expect_refusal(run, work, ["sheet", work.scene, "-o", work.out / "s.png"], says)


# --- sheets: what is done to sheet.png and sheet.json


def edit(change: Callable[[dict], object]) -> Callable[[Work], object]:
    """Change the manifest's JSON."""

    def do(work: Work) -> None:
        path = work.sheet.with_suffix(".json")
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return do


def manifest(text: str) -> Callable[[Work], object]:
    return lambda work: work.sheet.with_suffix(".json").write_text(text)


SHEETS: dict[str, tuple[Callable[[Work], object], str]] = {
    "the picture is missing": (lambda w: w.sheet.unlink(), "is missing|does not exist"),
    "the picture was changed": (
        lambda w: Image.open(w.sheet).rotate(180).save(w.sheet),
        "no longer matches",
    ),
    "the picture was scaled": (
        lambda w: Image.open(w.sheet).resize((96, 64)).save(w.sheet),
        "no longer matches",
    ),
    "a box outside": (edit(lambda m: m["panels"][0]["box"].update(x=9999)), "lies outside"),
    "a negative box": (edit(lambda m: m["panels"][0]["box"].update(w=-5)), "lies outside"),
    "a box is a word": (edit(lambda m: m["panels"][0]["box"].update(w="wide")), "box"),
    "version 99": (edit(lambda m: m.update(version=99)), "version: 99"),
    "no version": (edit(lambda m: m.pop("version")), "version"),
    "an unknown element": (edit(lambda m: m["panels"][0].update(element="tom")), "'tom'"),
    "no panels": (edit(lambda m: m.pop("panels")), "panels"),
    "not JSON": (manifest("{"), "not valid JSON"),
    "a list": (manifest("[]"), "manifest"),
    "nested without end": (manifest("[" * 100_000), "60 levels"),
}


@pytest.mark.parametrize(("damage", "says"), SHEETS.values(), ids=SHEETS.keys())
def test_sheets(run: Run, work: Work, damage: Callable[[Work], object], says: str) -> None:
    """Red: boxes of another picture are trusted, and all that is read from them is wrong."""
    assert run(["sheet", work.scene, "-o", work.sheet, "--output", "192x128"]).code == 0
    damage(work)
    source = work.sheet.with_suffix(".json")
    expect_refusal(run, work, work.generate("--action", "mara waves", source=source), says)
    expect_refusal(run, work, ["lint", source], says)


SCENE_SETTINGS: dict[str, tuple[object, str]] = {
    "unknown": ({"strenght": 1}, "strenght"),
    "frames is a word": ({"frames": "many"}, "frames"),
    "seed is a word": ({"seed": "lucky"}, "seed"),
    "seed is a list": ({"seed": [1]}, "seed"),
    "preset is a number": ({"preset": 7}, "preset"),
    "width is a yes": ({"width": True}, "width"),
    "prompt_format is a list": ({"prompt_format": ["prose"]}, "prompt_format"),
    "schedule is a mapping": ({"schedule": {"a": 1}}, "schedule"),
    "not a mapping": ([1, 2], "settings"),
}


@pytest.mark.parametrize(("settings", "says"), SCENE_SETTINGS.values(), ids=SCENE_SETTINGS.keys())
def test_settings_of_a_scene(run: Run, work: Work, settings: object, says: str) -> None:
    """Red: a scene's settings are trusted where the command line's are checked."""
    work.scene.write_bytes(whole(settings=settings))
    expect_refusal(run, work, work.generate(), says)
