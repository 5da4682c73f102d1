"""A base that stays in host memory while its adapter is trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch.distributed as dist

from castsheet.train.log import read_log
from castsheet.train.trainer import train
from tests.doubles import train_tiny as tiny


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build_data(tmp_path_factory.mktemp("data"), 3)


@pytest.mark.parametrize("weights", ["fp32", "bf16", "fp8"])
def test_a_streamed_base_trains_the_same_numbers(
    model: Path, data: Path, tmp_path: Path, weights: str
) -> None:
    """Red: streaming changes a number of the adapter, or leaves its group of one behind."""
    found = []
    for stream in (False, True):
        base = {"weights": weights, "recompute": "all", "offload": True, "stream": stream}
        config = tiny.config(model, data, tmp_path / f"run-{stream}", base=base, steps=3)
        found.append(train(config).read_bytes())
        assert not dist.is_initialized()
    plain, streamed = found
    assert plain == streamed


def test_a_streamed_run_goes_on(model: Path, data: Path, tmp_path: Path) -> None:
    """Red: a run cannot go on streamed after it began plain, or its curve then breaks."""
    whole = tiny.config(model, data, tmp_path / "whole", steps=4)
    train(whole)
    parts = tiny.config(model, data, tmp_path / "parts", steps=2)
    train(parts)
    base = parts.base.model_copy(update={"stream": True})
    train(parts.model_copy(update={"steps": 4, "base": base}))
    losses = [
        [line["loss"] for line in read_log(tmp_path / name) if line["kind"] == "train"]
        for name in ("whole", "parts")
    ]
    assert losses[0] == losses[1]
