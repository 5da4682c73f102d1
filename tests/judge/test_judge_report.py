"""The judge's page, its command, and the re-roll loop."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from castsheet.cli import main
from castsheet.clip import Clip
from castsheet.errors import NumericsError, SettingsError
from castsheet.judge import report
from castsheet.judge.judge import Judge
from castsheet.judge.judgement import Judgement
from castsheet.judge.reroll import reroll
from mini.judged import faults
from tests.doubles.judge_doubles import FOLDER, fixture_clip, fixture_sheet


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(["judge", *arguments])
    return int(left.value.code or 0)


SHEET = str(FOLDER / "sheet.png")
CLEAN, SWAP = str(FOLDER / "clean.mp4"), str(FOLDER / "swap.mp4")


def test_command_prints_a_verdict_a_clip(capsys: pytest.CaptureFixture[str]) -> None:
    """Red: scripts cannot tell good takes from bad by exit code and line."""
    assert run(CLEAN, SWAP, "--sheet", SHEET, "--no-faces") == 1
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{CLEAN}: cannot tell")
    assert "faces were not compared" in first
    assert second.startswith(f"{SWAP}: not carried")


def test_command_writes_json_and_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Red: --json or --html breaks."""
    page = tmp_path / "report.html"
    run(CLEAN, SWAP, "--sheet", SHEET, "--no-faces", "--json", "--html", str(page))
    held = json.loads(capsys.readouterr().out)
    assert [one["state"] for one in held["clips"]] == ["cannot tell", "not carried"]
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_command_refuses_what_is_no_clip(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Red: a wrong path ends in a traceback."""
    assert run(str(tmp_path / "none.mp4"), "--sheet", SHEET) == 2
    assert "error:" in capsys.readouterr().err


def test_page_is_self_contained_and_escapes_names() -> None:
    """Red: the page needs the network, or a file name becomes markup."""
    clip = fixture_clip("clean")
    name = '<img src=x onerror="1">'
    text = report.page(fixture_sheet(), [(clip, Judge(fixture_sheet())(clip, name))])
    assert name not in text
    assert all(
        link.startswith(("data:image/jpeg;base64,", "#"))
        for link in re.findall(r'(?:src|href)="([^"]*)"', text)
    )
    assert "://" not in text
    assert all(f"<h3>{note.id}</h3>" in text for note in fixture_sheet().elements)


def test_timeline_marks_what_is_bad() -> None:
    """Red: the page shows a leak or a lost element as if all were well."""
    drawn = report.timeline(
        [0, 4, 8], [0.9, 0.2, 0.9], 9, 0.5, above_is_bad=False, flags=[False] * 8 + [True]
    )
    assert drawn.count("<circle") == 1
    assert drawn.count("<rect") == 1


class Takes:
    """A pipeline's double: seed -> one of the clips it was given; notes what was asked."""

    def __init__(self, *clips: Clip) -> None:
        self.clips, self.seeds = clips, list[int]()

    def __call__(self, seed: int) -> Clip:
        self.seeds.append(seed)
        return self.clips[len(self.seeds) - 1]


def leaky(frames: int) -> Clip:
    sheet = np.asarray(fixture_sheet().conditioning_image(192, 112))
    return Clip(faults.leak(fixture_clip("clean").frames, sheet, (0, frames)), 24.0)


def judge(clip: Clip) -> Judgement:
    """As if faces had been compared: what the judge alone cannot tell is carried."""
    told = Judge(fixture_sheet())(clip)
    return told if told.state == "not carried" else replace(told, state="carried", passed=True)


def test_reroll_stops_at_the_first_take_that_passes() -> None:
    """Red: takes are made that nobody needs, or a failing one is kept."""
    make = Takes(leaky(10), fixture_clip("clean"), fixture_clip("clean"))
    choice = reroll(make, judge, seed=7, takes=3)
    assert make.seeds == [7, 8]
    assert choice.best.seed == 8
    assert choice.best.judgement.passed
    assert "best of 2 of 3 takes" in choice.reason


def test_reroll_keeps_the_best_of_bad_takes() -> None:
    """Red: with no take that passes, the last or the first is kept instead of the best."""
    choice = reroll(Takes(leaky(20), leaky(4), leaky(12)), judge, seed=0, takes=3)
    assert choice.best.seed == 1
    assert [seed for seed, _ in choice.takes] == [0, 1, 2]
    assert "the sheet shows" in choice.reason


def test_reroll_goes_on_when_asked_and_ties_go_to_the_first() -> None:
    """Red: the choice depends on how many equal takes follow."""
    make = Takes(*[fixture_clip("clean")] * 3)
    assert reroll(make, judge, seed=5, takes=3, stop_early=False).best.seed == 5
    assert make.seeds == [5, 6, 7]


def test_reroll_lets_errors_through_and_refuses_no_takes() -> None:
    """Red: a failing pipeline is hidden, or zero takes crash later with an assertion."""

    def broken(_seed: int) -> Clip:
        raise NumericsError("NaN", remedy="another seed")

    with pytest.raises(NumericsError):
        reroll(broken, judge, seed=0, takes=2)
    with pytest.raises(SettingsError):
        reroll(Takes(), judge, seed=0, takes=0)
