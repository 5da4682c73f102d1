"""Everything wrong that a user can hand in, through the real command line.

Whatever it is: exit code 2, a message with a remedy, no traceback, and no file left in the output folder.
"""

from __future__ import annotations

import json
import pickle
import re
import resource
import shutil
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny_bundle import build_bundle, write_bundle

from castsheet.cli import main
from castsheet.ltx.checkpoint import write_checkpoint
from castsheet.sheet.manifest import Sheet


@dataclass(frozen=True)
class Work:
    """A folder of good files to damage, and `out`, where nothing may appear."""

    folder: Path

    @property
    def out(self) -> Path:
        return self.folder / "out"

    @property
    def scene(self) -> Path:
        return self.folder / "scene.yaml"

    @property
    def sheet(self) -> Path:
        return self.folder / "sheet.png"

    @property
    def bundle(self) -> Path:
        return self.folder / "tiny"

    @property
    def checkpoint(self) -> Path:
        return self.bundle / "tiny.safetensors"

    def write(self, name: str, data: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(data)
        return path

    def generate(self, *extra: str | Path, source: Path | None = None) -> list[str | Path]:
        where = ("--model", self.bundle, "-o", self.out / "clip.mp4", "--cache-dir", self.folder / "cache")
        return ["generate", source or self.scene, *where, *extra]


def picture(width: int = 320, height: int = 480, seed: int = 0) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(30, 226, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


GOOD = {
    "elements": [
        {
            "kind": "character",
            "id": "mara",
            "description": "a woman in a red coat",
            "images": {"face": "face.png", "front": "front.png"},
        },
        {"kind": "location", "id": "quay", "description": "an old quay", "images": ["quay.png"]},
    ],
    "action": "mara walks along the quay",
}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    picture(384, 400, 1).save(folder / "face.png")
    picture(384, 500, 2).save(folder / "front.png")
    picture(800, 500, 3).save(folder / "quay.png")
    (folder / "scene.yaml").write_text(yaml.safe_dump(GOOD))
    build_bundle(folder / "tiny")
    bucket = {"width": 192, "height": 128, "frames": 9, "fps": 24.0, "stg_blocks": [1]}
    write_bundle(folder / "tiny", bucket=bucket, preset={"steps": 1, "lora_strength": 1.0})
    return folder


@pytest.fixture
def work(good: Path, tmp_path: Path) -> Work:
    shutil.copytree(good, tmp_path / "work")
    return Work(tmp_path / "work")


@dataclass(frozen=True)
class Result:
    code: object
    out: str
    err: str


Run = Callable[[list[str | Path]], Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The real entry point, in this process."""
    monkeypatch.setenv("COLUMNS", "200")

    def call(arguments: list[str | Path]) -> Result:
        monkeypatch.setattr(sys, "argv", ["castsheet", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
        said = capsys.readouterr()
        return Result(left.value.code or 0, said.out, said.err)

    return call


def expect_refusal(run: Run, work: Work, arguments: list[str | Path], says: str) -> None:
    result = run(arguments)
    told = result.out + result.err
    assert result.code == 2, told
    assert "Traceback" not in told
    assert re.search(says, told), told
    # Typer's own usage errors name the option and what it takes; all others carry a remedy.
    assert ("error: " in result.err and "fix: " in result.err) or "Usage: " in result.err, told
    left = sorted(path.name for path in work.out.rglob("*") if path.is_file())
    # A scene's sheet is saved before the clip is sampled; it may stay, if it is whole.
    if left == ["clip.sheet.json", "clip.sheet.png"]:
        assert Sheet.load(work.out / "clip.sheet.png").panels
    else:
        assert left == []


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")


def jpeg(path: Path) -> bytes:
    picture().save(path, "JPEG")
    return path.read_bytes()


def half(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


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
    "endless aliases": (b"a: &a [*a, *a]\nelements: *a\n", "elements"),
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
    "version 99": (edit(lambda m: m.update(version=99)), "version 99"),
    "no version": (edit(lambda m: m.pop("version")), "version"),
    "an unknown element": (edit(lambda m: m["panels"][0].update(element="tom")), "'tom'"),
    "no panels": (edit(lambda m: m.pop("panels")), "panels"),
    "not JSON": (manifest("{"), "not valid JSON"),
    "a list": (manifest("[]"), "manifest"),
    "nested without end": (manifest("[" * 100_000), "not valid JSON"),
}


@pytest.mark.parametrize(("damage", "says"), SHEETS.values(), ids=SHEETS.keys())
def test_sheets(run: Run, work: Work, damage: Callable[[Work], object], says: str) -> None:
    """Red: boxes of another picture are trusted, and all that is read from them is wrong."""
    assert run(["sheet", work.scene, "-o", work.sheet, "--output", "192x128"]).code == 0
    damage(work)
    source = work.sheet.with_suffix(".json")
    expect_refusal(run, work, work.generate("--action", "mara waves", source=source), says)
    expect_refusal(run, work, ["lint", source], says)


# --- checkpoints


def rewrite(change: Callable[[dict, dict], object], version: str = "2.3.0") -> Callable[[Work], object]:
    """Write the checkpoint again with other tensors or another config."""

    def do(work: Work) -> None:
        with safe_open(work.checkpoint, "pt") as file:
            config = json.loads(file.metadata()["config"])
        tensors = load_file(work.checkpoint)
        change(tensors, config)
        write_checkpoint(work.checkpoint, tensors, config, version)

    return do


def keep(*_: object) -> None:
    """Change nothing."""


def metadata(values: dict[str, str] | None) -> Callable[[Work], object]:
    """The right tensors under another header."""

    def do(work: Work) -> None:
        save_file(load_file(work.checkpoint), work.checkpoint, metadata=values)

    return do


def _first(tensors: dict, part: str) -> str:
    return next(name for name in tensors if part in name and name.endswith(".weight"))


def _spoil(part: str) -> Callable[[dict, dict], object]:
    return lambda t, _: t[_first(t, part)].view(-1)[0:1].fill_(float("nan"))


def _drop(part: str) -> Callable[[dict, dict], object]:
    return lambda t, _: [t.pop(name) for name in list(t) if part in name]


CHECKPOINTS: dict[str, tuple[Callable[[Work], object], str]] = {
    "missing": (lambda w: w.checkpoint.unlink(), "not there"),
    "truncated": (lambda w: half(w.checkpoint), "truncated"),
    "header only": (lambda w: w.checkpoint.write_bytes(w.checkpoint.read_bytes()[:400]), "truncated"),
    "no bytes": (lambda w: w.checkpoint.write_bytes(b""), "empty"),
    "a pickle": (lambda w: w.checkpoint.write_bytes(pickle.dumps({"a": 1})), "pickle"),
    "a web page": (lambda w: w.checkpoint.write_text("<html>403 Forbidden</html>"), "safetensors"),
    "a Git LFS pointer": (
        lambda w: w.checkpoint.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
        "safetensors",
    ),
    "family 2.5": (rewrite(keep, "2.5.0"), "LTX-2.5"),
    "family 2.0": (rewrite(keep, "2.0.0"), "LTX-2.0"),
    "a missing block": (rewrite(_drop("transformer_blocks.1.attn1")), "transformer_blocks.1.attn1"),
    "no VAE": (rewrite(_drop("vae.")), "vae"),
    "no connectors": (rewrite(_drop("connector")), "connector"),
    "NaN in the denoiser": (rewrite(_spoil("transformer_blocks.0")), "NaN"),
    "NaN in the VAE": (rewrite(_spoil("vae.decoder")), "NaN"),
    "NaN in the connectors": (rewrite(_spoil("embeddings_connector")), "NaN"),
    "a wrong shape": (
        rewrite(lambda t, _: t.update({n: torch.zeros(3, 3) for n in [_first(t, "attn1.to_q")]})),
        "shape",
    ),
    "no metadata": (metadata(None), "config"),
    "no config": (metadata({"model_version": "2.3.0"}), "config"),
    "config is not JSON": (metadata({"config": "{heads: 2", "model_version": "2.3.0"}), "config"),
    "config is a list": (metadata({"config": "[]", "model_version": "2.3.0"}), "config"),
    "config lacks the heads": (
        rewrite(lambda _, c: c["transformer"].pop("num_attention_heads")),
        "num_attention_heads",
    ),
    "config contradicts the tensors": (
        rewrite(lambda _, c: c["transformer"].update(num_layers=5)),
        "transformer_blocks.[234]",
    ),
    "bundle.json is not JSON": (lambda w: (w.bundle / "bundle.json").write_text("{"), "bundle.json"),
    "bundle.json names nothing": (lambda w: (w.bundle / "bundle.json").write_text("{}"), "bundle.json"),
    "no text encoder": (lambda w: shutil.rmtree(w.bundle / "text_encoder"), "text_encoder"),
    "no tokenizer": (
        lambda w: [p.unlink() for p in (w.bundle / "text_encoder").glob("tokenizer*")],
        "tokenizer",
    ),
    "no config of the encoder": (
        lambda w: (w.bundle / "text_encoder" / "config.json").unlink(),
        "config.json|text_encoder",
    ),
    "a truncated encoder": (
        lambda w: half(next((w.bundle / "text_encoder").glob("*.safetensors"))),
        "text_encoder",
    ),
}


@pytest.mark.parametrize(("damage", "says"), CHECKPOINTS.values(), ids=CHECKPOINTS.keys())
def test_checkpoints(run: Run, work: Work, damage: Callable[[Work], object], says: str) -> None:
    """Red: an interrupted download or a foreign file gives a traceback, or a clip of noise."""
    damage(work)
    expect_refusal(run, work, work.generate(), says)


def test_folders_and_names_that_are_no_model(run: Run, work: Work) -> None:
    """Red: a wrong --model gives a traceback."""
    empty = work.folder / "empty"
    empty.mkdir()
    for model in (empty, work.folder / "gone.safetensors", work.folder / "face.png"):
        expect_refusal(run, work, [*work.generate(), "--model", model], re.escape(str(model)))
        expect_refusal(run, work, ["inspect", model], re.escape(str(model)))


# --- adapters

_KEY = "diffusion_model.transformer_blocks.0.attn1.to_q"


def adapter(tensors: dict[str, torch.Tensor], **header: str) -> Callable[[Path], object]:
    values = {"reference_downscale_factor": "1"} | header
    return lambda path: save_file(tensors, path, metadata=values)


Shape = tuple[int, int]


def pair(a: Shape = (4, 48), b: Shape = (48, 4), key: str = _KEY) -> dict[str, torch.Tensor]:
    """The two factors of one layer, at the tiny model's width."""
    return {f"{key}.lora_A.weight": torch.ones(a) * 0.01, f"{key}.lora_B.weight": torch.ones(b) * 0.01}


def _cut(path: Path) -> None:
    adapter(pair())(path)
    half(path)


ADAPTERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda _: None, "ic-lora.safetensors"),
    "truncated": (_cut, "truncated"),
    "no bytes": (lambda p: p.write_bytes(b""), "cannot read|empty"),
    "a pickle": (lambda p: p.write_bytes(pickle.dumps([1])), "pickle"),
    "family 2.5": (adapter(pair(), model_version="2.5.0"), "2.5"),
    "unknown keys": (adapter(pair(key="diffusion_model.down_blocks.0.attentions.0")), "down_blocks"),
    "a block too many": (adapter(pair(key=_KEY.replace("blocks.0", "blocks.47"))), "transformer_blocks.47"),
    "a wrong width": (adapter(pair((4, 4096), (4096, 4))), "to_q"),
    "ranks that differ": (adapter(pair((4, 48), (48, 8))), "to_q"),
    "A without B": (adapter({f"{_KEY}.lora_A.weight": torch.ones(4, 48)}), "to_q"),
    "NaN": (adapter({k: v * float("nan") for k, v in pair().items()}), "NaN"),
    "no LoRA at all": (adapter({"weight": torch.ones(3)}), "LoRA|lora"),
    "a corrupt factor": (adapter(pair(), reference_downscale_factor="two"), "reference_downscale_factor"),
    "a negative factor": (adapter(pair(), reference_downscale_factor="-1"), "reference_downscale_factor"),
}


@pytest.mark.parametrize(("write", "says"), ADAPTERS.values(), ids=ADAPTERS.keys())
def test_adapters(run: Run, work: Work, write: Callable[[Path], object], says: str) -> None:
    """Red: an adapter that does not fit is merged in part, and the clip is subtly wrong."""
    path = work.folder / "ic-lora.safetensors"
    write(path)
    expect_refusal(run, work, work.generate("--adapter", f"{path}:1.0"), says)


# --- prompts, sizes and settings

SETTINGS: dict[str, tuple[list[str], str]] = {
    "prompt without a reference half": (["--prompt", "Generated video: mara walks"], "Reference sheet:"),
    "prompt without an action": (["--prompt", "Reference sheet: mara"], "Generated video:"),
    "prompt without headings": (["--prompt", "mara walks"], "Reference sheet:"),
    "prompt in the wrong order": (
        ["--prompt", "Generated video: mara walks\n\nReference sheet: mara"],
        "stands before",
    ),
    "empty prompt": (["--prompt", ""], "Reference sheet:"),
    "empty first half": (["--prompt", "Reference sheet:\n\nGenerated video: mara walks"], "is empty"),
    "empty action": (["--action", ""], "empty|nothing says"),
    "blank action": (["--action", " \n\t "], "empty|nothing says"),
    "endless action": (["--action", "mara walks " * 2000], "tokens"),
    "somebody unknown": (["--action", "mara greets old_man"], "'old_man'"),
    "120 frames": (["--frames", "120"], "8 k|8k"),
    "0 frames": (["--frames", "0"], "frames"),
    "-7 frames": (["--frames", "-7"], "frames"),
    "a million frames": (["--frames", "1000001"], "frames"),
    "width 100": (["--width", "100"], "width|100x128"),
    "width 0": (["--width", "0"], "width"),
    "width -192": (["--width", "-192"], "width"),
    "height 1e9": (["--height", "1000000000"], "height"),
    "0 fps": (["--fps", "0"], "fps"),
    "NaN fps": (["--fps", "nan"], "fps"),
    "0 steps": (["--steps", "0"], "steps"),
    "steps is a word": (["--steps", "many"], "steps"),
    "infinite guidance": (["--guidance", "inf"], "guidance"),
    "NaN strength": (["--lora-strength", "nan"], "lora_strength"),
    "reference strength 2": (["--reference-strength", "2"], "reference_strength"),
    "sigmas upwards": (["--sigmas", "0,0.5,1"], "sigma"),
    "sigmas are words": (["--sigmas", "high,low"], "number"),
    "a block that is not there": (["--stg-blocks", "40"], "block"),
    "a negative block": (["--stg-blocks", "-1"], "stg_blocks"),
    "seed is a word": (["--seed", "lucky"], "seed"),
    "seed is a fraction": (["--seed", "1.5"], "seed"),
    "unknown preset": (["--preset", "best"], "card"),
    "unknown format": (["--prompt-format", "haiku"], "prose"),
    "unknown option": (["--frmaes", "9"], "frmaes|No such option"),
    "unknown device": (["--device", "abacus"], "abacus"),
    "unknown dtype": (["--dtype", "int3"], "int3"),
    "sound without its weights": (["--audio"], "audio"),
    "a first frame that is missing": (["--first-frame", "gone.png"], "gone.png"),
    "a first frame that is text": (["--first-frame", __file__], "not a picture"),
    "an output that is no .mp4": (["-o", "clip.exe"], r"\.mp4"),
}


@pytest.mark.parametrize(("extra", "says"), SETTINGS.values(), ids=SETTINGS.keys())
def test_prompts_and_settings(run: Run, work: Work, extra: list[str], says: str) -> None:
    """Red: a run starts that cannot succeed, or stops minutes later."""
    expect_refusal(run, work, work.generate(*extra), says)


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


@contextmanager
def limited(kind: int, most: int) -> Iterator[None]:
    """Keep this process to a limit of the operating system's."""
    before = resource.getrlimit(kind)
    resource.setrlimit(kind, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(kind, before)


@contextmanager
def little_memory(more: int = 2 << 30) -> Iterator[None]:
    """An allocation that is out of all proportion fails, instead of taking the machine's memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    with limited(resource.RLIMIT_AS, pages * resource.getpagesize() + more):
        yield


SHEET_OPTIONS: dict[str, tuple[list[str], str]] = {
    "size without a cross": (["--output", "768"], "768x448"),
    "size 0x0": (["--output", "0x0"], "0"),
    "size off the grid": (["--output", "100x100"], "32"),
    "grid 0": (["--grid", "0"], "grid"),
    "scale 0": (["--scale", "0"], "scale"),
    "scale 1000": (["--scale", "1000"], "768000"),
    "size 960000x560000": (["--output", "960000x560000"], "960000|1920000"),
    "a gutter as wide as the sheet": (["--gutter", "2000"], "gutter"),
    "a negative gutter": (["--gutter", "-4"], "gutter"),
    "an output that is no PNG": (["-o", "sheet.jpg"], r"\.png"),
}


@pytest.mark.parametrize(("extra", "says"), SHEET_OPTIONS.values(), ids=SHEET_OPTIONS.keys())
def test_options_of_a_sheet(run: Run, work: Work, extra: list[str], says: str) -> None:
    """Red: composing crashes, or fills the memory."""
    with little_memory():
        expect_refusal(run, work, ["sheet", work.scene, "-o", work.out / "s.png", *extra], says)


# --- outputs


@contextmanager
def full_disk(free: int) -> Iterator[None]:
    """No file may grow past `free` bytes: writes fail midway, as on a full disk."""
    with limited(resource.RLIMIT_FSIZE, free):
        yield


@pytest.mark.parametrize("free", [0, 3000])
def test_a_full_disk_leaves_nothing(run: Run, work: Work, free: int) -> None:
    """Red: a full disk leaves half a sheet or half a clip that looks finished."""
    with full_disk(free):
        expect_refusal(run, work, ["sheet", work.scene, "-o", work.out / "s.png"], "cannot write")
        expect_refusal(run, work, work.generate("--cache-dir", work.out / "cache"), "cannot write")


def test_a_full_disk_keeps_the_old_sheet(run: Run, work: Work) -> None:
    """Red: composing again on a full disk destroys the sheet that was there."""
    assert run(["sheet", work.scene, "-o", work.sheet]).code == 0
    before = work.sheet.read_bytes()
    picture(384, 400, 7).save(work.folder / "face.png")
    with full_disk(3000):
        expect_refusal(run, work, ["sheet", work.scene, "-o", work.sheet], "cannot write")
    assert work.sheet.read_bytes() == before
    assert run(["lint", work.sheet]).code != 2


def test_a_file_where_a_folder_should_be(run: Run, work: Work) -> None:
    """Red: an output that cannot be made gives a traceback, after minutes of sampling."""
    work.write("taken", b"mine")
    for arguments in (
        ["sheet", work.scene, "-o", work.folder / "taken" / "s.png"],
        [*work.generate(), "-o", work.folder / "taken" / "clip.mp4"],
        ["sheet", work.scene, "-o", "/proc/castsheet/s.png"],
    ):
        expect_refusal(run, work, arguments, "cannot write")
    assert (work.folder / "taken").read_bytes() == b"mine"


def test_a_folder_where_the_file_should_be(run: Run, work: Work) -> None:
    """Red: a folder of the output's name gives a traceback, or is replaced."""
    (work.folder / "taken.png").mkdir()
    expect_refusal(run, work, ["sheet", work.scene, "-o", work.folder / "taken.png"], "cannot write")
    (work.folder / "taken.mp4").mkdir()
    expect_refusal(run, work, [*work.generate(), "-o", work.folder / "taken.mp4"], "cannot write")
    assert not list((work.folder / "taken.png").iterdir())


def test_the_undamaged_files_work(run: Run, work: Work) -> None:
    """Red: all of the above may be refused for another reason than the damage."""
    result = run(work.generate())
    assert result.code == 0, result.err
    assert len(list(work.out.iterdir())) >= 3
    adapter(pair())(work.folder / "ic-lora.safetensors")
    result = run(work.generate("--adapter", str(work.folder / "ic-lora.safetensors")))
    assert result.code == 0, result.err
