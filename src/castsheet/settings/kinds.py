"""The kinds of value that a setting takes: each checks values and reads them from text. No torch."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple, NoReturn

from castsheet.errors import SettingsError, is_whole_text, shown
from castsheet.sampling.levels import check_levels

SCALES = (1.0, 1.5, 2.0)
"""By how much a stage can enlarge the clip: the latent upsamplers that were released."""


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
            refuse(name, value, f"give a {whole}number from {self.allowed}")
        if not self.low <= value <= self.high:  # NaN is in no range
            refuse(name, value, f"allowed are {self.allowed}")


STRENGTH, SEED = Number(-10.0, 10.0), Number(-(2**63), 2**63 - 1)
"""Of an adapter; of the noise."""


class Choice(Kind):
    """One name of a list; of a table, also of what is entered into it later."""

    def __init__(self, names: Collection[str]) -> None:
        self.names = names
        self.allowed = ", ".join(names)

    def check(self, name: str, value: Any) -> None:
        if value not in tuple(self.names):
            refuse(name, value, f"choose one of {', '.join(self.names)}")


class Flag(Kind):
    """Yes or no."""

    allowed, option = "true or false", bool

    def check(self, name: str, value: Any) -> None:
        if not isinstance(value, bool):
            refuse(name, value, "choose true or false")


class Text(Kind):
    """Any text."""

    def __init__(self, allowed: str = "any text") -> None:
        self.allowed = allowed

    def check(self, name: str, value: Any) -> None:
        if not (isinstance(value, str) and is_whole_text(value)):
            refuse(name, value, "give a text; an empty one is allowed")


class File(Text):
    """A file's path or name; empty, and `none` on the command line, for no file."""

    allowed = "a file, or none"

    def __init__(self) -> None:
        super().__init__(self.allowed)

    def from_option(self, given: Any) -> Any:
        return "" if given.strip() == "none" else given


class Blocks(Kind):
    """Numbers of the model's blocks: `28,29`."""

    allowed = "block numbers from 0"

    def check(self, name: str, value: Any) -> None:
        if not (isinstance(value, tuple) and all(type(block) is int and block >= 0 for block in value)):
            refuse(name, value, "list block numbers from 0, for example 28")

    def from_option(self, given: Any) -> Any:
        return _numbers(given, int)


class Levels(Kind):
    """Noise levels that fall to 0: `1,0.9,0.5,0`; with None the schedule sets them."""

    allowed = "falling levels, the first at most 1, the last 0"

    def check(self, name: str, value: Any) -> None:
        if value is None:
            return
        if not (isinstance(value, tuple) and all(type(level) in (int, float) for level in value)):
            refuse(name, value, "give a list of numbers")
        check_levels(value)

    def from_option(self, given: Any) -> Any:
        return _numbers(given, float)


class Interval(Kind):
    """Two noise levels, the lower one first: `0.2,0.95`."""

    allowed = "two rising noise levels from 0 to 1"

    def check(self, name: str, value: Any) -> None:
        good = isinstance(value, tuple) and len(value) == 2
        if not (good and all(type(level) in (int, float) for level in value)):
            refuse(name, value, "give two noise levels, such as 0.2,0.95")
        if not 0 <= value[0] < value[1] <= 1:
            refuse(name, value, "give two noise levels from 0 to 1, the lower one first")

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
            refuse(name, value, self.remedy)
        for key, number in value.items():
            good = type(number) in (int, float) and self.low <= number <= self.high and number != 0
            if not (isinstance(key, str) and key and good):
                refuse(name, dict(value), self.remedy)

    def from_option(self, given: Any) -> Any:
        """`name=number`, several separated by spaces or commas; `none` for no name."""
        numbers: dict[str, float] = {}
        for item in [] if given.strip() == "none" else given.replace(",", " ").split():
            name, _, text = item.rpartition("=")
            value = _number(text)
            if not (name and self.low <= value <= self.high and value != 0):
                raise SettingsError(f"strength {shown(item)}", remedy=f"{self.remedy}, as name=number")
            if name in numbers:
                raise SettingsError(f"strength of {name!r} is given twice", remedy="give it once")
            numbers[name] = value
        return numbers


@dataclass(frozen=True)
class Stage:
    """A stage after the first: noise is added to the clip, up to the first level, and sampled away again.

    Attributes:
        sigmas: falling noise levels, the first at most 1, the last 0.
        scale: of the clip's sides to those of the stage before; another scale than `SCALES` raises
            StageError. A stage that enlarges, and those after it, see no sheet and are not guided.
    """

    sigmas: tuple[float, ...]
    scale: float = 1.0

    def __post_init__(self) -> None:
        Levels().check("stages", self.sigmas)
        if isinstance(self.scale, bool) or self.scale not in SCALES:
            raise StageError(
                f"a stage at {self.scale!r} times the size",
                remedy=f"latent upsamplers enlarge by {' or '.join(f'{one:g}' for one in SCALES[1:])}",
            )

    def __str__(self) -> str:
        """As the command line reads it."""
        levels = ",".join(f"{level:g}" for level in self.sigmas)
        return levels if self.scale == 1 else f"{self.scale:g}x {levels}"


class Stages(Kind):
    """Further stages: `0.9,0.7,0` is one, `0.9,0.7,0 / 0.4,0` are two, `2x 0.9,0` doubles, `none` is none."""

    allowed = "lists of falling levels, the last 0; 2x before them enlarges"

    def check(self, name: str, value: Any) -> None:
        if not (isinstance(value, tuple) and all(isinstance(one, Stage) for one in value)):
            refuse(name, value, "list stages by their noise levels: [{sigmas: [0.9, 0.7, 0]}]")

    def from_option(self, given: Any) -> Any:
        texts = [] if given.strip() == "none" else given.split("/")
        return tuple(_stage_of(text) for text in texts)

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


def described(of: type[Any]) -> dict[str, About]:
    """What the fields of a dataclass such as `Settings` say about themselves, by name."""
    return {one.name: one.metadata["about"] for one in fields(of) if one.metadata}


def _stage(value: Any) -> Any:
    """A stage from {sigmas: [...], scale: 1} or from a bare list of levels; other values stay as they are."""
    if isinstance(value, list):
        return Stage(tuple(value))
    if isinstance(value, Mapping) and {"sigmas"} <= set(value) <= {"sigmas", "scale"}:
        return Stage(Levels().from_data(value["sigmas"]), value.get("scale", 1.0))
    return value


def _stage_of(text: str) -> Stage:
    """A stage from its levels, with `2x` before them if it enlarges."""
    scale, x, levels = text.strip().partition("x ")
    return Stage(_numbers(levels, float), _number(scale)) if x else Stage(_numbers(text, float))


def _numbers(text: str, kind: type[int] | type[float]) -> tuple[float, ...]:
    """Numbers separated by spaces or commas."""
    parts = text.replace(",", " ").split()
    try:
        return tuple(kind(part) for part in parts)
    except ValueError as error:
        raise SettingsError(f"{shown(text)} is no list of numbers", remedy="list numbers: 28,29") from error


def _number(text: str) -> float:
    """The number that a text spells; NaN if it spells none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def refuse(name: str, value: Any, remedy: str) -> NoReturn:
    """Refuse a setting's value.

    Raises:
        SettingsError: always.
    """
    raise SettingsError(f"setting {name} = {shown(value)}", remedy=remedy)
