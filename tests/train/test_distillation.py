"""Distilled adapters: what the student is taught, what its file says, and how a run uses it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from castsheet.errors import AdapterError, SettingsError
from castsheet.lint.video import lint_distilled
from castsheet.loading.source import Source
from castsheet.ltx.adapters.distilled import DISTILLED, Distilled
from castsheet.ltx.adapters.lora import attach
from castsheet.ltx.adapters.lora_file import LoRA
from castsheet.ltx.latents import Grid, Reference
from castsheet.ltx.model.rope import video_bounds, video_tables
from castsheet.pipeline import Castsheet
from castsheet.sampling.denoiser import Contexts, Denoiser, PassWeights, video_track
from castsheet.sampling.guidance import Weights
from castsheet.sampling.schedule import sigmas
from castsheet.train.config import make_config
from castsheet.train.distillation import Teacher, few_step_losses, guidance_losses
from castsheet.train.objective import Given
from castsheet.train.trainer import train
from tests.doubles import ltx_tiny as tiny
from tests.doubles.tiny_bundle import tiny_sheet
from tests.doubles.train_tiny import build_data, build_mini_data, build_model, config, losses, mini_config

CELLS = tiny.ROWS * tiny.COLUMNS
GUIDED = Weights(guidance=3.0, stg_scale=1.0, rescale=0.7)


def scene(samples: int = 2, **changes: Any) -> Given:
    """Random clips beside a one-frame sheet."""
    bounds = [video_bounds(frames, tiny.ROWS, tiny.COLUMNS, tiny.FPS) for frames in (tiny.FRAMES, 1)]
    return Given(
        tiny.randn(samples, tiny.TARGET, 8, seed=1),
        tiny.randn(samples, tiny.CONTEXT, 32, seed=2),
        video_tables(tiny.tiny_config(), torch.cat(bounds, dim=1)),
        reference_BRC=tiny.randn(samples, CELLS, 8, seed=4),
        **changes,
    )


def teacher_of(weights: Weights) -> Teacher:
    """A tiny model with a random adapter attached, as its own teacher."""
    model = tiny.tiny_transformer()
    source = torch.Generator().manual_seed(5)
    for one in attach(model, 2, generator=source):
        one.data = 0.3 * torch.randn(one.shape, generator=source)
    return Teacher(model, weights, (1,), tiny.randn(1, tiny.CONTEXT, 32, seed=6))


def test_the_teacher_predicts_what_a_run_predicts() -> None:
    """Red: the student learns another guidance than the one that it replaces, or its own output."""
    given, x, sigma = scene(), tiny.randn(2, tiny.TARGET, 8, seed=3), torch.tensor([0.7, 0.3])
    teacher = teacher_of(GUIDED)
    velocity = teacher.velocity(given, x, sigma)
    plain = tiny.tiny_transformer()
    grid = Grid(tiny.FRAMES, tiny.ROWS, tiny.COLUMNS, tiny.FPS, (8, 32, 32))
    assert given.reference_BRC is not None
    assert teacher.negative_BLD is not None
    for one in range(2):
        bounds = video_bounds(1, tiny.ROWS, tiny.COLUMNS, tiny.FPS)
        reference = Reference(given.reference_BRC[[one]], bounds, 1.0)
        track = video_track(plain.config, grid, reference, device=torch.device("cpu"), dtype=torch.float32)
        contexts = Contexts(given.context_BLD[[one]]), Contexts(teacher.negative_BLD)
        run = Denoiser(plain, track, None, *contexts, PassWeights(GUIDED, None, (1,)))
        x0 = run.unpack(run(run.pack(x[[one]], None), sigma[one]))[0]
        tiny.close(x[[one]] - sigma[one] * velocity[[one]], x0)


def test_the_student_is_asked_for_the_guided_velocity() -> None:
    """Red: the loss is not the distance to the teacher, or counts a given first frame."""
    given, noise, sigma = scene(first_frame_tokens=CELLS), tiny.randn(2, tiny.TARGET, 8, seed=3), (0.7, 0.3)
    teacher, levels = teacher_of(GUIDED), torch.tensor(sigma)
    found = guidance_losses(teacher.transformer, teacher, given, levels, noise)
    x = given.noisy(levels, noise)
    own = teacher.transformer(given.stream(x, levels), targets=tiny.TARGET).video_BTC
    error = (own - teacher.velocity(given, x, levels))[:, CELLS:]
    torch.testing.assert_close(found, error.square().mean(dim=(1, 2)))
    assert found.min() > 1e-3
    found.sum().backward()
    layers = dict(teacher.transformer.named_parameters())
    assert all((one.grad is not None) == ("lora" in name) for name, one in layers.items())


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_student_without_numbers_takes_its_unguided_teachers_steps(place: int) -> None:
    """Red: with one teacher step for each of its own, an untrained student is not right already."""
    model = tiny.tiny_transformer()
    attach(model, 2)
    teacher, noise = Teacher(model, Weights()), tiny.randn(2, tiny.TARGET, 8, seed=3)
    found = few_step_losses(model, teacher, scene(), noise, sigmas(3), place, substeps=1)
    assert found.max() < 1e-10


def test_one_step_learns_the_mean_of_the_teachers_steps_from_the_students_own_path() -> None:
    """Red: the student is taught at states that it never meets, or another step's end."""
    teacher, given, noise = teacher_of(GUIDED), scene(), tiny.randn(2, tiny.TARGET, 8, seed=3)
    student, levels = teacher.transformer, sigmas(4)

    def own(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return student(given.stream(x, sigma.expand(2)), targets=tiny.TARGET).video_BTC

    found = few_step_losses(student, teacher, given, noise, levels, 1, substeps=2)
    x = noise + (levels[2] - levels[0]) * own(noise, levels[0])
    middle = x + (levels[3] - levels[2]) * teacher.velocity(given, x, levels[2].expand(2))
    end = middle + (levels[4] - levels[3]) * teacher.velocity(given, middle, levels[3].expand(2))
    error = own(x, levels[2]) - (end - x) / (levels[4] - levels[2])
    torch.testing.assert_close(found, error.square().mean(dim=(1, 2)), rtol=1e-4, atol=1e-6)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_data(tmp_path_factory.mktemp("data") / "set")


@pytest.fixture(scope="module")
def few(model: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of few-step distillation with held-out clips and sample pictures; its folder."""
    root = tmp_path_factory.mktemp("few")
    tiny_sheet().save(root / "sheet.png")
    sample = {"sheet": str(root / "sheet.png"), "action": "hero waves"}
    run = config(
        model,
        data,
        root / "run",
        steps=40,
        save_every=20,
        held_out=str(data),
        objective={"kind": "few-step", "steps": 2, "substeps": 2},
        teacher={"settings": {"guidance": 2.5}},
        watch={"held_out_every": 20, "sample_every": 40, "samples": [sample]},
    )
    train(run)
    return root / "run"


def test_it_learns_and_resumes_bit_for_bit(few: Path, model: Path, data: Path, tmp_path: Path) -> None:
    """Red: the student does not come nearer to its teacher, or an interrupted run takes another path."""
    curve = losses(few)
    assert sum(curve[-8:]) < 0.7 * sum(curve[:8])
    assert (few / "samples" / "000040_0.png").exists()
    changes = {
        "objective": {"kind": "few-step", "steps": 2, "substeps": 2},
        "teacher": {"settings": {"guidance": 2.5}},
    }
    run = config(model, data, tmp_path / "run", steps=3, save_every=2, **changes)
    train(run)
    (tmp_path / "run" / "checkpoints" / "step_000003").rename(tmp_path / "lost")  # as if killed at step 3
    train(run.model_copy(update={"steps": 5}))
    assert losses(tmp_path / "run") == curve[:5]


def test_the_file_says_how_to_run_it_and_the_fast_preset_obeys(few: Path, model: Path) -> None:
    """Red: a distilled adapter is guided once more, at noise levels that it never learned."""
    adapter = few / "adapter.safetensors"
    said = LoRA.open(adapter).distilled
    assert said is not None
    assert said.replaces == {"guidance": 2.5, "stg_scale": 1.0, "stg_blocks": [1], "steps": 4}
    assert said.beside == {"ic-lora.safetensors": 1.0}
    source = Source.open(model, adapters=[adapter])
    fast = source.settings("fast")
    assert (fast.name, fast.guidance, fast.stg_scale, fast.steps) == ("fast", 1.0, 0.0, 2)
    assert fast.sigmas == pytest.approx(sigmas(4)[::2].tolist(), abs=1e-6)
    assert (fast.width, fast.lora_strength) == (64, 1.0)
    assert Source.open(model, trained=(adapter, None)).settings() == fast
    strengths = {one.lora.path.name: one.strength_in(fast) for one in source.adapters_in(fast)}
    assert strengths == {"ic-lora.safetensors": 1.0, "adapter.safetensors": 1.0}


def test_a_run_in_the_fast_preset_makes_one_pass_a_step(few: Path, model: Path) -> None:
    """Red: the passes that distillation should save are still made."""
    castsheet = Castsheet.load(model, adapters=[few / "adapter.safetensors"], device="cpu")
    passes: list[int] = []
    run = castsheet.models.run
    castsheet.models.run = lambda transformer, given, **options: (
        passes.append(len(given)) or run(transformer, given, **options)
    )
    clip = castsheet(tiny_sheet(), "hero waves", preset="fast")
    assert passes == [1, 1]
    assert clip.provenance["settings"]["name"] == "fast"


def test_the_checks_see_a_distilled_adapter_that_is_run_otherwise(few: Path, model: Path) -> None:
    """Red: guidance is applied twice, and nobody says so."""
    said = LoRA.open(few / "adapter.safetensors").distilled
    source = Source.open(model, adapters=[few / "adapter.safetensors"])
    fast, usual = source.settings("fast"), source.settings()
    whole = {"adapter.safetensors": said, "ic-lora.safetensors": None}
    assert lint_distilled(fast, whole) == []
    assert [one.rule for one in lint_distilled(usual, whole)] == ["V04"]
    assert "ic-lora.safetensors" in lint_distilled(fast, {"adapter.safetensors": said})[0].message


def test_the_fast_preset_needs_one_distilled_adapter(few: Path, model: Path, tmp_path: Path) -> None:
    """Red: a run without a distilled adapter makes noise in two steps, or a damaged statement is obeyed."""
    with pytest.raises(SettingsError, match="no adapter here"):
        Source.open(model).settings("fast")
    twin = tmp_path / "twin.safetensors"
    twin.write_bytes((few / "adapter.safetensors").read_bytes())
    with pytest.raises(SettingsError, match=r"adapter\.safetensors, twin\.safetensors"):
        Source.open(model, adapters=[few / "adapter.safetensors", twin]).settings("fast")
    for text in ("[]", "{}", json.dumps({"settings": {}, "replaces": {}, "with": {}, "preset": 1})):
        with pytest.raises(AdapterError, match=DISTILLED):
            Distilled.read(text, twin)


def test_a_bundles_distilled_adapter_waits_for_its_preset(few: Path, model: Path, tmp_path: Path) -> None:
    """Red: a bundle that carries a fast adapter runs it in its usual preset too."""
    folder = tmp_path / "bundle"
    folder.mkdir()
    for one in model.iterdir():
        (folder / one.name).symlink_to(one)
    (folder / "fast.safetensors").symlink_to(few / "adapter.safetensors")
    (folder / "bundle.json").unlink()
    content = json.loads((model / "bundle.json").read_text())
    content["files"]["adapters"].append({"path": "fast.safetensors", "preset": "fast"})
    (folder / "bundle.json").write_text(json.dumps(content))
    source = Source.open(folder)
    names = [
        [one.lora.path.name for one in source.adapters_in(source.settings(name))] for name in (None, "fast")
    ]
    assert names == [["ic-lora.safetensors"], ["ic-lora.safetensors", "fast.safetensors"]]


def test_guidance_is_distilled_from_the_embedded_model(tmp_path: Path) -> None:
    """Red: mini's own adapter and guidance are not its teacher, or the file states noise levels."""
    run = mini_config(build_mini_data(tmp_path / "data"), tmp_path / "run", steps=2, objective="guidance")
    said = LoRA.open(train(run)).distilled
    assert said is not None
    assert said.replaces == {"guidance": 1.5, "steps": 16}
    assert said.beside == {"mini-ic-lora.safetensors": 1.0}
    assert "sigmas" not in said.settings


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"teacher": {"settings": {"guidance": 2}}}, "objective flow has none"),
        ({"objective": {"kind": "guidance", "excerpt": 2}}, "whole clips"),
        ({"objective": "few-steps"}, "guidance"),
    ],
)
def test_a_distillation_that_makes_no_sense_is_refused_at_once(changes: dict, told: str) -> None:
    """Red: hours are spent on a teacher that is not asked, or on clips without their beginning."""
    with pytest.raises(SettingsError, match=told):
        make_config({"model": "mini", "data": "data", "output": "out", **changes})


@pytest.mark.parametrize(
    ("objective", "settings", "told"),
    [
        ("guidance", {"guidance": 1.0, "stg_scale": 0.0}, "no guidance to distil"),
        ("few-step", {"schedule": "target"}, "official"),
        ("few-step", {"sigmas": [1.0, 0.5, 0.0]}, "objective.substeps"),
        ("guidance", {"reference_strength": 0.9}, "reference_strength"),
    ],
)
def test_a_teacher_that_cannot_teach_is_refused_before_weights_are_read(
    model: Path, data: Path, tmp_path: Path, objective: str, settings: dict, told: str
) -> None:
    """Red: the run fails late, or distils nothing."""
    changes = {"objective": objective, "teacher": {"settings": settings}}
    with pytest.raises(SettingsError, match=told):
        train(config(model, data, tmp_path / "run", **changes))
