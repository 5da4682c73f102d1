"""The benchmarks run: every section at toy size on the CPU, and what they do with failures."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import training
from benchmarks.all import CPU, SECTIONS, Section, spawn
from benchmarks.common import FAILED, FULL, ROOT, SMOKE, open_bench, reported
from benchmarks.denoiser import FUSED, group_of
from benchmarks.identity import identity
from benchmarks.pace import on_front, pace
from benchmarks.table import FUSED as NAMED
from benchmarks.table import MARKER, fill, render
from castsheet.clip import Clip
from castsheet.pipeline import Castsheet
from castsheet.settings import Settings
from castsheet.sheet.manifest import Sheet
from tests.doubles.tiny_bundle import build_bundle, tiny_sheet


# Two sections make clips with the embedded model: minutes on a CPU; they have tests of their own.
@pytest.mark.parametrize(
    "section",
    [one for one in SECTIONS if one.name not in ("identity", "pace")],
    ids=lambda section: section.name,
)
def test_sections_run(section: Section, tmp_path: Path) -> None:
    """Red: minutes on a GPU end in a row that says why there is no number."""
    section.run(tmp_path, mode="tiny", commit="abc")
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


def test_stages_of_the_embedded_model(tmp_path: Path) -> None:
    """Red: nobody can say any more where the demo's time goes."""
    CPU.run(tmp_path, mode="tiny", commit="abc")
    record = json.loads((tmp_path / "cpu-tiny.json").read_text())
    shares = [row["share"] for row in record["rows"] if "share" in row]
    assert sum(shares) == pytest.approx(1)
    plain = next(row for row in record["rows"] if row["row"].startswith("a guided step: fast path"))
    assert plain["error"] <= 1e-5


def test_a_failure_is_a_row(tmp_path: Path) -> None:
    """Red: one kernel that a machine lacks costs all later numbers."""
    bench = open_bench("x", tmp_path, mode="tiny", commit="abc")
    with bench.attempt("impossible"):
        torch.ones(2, 3) @ torch.ones(2, 3)
    bench.add("possible", ms=1.0)
    rows = json.loads((tmp_path / "x-tiny.json").read_text())["rows"]
    assert rows[0]["failed"].startswith("RuntimeError: mat1 and mat2")
    assert rows[1] == {"row": "possible", "ms": 1.0}
    assert bench.ms("impossible") != bench.ms("impossible")  # NaN


def test_a_section_that_hangs_is_stopped(tmp_path: Path) -> None:
    """Red: one section takes the time of all."""
    assert spawn(CPU, tmp_path, 0.2, mode="tiny", commit="abc").startswith("stopped")


def test_failures_are_kept_whole(tmp_path: Path) -> None:
    """Red: a crash on a rented GPU leaves one line, and finding its place takes another hour there."""
    with reported("x", tmp_path):
        bench = open_bench("x", tmp_path, mode="tiny", commit="abc")
        with bench.attempt("impossible"):
            torch.ones(2, 3) @ torch.ones(2, 3)
    with pytest.raises(KeyboardInterrupt), reported("y", tmp_path):
        raise KeyboardInterrupt
    text = (tmp_path / FAILED).read_text()
    assert "== x: impossible\nTraceback" in text
    assert "torch.ones(2, 3) @ torch.ones(2, 3)" in text
    assert "== y, as a whole\nTraceback" in text


def test_smoke_differs_from_the_full_size_in_blocks_and_repeats_only() -> None:
    """Red: what runs in seconds is not what runs for minutes, and its crash comes late."""
    assert replace(SMOKE.config, layers=FULL.config.layers) == FULL.config
    again = ("name", "config", "stg_block", "steps", "repeats")
    assert replace(SMOKE, **{name: getattr(FULL, name) for name in again}) == FULL
    assert SMOKE.stg_block < SMOKE.config.layers


class Painter:
    """A model in whose place every form paints grey clips; the approximate ones are a tenth off."""

    def __init__(self, *_: Any, **options: Any) -> None:
        self.off = 0.1 if options.get("dtype") == "fp8" else 0.0
        self.settings = Castsheet.load("mini", device="cpu").settings

    def __call__(self, _sheet: Sheet, _action: str, *, preset: Settings, on_step: Any, **_: Any) -> Clip:
        off = self.off + 0.2 * (preset.reference_every - 1)
        for step in (1, 2):
            on_step(step, 2, torch.ones(3) * (1 + off))
        frames = np.full((preset.frames, preset.height, preset.width, 3), 128, np.uint8)
        passes = 20 // preset.guidance_every
        told = {"timings_s": {"sampling": 0.1 * passes}, "work": {"passes": passes}}
        return Clip(frames, 24.0, provenance=told)


def test_approximations_stand_beside_their_identity_figure(tmp_path: Path) -> None:
    """Red: a form is compared with itself, or speed, error and identity are not of the same clips."""
    identity(open_bench("identity", tmp_path, mode="tiny", commit="abc"), load=Painter)
    rows = {row["row"]: row for row in json.loads((tmp_path / "identity-tiny.json").read_text())["rows"]}
    assert "failed" not in str(rows)
    assert [row["ms"] for row in rows.values()] == [2000] * 6  # fp8 attention has no CPU form
    assert "error" not in rows["exact"]
    assert rows["fp8"]["error"] == pytest.approx(0.1, rel=1e-3)
    assert rows["reference rows every 3 steps"]["error"] == pytest.approx(0.4, rel=1e-3)
    assert rows["fp8, reference rows every 2 steps"]["error"] == pytest.approx(0.3, rel=1e-3)
    assert 0 < rows["exact"]["identity"] < 1


def test_the_front_leaves_out_what_another_form_beats(tmp_path: Path) -> None:
    """Red: a form is recommended though another is faster and as good, or a better one is left out."""
    bench = open_bench("pace", tmp_path, mode="tiny", commit="abc")
    pace(bench, count=2, forms=("brisk", "sheet every 2"), load=Painter)
    rows = {row["row"]: row for row in bench.rows}
    assert "failed" not in str(rows)
    assert (rows["exact"]["ms"], rows["brisk"]["ms"], rows["sheet every 2"]["passes"]) == (2000, 1000, 20)
    assert rows["exact"]["error"] == 0
    assert rows["brisk"]["error"] == pytest.approx(0.2, rel=1e-3)
    assert rows["the front"]["forms"] == "brisk"  # all painted alike: the fastest
    better = {"ms": 3.0, "identity": 0.9, "action": 1.0, "judge": 0.5}
    faster = {**better, "ms": 1.0, "judge": 0.4}
    beaten = {**faster, "ms": 2.0}
    assert on_front([better, faster, beaten]) == [better, faster]


def test_the_distance_from_the_ceiling(tmp_path: Path) -> None:
    """Red: the floor is that of other work, or a kernel group is set against another group's ceiling."""
    layers = ("q, k and v", "attention out", "feed-forward in", "feed-forward out")
    rates = [
        {"row": f"{kind} {layer}{end}", "rate": rate, "unit": "TFLOP/s", "ms": 1.0}
        for kind, rate, end in (("bf16", 500.0, ""), ("fp8", 1000.0, ", product alone"))
        for layer in layers
    ]
    rates += [
        {"row": "attention, a", "rate": 300.0, "ms": 1.0},
        {"row": "attention, b", "rate": 997.0, "ms": 1.0},
    ]
    bf16 = [{"row": "bf16 pass: products", "ms": 600.0}, {"row": "bf16 pass: copies", "ms": 4.0}]
    write_results(tmp_path, {"ceilings": rates, "kernels": bf16, "strength": [{"row": "else", "ms": 1.0}]})
    text = fill("<!-- table floor -->\nold\n<!-- end -->", tmp_path)
    assert "| bf16: products | 484 | 600 | +116 |" in text
    assert "| bf16: copies | 0 | 4 | +4 |" in text
    assert "| bf16: all | 584 | 604 | +20 (1.03x) |" in text
    assert "fp8" not in text.replace("fp8.json", "")  # its pass was not profiled
    rates.append({"row": "copy within the device", "rate": 2.0, "ms": 1.0})
    fused = [*bf16, {"row": f"bf16 pass: {FUSED}", "ms": 60.0}]
    write_results(tmp_path, {"ceilings": rates, "kernels": fused})
    text = fill("<!-- table floor -->\nold\n<!-- end -->", tmp_path)
    assert f"| bf16: {FUSED} | 50 | 60 | +10 |" in text  # 0.101 TB
    assert "| bf16: all | 634 | 664 | +30 (1.05x) |" in text
    # A copy on the card of the pass counts before that of the ceilings' card.
    write_results(tmp_path, {"block": [{"row": "copy within the device", "rate": 4.0, "ms": 1.0}]})
    text = fill("<!-- table floor -->\nold\n<!-- end -->", tmp_path)
    assert f"| bf16: {FUSED} | 25 | 60 | +35 |" in text
    assert fill("<!-- table floor -->\nold\n<!-- end -->", tmp_path / "none").count("old") == 1


def test_a_kernel_counts_to_one_group() -> None:
    """Red: a fused kernel counts as a product or a copy, and another group seems slow."""
    found = {
        "triton_per_fused__scaled_mm__to_copy_abs_amax_gelu_view_15": FUSED,
        "triton_poi_fused__scaled_dot_product_cudnn_attention_clone_3": FUSED,
        "nvjet_sm90_qqtst_128x128_128x6_1x2_h_bz_ovscale_bias_TNT": "products",
        "cudnn_generated_fort_native_sdpa_sm90_flash_fprop_wgmma_f16": "attention",
        "Memcpy DtoD (Device -> Device)": "copies",
        "void something_else": "other",
    }
    assert {name: group_of(name) for name in found} == found
    assert NAMED == FUSED


def write_results(folder: Path, rows: dict[str, list[dict[str, Any]]]) -> None:
    about = {"device": "a card", "size": "a size", "commit": "abc", "date": "today", "versions": {}}
    for name, some in rows.items():
        (folder / f"{name}.json").write_text(json.dumps({**about, "rows": some}))


def test_every_section_has_a_table() -> None:
    """Red: what was measured is shown nowhere."""
    text = (ROOT / "README.md").read_text()
    assert {match["name"] for match in MARKER.finditer(text)} >= {one.name for one in SECTIONS} | {"floor"}


def test_a_commands_seconds_are_told_part_by_part(tmp_path: Path) -> None:
    """Red: a part of a command is not seen, or the parts do not add up to the whole."""
    bundle, sheet = build_bundle(tmp_path / "tiny"), tmp_path / "sheet.png"
    tiny_sheet().save(sheet)
    command = [sys.executable, "-m", "benchmarks.timeline", "--json", str(tmp_path / "found.json")]
    command += ["generate", str(sheet), "--action", "hero waves", "--model", str(bundle), "--device", "cpu"]
    command += ["--cache-dir", str(tmp_path), "--force", "-o", str(tmp_path / "clip.mp4")]
    done = subprocess.run(command, cwd=ROOT.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    wanted = {"imports", "text", "first step", "2 further steps", "decode", "encode and write", "between"}
    assert {part["name"] for part in found["parts"]} >= wanted
    outer = sum(part["seconds"] for part in found["parts"] if part["depth"] == 0)
    assert outer == pytest.approx(found["seconds"], rel=0.05)
    assert "in all" in done.stderr
