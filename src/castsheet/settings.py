"""Presets: the published recipes for the reference-sheet adapter, as frozen data.

`card` is the recipe of the adapter's model card and the default; `comfy` that of the vendor's ComfyUI
workflow; `space-distilled` that of the public demo, which runs the distilled model. Every field can be
overridden.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, NoReturn, get_args

from castsheet.errors import SettingsError
from castsheet.ltx.adapters.lora_file import MODES, ReferenceMode
from castsheet.prompt import FORMATS, PromptFormat
from castsheet.sampling.schedule import DISTILLED, MAX_STEPS, ScheduleKind, check_levels

NEGATIVE_PROMPT = "worst quality, inconsistent motion, blurry, jittery, distorted"


@dataclass(frozen=True)
class Preset:
    """Settings of one run. Which sizes and frame counts the VAE can make is checked when the run starts.

    Attributes:
        width, height: pixels of the clip.
        frames, fps: length of the clip in frames (8k + 1 with the real VAE), frames a second.
        steps: Euler steps; with `sigmas` it is their count less one.
        sigmas: noise levels used as they are, from at most 1 to 0, instead of the schedule.
        schedule: at which token count the schedule is evaluated; see sampling/schedule.py.
        guidance, stg_scale, modality_scale, rescale: see sampling/guidance.py. 1, 0, 1 and 0 switch them off.
        audio_guidance: `guidance` of the audio stream; only with `audio`.
        stg_blocks: blocks whose self-attention the STG pass replaces by its values.
        lora_strength: for adapters that were loaded without a strength of their own.
        reference: "looped" shows the sheet as a still video of the clip's length, "still" as one latent frame
            (a sixteenth of the tokens), to adapters that were trained so.
        reference_strength: 1 keeps the sheet clean; s < 1 shows it at noise level (1 - s) * sigma.
        reference_every: compute a clean sheet's rows in every such step only and reuse them in between; 1 is
            exact, more is faster and approximate (ltx/reuse.py).
        strength: of single elements of the sheet, above 0 and at most 10; 1 for those that are not named.
        first_frame_crf: H.264 rate factor at which a given first frame is compressed once, as the official
            LTX-2.3 pipeline does; 0 leaves it as it is.
        negative_prompt: what guidance steers away from; unused at guidance 1.
        prompt_format: layout of the two-part prompt; see prompt.py.
        audio: sample sound jointly (the checkpoint must have audio).
    """

    name: str
    width: int = 768
    height: int = 448
    frames: int = 121
    fps: float = 24.0
    steps: int = 30
    sigmas: tuple[float, ...] | None = None
    schedule: ScheduleKind = "official"
    guidance: float = 4.0
    stg_scale: float = 1.0
    stg_blocks: tuple[int, ...] = (29,)
    rescale: float = 0.0
    modality_scale: float = 1.0
    audio_guidance: float = 7.0
    lora_strength: float = 1.4
    reference: ReferenceMode = "looped"
    reference_strength: float = 1.0
    reference_every: int = 1
    strength: Mapping[str, float] = field(default_factory=dict)
    first_frame_crf: int = 33
    negative_prompt: str = NEGATIVE_PROMPT
    prompt_format: PromptFormat = "prose"
    audio: bool = False

    def __post_init__(self) -> None:
        """Raise SettingsError where a value is of the wrong type or out of range."""
        for name, (low, high) in _RANGES.items():
            _check_number(name, getattr(self, name), low, high)
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                _refuse(name, getattr(self, name), f"choose one of {', '.join(choices)}")
        if not isinstance(self.audio, bool):
            _refuse("audio", self.audio, "choose true or false")
        if not isinstance(self.negative_prompt, str):
            _refuse("negative_prompt", self.negative_prompt, "give a text; an empty one is allowed")
        _check_blocks(self.stg_blocks, self.stg_scale)
        _check_strength(self.strength)
        if self.sigmas is not None:
            check_levels(_numbers("sigmas", self.sigmas))
            if self.steps != len(self.sigmas) - 1:
                _refuse(
                    "steps",
                    self.steps,
                    f"the {len(self.sigmas)} sigmas given make {len(self.sigmas) - 1} steps",
                )


LARGEST = 10.0  # strength of an element

# Allowed ranges, ends included. Where both ends are int the value must be a whole number.
_RANGES: dict[str, tuple[float, float]] = {
    "width": (16, 8192),
    "height": (16, 8192),
    "frames": (1, 2001),
    "fps": (1.0, 240.0),
    "steps": (1, MAX_STEPS),
    "guidance": (-50.0, 50.0),
    "stg_scale": (-50.0, 50.0),
    "rescale": (0.0, 1.0),
    "modality_scale": (-50.0, 50.0),
    "audio_guidance": (-50.0, 50.0),
    "lora_strength": (-10.0, 10.0),
    "reference_strength": (0.0, 1.0),
    "reference_every": (1, MAX_STEPS),
    "first_frame_crf": (0, 51),
}
_CHOICES: dict[str, tuple[str, ...]] = {
    "schedule": get_args(ScheduleKind),
    "reference": MODES,
    "prompt_format": FORMATS,
}


def _check_number(field: str, value: Any, low: float, high: float) -> None:
    whole = isinstance(low, int)
    kinds = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds):
        _refuse(field, value, f"give a {'whole ' if whole else ''}number from {low} to {high}")
    if not (math.isfinite(value) and low <= value <= high):
        _refuse(field, value, f"allowed are {low} to {high}")


def _check_blocks(blocks: Any, scale: float) -> None:
    whole = isinstance(blocks, tuple) and all(type(block) is int and block >= 0 for block in blocks)
    if not whole:
        _refuse("stg_blocks", blocks, "list block numbers from 0, for example 28")
    if scale != 0 and not blocks:
        _refuse("stg_scale", scale, "name at least one block in stg_blocks, or set stg_scale to 0")


def _check_strength(strength: Any) -> None:
    remedy = f"name elements with numbers above 0 and at most {LARGEST:g}: hero: 1.2"
    if not isinstance(strength, Mapping):
        _refuse("strength", strength, remedy)
    for name, value in strength.items():
        number = type(value) in (int, float) and 0 < value <= LARGEST
        if not (isinstance(name, str) and name and number):
            _refuse("strength", dict(strength), remedy)


def _numbers(field: str, values: Any) -> tuple[float, ...]:
    good = isinstance(values, tuple) and all(type(value) in (int, float) for value in values)
    if not good:
        _refuse(field, values, "give a list of numbers")
    return tuple(values)


def _refuse(field: str, value: Any, remedy: str) -> NoReturn:
    raise SettingsError(f"setting {field} = {value!r}", remedy=remedy)


CARD = Preset("card")
# The workflow's sampler adds noise between steps (Euler ancestral); the steps here are plain Euler.
COMFY = Preset(
    "comfy",
    width=960,
    height=544,
    steps=8,
    sigmas=DISTILLED,
    guidance=1.0,
    stg_scale=0.0,
    stg_blocks=(),
    lora_strength=1.0,
    negative_prompt="",
    prompt_format="markdown",
)
SPACE_DISTILLED = Preset(
    "space-distilled",
    steps=8,
    sigmas=DISTILLED,
    guidance=1.0,
    stg_scale=0.0,
    stg_blocks=(),
    lora_strength=1.4,
    negative_prompt="",
)
PRESETS = {one.name: one for one in (CARD, COMFY, SPACE_DISTILLED)}


def preset(name: str = "card", **overrides: Any) -> Preset:
    """A preset by name, with fields overridden.

    Raises:
        SettingsError: no such preset, no such field, a wrong type or a value out of range.
    """
    if name not in PRESETS:
        raise SettingsError(f"unknown preset {name!r}", remedy=f"choose one of {', '.join(PRESETS)}")
    return override(PRESETS[name], overrides)


def override(base: Preset, overrides: Mapping[str, Any]) -> Preset:
    """`base` with some fields replaced. Lists become tuples, so that YAML and JSON values fit.

    New `sigmas` set `steps`; new `steps` are refused while the preset's own sigmas would decide instead.

    Raises:
        SettingsError: no such field, a wrong type or a value out of range.
    """
    allowed = [one.name for one in fields(Preset) if one.name != "name"]
    unknown = sorted(set(overrides) - set(allowed))
    if unknown:
        raise SettingsError(
            f"unknown setting {', '.join(unknown)}", remedy=f"settings are {', '.join(allowed)}"
        )
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in overrides.items()
    }
    levels = values.get("sigmas")
    if levels is not None and "steps" not in values:
        values["steps"] = len(_numbers("sigmas", levels)) - 1
    if base.sigmas is not None and "sigmas" not in values and values.get("steps", base.steps) != base.steps:
        _refuse(
            "steps", values["steps"], f"preset {base.name} lists its sigmas; give sigmas too, or clear them"
        )
    return replace(base, **values)
