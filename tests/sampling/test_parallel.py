"""Several processes make one clip, over gloo: the same as one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

from castsheet.cli import main
from castsheet.errors import SettingsError
from castsheet.ltx.model.shards import Shards
from castsheet.machine.processes import World
from castsheet.sampling.parallel import SharedPasses, groups, share_out
from tests.doubles.ltx_tiny import TARGET, laid_out, tiny_video
from tests.doubles.several_processes import several_processes
from tests.doubles.shared_passes import compare, model_of, passes
from tests.doubles.tiny_bundle import build_bundle, tiny_sheet


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What four processes found, and the benchmark that they ran."""
    out: Path = tmp_path_factory.mktemp("four")
    with several_processes(4, partial(compare, out)):
        pass
    each = [json.loads((out / f"{rank}.json").read_text()) for rank in range(4)]
    return each, json.loads((out / "parallel-4-tiny.json").read_text())


def test_passes_on_several_processes_are_bitwise_those_of_one(found) -> None:
    """Red: a pass ends at the wrong place, is lost, or is computed otherwise."""
    for one in found[0]:
        assert all(value == 0 for name, value in one.items() if name.startswith("passes"))


def test_a_sequence_over_several_processes_is_that_of_one(found) -> None:
    """Red: rows or heads change places, a bias meets other tokens than its own, or audio sees half a clip."""
    for one in found[0]:
        shared = {name: value for name, value in one.items() if not name.startswith("passes")}
        assert len(shared) >= 9
        assert max(shared.values()) <= 1e-5


def test_the_benchmark_compares_every_way_with_one_process(found) -> None:
    """Red: minutes on two GPUs end without a figure, or a way that changes the clip goes unseen."""
    rows = found[1]["rows"]
    assert [row["row"] for row in rows] == [
        "a guided step in one process, bf16",
        "a guided step over 4 processes, auto, bf16",
        "a guided step over 4 processes, sequence, bf16",
        "a guided step over 4 processes, passes, bf16",
    ]
    assert all(row["speed_up"] > 0 and row["error"] <= 1e-5 for row in rows[1:])


def test_who_runs_what() -> None:
    """Red: the perturbed pass is parted from the one it shares its blocks with, or a process idles."""
    assert share_out(passes(False), 1) == [0, 0, 0]
    assert share_out(passes(False), 2) == [0, 1, 0]
    assert share_out(passes(True), 2) == [0, 1, 0, 1]
    assert share_out(passes(True), 4) == [0, 1, 0, 2]


def test_how_processes_are_grouped() -> None:
    """Red: processes idle, or a sequence is shared out where passes need no talk."""
    three, four = passes(False), passes(True)
    assert [groups(three, count, "auto") for count in (1, 2, 3, 4, 6, 8)] == [1, 2, 1, 2, 2, 2]
    assert [groups(four, count, "auto") for count in (2, 3, 4, 6)] == [2, 3, 2, 3]
    assert groups(three, 8, "sequence") == 1
    assert groups(three, 8, "passes") == 8


def test_too_many_processes_for_a_sequence_are_refused() -> None:
    """Red: a process is left without heads or tokens, and the run ends in a shape error."""
    shared = SharedPasses(World(0, 5, torch.device("cpu")), "sequence")
    with pytest.raises(SettingsError, match="over 5 processes"):
        shared(model_of(False), passes(False), targets=TARGET)
    with pytest.raises(ValueError, match="cannot be shared out"):
        Shards.of((24, 3), 0, 4)


def test_a_matrix_of_biases_and_half_a_segment_are_refused() -> None:
    """Red: a bias is read at the wrong rows, or rows are dropped that somebody keeps."""
    video = tiny_video(model_of(False).config, reference=1)
    shards = Shards.of(video.sequence.segments, 0, 2)
    assert video.shard(shards).sequence.segments == (12, 4)  # a half of each segment, not all of it
    with pytest.raises(ValueError, match="TokenBias"):
        laid_out(video, bias=torch.zeros(32, 32)).shard(shards)
    with pytest.raises(ValueError, match="only whole segments"):
        shards.here(5)


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
