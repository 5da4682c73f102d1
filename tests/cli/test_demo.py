"""The demo that ships: its scene composes and checks clean, and runs end to end on random weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from castsheet.cli.make import DEMO_SCENE
from castsheet.elements import Scene
from castsheet.errors import CheckpointError
from castsheet.jobs.request import Request, run
from castsheet.jobs.watcher import Watcher
from castsheet.lint.findings import worst
from castsheet.lint.panels import lint_sheet
from castsheet.loading.bundle import MINI, Bundle
from castsheet.loading.options import Loading
from castsheet.pipeline import Castsheet
from castsheet.prompt import build
from castsheet.sheet.compose import compose
from mini.bundle.package import LIMIT_MB, package
from mini.evaluation.identities import CELL, SIZE
from tests.doubles.mini_recipe import build_recipe

torch.set_num_threads(1)


def test_scene_is_whole_and_says_nothing_of_looks() -> None:
    """Red: the shipped demo lost a picture, or its words could tell what only the sheet should."""
    scene = Scene.load(DEMO_SCENE)
    assert [element.id for element in scene.elements] == ["hero", "friend", "prop", "place"]
    for person in scene.elements[:2]:
        assert set(person.images) == {"face", "front", "three-quarter", "side", "back"}
    assert scene.settings == {}
    size = sum(path.stat().st_size for path in DEMO_SCENE.parent.iterdir())
    assert size < 1_000_000
    sheet = compose(scene, output=SIZE, grid=CELL)
    assert build(sheet, scene.action).text == (
        "Reference sheet: hero: a person; friend: a person; prop: an object; a place\n\n"
        "Generated video: hero on the left waves and friend on the right lifts prop."
    )


def test_sheet_checks_clean() -> None:
    """Red: the very first sheet that a new user sees comes with warnings."""
    sheet = compose(Scene.load(DEMO_SCENE), output=SIZE, grid=CELL)
    found = lint_sheet(sheet, output=SIZE, grid=CELL)
    assert worst(found) in (None, "info"), found


def test_the_shipped_model_is_whole_and_small() -> None:
    """Red: `make demo` on a fresh machine finds no model, a damaged one, or more megabytes than promised."""
    castsheet = Castsheet.load("mini", device="cpu")
    settings = castsheet.settings()
    assert (settings.width, settings.height, settings.frames, settings.fps) == (*SIZE, 121, 24.0)
    assert [one.lora.mode for one in castsheet.models.source.adapters_in(settings)] == ["still"]
    castsheet.models.transformer(settings)
    size = sum(path.stat().st_size for path in MINI.rglob("*") if path.is_file())
    assert size < LIMIT_MB * 1e6


def test_demo_journey(tmp_path: Path) -> None:
    """Red: `castsheet demo` would not get from the scene to a clip, its contact sheet and its sidecar."""
    package(build_recipe(tmp_path / "recipe"), tmp_path / "weights")
    request = Request(
        source=DEMO_SCENE,
        out=tmp_path / "out" / "demo.mp4",
        model=str(tmp_path / "weights"),
        loading=Loading(device="cpu", dtype="fp32", cache_dir=tmp_path / "cache"),
        settings={"steps": 1, "frames": 9},
    )
    written = run(request, Watcher())
    assert {path.name for path in written.values()} == {
        path.name for path in (tmp_path / "out").iterdir()
    } - {"demo.sheet.json"}
    record = json.loads(written["sidecar"].read_text())
    assert "hero on the left waves" in json.dumps(record)
    assert all(path.stat().st_size > 1000 for path in written.values())


def test_without_weights_the_error_says_so(tmp_path: Path) -> None:
    """Red: an installation without weights ends in a traceback instead of a remedy."""
    with pytest.raises(CheckpointError) as caught:
        Bundle.load(tmp_path / "weights")
    assert caught.value.remedy
    request = Request(source=DEMO_SCENE, out=tmp_path / "demo.mp4", model=str(tmp_path / "weights"))
    with pytest.raises(CheckpointError):
        run(request, Watcher())
    assert not list(tmp_path.iterdir())
