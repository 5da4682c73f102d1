"""Training runs on a tiny model: what they learn, write, survive and refuse."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from castsheet.errors import CheckpointError, NumericsError, OutputError, SettingsError
from castsheet.loading.placement import enough_memory
from castsheet.ltx.adapters.lora import IC_TARGETS, attach, load_attached
from castsheet.ltx.adapters.lora_file import LoRA
from castsheet.ltx.files.checkpoint import Checkpoint
from castsheet.train import checkpoint
from castsheet.train.log import LOG, read_log
from castsheet.train.trainer import lighter, train
from tests.doubles import train_tiny as tiny
from tests.doubles.lora_tiny import merge
from tests.doubles.ltx_tiny import load_wide
from tests.doubles.tiny_bundle import tiny_sheet

LOSSES = Path(__file__).parents[1] / "data" / "losses"


@pytest.fixture(scope="module")
def whole(model, data, tmp_path_factory):
    """An uninterrupted run of 50 steps, with everything watched; its folder."""
    root = tmp_path_factory.mktemp("whole")
    held_out = tiny.build_data(root / "held_out", 3, seed=9)
    tiny_sheet().save(root / "sheet.png")
    sample = {"sheet": str(root / "sheet.png"), "action": "hero waves", "settings": {"steps": 1}}
    watch = {"held_out_every": 25, "sample_every": 50, "samples": [sample]}
    train(
        tiny.config(model, data, root / "run", steps=50, held_out=str(held_out), save_every=10, watch=watch)
    )
    return root / "run"


def test_the_loss_curve_is_the_golden_one(whole):
    """Red: a change altered training's numbers. 2e-3 covers other processors; one machine is bit-exact."""
    assert tiny.losses(whole) == pytest.approx(tiny.golden(LOSSES / "tiny.txt"), rel=2e-3)


def test_the_loss_curve_on_mini_is_the_golden_one_after_an_interruption(tmp_path):
    """Red: training on the embedded model gives other numbers, or a resumed run leaves the curve.

    `python -m tests.doubles.train_tiny` writes the curve anew when mini's weights have changed.
    """
    config = tiny.mini_config(tiny.build_mini_data(tmp_path / "data"), tmp_path / "run", save_every=20)
    train(config.model_copy(update={"steps": 23}))
    (tmp_path / "run" / "checkpoints" / "step_000023").rename(tmp_path / "lost")  # as if killed at step 23
    train(config)
    curve = tiny.losses(tmp_path / "run")
    assert curve == pytest.approx(tiny.golden(LOSSES / "mini.txt"), rel=2e-3)
    assert sum(curve[-10:]) < 0.9 * sum(curve[:10])


def test_it_learns(whole):
    """Red: the adapter gets no gradient, or the held-out loss does not follow."""
    held_out = [line["loss"] for line in read_log(whole) if line["kind"] == "held_out"]
    curve = tiny.losses(whole)
    assert sum(curve[-10:]) < 0.8 * sum(curve[:10])
    assert held_out[1] < held_out[0]


def test_resuming_continues_bit_for_bit(model, data, whole, tmp_path):
    """Red: a resumed run draws other noise, loses optimiser state, or keeps lines that it makes again."""
    config = tiny.config(model, data, tmp_path / "run", steps=23, save_every=10)
    train(config)
    (tmp_path / "run" / "checkpoints" / "step_000023").rename(tmp_path / "lost")  # as if killed at step 23
    train(config.model_copy(update={"steps": 50}))
    assert tiny.losses(tmp_path / "run") == tiny.losses(whole)
    assert [line["step"] for line in read_log(tmp_path / "run")] == list(range(1, 51))
    ours, theirs = (load_file(folder / "adapter.safetensors") for folder in (tmp_path / "run", whole))
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_a_run_ends_when_its_time_is_up(model, data, tmp_path):
    """Red: `seconds` is ignored, forgotten at a resume, or leaves the rate where it was."""
    rate = [{"until": 100_000, "start": 1e-2, "end": 1e-3}]
    changes = {"steps": 100_000, "seconds": 2.0, "save_every": 100_000, "optimiser": {"rate": rate}}
    config = tiny.config(model, data, tmp_path / "run", **changes)
    train(config)
    lines = [line for line in read_log(config.output) if line["kind"] == "train"]
    assert lines[0]["rate"] == 1e-2
    assert lines[-1]["rate"] < 5e-3
    train(config)
    assert len(tiny.losses(config.output)) == len(lines)


def start(config_file: Path, least: int) -> subprocess.Popen:
    """A child process in training, as soon as it has logged `least` steps."""
    child = subprocess.Popen(
        [sys.executable, "-m", "castsheet.cli", "train", str(config_file)],
        env=tiny.environment(),
        stderr=subprocess.DEVNULL,
    )
    log = config_file.parent / "run" / LOG
    deadline = time.monotonic() + 300
    while not log.is_file() or log.read_text().count("\n") < least:
        assert child.poll() is None, "the child ended by itself"
        assert time.monotonic() < deadline, "the child does not train"
        time.sleep(0.02)
    return child


def test_killed_at_any_moment_it_goes_on_bit_for_bit(model, data, tmp_path):
    """Red: kill -9 leaves a broken checkpoint, or the curve after it is not the uninterrupted one."""
    config = tiny.config(model, data, tmp_path / "run", steps=5000, save_every=3)
    (tmp_path / "config.yaml").write_text(json.dumps(config.model_dump(mode="json")))
    child = start(tmp_path / "config.yaml", 8)
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    reached = checkpoint.latest(tmp_path / "run")
    assert reached is not None
    end = int(reached.name.removeprefix("step_")) + 4
    train(config.model_copy(update={"steps": end}))
    train(config.model_copy(update={"steps": end, "output": tmp_path / "whole"}))
    assert tiny.losses(tmp_path / "run") == tiny.losses(tmp_path / "whole")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_before_it_leaves(model, data, tmp_path, number):
    """Red: a preempted job or Ctrl-C loses the steps since the last checkpoint, or the exit code hides it."""
    config = tiny.config(model, data, tmp_path / "run", steps=5000, save_every=4000)
    (tmp_path / "config.yaml").write_text(json.dumps(config.model_dump(mode="json")))
    child = start(tmp_path / "config.yaml", 5)
    child.send_signal(number)
    assert child.wait() == 128 + number
    last = [line["step"] for line in read_log(tmp_path / "run")][-1]
    saved = checkpoint.latest(tmp_path / "run")
    assert saved is not None
    assert saved.name == f"step_{last:06d}"


def test_a_full_disk_leaves_the_last_good_checkpoint(model, data, tmp_path):
    """Red: a failed save destroys what was there, leaves rubbish, or is not told as an error of the disk."""
    config = tiny.config(model, data, tmp_path / "run", steps=3)
    train(config)
    before = {
        path: path.read_bytes() for path in (tmp_path / "run" / "checkpoints").rglob("*.*") if path.is_file()
    }
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, limits[1]))
    try:
        with pytest.raises(OutputError, match="step_000006"):
            train(config.model_copy(update={"steps": 6}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    after = {
        path: path.read_bytes() for path in (tmp_path / "run" / "checkpoints").rglob("*.*") if path.is_file()
    }
    assert after == before


def test_a_loss_that_is_not_finite_names_the_sample(model, tmp_path):
    """Red: NaN spreads into the adapter, or nobody learns which file it came from."""
    folder = tiny.build_data(tmp_path / "data", 3)
    broken = load_file(folder / "samples" / "clip1.safetensors")
    broken["latents"][0, 0, 0, 0] = float("nan")
    tiny.write(folder, "clip1", broken)
    with pytest.raises(NumericsError, match="clip1"):
        train(tiny.config(model, folder, tmp_path / "run"))
    assert checkpoint.latest(tmp_path / "run") is None


def test_a_card_that_is_too_small_is_told_what_needs_less(model, data, tmp_path):
    """Red: the published recipe on a card of 32 GB ends in a traceback, or the advice is set already."""
    remedies = []
    held = {"weights": "fp8", "recompute": "all", "offload": True}
    for base in ({"weights": "bf16"}, held, held | {"stream": True, "shard": True}):
        config = tiny.config(model, data, tmp_path / "run", base=base)
        with pytest.raises(SettingsError, match="ran out") as caught, enough_memory(lighter(config)):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
        remedies.append(caught.value.remedy)
    plain, small, smallest = remedies
    assert plain.startswith("try --set base.weights=fp8; or --set base.recompute=all")
    assert "fp8" not in small
    assert "base.stream=true" in small
    assert "shard" in small
    assert "rank" in smallest


def test_another_run_is_not_continued(model, data, whole):
    """Red: a run goes on under other settings, and its curve means nothing."""
    with pytest.raises(CheckpointError, match="another run: other seed, config"):
        train(tiny.config(model, data, whole, steps=60, seed=1))


def test_a_damaged_checkpoint_is_told(model, data, tmp_path):
    """Red: a truncated state is trained on, or ends in a traceback."""
    config = tiny.config(model, data, tmp_path / "run", steps=3)
    train(config)
    file = tmp_path / "run" / "checkpoints" / "step_000003" / "training.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="damaged"):
        train(config)


def test_the_folder_keeps_what_was_asked_for(whole):
    """Red: old checkpoints fill the disk, or pictures, page and record are missing."""
    assert sorted(path.name for path in (whole / "checkpoints").iterdir()) == [
        "step_000030",
        "step_000040",
        "step_000050",
    ]
    assert sorted(path.name for path in (whole / "samples").iterdir()) == ["000000_0.png", "000050_0.png"]
    page = (whole / "report.html").read_text()
    assert page.count("<polyline") >= 8
    assert page.count("data:image/jpeg;base64,") == 2
    assert "://" not in page
    assert "<script" not in page
    lines = [line for line in read_log(whole) if line["kind"] == "train"]
    assert all(len(line["samples"]) == 2 and 0 <= line["samples"][0][0] <= 1 for line in lines)


def test_the_adapter_is_one_that_others_load(model, data, tmp_path):
    """Red: keys or metadata are not the official ones, or alpha is lost when it differs from the rank."""
    adapter = {"rank": 4, "alpha": 8.0}
    path = train(
        tiny.config(model, data, tmp_path / "run", adapter=adapter, objective={"reference_dropout": 0.5})
    )
    lora = LoRA.open(path)
    assert set(load_file(path)) == {
        f"diffusion_model.transformer_blocks.{block}.{target}.lora_{part}.weight"
        for block in range(3)
        for target in IC_TARGETS
        for part in "AB"
    }
    assert len(lora.terms) == 3 * 10
    assert {tensor.dtype for tensor in load_file(path).values()} == {torch.bfloat16}
    assert lora.metadata["reference_downscale_factor"] == "1"
    assert json.loads(lora.metadata["castsheet_augment"]) == {"reference_dropout": 0.5}
    checkpoints = [load_wide(Checkpoint.open(model / "tiny.safetensors"), dtype=torch.float32) for _ in "ab"]
    merge(checkpoints[0], [(lora, 1.0)])
    attach(checkpoints[1], 4, 8.0)
    load_attached(checkpoints[1], lora)
    layer = checkpoints[1].get_submodule("transformer_blocks.2.attn1.to_q")
    merged = layer.weight + layer.scale * layer.lora_B @ layer.lora_A
    torch.testing.assert_close(checkpoints[0].transformer_blocks[2].attn1.to_q.weight, merged)
    assert not torch.equal(merged, layer.weight)


def test_a_still_reference_is_one_latent_frame(model, data, tmp_path):
    """Red: the cheap reference costs as much as the looped one, or its file does not say what it is."""
    path = train(tiny.config(model, data, tmp_path / "run", objective={"reference": "still"}))
    assert LoRA.open(path).mode == "still"
    looped = tiny.config(model, data, tmp_path / "looped")
    train(looped)
    assert tiny.losses(tmp_path / "run") != tiny.losses(tmp_path / "looped")


def test_samples_that_would_not_show_the_training_are_refused(model, data, tmp_path):
    """Red: pictures beside a still-reference run are drawn with a looped one, and mislead."""
    watch = {"sample_every": 1, "samples": [{"sheet": str(tmp_path / "a.png")}]}
    with pytest.raises(SettingsError, match="looped"):
        train(tiny.config(model, data, tmp_path / "run", objective={"reference": "still"}, watch=watch))


def test_recomputing_blocks_changes_no_number(model, data, tmp_path):
    """Red: selective checkpointing or offloading alters the training, or "auto" does not run."""
    curves = []
    for number, base in enumerate(
        (
            {"recompute": "all"},
            {"recompute": "none"},
            {"recompute": 1},
            {"recompute": "attention"},
            {"recompute": "auto"},
            {"recompute": "all", "offload": True},
            {"recompute": "attention", "offload": True},
        )
    ):
        config = tiny.config(model, data, tmp_path / str(number), steps=3, base=base)
        train(config)
        curves.append([(line["loss"], line["gradient_norm"]) for line in read_log(config.output)])
    assert curves.count(curves[0]) == len(curves)


def test_gradients_in_host_memory_change_no_number(model, data, tmp_path):
    """Red: gradients that wait for the update are lost, clipped otherwise, or forgotten between rounds."""
    adapters = []
    for offload in (False, True):
        rounds = {"batch": 1, "accumulation": 2, "optimiser": {"max_gradient_norm": 1e-3}}
        output = tmp_path / str(offload)
        adapters.append(
            load_file(train(tiny.config(model, data, output, base={"offload": offload}, **rounds)))
        )
    here, host = adapters
    assert all(torch.equal(here[key], host[key]) for key in here)
    assert tiny.losses(tmp_path / "False") == tiny.losses(tmp_path / "True")


def test_the_base_in_eight_bits_trains_alike(model, data, tmp_path):
    """Red: fp8 storage breaks the base's outputs, or its adapter has other keys."""
    paths = [
        train(tiny.config(model, data, tmp_path / kind, base={"weights": kind})) for kind in ("bf16", "fp8")
    ]
    exact, stored = (tiny.losses(tmp_path / kind) for kind in ("bf16", "fp8"))
    assert stored == pytest.approx(exact, rel=0.1)
    assert stored != exact
    assert set(load_file(paths[0])) == set(load_file(paths[1]))


def test_a_given_first_frame_and_a_start_file_are_used(model, data, whole, tmp_path):
    """Red: options are read and ignored."""
    adapter = {"rank": 4, "alpha": 4.0, "start": str(whole / "adapter.safetensors")}
    plain = tiny.config(model, data, tmp_path / "plain", adapter=adapter, steps=2)
    given = tiny.config(
        model,
        data,
        tmp_path / "given",
        adapter=adapter,
        steps=2,
        objective={"first_frame_probability": 1.0},
    )
    train(plain)
    train(given)
    assert tiny.losses(plain.output)[0] < tiny.losses(whole)[0]
    assert tiny.losses(given.output) != tiny.losses(plain.output)
