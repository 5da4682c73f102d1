"""Training on LTX-2.5: the marker as at inference or switched off, in every way to hold the base."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from castsheet.ltx.adapters.lora_file import MARKER, LoRA
from castsheet.ltx.model.rope import video_bounds, video_tables
from castsheet.train.batches import make_batch
from castsheet.train.config import ObjectiveConfig, make_config
from castsheet.train.data.dataset import Dataset, DatasetError, header_of
from castsheet.train.learner import marked_tokens
from castsheet.train.log import read_log
from castsheet.train.objective import Given, flow_losses
from castsheet.train.trainer import train
from tests.doubles import ltx_tiny as tiny
from tests.doubles.tiny_25 import build_whole, tiny_tensors
from tests.doubles.train_tiny import build_data, config, write

FRAME = tiny.ROWS * tiny.COLUMNS


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_whole(tmp_path_factory.mktemp("model"), tiny_tensors())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_data(tmp_path_factory.mktemp("data"))


def first_loss(model: Path, data: Path, output: Path, **changes: Any) -> tuple[float, LoRA]:
    """The loss of the first of two steps, and the adapter."""
    adapter = train(config(model, data, output, steps=2, **changes))
    return next(one["loss"] for one in read_log(output) if one["kind"] == "train"), LoRA.open(adapter)


def test_the_loss_marks_what_inference_marks() -> None:
    """Red: an adapter is trained on tokens that the model never sees, or nobody says what is marked."""
    model = tiny.with_large_marker(tiny.tiny_transformer(family="ltx-2.5"))
    seen: list[torch.Tensor] = []
    model.transformer_blocks[0].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    bounds = torch.cat([video_bounds(f, tiny.ROWS, tiny.COLUMNS, tiny.FPS) for f in (tiny.FRAMES, 1)], dim=1)

    def losses(**options: Any) -> torch.Tensor:
        given = Given(
            tiny.randn(2, tiny.TARGET, 8, seed=1),
            tiny.randn(2, tiny.CONTEXT, 32, seed=2),
            video_tables(model.config, bounds),
            reference_BRC=tiny.randn(2, FRAME, 8, seed=4),
            **options,
        )
        return flow_losses(model, given, torch.tensor([0.7, 0.3]), tiny.randn(2, tiny.TARGET, 8, seed=3))

    marked, plain = losses(marked=FRAME), losses(marked=0)
    difference = seen[0] - seen[1]
    assert torch.allclose(difference[:, :FRAME], model.keyframes_abs_pos_embedding, atol=1e-5)
    assert not difference[:, FRAME:].any()  # neither the rest of the clip nor the sheet
    assert not torch.isclose(marked, plain).any()
    with pytest.raises(ValueError, match="first latent frame"):
        losses()


def test_an_excerpt_is_marked_only_if_it_begins_the_clip(data: Path) -> None:
    """Red: the first frame of any excerpt is taken for the clip's, and the marker loses its meaning."""
    objective = ObjectiveConfig(excerpt=1)
    dataset = Dataset.open(data, channels=8, context_dim=48)
    found = set()
    for seed in range(30):
        source = lambda slot, seed=seed: torch.Generator().manual_seed(seed + hash(slot) % 97)  # noqa: E731
        batch = make_batch(dataset, [(0, 0)], source, objective)
        assert marked_tokens(batch, objective) == (8 if batch.frames == (0,) else 0)
        assert marked_tokens(replace(batch, frames=None), objective) == 8
        assert marked_tokens(replace(batch, frames=None), ObjectiveConfig(marker=False)) == 0
        found.add(batch.frames)
    assert len(found) > 1


@pytest.mark.parametrize(
    "base", [{}, {"recompute": "all"}, {"weights": "fp8"}], ids=["plain", "recompute", "fp8"]
)
def test_a_run_says_whether_the_marker_was_on(model: Path, data: Path, tmp_path: Path, base: dict) -> None:
    """Red: an adapter does not tell its family or how it was trained, or a memory mode forgets the marker."""
    marked, adapter = first_loss(model, data, tmp_path / "on", base={"weights": "fp32", **base})
    assert (adapter.family, adapter.metadata[MARKER]) == ("ltx-2.5", "on")
    off = {"objective": {"marker": False}, "base": {"weights": "fp32", **base}}
    plain, adapter = first_loss(model, data, tmp_path / "off", **off)
    assert (adapter.family, adapter.metadata[MARKER]) == ("ltx-2.5", "off")
    assert abs(marked - plain) > 1e-3 * plain
    reference, _ = first_loss(model, data, tmp_path / "reference", base={"weights": "fp32"})
    assert marked == pytest.approx(reference, rel=0.05 if base.get("weights") == "fp8" else 1e-5)


def test_the_option_leaves_runs_of_ltx_2_3_as_they_were() -> None:
    """Red: a run that began before there was a marker cannot go on."""
    values = {"model": "mini", "data": "d", "output": "o"}
    usual = make_config(values)
    assert usual.fingerprint == make_config({**values, "objective": {"marker": True}}).fingerprint
    assert usual.fingerprint != make_config({**values, "objective": {"marker": False}}).fingerprint


def test_contexts_of_another_family_are_refused(model: Path, tmp_path: Path) -> None:
    """Red: an LTX-2.5 adapter learns from prompts that were encoded for LTX-2.3."""
    data = build_data(tmp_path / "data", 2)
    sample = {"latents": torch.randn(8, 3, 2, 4), "references": torch.randn(2, 8, 1, 2, 4)}
    path = write(data, "other", sample)
    from castsheet.train.data.dataset import write_sample

    write_sample(path, sample, fps=24.0, context="a.safetensors", augment={}, family="ltx-2.3")
    assert header_of(path)["family"] == "ltx-2.3"
    with pytest.raises(DatasetError, match=r"contexts of ltx-2\.3.*ltx-2\.5"):
        train(config(model, data, tmp_path / "out", steps=1))
