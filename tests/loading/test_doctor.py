"""What `castsheet doctor` tells about files and machines."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from castsheet.errors import SettingsError
from castsheet.loading.doctor import EXTRAS, abilities, diagnose, find_model, look_for, steps
from castsheet.loading.download import SOURCES
from castsheet.ltx.speed.memory import GIB, host_bytes, official, parse_budget, plan
from castsheet.machine.hardware import Gpu, Machine, inspect_machine
from castsheet.media.provenance import dump

CARDS = (8, 12, 16, 24, 48, 80)
GOLDEN = Path(__file__).parents[1] / "data" / "doctor.txt"
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
    cards = tuple(Gpu("card", size, size, (8, 0)) for size in gpus)
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


def told(memory: float, *, ram: float = 128.0, fp8: bool = True) -> list[str]:
    """What doctor says of a machine with one card of this size: a line a sentence."""
    card = Gpu("card", memory, memory, (8, 9) if fp8 else (8, 0))
    machine = replace(_machine(memory, ram=ram), gpus=(card,))
    return [f"{'yes' if one.fits else 'no '} {one.what}: {one.why}" for one in abilities(machine, ())]


def test_what_doctor_says_of_usual_cards():
    """Red: doctor says other than before of a usual card. If it should, write the golden file anew."""
    lines = [f"{gib} GiB\n" + "\n".join(told(gib)) for gib in CARDS]
    lines += ["24 GiB without fp8\n" + "\n".join(told(24, fp8=False))]
    lines += ["24 GiB, 16 GiB of host memory\n" + "\n".join(told(24, ram=16.0))]
    assert "\n\n".join(lines) + "\n" == GOLDEN.read_text(encoding="utf-8")


@pytest.mark.parametrize("gib", CARDS)
@pytest.mark.parametrize("audio", [False, True])
def test_doctor_says_what_the_planner_plans(gib, audio):
    """Red: an owner of a card is turned away although a run would fit, or sent to download in vain."""
    said = told(gib)[2 if audio else 1]
    try:
        made = plan(parse_budget("auto", free=gib * GIB), official(audio=audio), ("plain", "fp8"))
    except SettingsError:
        assert said.startswith("no ")
        return
    assert said.startswith("yes")
    assert made.describe() in said
    host = host_bytes(made, official(audio=audio)) / GIB
    assert (f"{host:.0f} GiB of host memory" in said) == (host > 1)


def test_measured_runs_fit_the_cards_they_ran_on():
    """Red: doctor denies what was measured: fp8 in 22 GiB, bf16 with sound on 80 GB, training in 21.3 GiB."""
    small, large = told(24), told(80)
    assert "fp8, all blocks on the card, denoiser and VAE stay loaded" in small[1]
    assert "bf16, all blocks on the card, denoiser and VAE stay loaded" in large[2]
    assert "21.3 GiB" in small[3]
    assert small[3].startswith("yes")
    assert told(16)[3].startswith("no ")


def test_no_gpu_is_told():
    """Red: a laptop without a GPU is promised the 22B model."""
    lines = abilities(_machine(), ())
    assert [one.fits for one in lines] == [True, False, False, False]


def test_optional_packages_are_those_of_the_project():
    """Red: doctor recommends a group that pip does not know, or one that leaves a package out."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))[
        "project"
    ]
    groups = project["optional-dependencies"]
    for extra in EXTRAS:
        asked = [
            one
            for one in groups[extra.name]
            if sys.version_info < (3, 13) or "python_version < '3.13'" not in one
        ]
        wanted = {re.split(r"[<>=\[]", one)[0] for one in asked}
        # What a group takes from another group is told there.
        assert wanted - {"castsheet"} == set(extra.packages), extra.name
    assert {extra.name for extra in EXTRAS} == set(groups) - {"comfy", "dev", "sheet", "studies"}


def test_a_missing_package_is_told_with_its_command():
    """Red: the user learns of a missing package only when a command stops."""
    extra = EXTRAS[0]
    there = look_for(extra, dict.fromkeys(extra.packages, "1.0").get)
    gone = look_for(extra, {extra.packages[0]: "1.0"}.get)
    assert there.missing == ()
    assert gone.missing == extra.packages[1:]
    assert gone.install == f'pip install "castsheet[{extra.name}]"'


def test_a_disk_that_is_too_small_is_told(tmp_path):
    """Red: 67 GiB are begun on a disk with 62 free."""
    models = tuple(find_model(source, tmp_path) for source in SOURCES.values())
    assert any(step.startswith("free 5 GiB") for step in steps(models, tmp_path, 62.0))
    assert not any(step.startswith("free ") for step in steps(models, tmp_path, 100.0))


def test_the_disk_is_measured_where_the_folder_will_be(tmp_path):
    """Red: the advice fails for a folder that does not exist yet, or speaks of another disk."""
    machine = inspect_machine(tmp_path / "a" / "b")
    assert machine.disk_free_gib > 0
    assert machine.cores >= 1
    models = tuple(find_model(source, tmp_path) for source in SOURCES.values())
    assert "12 GiB free" in "\n".join(steps(models, tmp_path, 12.0))
