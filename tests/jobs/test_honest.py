"""A run says what it is: mini's limits, a preview's price, an adapter's training."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from castsheet.cli import main
from castsheet.elements import Scene
from castsheet.embedded import DEMO_SCENE
from castsheet.errors import AdapterError
from castsheet.jobs.toy import toy_note
from castsheet.loading.source import Source
from castsheet.ltx.adapters.lora_file import GROUND, MODE
from castsheet.ltx.files.transformer import load_transformer
from castsheet.settings import preset
from castsheet.settings.preview import preview_of
from castsheet.sheet.compose import compose
from castsheet.sheet.look.tools import Tools
from castsheet.sheet.manifest import Sheet
from mini.evaluation.identities import CELL, SIZE
from tests.doubles.tiny_bundle import build_bundle, tiny_sheet, write_adapter


def ran(*words: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(words)
    return int(left.value.code or 0)


def test_mini_says_that_it_is_a_toy() -> None:
    """Red: a film-maker waits for mini's smear of his own photos and is told nothing, or the demo and the
    real model are called toys."""
    demo = compose(Scene.load(DEMO_SCENE), output=SIZE, grid=CELL, tools=Tools())
    assert toy_note("mini", demo) is None
    foreign = replace(demo.panels[0], sources=(replace(demo.panels[0].sources[0], sha256="0" * 64),))
    for sheet in (replace(demo, panels=(*demo.panels[1:], foreign)), Sheet(demo.image)):
        note = toy_note("mini", sheet)
        assert note is not None
        assert "castsheet download" in note
        assert toy_note("ltx-2.3", sheet) is None


def test_a_preview_costs_what_it_says() -> None:
    """Red: a preview is another shape than the sheet, or its price is off by an order of magnitude."""
    cheap = preview_of(preset("card"), 32)
    one = cheap.settings
    assert (one.width, one.height, one.frames, one.steps, one.stg_scale) == (384, 224, 57, 10, 0.0)
    assert 1 / 45 < cheap.share < 1 / 30
    assert "1/38" in cheap.describe()
    mini = preview_of(preset("card", width=SIZE[0], height=SIZE[1]), CELL).settings
    assert (mini.width, mini.height) == SIZE
    listed = preview_of(preset("space-distilled"), 32).settings
    assert listed.steps == 8


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    tiny_sheet().save(folder / "sheet.png")
    return build_bundle(folder)


def own(bundle: Path, path: Path, **metadata: str) -> Path:
    """An adapter of the user's own."""
    transformer, _ = load_transformer(
        Source.open(bundle).checkpoint, "wide", device=torch.device("cpu"), dtype=torch.float32
    )
    write_adapter(path, transformer, seed=3, **metadata)
    return path


def test_an_adapter_is_used_as_it_was_trained(bundle: Path, tmp_path: Path) -> None:
    """Red: clips add the bundle's adapter to one that was trained alone, or drop it from one that was trained
    on top; or the mode of its training is forgotten."""
    alone = own(bundle, tmp_path / "alone.safetensors", **{GROUND: "base", MODE: "still"})
    above = own(bundle, tmp_path / "above.safetensors", **{GROUND: "model"})
    source = Source.open(bundle, trained=(alone, None))
    settings = source.settings()
    assert settings.reference == "still"
    assert [one.lora.path for one in source.adapters_in(settings)] == [alone]
    assert source.adapters_in(settings)[0].strength_in(settings) == 1.0
    assert source.record(settings)["adapters_not_used"] == ["ic-lora.safetensors"]
    assert "alone, without ic-lora.safetensors" in source.trained_note
    source = Source.open(bundle, trained=(above, 0.5))
    names = {one.lora.path.name: one.strength for one in source.adapters}
    assert names == {"ic-lora.safetensors": None, "above.safetensors": 0.5}
    assert "on top" in source.trained_note
    silent = own(bundle, tmp_path / "silent.safetensors")
    with pytest.raises(AdapterError, match="alone or on top"):
        Source.open(bundle, trained=(silent, None))


def test_the_sidecar_says_how_an_adapter_was_used(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Red: nobody can tell from a clip whether the adapter worked alone; or a preview passes for a clip."""
    alone, out = own(bundle, tmp_path / "own.safetensors", **{GROUND: "base"}), tmp_path / "clip.mp4"
    words = ["generate", str(bundle / "sheet.png"), "--model", str(bundle), "--device", "cpu", "--force"]
    words += ["--cache-dir", str(bundle / "cache"), "-o", str(out), "--action", "hero waves"]
    assert ran(*words, "--trained", str(alone), "--steps", "3", "--preview") == 0
    told = capsys.readouterr().err
    assert "own.safetensors at strength 1, as it was trained: alone" in told
    assert "preview: " in told
    record = json.loads(out.with_suffix(".clip.json").read_text())["provenance"]
    assert record["model"]["used_as_trained"] == "own.safetensors"
    assert [one["trained_on"] for one in record["model"]["adapters"]] == ["base"]
    assert record["settings"]["steps"] == 1


def test_fill_asks_for_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Red: a rainbow blob of mini's enters the library as the back of a photographed person."""
    assert ran("elements", "fill", "hero", "--library", str(tmp_path)) == 2
    assert "--model mini" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "extras"), [("judge", ("identity", "ocr")), ("generate", ("ray",)), ("train", ())]
)
def test_help_names_extras_whole(
    command: str, extras: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """Red: brackets are read as markup, and help says (castsheet) where castsheet[identity] is meant."""
    assert ran(command, "--help") == 0
    told = "".join(capsys.readouterr().out.split())
    assert all(f"castsheet[{extra}]" in told for extra in extras)
    assert "(castsheet)" not in told
