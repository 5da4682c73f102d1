"""The teacher of a distilled adapter: its adapters, its guidance, and what the adapter's file says of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from castsheet.errors import AdapterError, SettingsError, shown
from castsheet.loading.models import Models
from castsheet.loading.source import Source, check_fits
from castsheet.ltx.adapters.distilled import Distilled
from castsheet.ltx.adapters.lora_file import LoRA
from castsheet.ltx.model.dit import Transformer
from castsheet.run import make_weights
from castsheet.sampling.guidance import Weights
from castsheet.sampling.schedule import listed, sigmas
from castsheet.settings import Settings, override
from castsheet.train.config import Config, ObjectiveConfig, TeacherConfig
from castsheet.train.distillation import Teacher

# With these a run makes one pass a step: what the student has learned is not added once more.
_UNGUIDED: dict[str, Any] = {"guidance": 1.0, "stg_scale": 0.0, "rescale": 0.0, "negative_prompt": ""}


@dataclass(frozen=True)
class Teaching:
    """A run's teacher, before its model is loaded.

    Attributes:
        preset: that the settings came from. settings: of the teacher's runs.
        adapters: its adapters with their strengths; they are merged into the frozen model.
        negative_BLD: text context (1,L,D) of the negative prompt, if guidance reads it.
        levels: few-step: the teacher's noise levels, on the CPU.
        student: what the file of the student says that is the teacher.
    """

    objective: ObjectiveConfig
    preset: str | None
    settings: Settings
    adapters: tuple[tuple[LoRA, float], ...]
    negative_BLD: Tensor | None
    levels: Tensor | None
    student: Distilled | None = None

    @classmethod
    def open(cls, config: Config) -> Source:
        """The model with the teacher's adapters.

        Raises:
            CheckpointError, AdapterError, FamilyError, TextEncoderError: see `Source.open`.
        """
        teacher = config.teacher
        trained = None if teacher.trained is None else (teacher.trained, None)
        named = list(teacher.adapters.items())
        return Source.open(config.model, config.text_encoder, named, trained=trained)

    @classmethod
    def of(cls, config: Config, source: Source, device: torch.device, dtype: torch.dtype) -> Teaching:
        """Settle how the teacher runs, and encode its negative prompt.

        Args:
            source: what `open` returned.

        Raises:
            SettingsError: the teacher's settings do not exist, do not fit the model, or are not distilled.
            AdapterError: an adapter was trained on another reference mode, or the teacher is a student that
                was not distilled, or beside other adapters.
            TextEncoderError: guidance reads a negative prompt, and there is no text encoder.
        """
        settings = _settings(config.teacher, config.objective, source)
        adapters = tuple((one.lora, one.strength_in(settings)) for one in source.adapters_in(settings))
        student = None
        if config.teacher.student and config.adapter.start is not None:
            student = _student(config.adapter.start, adapters)
            settings = override(settings, student.settings)
        weights = make_weights(settings)
        negative_BLD = None
        if weights.wants("uncond"):
            models = Models(replace(source, adapters=()), device, dtype, None)
            negative_BLD = models.contexts([settings.negative_prompt], audio=False)[0].video_BLD
        few = config.objective.kind == "few-step"
        levels = _levels(settings, config.objective) if few else None
        if not few and not weights.video.scales:
            raise SettingsError(
                f"the teacher's preset {settings.name} has no guidance to distil",
                remedy="choose one that has, such as teacher.preset=card, or objective few-step",
            )
        preset = config.teacher.preset if student is None else student.preset
        return cls(config.objective, preset, settings, adapters, negative_BLD, levels, student)

    def teacher(self, transformer: Transformer) -> Teacher:
        """The teacher in a loaded model, into which its adapters are merged."""
        weights = make_weights(self.settings)
        student = self.student is not None
        return Teacher(transformer, weights.video, weights.stg_blocks, self.negative_BLD, student)

    @property
    def learned(self) -> dict[str, Any]:
        """The settings with which the distilled adapter runs, over those of its model."""
        learned = _UNGUIDED | {
            "lora_strength": self.settings.lora_strength,
            "reference": self.objective.reference,
        }
        if self.levels is None:
            return learned
        levels = [round(float(one), 7) for one in self.levels[:: self.objective.substeps]]
        return learned | {"sigmas": levels, "sampler": "euler", "stages": []}

    @property
    def metadata(self) -> str:
        """What the adapter's file says: the settings to run it with, and what they replace."""
        beside = _named(self.adapters)
        said = {"objective": self.objective.kind, "preset": self.preset, "settings": self.learned}
        return json.dumps(said | {"replaces": self._replaced, "with": beside}, sort_keys=True)

    @property
    def _replaced(self) -> dict[str, Any]:
        """The guidance and the steps that the adapter stands for; a student's student, those of the first."""
        if self.student is not None:
            return dict(self.student.replaces)
        own, usual = self.settings, Weights()
        weights = make_weights(own).video
        replaced = {name: value for name, value in vars(weights).items() if value != getattr(usual, name)}
        if weights.stg_scale:
            replaced["stg_blocks"] = list(own.stg_blocks)
        return replaced | {"steps": own.steps if self.levels is None else len(self.levels) - 1}

    @property
    def cost(self) -> Cost:
        """The passes of a step."""
        return Cost.of(self.objective, 1 + len(make_weights(self.settings).video.scales))


@dataclass(frozen=True)
class Cost:
    """Passes through the model for a sample of a step.

    Attributes:
        taught: of the teacher. walked: of the student, on the way to the state where it learns.
    """

    taught: float
    walked: float = 0.0

    @classmethod
    def of(cls, objective: ObjectiveConfig, guided: int) -> Cost:
        """The cost of an objective whose teacher makes so many passes a step."""
        if objective.kind == "guidance":
            return cls(guided)
        return cls(guided * objective.substeps, (objective.steps - 1) / 2)

    @property
    def passes(self) -> float:
        """All; the pass with gradients counts as three."""
        return 3 + self.taught + self.walked

    def told(self, steps: int, samples: int) -> str:
        """What a run costs, for people.

        Args:
            samples: of a step, on each process.
        """
        own = f" and {self.walked:g} of the student" if self.walked else ""
        total = steps * samples * self.passes
        return (
            f"a sample takes one pass with gradients (as long as three), {self.taught:g} of the teacher{own}:"
            f" in {steps:,} steps of {samples} as long as {total:,.0f} passes"
        )


def _named(adapters: Sequence[tuple[LoRA, float]]) -> dict[str, float]:
    return {lora.path.name: strength for lora, strength in adapters}


def _student(start: Path, adapters: Sequence[tuple[LoRA, float]]) -> Distilled:
    """What the student says that teaches.

    Raises:
        AdapterError: it was not distilled, or beside other adapters than these.
    """
    found = LoRA.open(start).distilled
    if found is None:
        raise AdapterError(
            f"{start} teaches as a student, and was not distilled",
            remedy="leave teacher.student out, or start from an adapter of objective guidance or few-step",
        )
    if found.beside != _named(adapters):
        raise AdapterError(
            f"{start} was distilled beside {found.beside}, and the teacher's adapters are {_named(adapters)}",
            remedy="name the same adapters under teacher, with the same strengths",
        )
    return found


def _settings(teacher: TeacherConfig, objective: ObjectiveConfig, source: Source) -> Settings:
    """The teacher's settings: picture alone, and the reference as the student is shown it."""
    changes = {"reference": objective.reference, "audio": False}
    settings = override(source.settings(teacher.preset), {**teacher.settings, **changes})
    if settings.reference_strength != 1:
        raise SettingsError(
            f"the teacher's reference_strength is {settings.reference_strength:g}",
            remedy="leave it at 1: the student is shown the sheet clean",
        )
    if settings.enlarges:
        raise SettingsError(
            f"the teacher's stages {shown(' / '.join(map(str, settings.stages)))} enlarge the clip",
            remedy="name a recipe of one size: a student learns at the size at which the sheet is seen",
        )
    check_fits(settings, source.checkpoint)
    source.check_reference(settings)
    return settings


def _levels(settings: Settings, objective: ObjectiveConfig) -> Tensor:
    """The teacher's noise levels: `substeps` of its steps for every step of the student."""
    count = objective.steps * objective.substeps
    if settings.sigmas is not None:
        if len(settings.sigmas) != count + 1:
            raise SettingsError(
                f"the teacher lists {len(settings.sigmas) - 1} steps, the student needs {count}:"
                f" {objective.steps} steps of {objective.substeps}",
                remedy="choose objective.steps and objective.substeps whose product is the teacher's steps",
            )
        return listed(settings.sigmas)
    if settings.schedule != "official":
        raise SettingsError(
            f"the noise levels of schedule {settings.schedule} depend on the clip's size",
            remedy="set teacher.settings.schedule to official: a few-step adapter has levels of its own",
        )
    return sigmas(count)
