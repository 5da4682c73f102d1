"""Two processes make one clip, over gloo: the same as one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from shared_passes import compare, passes
from tiny_bundle import build_bundle, tiny_sheet
from two_processes import two_processes

from castsheet.cli import main
from castsheet.sampling.parallel import share_out


def test_passes_on_several_processes_are_bitwise_those_of_one(tmp_path: Path) -> None:
    """Red: a pass ends at the wrong place, is lost, or is computed otherwise."""
    with two_processes(partial(compare, tmp_path)):
        pass
    for rank in (0, 1):
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == [True] * (3 + 8)


def test_who_runs_what() -> None:
    """Red: the perturbed pass is parted from the one it shares its blocks with, or a process idles."""
    assert share_out(passes(False), 1) == [0, 0, 0]
    assert share_out(passes(False), 2) == [0, 1, 0]
    assert share_out(passes(True), 2) == [0, 1, 0, 1]
    assert share_out(passes(True), 4) == [0, 1, 0, 2]


def test_generate_under_torchrun(tmp_path: Path) -> None:
    """Red: two processes write over each other, or their clip is not that of one."""
    bundle = build_bundle(tmp_path / "bundle")
    sheet = tiny_sheet().save(tmp_path / "cast.png")[0]
    line = ["castsheet.cli", "generate", str(sheet), "--action", "hero walks left past the barn", "--model"]
    line += [str(bundle), "--device", "cpu", "--dtype", "fp32", "--guidance", "3", "--stg-scale", "1"]
    line += ["--cache-dir", str(tmp_path / "cache"), "--force"]
    with pytest.raises(SystemExit) as left:
        main([*line[1:], "--out", str(tmp_path / "one.mp4")])
    assert left.value.code == 0
    pair = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    pair += [*line, "--out", str(tmp_path / "two.mp4")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(pair, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("two.mp4") == 1
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "two.mp4").read_bytes()
