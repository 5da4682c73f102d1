"""The settings of a run, and the presets: the published recipes for the reference-sheet adapter. No torch.

A field of `Settings` says everything about itself: its default, one sentence of help, and its kind. The kind
knows the allowed values and reads them. The checks, the command line's options and the table in
docs/settings.md are derived from the fields. A new setting is one field here and the code that reads it. A
new preset is one entry of `PRESETS`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar, get_args

from castsheet.errors import SettingsError, shown
from castsheet.ltx.adapters.mode import MODES, ReferenceMode
from castsheet.prompt import FORMATS, PromptFormat
from castsheet.sampling.levels import DISTILLED, MAX_STEPS, REFINING, ScheduleKind
from castsheet.sampling.samplers import SAMPLERS
from castsheet.settings.kinds import (
    STRENGTH,
    Blocks,
    Choice,
    File,
    Flag,
    Interval,
    Levels,
    Number,
    Stage,
    Stages,
    Strengths,
    Text,
    described,
    refuse,
    setting,
)
from castsheet.settings.paces import EXACT, PACES, paced

_DISTILLED = "ltx-2.3-22b-distilled-lora-384-1.1.safetensors"  # with it eight steps suffice for the dev model
NEGATIVE_PROMPT = "worst quality, inconsistent motion, blurry, jittery, distorted"


@dataclass(frozen=True)
class Settings:
    """Settings of one run; `name` is the preset that they came from.

    A run checks at its start whether the VAE can make the size and frame count. See sampling/guidance.py for
    the guidance scales, sampling/schedule.py for the schedule, ltx/model/reuse.py for `reference_every`.

    Raises:
        SettingsError: a value is of the wrong type or out of range, or two contradict each other.
    """

    name: str = "card"
    width: int = setting(768, "Pixels of the clip, before a stage enlarges it.", Number(16, 8192))
    height: int = setting(448, "Pixels of the clip, before a stage enlarges it.", Number(16, 8192))
    frames: int = setting(121, "Frames of the clip, 8k + 1.", Number(1, 2001))
    fps: float = setting(24.0, "Frames a second.", Number(1.0, 240.0))
    steps: int = setting(30, "Sampling steps.", Number(1, MAX_STEPS))
    sigmas: tuple[float, ...] | None = setting(
        None, "Noise levels instead of the schedule, such as 1,0.99,0.9,0.4,0.", Levels()
    )
    schedule: ScheduleKind = setting(
        "official", "Which token count shapes the schedule.", Choice(get_args(ScheduleKind))
    )
    sampler: str = setting("euler", "How the noise levels are walked down.", Choice(SAMPLERS))
    eta: float = setting(
        1.0, "Share of the noise that each step of an ancestral sampler replaces.", Number(0.0, 1.0)
    )
    stages: tuple[Stage, ...] = setting(
        (),
        "Levels of further stages, each from noise again: 0.9,0 / 0.4,0; 2x before them doubles the size.",
        Stages(),
    )
    upsampler: str = setting("", "The latent upsampler of a stage that enlarges; or none.", File())
    refining_adapters: Mapping[str, float] = setting(
        {},
        "All adapters of the stages from an enlarging one on: distilled.safetensors=1; or none.",
        Strengths(-10.0, 10.0, "distilled.safetensors: 1"),
    )
    guidance: float = setting(4.0, "Guidance by the prompt; 1 switches it off.", Number(-50.0, 50.0))
    stg_scale: float = setting(1.0, "Spatio-temporal guidance; 0 switches it off.", Number(-50.0, 50.0))
    pace: str = setting(
        EXACT,
        "What a run leaves out to be faster: one word for several of the settings below.",
        Choice(PACES),
    )
    guidance_every: int = setting(
        1,
        "Reuse what guidance and STG add over so many steps; 1: exact, more: faster.",
        Number(1, MAX_STEPS),
    )
    guidance_interval: tuple[float, float] = setting(
        (0.0, 1.0), "Noise levels at which guidance and STG are on, such as 0.2,0.95.", Interval()
    )
    stg_blocks: tuple[int, ...] = setting((29,), "Blocks that it perturbs, such as 29 or 28,29.", Blocks())
    rescale: float = setting(
        0.0, "Share of the guided prediction's spread that is taken back.", Number(0.0, 1.0)
    )
    modality_scale: float = setting(
        1.0, "Guidance between picture and sound; 1 switches it off.", Number(-50.0, 50.0)
    )
    audio_guidance: float = setting(7.0, "Guidance by the prompt for the sound.", Number(-50.0, 50.0))
    lora_strength: float = setting(1.4, "Strength of adapters that were given none.", STRENGTH)
    further_adapters: Mapping[str, float] = setting(
        {},
        "Adapters that a recipe adds to the model's: distilled.safetensors=0.5; or none.",
        Strengths(-10.0, 10.0, "distilled.safetensors: 0.5"),
    )
    reference: ReferenceMode = setting(
        "looped", "The sheet in every latent frame (looped), or in one (still); as trained.", Choice(MODES)
    )
    reference_strength: float = setting(
        1.0, "1 shows the sheet clean; s shows it with 1 - s of the noise.", Number(0.0, 1.0)
    )
    reference_every: int = setting(
        1, "Reuse the sheet's rows over so many steps; 1: exact, more: faster.", Number(1, MAX_STEPS)
    )
    residual_threshold: float = setting(
        0.0,
        "Reuse what the blocks add while the first one's own addition moves by less; 0: exact, such as 0.1.",
        Number(0.0, 10.0),
    )
    strength: Mapping[str, float] = setting(
        {}, "Of single elements: hero=1.2 backpack=0.7; 1 is usual.", Strengths(0.0, 10.0, "hero: 1.2")
    )
    first_frame_crf: int = setting(
        33, "H.264 rate factor that a first frame goes through, as in training; 0: none.", Number(0, 51)
    )
    negative_prompt: str = setting(NEGATIVE_PROMPT, "What guidance steers away from.", Text())
    prompt_format: PromptFormat = setting("prose", "Layout of the two-part prompt.", Choice(FORMATS))
    audio: bool = setting(False, "Make sound too; the model must have it.", Flag())

    def __post_init__(self) -> None:
        for name, one in described(type(self)).items():
            one.kind.check(name, getattr(self, name))
        if self.stg_scale != 0 and not self.stg_blocks:
            remedy = "name at least one block in stg_blocks, or set stg_scale to 0"
            refuse("stg_scale", self.stg_scale, remedy)
        if self.eta != 1 and not SAMPLERS[self.sampler].eta:
            samplers = ", ".join(name for name, one in SAMPLERS.items() if one.eta)
            refuse("eta", self.eta, f"sampler {self.sampler} reads no eta; leave it at 1 or use {samplers}")
        if self.sigmas is not None and self.steps != len(self.sigmas) - 1:
            steps = len(self.sigmas) - 1
            refuse("steps", self.steps, f"the {len(self.sigmas)} sigmas given make {steps} steps")
        if self.enlarges and not self.upsampler:
            refuse("stages", self.stages, "a stage enlarges: name the latent upsampler's file in upsampler")

    @property
    def all_steps(self) -> int:
        """Steps of all stages."""
        return self.steps + sum(len(stage.sigmas) - 1 for stage in self.stages)

    @property
    def enlarges(self) -> bool:
        """Whether a stage enlarges the clip."""
        return any(stage.scale != 1 for stage in self.stages)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the finished clip: those of the first stage, enlarged by the others."""
        scale = math.prod(stage.scale for stage in self.stages)
        return round(self.width * scale), round(self.height * scale)


CARD = Settings("card")
SPACE_DISTILLED = Settings(
    "space-distilled",
    steps=8,
    sigmas=DISTILLED,
    guidance=1.0,
    stg_scale=0.0,
    stg_blocks=(),
    negative_prompt="",
)
SPACE = replace(
    SPACE_DISTILLED,
    name="space",
    stages=(Stage(REFINING, 2.0),),
    upsampler="ltx-2.3-spatial-upscaler-x2-1.1.safetensors",
)
COMFY = replace(
    SPACE_DISTILLED,
    name="comfy",
    width=960,
    height=544,
    sampler="euler_ancestral",
    lora_strength=1.0,
    further_adapters={_DISTILLED: 0.5},
    prompt_format="markdown",
)
CARD_25 = replace(
    CARD,
    name="card-2.5",
    guidance=3.0,
    stg_blocks=(28,),
    rescale=0.7,
    modality_scale=3.0,
    lora_strength=1.0,
    first_frame_crf=18,
)
DISTILLED_25 = replace(
    SPACE_DISTILLED,
    name="distilled-2.5",
    sampler="euler_ancestral",
    lora_strength=1.0,
    first_frame_crf=18,
)
TWO_STAGE_25 = replace(
    DISTILLED_25,
    name="two-stage-2.5",
    stages=(Stage(REFINING, 2.0),),
    upsampler="ltx-2.5-latent-spatial-upscaler-x2-bf16-1.0.safetensors",
)
# For LTX-2.3: `card` is the recipe of the adapter's model card, `comfy` the recipe of the vendor's ComfyUI
# workflow, `space` the recipe of the public demo, which runs the distilled model in two stages, and
# `space-distilled` the same without the second stage.
# For LTX-2.5: `card-2.5` has the guidance and the rate factor of the vendor's pipelines for the dev model,
# `distilled-2.5` the levels and the sampler of its pipeline for the distilled one. Both have the adapter
# strength that every program uses that was looked at, and the adapter's bucket; `two-stage-2.5` adds the
# stage that enlarges.
PRESETS: dict[str, Settings] = {
    one.name: one for one in (CARD, COMFY, SPACE, SPACE_DISTILLED, CARD_25, DISTILLED_25, TWO_STAGE_25)
}


def preset(name: str = "card", **overrides: Any) -> Settings:
    """The preset `name`, with some fields overridden.

    Raises:
        SettingsError: no such preset, no such field, a wrong type or a value out of range.
    """
    if name not in PRESETS:
        raise SettingsError(f"unknown preset {shown(name)}", remedy=f"choose one of {', '.join(PRESETS)}")
    return override(PRESETS[name], overrides)


FAST = "fast"
"""The preset that a distilled adapter states itself; `castsheet.loading.source` reads it from the file."""

S = TypeVar("S", bound=Settings)


def override(base: S, overrides: Mapping[str, Any]) -> S:
    """`base` with some fields replaced, by values as Python, YAML or JSON have them.

    A `pace` sets what belongs to it (settings/paces.py). New `sigmas` set `steps`. New `steps` are refused
    if the preset has sigmas: the sigmas would win.

    Raises:
        SettingsError: no such field, a wrong type or a value out of range.
    """
    overrides = paced(overrides)
    known = described(type(base))
    unknown = sorted(set(overrides) - set(known))
    if any(name.startswith("keyframe") for name in unknown):
        raise SettingsError(
            f"unknown setting {', '.join(unknown)}: keyframes that LTX-2.5 generates are not made here",
            remedy="leave it out: the clip's first latent frame is marked by itself",
        )
    if unknown:
        raise SettingsError(
            f"unknown setting {', '.join(unknown)}", remedy=f"settings are {', '.join(known)}"
        )
    values = {name: known[name].kind.from_data(value) for name, value in overrides.items()}
    levels = values.get("sigmas")
    if isinstance(levels, tuple) and "steps" not in values:
        values["steps"] = max(1, len(levels) - 1)
    if base.sigmas is not None and "sigmas" not in values and values.get("steps", base.steps) != base.steps:
        remedy = f"preset {base.name} lists its sigmas; give sigmas too, or clear them"
        refuse("steps", values["steps"], remedy)
    return replace(base, **values)
