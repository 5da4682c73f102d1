"""What `castsheet doctor` tells about files and machines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from castsheet.loading.doctor import Gpu, Machine, abilities, diagnose, find_model, inspect_machine, steps
from castsheet.loading.download import SOURCES
from castsheet.media.provenance import dump

ADAPTER, ENCODER = SOURCES["adapter"], SOURCES["text_encoder"]


def _fill(folder: Path, *, shards: int = 2) -> None:
    """Small files in place of the 22B model's."""
    encoder = folder / ENCODER.folder
    encoder.mkdir(parents=True)
    for role in ("checkpoint", "adapter"):
        (folder / SOURCES[role].file).write_bytes(b"x")
    (encoder / "config.json").write_text("{}")
    (encoder / "tokenizer.json").write_text("{}")
    names = [f"model-{n + 1:05}-of-00002.safetensors" for n in range(2)]
    index = {"weight_map": {f"layer.{n}": name for n, name in enumerate(names)}}
    (encoder / "model.safetensors.index.json").write_text(json.dumps(index))
    for name in names[:shards]:
        (encoder / name).write_bytes(b"x")


def _machine(*gpus: float, ram: float | None = 64.0) -> Machine:
    cards = tuple(Gpu("card", size, size, bf16=True, fp8=False) for size in gpus)
    return Machine("Linux", "cpu", 8, (), ram, ram, 100.0, cards)


def test_an_empty_machine_is_told_every_step(tmp_path):
    """Red: a new user does not learn which licences to accept, how to log in, or what to download."""
    report = diagnose(tmp_path)
    assert [model.state for model in report.models] == ["absent"] * 3
    text = "\n".join(report.steps)
    for source in SOURCES.values():
        assert source.page in text
    assert "hf auth login" in text
    assert f"castsheet download --to {tmp_path}" in text
    assert not list(tmp_path.iterdir())
    assert json.loads(dump(report))["folder"] == str(tmp_path)


def test_a_complete_folder_needs_only_the_run(tmp_path):
    """Red: someone who has every file is sent to download 70 GB again."""
    _fill(tmp_path)
    report = diagnose(tmp_path)
    assert {model.state for model in report.models} == {"present"}
    assert report.steps == (f"castsheet generate SCENE.yaml --model {tmp_path} -o clip.mp4",)


@pytest.mark.parametrize("break_it", ["shard", "index", "config", "tokenizer"])
def test_an_incomplete_text_encoder_is_partial(tmp_path, break_it):
    """Red: a text encoder with a missing shard passes for complete and fails while it is loaded."""
    _fill(tmp_path, shards=1 if break_it == "shard" else 2)
    encoder = tmp_path / ENCODER.folder
    if break_it == "index":
        (encoder / "model.safetensors.index.json").write_text("[1, 2")
    elif break_it != "shard":
        (encoder / f"{break_it}.json").unlink()
    assert find_model(ENCODER, tmp_path).state == "partial"
    assert ENCODER.page in "\n".join(diagnose(tmp_path).steps)


def test_a_running_download_is_partial(tmp_path):
    """Red: an interrupted download is reported as absent, and the user starts over elsewhere."""
    (tmp_path / f".{ADAPTER.file}.0123456789abcdef.part").write_bytes(b"x")
    assert find_model(ADAPTER, tmp_path).state == "partial"


@pytest.mark.parametrize(
    ("gpus", "video", "sound"),
    [((), False, False), ((24.0,), False, False), ((40.0,), True, False), ((24.0, 80.0), True, True)],
)
def test_memory_decides_what_fits(tmp_path, gpus, video, sound):
    """Red: a user with too small a GPU downloads 70 GB in vain, or one with enough is turned away."""
    machine = _machine(*gpus)
    models = tuple(find_model(source, tmp_path) for source in SOURCES.values())
    fits = {ability.what: ability.fits for ability in abilities(machine, models)}
    assert fits["LTX-2.3 22B, video, bf16"] is video
    assert fits["LTX-2.3 22B, video and sound, bf16"] is sound
    assert fits["mini, the embedded model (CPU is enough)"]
    assert not any(ability.ready for ability in abilities(machine, models)[1:])


def test_the_disk_is_measured_where_the_folder_will_be(tmp_path):
    """Red: the advice fails for a folder that does not exist yet, or speaks of another disk."""
    machine = inspect_machine(tmp_path / "a" / "b")
    assert machine.disk_free_gib > 0
    assert machine.cores >= 1
    models = tuple(find_model(source, tmp_path) for source in SOURCES.values())
    assert "12 GiB free" in "\n".join(steps(models, tmp_path, 12.0))
