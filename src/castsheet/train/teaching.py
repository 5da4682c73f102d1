"""The teacher of a distilled adapter: its adapters, its guidance, and what the adapter's file says of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from castsheet.errors import SettingsError
from castsheet.loading.models import Models
from castsheet.loading.source import Source, check_fits
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
    """

    objective: ObjectiveConfig
    preset: str | None
    settings: Settings
    adapters: tuple[tuple[LoRA, float], ...]
    negative_BLD: Tensor | None
    levels: Tensor | None

    @classmethod
    def of(cls, config: Config, source: Source, device: torch.device, dtype: torch.dtype) -> Teaching:
        """Settle how the teacher runs, and encode its negative prompt.

        Args:
            source: the model with the teacher's adapters.

        Raises:
            SettingsError: the teacher's settings do not exist, do not fit the model, or are not distilled.
            AdapterError: an adapter was trained on another reference mode.
            TextEncoderError: guidance reads a negative prompt, and there is no text encoder.
        """
        settings = _settings(config.teacher, config.objective, source)
        weights = make_weights(settings)
        negative_BLD = None
        if weights.wants("uncond"):
            models = Models(replace(source, adapters=()), device, dtype, None)
            negative_BLD = models.contexts([settings.negative_prompt], audio=False)[0].video_BLD
        adapters = tuple((one.lora, one.strength_in(settings)) for one in source.adapters_in(settings))
        few = config.objective.kind == "few-step"
        levels = _levels(settings, config.objective) if few else None
        if not few and not weights.video.scales:
            raise SettingsError(
                f"the teacher's preset {settings.name} has no guidance to distil",
                remedy="choose one that has, such as teacher.preset=card, or objective few-step",
            )
        return cls(config.objective, config.teacher.preset, settings, adapters, negative_BLD, levels)

    def teacher(self, transformer: Transformer) -> Teacher:
        """The teacher in a loaded model, into which its adapters are merged."""
        weights = make_weights(self.settings)
        return Teacher(transformer, weights.video, weights.stg_blocks, self.negative_BLD)

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
        own, usual = self.settings, Weights()
        weights = make_weights(own).video
        replaced = {name: value for name, value in vars(weights).items() if value != getattr(usual, name)} | {
            "steps": own.steps if self.levels is None else len(self.levels) - 1
        }
        if weights.stg_scale:
            replaced["stg_blocks"] = list(own.stg_blocks)
        beside = {lora.path.name: strength for lora, strength in self.adapters}
        said = {"objective": self.objective.kind, "preset": self.preset, "settings": self.learned}
        return json.dumps(said | {"replaces": replaced, "with": beside}, sort_keys=True)

    def cost(self, steps: int) -> str:
        """How many passes through the model a run of so many steps takes, for people."""
        guided = 1 + len(make_weights(self.settings).video.scales)
        taught, walked = float(guided), 0.0
        if self.levels is not None:
            taught, walked = float(guided * self.objective.substeps), (self.objective.steps - 1) / 2
        total = steps * (3 + taught + walked)
        own = f" and {walked:g} of the student" if walked else ""
        return (
            f"a step takes one pass with gradients (as long as three), {taught:g} of the teacher{own}: in"
            f" {steps:,} steps as long as {total:,.0f} passes"
        )


def _settings(teacher: TeacherConfig, objective: ObjectiveConfig, source: Source) -> Settings:
    """The teacher's settings: picture alone, and the reference as the student is shown it."""
    changes = {"reference": objective.reference, "audio": False}
    settings = override(source.settings(teacher.preset), {**teacher.settings, **changes})
    if settings.reference_strength != 1:
        raise SettingsError(
            f"the teacher's reference_strength is {settings.reference_strength:g}",
            remedy="leave it at 1: the student is shown the sheet clean",
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
