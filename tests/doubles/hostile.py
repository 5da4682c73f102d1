"""Good files to damage, and what every refusal has to look like: shared by the tests of hostile input."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from castsheet.cli import main
from castsheet.sheet.manifest import Sheet
from tests.doubles.tiny_bundle import build_bundle, write_bundle


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


@pytest.fixture(scope="session")
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


def half(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
