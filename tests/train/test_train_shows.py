"""What a run shows: memory before the first step, where it began and ended, and how to try the adapter."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from castsheet.cli import main
from castsheet.errors import SettingsError
from castsheet.ltx.adapters.lora_file import LoRA
from castsheet.train.config import Config
from castsheet.train.facts import try_command
from castsheet.train.log import read_log
from castsheet.train.memory.fitting import Fit, fit, require_room
from castsheet.train.trainer import train
from tests.doubles import train_tiny as tiny
from tests.doubles.tiny_bundle import tiny_sheet


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """A short run with nothing due before its end."""
    root = tmp_path_factory.mktemp("shows")
    model, data = tiny.build_model(root / "model"), tiny.build_data(root / "data", caption="hero waves")
    held_out = tiny.build_data(root / "held_out", 2, seed=9)
    tiny_sheet().save(root / "sheet.png")
    sample = {"sheet": str(root / "sheet.png"), "action": "hero waves", "settings": {"steps": 1}}
    watch = {"held_out_every": 250, "sample_every": 500, "page_every": 100, "samples": [sample]}
    changes = {"steps": 4, "batch": 4, "save_every": 250, "held_out": str(held_out), "watch": watch}
    return tiny.config(model, data, root / "run", **changes)


@pytest.fixture(scope="module")
def done(asked: Config) -> Path:
    train(asked)
    return asked.output


def test_a_short_run_shows_where_it_began_and_ended(done: Path) -> None:
    """Red: a run shorter than 500 steps ends with a page without samples and without a held-out loss."""
    held_out = [line["step"] for line in read_log(done) if line["kind"] == "held_out"]
    assert held_out == [0, 4]
    assert sorted(path.name for path in (done / "samples").iterdir()) == ["000000_0.png", "000004_0.png"]


def test_the_page_says_what_the_run_is(done: Path) -> None:
    """Red: nobody can tell from the page what was trained on what, how long it takes, or what it needs."""
    page = (done / "report.html").read_text(encoding="utf-8")
    for word in (
        "expected peak",
        "6 samples",
        "2 held out",
        "step_000004",
        "hero waves",
        "&quot;rank&quot;: 4",
    ):
        assert word in page
    assert "<circle" in page
    assert "reload" not in page


def test_the_last_line_tries_the_adapter(asked: Config, done: Path, tmp_path: Path) -> None:
    """Red: a trainer who follows the last line gets an error, or a clip of two adapters."""
    words = shlex.split(try_command(asked, done / "adapter.safetensors"))
    assert words[:2] == ["castsheet", "generate"]
    words[words.index("-o") + 1] = str(tmp_path / "try.mp4")
    more = ["--device", "cpu", "--force", "--steps", "1", "--cache-dir", str(tmp_path / "cache")]
    with pytest.raises(SystemExit) as left:
        main([*words[1:], *more])
    assert left.value.code == 0
    assert LoRA.open(done / "adapter.safetensors").ground == "base"


def test_a_batch_in_parts_teaches_the_same(
    asked: Config, done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Red: a machine with little memory trains another adapter than one with much."""
    monkeypatch.setattr(
        "castsheet.train.learner.fit", lambda batch, expected, _: Fit(batch // 4, expected(1))
    )
    train(asked.model_copy(update={"output": tmp_path / "run"}))
    assert tiny.losses(tmp_path / "run") == pytest.approx(tiny.losses(done), rel=1e-4)
    ours, theirs = (load_file(folder / "adapter.safetensors") for folder in (tmp_path / "run", done))
    assert all(torch.allclose(ours[key], theirs[key], atol=1e-2) for key in ours)


def test_memory_is_asked_before_the_first_step() -> None:
    """Red: preset mini takes 22 GB on a small machine, and the system kills it without a word."""
    assert fit(64, lambda rows: rows * 10, 200) == Fit(16, 160)
    assert fit(6, lambda rows: rows * 10, 60) == Fit(3, 30)
    assert fit(64, lambda rows: rows, None) == Fit(64, 64)
    with pytest.raises(SettingsError, match="of memory"):
        require_room(fit(4, lambda rows: rows * 10, 5), 5, "a smaller model")


def test_an_adapter_on_top_starts_from_the_models_own(asked: Config, tmp_path: Path) -> None:
    """Red: on_top trains on the bare base, and the clip then adds two adapters that never met."""
    above = asked.adapter.model_copy(update={"on_top": True})
    watch = asked.watch.model_copy(update={"samples": (), "held_out_every": 0})
    train(asked.model_copy(update={"output": tmp_path / "run", "adapter": above, "watch": watch, "steps": 2}))
    bare = asked.model_copy(update={"output": tmp_path / "bare", "watch": watch, "steps": 2})
    train(bare)
    assert tiny.losses(tmp_path / "run")[0] != tiny.losses(tmp_path / "bare")[0]
    assert LoRA.open(tmp_path / "run" / "adapter.safetensors").ground == "model"
