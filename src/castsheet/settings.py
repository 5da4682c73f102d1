"""The settings of a run, and the presets: the published recipes for the reference-sheet adapter. No torch.

A field of `Settings` says everything about itself: its default, one sentence of help, and its kind. The kind
knows the allowed values and reads them. The checks, the command line's options and the table in
docs/settings.md are derived from the fields. A new setting is one field here and the code that reads it. A
new preset is one entry of `PRESETS`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple, NoReturn, TypeVar, get_args

from castsheet.errors import SettingsError
from castsheet.ltx.adapters.mode import MODES, ReferenceMode
from castsheet.prompt import FORMATS, PromptFormat
from castsheet.sampling.levels import DISTILLED, MAX_STEPS, ScheduleKind, check_levels
from castsheet.sampling.samplers import SAMPLERS

_DISTILLED = "ltx-2.3-22b-distilled-lora-384-1.1.safetensors"  # with it eight steps suffice for the dev model
NEGATIVE_PROMPT = "worst quality, inconsistent motion, blurry, jittery, distorted"


class StageError(SettingsError):
    """A stage asks for what the pipeline cannot do."""


class Kind(ABC):
    """Which values a field takes, and how they are read.

    Attributes:
        allowed: the allowed values in words.
        option: the type of the command line's option.
    """

    allowed: str
    option: type = str

    @abstractmethod
    def check(self, name: str, value: Any) -> None:
        """Raise SettingsError if the value is of another type or not allowed."""

    def from_option(self, given: Any) -> Any:
        """The value of an option given on the command line."""
        return given

    def from_data(self, value: Any) -> Any:
        """The value of an entry in YAML or JSON; an unreadable one is returned for `check` to refuse."""
        return tuple(value) if isinstance(value, list) else value


class Number(Kind):
    """A number from `low` to `high`, ends included; whole if both ends are."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high
        self.option = int if isinstance(low, int) else float
        self.allowed = f"{low} to {high}"

    def check(self, name: str, value: Any) -> None:
        kinds = (int,) if self.option is int else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds):
            whole = "whole " if self.option is int else ""
            _refuse(name, value, f"give a {whole}number from {self.allowed}")
        if not (math.isfinite(value) and self.low <= value <= self.high):
            _refuse(name, value, f"allowed are {self.allowed}")


class Choice(Kind):
    """One name of a list."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(names)
        self.allowed = ", ".join(self.names)

    def check(self, name: str, value: Any) -> None:
        if value not in self.names:
            _refuse(name, value, f"choose one of {self.allowed}")


class Flag(Kind):
    """Yes or no."""

    allowed, option = "true or false", bool

    def check(self, name: str, value: Any) -> None:
        if not isinstance(value, bool):
            _refuse(name, value, "choose true or false")


class Text(Kind):
    """Any text."""

    def __init__(self, allowed: str = "any text") -> None:
        self.allowed = allowed

    def check(self, name: str, value: Any) -> None:
        if not isinstance(value, str):
            _refuse(name, value, "give a text; an empty one is allowed")


class Blocks(Kind):
    """Numbers of the model's blocks: `28,29`."""

    allowed = "block numbers from 0"

    def check(self, name: str, value: Any) -> None:
        if not (isinstance(value, tuple) and all(type(block) is int and block >= 0 for block in value)):
            _refuse(name, value, "list block numbers from 0, for example 28")

    def from_option(self, given: Any) -> Any:
        return _numbers(given, int)


class Levels(Kind):
    """Noise levels that fall to 0: `1,0.9,0.5,0`; with None the schedule sets them."""

    allowed = "falling levels, the first at most 1, the last 0"

    def check(self, name: str, value: Any) -> None:
        if value is None:
            return
        if not (isinstance(value, tuple) and all(type(level) in (int, float) for level in value)):
            _refuse(name, value, "give a list of numbers")
        check_levels(value)

    def from_option(self, given: Any) -> Any:
        return _numbers(given, float)


class Strengths(Kind):
    """Numbers by name: `hero=1.2 lamp=0.7`. 0 is refused: it would mean to leave the name out."""

    def __init__(self, low: float, high: float, example: str) -> None:
        self.low, self.high = low, high
        least = "above 0" if low == 0 else f"from {low:g}"
        self.allowed = f"names with numbers {least}, at most {high:g}"
        self.remedy = f"give names with numbers {least} and at most {high:g}: {example}"

    def check(self, name: str, value: Any) -> None:
        if not isinstance(value, Mapping):
            _refuse(name, value, self.remedy)
        for key, number in value.items():
            good = type(number) in (int, float) and self.low <= number <= self.high and number != 0
            if not (isinstance(key, str) and key and good):
                _refuse(name, dict(value), self.remedy)

    def from_option(self, given: Any) -> Any:
        """`name=number`, several separated by spaces or commas; `none` for no name."""
        numbers: dict[str, float] = {}
        for item in [] if given.strip() == "none" else given.replace(",", " ").split():
            name, _, text = item.rpartition("=")
            value = _number(text)
            if not (name and self.low <= value <= self.high and value != 0):
                raise SettingsError(f"strength {item!r}", remedy=f"{self.remedy}, as name=number")
            if name in numbers:
                raise SettingsError(f"strength of {name!r} is given twice", remedy="give it once")
            numbers[name] = value
        return numbers


@dataclass(frozen=True)
class Stage:
    """A stage after the first: noise is added to the clip, up to the first level, and sampled away again.

    Attributes:
        sigmas: falling noise levels, the first at most 1, the last 0.
        scale: of the clip's sides to those of the stage before; a scale other than 1 raises StageError.
    """

    sigmas: tuple[float, ...]
    scale: float = 1.0

    def __post_init__(self) -> None:
        Levels().check("stages", self.sigmas)
        if self.scale != 1:
            raise StageError(
                f"a stage at {self.scale!r} times the size: nothing here enlarges latents between stages",
                remedy="give the final width and height, and scale 1 or none",
            )


class Stages(Kind):
    """Further stages: `0.9,0.7,0` is one, `0.9,0.7,0 / 0.4,0` are two, `none` is none."""

    allowed = "lists of falling levels, the last 0"

    def check(self, name: str, value: Any) -> None:
        if not (isinstance(value, tuple) and all(isinstance(one, Stage) for one in value)):
            _refuse(name, value, "list stages by their noise levels: [{sigmas: [0.9, 0.7, 0]}]")

    def from_option(self, given: Any) -> Any:
        texts = [] if given.strip() == "none" else given.split("/")
        return tuple(Stage(_numbers(text, float)) for text in texts)

    def from_data(self, value: Any) -> Any:
        return tuple(_stage(one) for one in value) if isinstance(value, list) else value


class About(NamedTuple):
    """What a field says about itself."""

    help: str
    kind: Kind


def setting(default: Any, help: str, kind: Kind) -> Any:
    """A dataclass field that says everything about itself."""
    about = {"about": About(help, kind)}
    if isinstance(default, dict):
        return field(default_factory=default.copy, metadata=about)
    return field(default=default, metadata=about)


@dataclass(frozen=True)
class Settings:
    """Settings of one run; `name` is the preset that they came from.

    A run checks at its start whether the VAE can make the size and frame count. See sampling/guidance.py for
    the guidance scales, sampling/schedule.py for the schedule, ltx/model/reuse.py for `reference_every`.

    Raises:
        SettingsError: a value is of the wrong type or out of range, or two contradict each other.
    """

    name: str = "card"
    width: int = setting(768, "Pixels of the clip.", Number(16, 8192))
    height: int = setting(448, "Pixels of the clip.", Number(16, 8192))
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
        (), "Levels of further stages, each from noise again: 0.9,0.7,0 / 0.4,0; or none.", Stages()
    )
    guidance: float = setting(4.0, "Guidance by the prompt; 1 switches it off.", Number(-50.0, 50.0))
    stg_scale: float = setting(1.0, "Spatio-temporal guidance; 0 switches it off.", Number(-50.0, 50.0))
    stg_blocks: tuple[int, ...] = setting((29,), "Blocks that it perturbs, such as 29 or 28,29.", Blocks())
    rescale: float = setting(
        0.0, "Share of the guided prediction's spread that is taken back.", Number(0.0, 1.0)
    )
    modality_scale: float = setting(
        1.0, "Guidance between picture and sound; 1 switches it off.", Number(-50.0, 50.0)
    )
    audio_guidance: float = setting(7.0, "Guidance by the prompt for the sound.", Number(-50.0, 50.0))
    lora_strength: float = setting(1.4, "Strength of adapters that were given none.", Number(-10.0, 10.0))
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
            _refuse("stg_scale", self.stg_scale, remedy)
        if self.eta != 1 and not SAMPLERS[self.sampler].eta:
            samplers = ", ".join(name for name, one in SAMPLERS.items() if one.eta)
            _refuse("eta", self.eta, f"sampler {self.sampler} reads no eta; leave it at 1 or use {samplers}")
        if self.sigmas is not None and self.steps != len(self.sigmas) - 1:
            steps = len(self.sigmas) - 1
            _refuse("steps", self.steps, f"the {len(self.sigmas)} sigmas given make {steps} steps")

    @property
    def all_steps(self) -> int:
        """Steps of all stages."""
        return self.steps + sum(len(stage.sigmas) - 1 for stage in self.stages)


def _stage(value: Any) -> Any:
    """A stage from {sigmas: [...], scale: 1} or from a bare list of levels; other values stay as they are."""
    if isinstance(value, list):
        return Stage(tuple(value))
    if isinstance(value, Mapping) and {"sigmas"} <= set(value) <= {"sigmas", "scale"}:
        return Stage(Levels().from_data(value["sigmas"]), value.get("scale", 1.0))
    return value


def described(of: type[Any] = Settings) -> dict[str, About]:
    """What the fields of a dataclass such as `Settings` say about themselves, by name."""
    return {one.name: one.metadata["about"] for one in fields(of) if one.metadata}


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
# `card` is the recipe of the adapter's model card, `comfy` the recipe of the vendor's ComfyUI workflow, and
# `space-distilled` the recipe of the public demo, which runs the distilled model.
PRESETS: dict[str, Settings] = {one.name: one for one in (CARD, COMFY, SPACE_DISTILLED)}


def preset(name: str = "card", **overrides: Any) -> Settings:
    """The preset `name`, with some fields overridden.

    Raises:
        SettingsError: no such preset, no such field, a wrong type or a value out of range.
    """
    if name not in PRESETS:
        raise SettingsError(f"unknown preset {name!r}", remedy=f"choose one of {', '.join(PRESETS)}")
    return override(PRESETS[name], overrides)


S = TypeVar("S", bound=Settings)


def override(base: S, overrides: Mapping[str, Any]) -> S:
    """`base` with some fields replaced, by values as Python, YAML or JSON have them.

    New `sigmas` set `steps`. New `steps` are refused if the preset has sigmas: the sigmas would win.

    Raises:
        SettingsError: no such field, a wrong type or a value out of range.
    """
    known = described(type(base))
    unknown = sorted(set(overrides) - set(known))
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
        _refuse("steps", values["steps"], remedy)
    return replace(base, **values)


def _numbers(text: str, kind: type[int] | type[float]) -> tuple[float, ...]:
    """Numbers separated by spaces or commas."""
    parts = text.replace(",", " ").split()
    try:
        return tuple(kind(part) for part in parts)
    except ValueError as error:
        wrong = str(error).rpartition(": ")[2]
        raise SettingsError(f"{text!r}: {wrong} is not a number", remedy="list numbers: 28,29") from error


def _number(text: str) -> float:
    """The number that a text spells; NaN if it spells none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _refuse(name: str, value: Any, remedy: str) -> NoReturn:
    raise SettingsError(f"setting {name} = {value!r}", remedy=remedy)
