"""Mini's whole training in one command: what runs after what, and what a failed step stops."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from castsheet.errors import CheckpointError
from mini.training.whole import Running, Together, beside, parsed, prepare, steps, take_vocoder, timed

PYTHON = [sys.executable, "-c"]
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


def test_the_vocoder_learns_beside_the_rest(tmp_path: Path) -> None:
    """Red: it is not trained on, learns in the recipe's folder while that is being written, or is lost."""
    assert beside(parsed(WORDS)) == {}
    sound = beside(parsed(["--vocoder-seconds", "400", "--vocoder-skip", "7", *WORDS]))["sound"]
    assert sound[2:7] == ["mini.training.recipe", "--out", str(Path("r/sound")), "--given", "g"]
    assert sound[-2:] == ["--vocoder-seconds", "400.0"]
    (tmp_path / "sound").mkdir()
    (tmp_path / "begun-vocoder.safetensors").write_text("begun")
    prepare(tmp_path)
    take_vocoder(tmp_path)
    assert (tmp_path / "vocoder.safetensors").read_text() == "begun"
    (tmp_path / "sound/vocoder.safetensors").write_text("trained on")
    take_vocoder(tmp_path)
    assert (tmp_path / "vocoder.safetensors").read_text() == "trained on"


def test_adapters_learn_for_as_long_as_is_left() -> None:
    """Red: the machine is given back before there is a bundle, or stands idle after it."""
    options = parsed(["--seconds", "1500", *WORDS])
    sparse, both = (timed(options, elapsed) for elapsed in (500, 900))
    assert sparse.sparse_seconds == pytest.approx(0.4 * (1500 - 500 - 3 * 60))
    assert both.adapter_seconds == 1500 - 900 - 2 * 60
    assert f"seconds={both.adapter_seconds:g}" in steps(both)[3]["still"]
    assert timed(options, 1490).adapter_seconds == 20
    assert timed(parsed(WORDS), 900).adapter_seconds == 480


def test_several_cards_share_what_is_long() -> None:
    """Red: a second card stands idle, or both adapters learn on one."""
    together = steps(parsed(["--cards", "2", "--sparse-batch", "192", *WORDS]))
    for begin in (together[0]["recipe"], together[2]["sparse"]):
        assert begin[1:5] == ["-m", "torch.distributed.run", "--nproc-per-node", "2"]
    assert "batch=192" in together[2]["sparse"]
    assert together[3]["looped"][2] == "castsheet.cli"


def run(folder: Path, together: Together, *, cards: int = 1) -> None:
    with Running(folder, time.monotonic(), cards) as running:
        running.start(together)
        running.wait(together)


def test_steps_beside_each_other_have_a_card_each(tmp_path: Path) -> None:
    """Red: two trainings share one card while another is free; or one alone sees but one of two."""
    show = [sys.executable, "-c", "import os; print(os.environ.get('CUDA_VISIBLE_DEVICES', 'all'))"]
    run(tmp_path, {"one": show, "two": show}, cards=2)
    run(tmp_path, {"alone": show}, cards=2)
    with Running(tmp_path, time.monotonic(), 2) as running:
        running.start({"sound": show}, card=1)
        running.start({"recipe": show})
        running.wait(("sound", "recipe"))
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
    run(tmp_path, {"one": [*PYTHON, "print('hello')"], "two": [*PYTHON, ""]})
    assert (tmp_path / "one.log").read_text().strip() == "hello"
    late = tmp_path / "late"
    waiting = f"import time, pathlib; time.sleep(30); pathlib.Path({str(late)!r}).touch()"
    begun = time.monotonic()
    with pytest.raises(CheckpointError, match="bad failed"):
        run(tmp_path, {"bad": [*PYTHON, "raise SystemExit(3)"], "slow": [*PYTHON, waiting]})
    assert time.monotonic() - begun < 25
    assert not late.exists()
    assert "bad fails with exit code 3" in (tmp_path / "whole.txt").read_text()


@pytest.mark.parametrize("bad", ["sound", "recipe"])
def test_what_runs_beside_the_rest_ends_with_it(bad: str, tmp_path: Path) -> None:
    """Red: a failed vocoder is noticed hours later, or goes on alone after a step that failed."""

    def command(name: str) -> list[str]:
        return [*PYTHON, "raise SystemExit(3)" if name == bad else "import time; time.sleep(30)"]

    def both() -> None:
        with Running(tmp_path, begun) as running:
            running.start({"sound": command("sound")})
            running.start({"recipe": command("recipe")})
            running.wait(["recipe"])

    begun = time.monotonic()
    with pytest.raises(CheckpointError, match=f"{bad} failed"):
        both()
    assert time.monotonic() - begun < 25
