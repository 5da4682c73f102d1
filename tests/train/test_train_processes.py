"""Two processes on one machine, over gloo: the same training as one."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from benchmarks import training
from castsheet.train.log import read_log
from castsheet.train.trainer import train
from tests.doubles import train_tiny as tiny
from tests.doubles.several_processes import several_processes


@pytest.fixture(scope="module")
def curves(tmp_path_factory):
    """Records of one run by itself and of the same global batch on two processes, plain and shared out
    and offloaded."""
    root: Path = tmp_path_factory.mktemp("processes")
    model, data = tiny.build_model(root / "model"), tiny.build_data(root / "data", 5)
    held_out = str(tiny.build_data(root / "held_out", 3, seed=9))
    watch = {"held_out_every": 6}
    alone = tiny.config(model, data, root / "alone", batch=4, held_out=held_out, watch=watch)
    pair = alone.model_copy(update={"batch": 1, "accumulation": 2, "output": root / "pair"})
    shared = pair.model_copy(
        update={
            "output": root / "shared",
            "base": pair.base.model_copy(update={"shard": True, "offload": True}),
        }
    )
    measure = ["--tiny", "--parallel", "--steps", "1", "--out", str(root / "scaling"), "--commit", "abc"]
    with several_processes(2, partial(train, pair), partial(train, shared), partial(training.main, measure)):
        train(alone)
    scaling = json.loads((root / "scaling" / "training-2-tiny.json").read_text())["rows"]
    return {name: list(read_log(root / name)) for name in ("alone", "pair", "shared")} | {"scaling": scaling}


def column(lines: list[Any], field: str) -> list[Any]:
    return [line[field] for line in lines if line["kind"] == "train"]


@pytest.mark.parametrize("name", ["pair", "shared"])
def test_two_processes_train_as_one(curves, name):
    """Red: ranks draw the same noise, gradients are scaled, or sharing or offloading changes numbers."""
    alone, other = curves["alone"], curves[name]
    assert column(other, "loss") == pytest.approx(column(alone, "loss"), rel=1e-4)
    assert column(other, "gradient_norm") == pytest.approx(column(alone, "gradient_norm"), rel=1e-3)


def test_the_schedule_counts_optimiser_steps(curves):
    """Red: the learning rate falls faster on more processes, as in the official trainer."""
    assert column(curves["pair"], "rate") == column(curves["alone"], "rate")


def test_every_slot_has_its_own_noise(curves):
    """Red: two ranks train on the same noise level, or a slot's draw depends on who drew it."""
    samples = column(curves["pair"], "samples")
    assert all(len({sigma for sigma, _ in step}) == 4 for step in samples)
    alone = column(curves["alone"], "samples")
    assert [[s for s, _ in step] for step in samples] == [[s for s, _ in step] for step in alone]


def test_held_out_loss_is_shared_work(curves):
    """Red: with an odd number of samples a process waits for ever, or a sample counts twice."""
    found = {
        name: [line["loss"] for line in curves[name] if line["kind"] == "held_out"]
        for name in ("alone", "pair", "shared")
    }
    assert found["pair"] == pytest.approx(found["alone"], rel=1e-4)
    assert found["shared"] == pytest.approx(found["alone"], rel=1e-4)


def test_weak_scaling_is_measured(curves):
    """Red: minutes on many GPUs end without samples a second or the share of communication."""
    step, sums = curves["scaling"]
    assert "failed" not in step
    assert step["samples_a_second"] == pytest.approx(2e3 / step["ms"])
    assert 0 <= sums["share"] < 1
    assert sums["ms"] > 0
