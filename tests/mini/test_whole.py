"""Mini's whole training in one command: what runs after what, and what a failed step stops."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from castsheet.errors import CheckpointError
from mini.training.whole import parsed, prepare, run, steps

WORDS = ["--out", "r", "--bundle", "b", "--given", "g", "--", "--stages", "base", "--skip", "5"]


def test_every_step_waits_for_what_it_needs() -> None:
    """Red: an adapter is trained before there is a base, or the recipe's own options are lost."""
    names = [sorted(together) for together in steps(parsed(WORDS))]
    assert names == [
        ["recipe"],
        ["pack"],
        ["sparse"],
        ["looped", "still"],
        ["collect"],
        ["package"],
        ["stories-looped", "stories-still"],
        ["pictures"],
    ]
    recipe = steps(parsed(WORDS))[0]["recipe"]
    assert recipe[2:] == [
        "mini.training.recipe",
        "--out",
        "r",
        "--given",
        "g",
        "--stages",
        "base",
        "--skip",
        "5",
    ]


def test_the_vocoder_learns_beside_the_recipe(tmp_path: Path) -> None:
    """Red: it is not trained on, learns in the recipe's folder while that is being written, or is lost."""
    first = steps(parsed(["--vocoder-seconds", "400", "--vocoder-skip", "7", *WORDS]))[0]
    assert set(first) == {"recipe", "sound"}
    assert first["sound"][2:7] == ["mini.training.recipe", "--out", str(Path("r/sound")), "--given", "g"]
    assert first["sound"][-2:] == ["--vocoder-seconds", "400.0"]
    (tmp_path / "sound").mkdir()
    (tmp_path / "begun-vocoder.safetensors").write_text("begun")
    (tmp_path / "sound/vocoder.safetensors").write_text("trained on")
    prepare(tmp_path)
    assert (tmp_path / "vocoder.safetensors").read_text() == "trained on"


def test_several_cards_share_what_is_long() -> None:
    """Red: a second card stands idle, or both adapters learn on one."""
    together = steps(parsed(["--cards", "2", "--sparse-batch", "192", *WORDS]))
    for begin in (together[0]["recipe"], together[2]["sparse"]):
        assert begin[1:5] == ["-m", "torch.distributed.run", "--nproc-per-node", "2"]
    assert "batch=192" in together[2]["sparse"]
    assert together[3]["looped"][2] == "castsheet.cli"


def test_steps_beside_each_other_have_a_card_each(tmp_path: Path) -> None:
    """Red: two trainings share one card while another is free; or one alone sees but one of two."""
    show = [sys.executable, "-c", "import os; print(os.environ.get('CUDA_VISIBLE_DEVICES', 'all'))"]
    run(tmp_path, {"one": show, "two": show}, time.monotonic(), cards=2)
    run(tmp_path, {"alone": show}, time.monotonic(), cards=2)
    run(tmp_path, {"recipe": show, "sound": show}, time.monotonic(), cards=2)
    names = ("one", "two", "alone", "recipe", "sound")
    seen = [(tmp_path / f"{name}.log").read_text().strip() for name in names]
    assert seen == ["0", "1", "all", "all", "1"]


def test_what_was_begun_is_gone_on_with(tmp_path: Path) -> None:
    """Red: adapters begin from nothing again, a finished base is missing, or a vocoder is replaced."""
    for name in ("begun-looped", "begun-still", "begun-base", "begun-vocoder", "vocoder"):
        (tmp_path / f"{name}.safetensors").write_text(name)
    prepare(tmp_path)
    assert (tmp_path / "start/looped.safetensors").read_text() == "begun-looped"
    assert (tmp_path / "start/still.safetensors").read_text() == "begun-still"
    assert (tmp_path / "base.safetensors").read_text() == "begun-base"
    assert (tmp_path / "vocoder.safetensors").read_text() == "vocoder"


def test_a_failed_step_ends_those_beside_it(tmp_path: Path) -> None:
    """Red: an hour on a card goes on with a base that is not there; or a process is left behind."""
    python = [sys.executable, "-c"]
    run(tmp_path, {"one": [*python, "print('hello')"], "two": [*python, ""]}, time.monotonic())
    assert (tmp_path / "one.log").read_text().strip() == "hello"
    late = tmp_path / "late"
    waiting = f"import time, pathlib; time.sleep(30); pathlib.Path({str(late)!r}).touch()"
    begun = time.monotonic()
    with pytest.raises(CheckpointError, match="bad failed"):
        run(tmp_path, {"bad": [*python, "raise SystemExit(3)"], "slow": [*python, waiting]}, begun)
    assert time.monotonic() - begun < 25
    assert not late.exists()
    assert "bad fails with exit code 3" in (tmp_path / "whole.txt").read_text()
