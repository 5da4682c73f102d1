"""A run's settings, its schedule, its draws and its page."""

from __future__ import annotations

import sys
from xml.etree import ElementTree

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing._internal.two_tensor import TwoTensor

from castsheet.errors import CheckpointError, DependencyError, SettingsError
from castsheet.machine.seeds import generator
from castsheet.train.batches import Sampler, draw
from castsheet.train.config import (
    BaseConfig,
    ObjectiveConfig,
    OptimiserConfig,
    Ramp,
    load_config,
    make_config,
    read_override,
)
from castsheet.train.curves import Curve, smooth, thin
from castsheet.train.log import Log, read_log
from castsheet.train.memory.keeping import kept_bytes, plan
from castsheet.train.optimiser import (
    load_optimiser_state,
    make_optimiser,
    moments_note,
    optimiser_state,
    set_rate,
)
from castsheet.train.report import chart
from castsheet.train.schedule import place, rate_at

LEAST = {"model": "m.safetensors", "data": "d", "output": "o"}


def test_the_card_recipe_is_the_published_one():
    """Red: the recipe's numbers are no longer those that the adapter was published with."""
    config = make_config({"preset": "card-recipe", **LEAST})
    adapter, optimiser, objective = config.adapter, config.optimiser, config.objective
    assert (adapter.rank, adapter.alpha, adapter.dropout) == (128, 128, 0)
    assert set(adapter.targets) == {
        *(f"attn{i}.{name}" for i in (1, 2) for name in ("to_q", "to_k", "to_v", "to_out.0")),
        "ff.net.0.proj",
        "ff.net.2",
    }
    assert (optimiser.name, optimiser.max_gradient_norm) == ("adamw8bit", 1.0)
    assert (config.batch, config.accumulation, config.seed, config.steps) == (1, 1, 42, 12_000)
    assert (config.base.weights, config.base.recompute) == ("bf16", "auto")
    assert (objective.first_frame_probability, objective.reference_downscale_factor) == (0, 1)
    rates = [rate_at(step, optimiser.rate) for step in (0, 3000, 6000, 11_999)]
    assert rates == pytest.approx([1.3e-4, 7.15e-5, 1.3e-5, 1.3e-5])


def test_presets_differ_where_they_say(tmp_path):
    """Red: a preset is not laid under the file, or the file not over the preset."""
    path = tmp_path / "run.yaml"
    path.write_text("preset: quick\nmodel: m\ndata: d\noutput: o\nadapter: {rank: 16}\n")
    config = load_config(path, read_override("optimiser.name=adamw"))
    assert (config.adapter.rank, config.adapter.alpha, config.base.weights) == (16, 32, "fp8")
    assert config.optimiser.name == "adamw"
    assert config.optimiser.rate[0].until == 2000
    assert config.data == tmp_path / "d"


@pytest.mark.parametrize(
    ("values", "message", "remedy"),
    [
        ({"stepz": 3}, "unknown field stepz", "did you mean steps"),
        ({"optimiser": {"max_grad_norm": 1}}, "optimiser.max_grad_norm", "max_gradient_norm"),
        ({"watch": {"samples": [{"sheets": "a"}]}}, "watch.samples.0.sheets", "did you mean sheet"),
        ({"adapter": {"zzz": 1}}, "adapter.zzz", "fields here are rank"),
        ({"steps": 0}, "steps", "at least 1"),
        ({"adapter": {"dropout": 0.1}}, "adapter.dropout", "use 0"),
        ({"preset": "fast"}, "unknown preset 'fast'", "card-recipe, quick"),
        ({"optimiser": {"rate": []}}, "optimiser.rate", "correct"),
    ],
)
def test_wrong_settings_are_told(values, message, remedy):
    """Red: a misspelt field is ignored for 12,000 steps, or the message does not help."""
    with pytest.raises(SettingsError) as caught:
        make_config({**LEAST, **values})
    assert message in caught.value.what
    assert remedy in caught.value.remedy


def test_a_file_that_is_no_mapping_is_told(tmp_path):
    """Red: an empty or broken YAML file ends in a traceback."""
    for text in ("", "[1", "- a"):
        (tmp_path / "run.yaml").write_text(text)
        with pytest.raises(SettingsError):
            load_config(tmp_path / "run.yaml")


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 2**40))
def test_every_epoch_shows_every_sample_once(count, batch, seed):
    """Red: samples are skipped or repeated within an epoch when batches do not divide the data."""
    sampler = Sampler(seed, count, batch)
    seen = [sampler.index(step, slot) for step in range(2 * count) for slot in range(batch)][: 2 * count]
    assert sorted(seen[:count]) == sorted(seen[count:]) == list(range(count))


def test_a_draw_depends_on_its_place_alone():
    """Red: choices depend on the order of draws, or two places share theirs."""
    objective = ObjectiveConfig(first_frame_probability=0.5, reference_dropout=0.5)
    sources = [generator(42, 7, slot) for slot in (1, 2, 1, 1)]
    many = draw(sources[:2], [(0, 3, 1), (1, 3, 1)], objective, sigma_tokens=20)
    alone = draw(sources[2:3], [(0, 3, 1)], objective, sigma_tokens=20)
    assert many.picks[0] == alone.picks[0]
    assert many.sigma_B[0] == alone.sigma_B[0] != many.sigma_B[1]
    plain = draw(sources[3:], [(0, 3, 1)], ObjectiveConfig(), sigma_tokens=20)
    assert not plain.given_B.any()
    assert not plain.blank_B.any()
    following = [torch.randn(4, generator=source) for source in sources]
    assert torch.equal(following[0], following[3])  # the noise that comes next
    assert not torch.equal(following[0], following[1])


def test_the_rate_holds_after_the_last_ramp():
    """Red: steps beyond the schedule run at a rate nobody wrote down."""
    assert rate_at(99, (Ramp(until=10, start=1.0, end=0.5),)) == 0.5


def test_time_brings_the_rate_to_its_end():
    """Red: a run that ends by the clock stops in the middle of its schedule."""
    ramps = [Ramp(until=10, start=0.0, end=1.0), Ramp(until=100, start=1.0, end=0.1)]
    assert place(7, 100, 5.0, None) == 7
    assert place(7, 100, 5.0, 1000.0) == 7
    assert place(7, 100, 5.0, 50.0) == 10
    assert rate_at(place(7, 100, 49.95, 50.0), ramps) == pytest.approx(0.101)


def test_eight_bit_moments_need_their_package(monkeypatch):
    """Red: 8-bit AdamW was asked for and something else is used, or the message lacks the command."""
    monkeypatch.setitem(sys.modules, "torchao.optim", None)
    with pytest.raises(DependencyError, match=r"torchao(?s:.)*castsheet\[train\]"):
        make_optimiser([torch.nn.Parameter(torch.ones(2))], OptimiserConfig())


class Quantising(torch.optim.Optimizer):
    """Momentum whose state is a tensor of several parts, as torchao's 8-bit moments are, and a number."""

    def __init__(self, parameters: list[torch.nn.Parameter]) -> None:
        super().__init__(parameters, {"lr": torch.tensor(0.0)})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                zeros = torch.zeros_like(parameter)
                old = state.get("momentum", TwoTensor(zeros, zeros.clone()))
                state["momentum"] = TwoTensor(0.9 * old.a + parameter.grad, old.b + 1)
                state["count"] = state.get("count", 0) + 1
                parameter -= group["lr"] * state["momentum"].a


def trained(steps: int, saved: tuple | None = None) -> tuple[torch.Tensor, tuple]:
    """A parameter after some steps, and the optimiser's state; goes on from a saved one."""
    parameter = torch.nn.Parameter(torch.ones(3))
    optimiser = Quantising([parameter])
    if saved is not None:
        parameter.data.copy_(saved[0])
        load_optimiser_state(optimiser, *saved[1])
    set_rate(optimiser, 0.1)
    for _ in range(steps):
        parameter.grad = parameter.detach().clone()
        optimiser.step()
    return parameter.detach().clone(), optimiser_state(optimiser)


def test_quantised_moments_survive_saving():
    """Red: 8-bit moments, or state that is no tensor, are lost when a run resumes."""
    whole, state = trained(5)
    resumed, again = trained(2, trained(3))
    assert torch.equal(whole, resumed)
    assert again[1] == state[1] == {"0.count": 5}
    assert set(state[0]) == {"0.momentum.a", "0.momentum.b"}
    assert all(torch.equal(again[0][key], state[0][key]) for key in state[0])
    with pytest.raises(CheckpointError, match=r"0\.exp_avg"):
        trained(1, (whole, ({"0.exp_avg": torch.ones(3)}, {})))


def test_plain_adamw_says_what_it_costs():
    """Red: the fuller optimiser is used without a word about its memory."""
    assert "adamw keeps 1.0 GiB of moments" in moments_note(OptimiserConfig(name="adamw"), 2**27)
    assert not moments_note(OptimiserConfig(name="adamw"), 2**17)
    assert not moments_note(OptimiserConfig(name="adamw8bit"), 2**27)


def test_blocks_are_stored_as_far_as_the_budget_goes():
    """Red: the memory budget is ignored or overrun."""

    def kept(mib: int, **settings: object) -> str:
        base = BaseConfig(activation_gib=mib / 1024, **settings)  # blocks of 10 MiB, of 100 stored whole
        return "".join(one[1] for one in plan(base, 6, 10 * 2**20, lambda: 100 * 2**20))

    assert kept(30) == "nnnnnl"  # the inputs alone are more: as little as there is
    assert kept(85) == "nnnttl"
    assert kept(109) == "nttttl"
    assert kept(110) == "tttttl"
    assert kept(290) == "tttlll"
    assert kept(9000) == "llllll"
    assert kept(0.1, recompute=4) == "nnnnll"
    assert kept(0.1, recompute="all") == "nnnnnn"
    assert kept(0.1, recompute="attention") == "tttttt"
    assert kept(0.1, recompute="none") == "llllll"


def test_kept_bytes_counts_what_autograd_keeps():
    """Red: the budget rests on a wrong measure."""
    x = torch.ones(1000, requires_grad=True)
    cpu = torch.device("cpu")
    assert kept_bytes(lambda: (x * 2).exp(), cpu) == 4000
    assert kept_bytes(lambda: x + 1, cpu) == 0


def test_the_record_is_cut_back_to_the_checkpoint(tmp_path):
    """Red: steps made again stand twice in the curve, or a half-written line stops a resumed run."""
    log = Log(tmp_path, 0)
    for step in (1, 2, 3):
        log("train", step, loss=float(step))
    with log.path.open("a") as file:
        file.write('{"kind": "tra')
    Log(tmp_path, 2)("train", 3, loss=9.0)
    assert [line["loss"] for line in read_log(tmp_path)] == [1, 2, 9]


def test_curves_stay_small_and_keep_their_end():
    """Red: a page of a long run weighs megabytes, or shows an old value as the newest."""
    points = [(float(step), 1.0 + step) for step in range(12_000)]
    assert len(thin(points)) <= 402
    assert thin(points)[-1] == points[-1]
    assert thin([]) == []
    assert smooth([(1, 5.0), (2, 5.0)]) == [(1, pytest.approx(5.0)), (2, pytest.approx(5.0))]


def test_charts_bear_any_values():
    """Red: an empty, constant or zero curve breaks the page; names are not escaped."""
    assert "nothing yet" in chart("Loss", [Curve("a", [])])
    assert "nan" not in chart("Loss", [Curve("a", [(1, 2.0)]), Curve("<b>", [(1, 0.0), (5, 1e6)])])
    drawn = chart("Loss", [Curve("<b>", [(1, 0.0)])])
    assert "&lt;b&gt;" in drawn
    ElementTree.fromstring(drawn.replace("class=key", ""))
