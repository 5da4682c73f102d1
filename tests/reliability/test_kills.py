"""kill -9 at steps on the file system, and disks that fill up: a sample of `python -m tools.kills`."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch

# The children are forked with all this in memory.
import castsheet.authoring.library
import castsheet.cli
import castsheet.jobs.request
import castsheet.train.trainer
from tests.doubles.killed import moments, run
from tests.doubles.killed_disks import may_mount, run_on_disk, used
from tests.doubles.killed_work import COMMANDS, PAIRS, build, faults, pair_faults, prepare

# A kill costs the time of a run or two, so that of each command a few moments are taken.
KILLS = {
    "generate over": 3,
    "shots over": 2,
    "sheet over": 4,
    "elements add more": 5,
    "elements remove": 5,
    "encode over": 3,
    "train further": 4,
    "distill further": 2,
}
BY_NAME = {command.name: command for command in COMMANDS}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return build(tmp_path_factory.mktemp("kills") / "good")


@pytest.mark.parametrize("name", KILLS)
def test_a_killed_command_loses_nothing(files: Path, tmp_path: Path, name: str) -> None:
    """Red: a kill leaves half of a set, loses an earlier result, or the next run does not put it right."""
    prepared = prepare(BY_NAME[name], files, tmp_path)
    chosen = moments(prepared.steps)
    # The renames stand near the end; an uneven stride meets other moments of each command.
    for at, after in chosen[-1 :: -max(1, len(chosen) // KILLS[name])][: KILLS[name]]:
        kill = partial(run, prepared.command.words, at=at, after=after)
        assert list(faults(prepared, tmp_path / "work", kill)) == [], (at, after, prepared.steps[at - 1])


@pytest.mark.parametrize(
    "pair", [pair for pair in PAIRS if pair.name in ("sheet", "element", "run")], ids=str
)
def test_two_at_once_lose_nothing(files: Path, tmp_path: Path, pair: object) -> None:
    """Red: two processes lose each other's pictures, mix their sets, or train every step twice."""
    assert list(pair_faults(pair, files, tmp_path / "work")) == []  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["sheet over", "train further"])
def test_a_disk_that_fills_up_loses_nothing(files: Path, tmp_path: Path, name: str) -> None:
    """Red: on a real disk without room, or that may only be read, an earlier result is lost, half
    of a set stays, the error is missing, or the next run with room does not put it right."""
    if not may_mount(tmp_path / "tried"):
        pytest.skip("no right to mount a disk: run as root, or under unshare --user --map-root-user --mount")
    prepared = prepare(BY_NAME[name], files, tmp_path)
    half = (used(prepared.after / "out") - used(prepared.before / "out")) // 2
    for free in (None, max(half, 0)):
        kill = partial(run_on_disk, prepared.command.words, free=free)
        assert list(faults(prepared, tmp_path / "work", kill, clean=(2,))) == [], free
