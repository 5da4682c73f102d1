"""A precision is one entry of `FORMATS`: a toy one, registered here and known nowhere else, does all work."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from castsheet.errors import AdapterError, SettingsError
from castsheet.loading.models import Models
from castsheet.loading.source import Source
from castsheet.ltx.formats import FORMATS, Format, automatic
from castsheet.ltx.speed.memory import GIB, official, plan
from castsheet.ltx.speed.streaming import StreamedBlocks
from castsheet.pipeline import Castsheet
from tests.doubles.placed import Planned, planned
from tests.doubles.tiny_bundle import build_bundle, tiny_sheet

ACTION = "hero walks left past the barn"


class ToyLinear(nn.Module):
    """Whole numbers from -127 to 127 times one step."""

    def __init__(self, inputs: int, outputs: int, bias: bool) -> None:
        super().__init__()
        self.in_features, self.out_features = inputs, outputs
        self.weight = nn.Parameter(torch.empty(outputs, inputs, dtype=torch.int8), requires_grad=False)
        self.step = nn.Parameter(torch.empty(1), requires_grad=False)
        self.bias = nn.Parameter(torch.empty(outputs), requires_grad=False) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, (self.weight.float() * self.step).to(x.dtype), self.bias)


class Toy(Format):
    name, bytes, dtype, capability = "toy", 0.5, "fp32", (9, 0)

    def layer(self, inputs: int, outputs: int, bias: bool) -> nn.Module:
        return ToyLinear(inputs, outputs, bias)

    def held(self, weight_OI: Tensor) -> dict[str, Tensor]:
        step = weight_OI.abs().max().reshape(1) / 127
        return {"weight": (weight_OI / step).round().to(torch.int8), "step": step}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    return build_bundle(tmp_path_factory.mktemp("formats"))


@pytest.fixture
def toy(monkeypatch) -> Toy:
    one = Toy()
    monkeypatch.setitem(FORMATS, one.name, one)
    return one


def generate(castsheet: Castsheet) -> Tensor:
    seen: list[Tensor] = []
    castsheet(tiny_sheet(), ACTION, on_step=lambda *step: seen.append(step[2]))
    return seen[-1]


@pytest.mark.usefixtures("toy")
def test_a_clip_in_a_new_precision(bundle, tmp_path) -> None:
    """Red: a precision needs more than its entry in the table before a clip is made in it."""
    exact = generate(Castsheet.load(bundle, device="cpu", dtype="fp32", cache_dir=tmp_path))
    castsheet = Castsheet.load(bundle, device="cpu", dtype="toy", cache_dir=tmp_path)
    got = generate(castsheet)
    block = castsheet.models.transformer(castsheet.settings()).transformer_blocks[1]
    assert isinstance(block.attn1.to_q, ToyLinear)
    assert isinstance(block.ff.net[2], ToyLinear)
    assert castsheet.models.numerics == "torch.float32, toy layers"
    assert 1e-5 < (got - exact).norm() / exact.norm() < 0.1
    plan = planned(precision="toy", resident=0)
    models = Models(Source.open(bundle), torch.device("cpu"), torch.float32, tmp_path, Planned(plan))
    streamed = Castsheet(models)
    assert torch.equal(generate(streamed), got)
    assert isinstance(models.transformer(streamed.settings()).transformer_blocks, StreamedBlocks)


@pytest.mark.usefixtures("toy")
def test_the_planner_counts_a_new_precision() -> None:
    """Red: the plan for a precision is made with the size of another."""
    parts = official()
    assert parts.weights("toy", 4) == parts.width * parts.rest + 2 * parts.block
    made = plan(int(11.2 * GIB), parts, ("plain", "fp8", "toy"))
    assert (made.precision, made.streams) == ("toy", False)
    assert made.describe().startswith("toy, all blocks")
    assert automatic((8, 0)) == ("plain",)
    assert automatic((8, 9)) == ("plain", "fp8")
    assert automatic((9, 0)) == ("plain", "fp8", "toy")


def test_a_precision_that_takes_no_adapter_says_so(bundle, tmp_path, toy) -> None:
    """Red: an adapter is left out without a word where it cannot be merged."""
    toy.merges = False
    castsheet = Castsheet.load(bundle, device="cpu", dtype="toy", cache_dir=tmp_path)
    with pytest.raises(AdapterError, match="layers in toy") as caught:
        generate(castsheet)
    assert "another precision" in caught.value.remedy


@pytest.mark.usefixtures("toy")
def test_an_unknown_precision_is_told_the_known_ones(bundle) -> None:
    """Red: the message names fewer precisions than there are."""
    with pytest.raises(SettingsError, match="'int3'") as caught:
        Castsheet.load(bundle, device="cpu", dtype="int3")
    assert caught.value.remedy == "choose auto, fp32, bf16, fp8, toy"
