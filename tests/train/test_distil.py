"""`castsheet distill`: sheets and prompts in, adapters of few passes out, through the one trainer."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from castsheet.cli.app import run
from castsheet.errors import AdapterError, CastsheetError, SettingsError
from castsheet.lint.video import lint_distilled
from castsheet.loading.source import Source
from castsheet.ltx.adapters.lora import as_started, attach, keep_start
from castsheet.ltx.adapters.lora_file import LoRA
from castsheet.pipeline import Castsheet
from castsheet.sampling.schedule import sigmas
from castsheet.train.config import make_config
from castsheet.train.data.taught import read_lessons
from castsheet.train.distil import Distillation, bill, distil
from castsheet.train.trainer import ADAPTER, train
from tests.doubles import ltx_tiny as tiny
from tests.doubles.several_processes import several_processes
from tests.doubles.tiny_bundle import tiny_sheet
from tests.doubles.train_tiny import build_data, build_model, config, losses

TINY = {
    "batch": 1,
    "save_every": 2,
    "adapter": {"rank": 4, "alpha": 4.0},
    "optimiser": {"name": "adamw"},
    "base": {"weights": "fp32"},
    "watch": {"log_every": 0, "page_every": 0},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def sheets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sheets; the first has prompts of its own."""
    folder = tmp_path_factory.mktemp("sheets")
    for seed in range(2):
        tiny_sheet(seed).save(folder / f"cast{seed}.png")
    (folder / "cast0.txt").write_text("hero waves\n\nReference sheet: a. Generated video: hero runs.\n")
    (folder / "prompts.txt").write_text("Reference sheet: a; b\n\nGenerated video: hero sits\n")
    return folder


def job(sheets: Path, model: Path, out: Path, **changes: Any) -> Distillation:
    values = {"stages": ("guidance", "4", "2"), "steps": 4, "device": "cpu", "changes": TINY}
    return Distillation(sheets, out, str(model), **values | changes)


@pytest.fixture(scope="module")
def whole(sheets: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All stages, run through."""
    out = tmp_path_factory.mktemp("whole") / "fast"
    distil(job(sheets, model, out))
    return out


def values(adapter: Path) -> dict[str, list[float]]:
    """An adapter's numbers."""
    return {name: one.flatten().tolist() for name, one in load_file(adapter).items()}


def test_a_folder_of_sheets_and_prompts_becomes_adapters_of_few_passes(whole: Path, model: Path) -> None:
    """Red: a stage's adapter does not say its steps, or the last one does not run with them."""
    names = ("guidance", "steps-4", "steps-2")
    said = [LoRA.open(whole / name / ADAPTER).distilled for name in names]
    levels = [None if one is None else one.settings.get("sigmas") for one in said]
    assert levels[0] is None
    assert levels[1] == pytest.approx(sigmas(16)[::4].tolist(), abs=1e-6)
    assert levels[2] == pytest.approx(sigmas(16)[::8].tolist(), abs=1e-6)
    assert said[2] is not None
    assert said[2].replaces == {"guidance": 4.0, "stg_scale": 1.0, "stg_blocks": [1], "steps": 3}
    assert said[2].beside == {"ic-lora.safetensors": 1.0}
    castsheet = Castsheet.load(model, adapters=[whole / "steps-2" / ADAPTER], device="cpu")
    passes: list[int] = []
    run = castsheet.models.run
    castsheet.models.run = lambda transformer, given, **options: (
        passes.append(len(given)) or run(transformer, given, **options)
    )
    clip = castsheet(tiny_sheet(), "hero waves", preset="fast", check=True, force=True)
    assert passes == [1, 1]
    assert [one for one in clip.provenance["findings"] if one["rule"] == "V04"] == []


def test_the_teachers_clips_are_its_samples_and_are_made_once(
    whole: Path, sheets: Path, model: Path, tmp_path: Path
) -> None:
    """Red: the student learns from other clips than the teacher makes, or they are paid for twice."""
    samples = sorted((whole / "data" / "samples").iterdir())
    assert [path.stem for path in samples] == ["cast0-1-1", "cast0-2-1", "cast1-1-1"]
    assert all(load_file(path)["latents"].abs().mean() > 0.01 for path in samples)
    before = [path.stat().st_mtime_ns for path in samples]
    distil(job(sheets, model, whole))
    assert [path.stat().st_mtime_ns for path in samples] == before
    few = job(sheets, model, tmp_path / "few", stages=("2",), steps=1)
    distil(few)
    empty = load_file(tmp_path / "few" / "data" / "samples" / "cast0-1-1.safetensors")
    taught = load_file(samples[0])
    assert empty["latents"].abs().max() == 0
    torch.testing.assert_close(empty["references"], taught["references"])


def test_an_interrupted_job_ends_bit_for_bit_alike(
    whole: Path, sheets: Path, model: Path, tmp_path: Path
) -> None:
    """Red: a job that was killed in a stage's middle, or between two, makes another adapter."""
    out = tmp_path / "fast"
    asked = job(sheets, model, out)
    first, second, _ = asked.configs(asked.teacher_settings(asked.source))
    distil(job(sheets, model, out, stages=("guidance",)))
    train(second.model_copy(update={"steps": 2}))  # as if killed at its second checkpoint of four
    (second.output / ADAPTER).unlink()
    distil(asked)
    for name in ("guidance", "steps-4", "steps-2"):
        assert losses(out / name) == losses(whole / name)
        assert values(out / name / ADAPTER) == values(whole / name / ADAPTER)
    assert first.output.is_dir()


def test_two_processes_share_the_clips_and_every_step(
    whole: Path, sheets: Path, model: Path, tmp_path: Path
) -> None:
    """Red: with torchrun a clip is made twice or by nobody, or a stage cannot begin after another."""
    shared = job(sheets, model, tmp_path / "fast", stages=("guidance", "2"), steps=2)
    with several_processes(2, Job(shared)):
        pass
    samples = sorted((tmp_path / "fast" / "data" / "samples").iterdir())
    assert [one.stem for one in samples] == ["cast0-1-1", "cast0-2-1", "cast1-1-1"]
    for path in samples:
        torch.testing.assert_close(
            load_file(path)["latents"], load_file(whole / "data" / "samples" / path.name)["latents"]
        )
    assert (tmp_path / "fast" / "steps-2" / ADAPTER).is_file()


class Job:
    """A distillation that a child process can be given."""

    def __init__(self, asked: Distillation) -> None:
        self.asked = asked

    def __call__(self) -> None:
        distil(self.asked)


def test_the_kept_start_stays_while_the_adapter_learns() -> None:
    """Red: the student that teaches moves with its pupil, and distillation chases itself."""
    model = tiny.tiny_transformer()
    source = torch.Generator().manual_seed(5)
    terms = attach(model, 2, generator=source)
    for one in terms:
        one.data = 0.3 * torch.randn(one.shape, generator=source)
    layer = model.transformer_blocks[0].attn1.to_q
    x = tiny.randn(1, 3, layer.in_features, seed=1)
    before = layer(x)
    keep_start(model)
    for one in terms:
        one.data += 1.0
    assert not torch.allclose(layer(x), before)
    with as_started(model):
        torch.testing.assert_close(layer(x), before, rtol=0, atol=0)
    assert sum(one.requires_grad for one in model.parameters()) == len(terms)


def test_a_user_adapter_teaches_alone_and_is_named(model: Path, sheets: Path, tmp_path: Path) -> None:
    """Red: the bundle's adapter is mixed into the teacher, or the fast one is run without its company."""
    own = train(config(model, build_data(tmp_path / "data"), tmp_path / "own", steps=1))
    asked = job(sheets, model, tmp_path / "fast", trained=own, stages=("2",), steps=1)
    run = distil(asked)[-1]
    fast = run.output / ADAPTER
    said = LoRA.open(fast).distilled
    assert said is not None
    assert said.beside == {"adapter.safetensors": 1.0}
    renamed = tmp_path / "fast.safetensors"
    renamed.write_bytes(fast.read_bytes())
    source = Source.open(model, adapters=[renamed], trained=(own, None))
    settings = source.settings("fast")
    names = {one.lora.path.name: one.lora.distilled for one in source.adapters_in(settings)}
    assert set(names) == {"adapter.safetensors", "fast.safetensors"}
    assert lint_distilled(settings, names) == []


def test_the_bill_counts_every_pass(sheets: Path, model: Path, tmp_path: Path) -> None:
    """Red: a user is told another price than the job takes."""
    found = bill(job(sheets, model, tmp_path / "fast", clips=2))
    clips = 3 * 2 * 3 * 3  # prompts, clips of each, steps, passes
    guidance, four, two = 4 * (3 + 3), 4 * (3 + 4 + 1.5), 4 * (3 + 2 + 0.5)
    assert found.passes == clips + guidance + four + two
    assert len(found.lines) == 4
    assert not (tmp_path / "fast").exists()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"stages": ("8", "3")}, "divides 8"),
        ({"stages": ("4", "8")}, "falling"),
        ({"stages": ("4", "guidance")}, "falling"),
        ({"stages": ("fast",)}, "falling"),
        ({"changes": {"steeps": 2}}, "steps"),
    ],
)
def test_stages_that_make_no_sense_are_refused_at_once(
    sheets: Path, model: Path, tmp_path: Path, changes: dict, told: str
) -> None:
    """Red: hours are spent before a job is refused."""
    with pytest.raises(SettingsError) as caught:
        bill(job(sheets, model, tmp_path / "fast", **changes))
    assert told in f"{caught.value.what} {caught.value.remedy}"


def test_a_sheet_without_prompts_is_named(tmp_path: Path) -> None:
    """Red: a sheet is left out of the data, and nobody says so."""
    with pytest.raises(CastsheetError, match="no sheets"):
        read_lessons(tmp_path)
    tiny_sheet().save(tmp_path / "cast.png")
    with pytest.raises(CastsheetError, match=r"cast\.png has no prompts"):
        read_lessons(tmp_path)


def test_a_student_that_cannot_teach_is_refused(model: Path, tmp_path: Path, whole: Path) -> None:
    """Red: a plain adapter is taken for a fast one, or a student teaches on top of other adapters."""
    objective = {"kind": "few-step", "steps": 2, "substeps": 2}
    with pytest.raises(SettingsError, match="student"):
        make_config(
            {
                "model": "mini",
                "data": "d",
                "output": "o",
                "objective": objective,
                "teacher": {"student": True},
            }
        )
    data = build_data(tmp_path / "data")
    plain = train(config(model, data, tmp_path / "plain", steps=1))
    values: dict[str, Any] = {"objective": objective, "teacher": {"student": True}}
    run = config(model, data, tmp_path / "a", **values, adapter={"start": str(plain), "rank": 4})
    with pytest.raises(AdapterError, match="was not distilled"):
        train(run)
    values["teacher"]["adapters"] = {str(plain): 1.0}
    start = {"start": str(whole / "steps-4" / ADAPTER), "rank": 4}
    with pytest.raises(AdapterError, match="distilled beside"):
        train(config(model, data, tmp_path / "b", **values, adapter=start))


def test_a_teacher_that_enlarges_is_refused(model: Path, sheets: Path, tmp_path: Path) -> None:
    """Red: a student is taught clips of another size than it sees the sheet at, or a run's sample pictures
    are refined with the adapter that is being trained."""
    twice = {"stages": [{"sigmas": [0.9, 0.0], "scale": 2}], "upsampler": "up.safetensors"}
    values = {"objective": {"kind": "guidance"}, "teacher": {"settings": twice}}
    data = build_data(tmp_path / "data")
    with pytest.raises(SettingsError, match="enlarge the clip"):
        train(config(model, data, tmp_path / "a", **values))
    samples = [{"sheet": str(sheets / "cast0.png"), "action": "hero waves", "settings": twice}]
    with pytest.raises(SettingsError, match=r"watch\.samples"):
        train(config(model, data, tmp_path / "b", watch={"sample_every": 1, "samples": samples}))


def test_runs_that_began_before_go_on() -> None:
    """Red: the new fields of `teacher` change the fingerprint of older runs, which are then refused."""
    older = make_config({"model": "mini", "data": "d", "output": "o", "objective": "guidance"})
    assert older.fingerprint == "7809adbd23f41b86"  # at commit e193a4b, before these fields


def command(words: Sequence[str]) -> None:
    """Carry out a command line to its end."""
    with pytest.raises(SystemExit) as ended:
        run(words)
    assert ended.value.code == 0


def test_the_command_tells_its_cost_makes_its_adapters_and_names_the_next_command(
    sheets: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Red: the words do not reach the job, or the last line does not run what was made."""
    words = ["distill", str(sheets), "-o", str(tmp_path / "fast"), "--model", str(model), "--device", "cpu"]
    words += ["--stages", "2", "--steps", "1", "--set", "base.weights=fp32", "--set", "optimiser.name=adamw"]
    words += ["--set", "adapter.rank=4", "--set", "adapter.alpha=4"]
    command([*words, "--cost"])
    assert "in all as long as" in capsys.readouterr().out
    assert not (tmp_path / "fast").exists()
    command(words)
    listed, told = capsys.readouterr().out.split("try it: castsheet ")
    assert str(tmp_path / "fast" / "steps-2" / ADAPTER) in listed
    again = [*shlex.split(told)[:-1], str(tmp_path / "try.mp4"), "--device", "cpu", "--force"]
    command([*again, "--cache-dir", str(tmp_path)])
    assert (tmp_path / "try.mp4").is_file()
