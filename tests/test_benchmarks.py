"""The benchmarks run: every section at toy size on the CPU, and what they do with failures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks import training
from benchmarks.all import CPU, SECTIONS, Section, spawn
from benchmarks.common import TINY, open_bench
from benchmarks.table import render
from castsheet.processes import World


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.name)
def test_sections_run(section: Section, tmp_path: Path) -> None:
    """Red: minutes on a GPU end in a row that says why there is no number."""
    section.run(tmp_path, tiny=True, commit="abc")
    if section.name == "kernels":
        return  # has rows on a GPU only
    record = json.loads((tmp_path / f"{section.name}-tiny.json").read_text())
    assert record["commit"] == "abc"
    assert record["rows"]
    assert not [row for row in record["rows"] if "failed" in row]
    assert "does not run here" not in render(record)


def test_the_training_step(tmp_path: Path) -> None:
    """Red: minutes on a GPU end without a step, ours or the peer's, or the two train different things."""
    rows = ["diffusers and PEFT", "fp8", "bf16, all recomputed"]
    assert training.main(["--tiny", "--steps", "1", "--out", str(tmp_path), "--only", *rows]) == 0
    found = json.loads((tmp_path / "training-tiny.json").read_text())["rows"]
    assert [row["row"] for row in found] == [f"step: {row}" for row in rows]
    peer, fp8, exact = found
    assert fp8["times"] == pytest.approx(peer["ms"] / fp8["ms"])
    assert exact["first_loss"] == pytest.approx(peer["first_loss"], rel=1e-4)
    assert fp8["first_loss"] == pytest.approx(peer["first_loss"], rel=0.02)
    assert exact["kept"] == {"input": 4}


def test_a_training_row_that_fails_leaves_its_traceback(tmp_path: Path) -> None:
    """Red: a failure on a rented machine cannot be understood afterwards."""
    bench = training.Training("x", torch.device("cpu"), TINY, tmp_path, "abc")
    bench.where = World(0, 1, bench.device)
    with bench.attempt("a, b"):
        torch.ones(2, 3) @ torch.ones(2, 3)
    assert "in test_a_training_row_that_fails" in (tmp_path / "x-a--b-0.txt").read_text()


def test_stages_of_the_embedded_model(tmp_path: Path) -> None:
    """Red: nobody can say any more where the demo's time goes."""
    CPU.run(tmp_path, tiny=True, commit="abc")
    record = json.loads((tmp_path / "cpu-tiny.json").read_text())
    shares = [row["share"] for row in record["rows"] if "share" in row]
    assert sum(shares) == pytest.approx(1)
    plain = next(row for row in record["rows"] if row["row"].startswith("a guided step: fast path"))
    assert plain["error"] <= 1e-5


def test_a_failure_is_a_row(tmp_path: Path) -> None:
    """Red: one kernel that a machine lacks costs all later numbers."""
    bench = open_bench("x", tmp_path, tiny=True, commit="abc")
    with bench.attempt("impossible"):
        torch.ones(2, 3) @ torch.ones(2, 3)
    bench.add("possible", ms=1.0)
    rows = json.loads((tmp_path / "x-tiny.json").read_text())["rows"]
    assert rows[0]["failed"].startswith("RuntimeError: mat1 and mat2")
    assert rows[1] == {"row": "possible", "ms": 1.0}
    assert bench.ms("impossible") != bench.ms("impossible")  # NaN


def test_a_section_that_hangs_is_stopped(tmp_path: Path) -> None:
    """Red: one section takes the time of all."""
    assert spawn(CPU, tmp_path, 0.2, tiny=True, commit="abc").startswith("stopped")
