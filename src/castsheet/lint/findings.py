"""The results of checks: findings, their severity, and the table of rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from castsheet.sheet.box import Box

Severity = Literal["info", "warning", "error"]
_ORDER: tuple[Severity, ...] = ("info", "warning", "error")


@dataclass(frozen=True)
class Finding:
    """One thing that a rule has to say.

    Attributes:
        rule: the rule's id, e.g. "S05".
        severity: info, warning or error.
        message: what was found, in measured numbers beside the limit.
        remedy: what to do about it.
        where: the place on the sheet, in pixels of the composed sheet.
        element: the id of the element concerned.
    """

    rule: str
    severity: Severity
    message: str
    remedy: str
    where: Box | None = None
    element: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The finding as JSON-serialisable values; `where` becomes [x, y, w, h]."""
        where = None if self.where is None else [self.where.x, self.where.y, self.where.w, self.where.h]
        return {
            "rule": self.rule,
            "severity": self.severity,
            "message": self.message,
            "remedy": self.remedy,
            "where": where,
            "element": self.element,
        }


@dataclass(frozen=True)
class Fault:
    """What a rule's function yields; the rule adds its id, and its severity if none is given."""

    message: str
    remedy: str
    where: Box | None = None
    element: str | None = None
    severity: Severity | None = None


@dataclass(frozen=True)
class Rule:
    """A check with an id. Called with its subject, it returns findings; nothing found is an empty list."""

    id: str
    meaning: str
    severity: Severity
    check: Callable[..., Iterable[Fault]]

    def __call__(self, *subject: Any) -> list[Finding]:
        return [
            Finding(self.id, f.severity or self.severity, f.message, f.remedy, f.where, f.element)
            for f in self.check(*subject)
        ]


RULES: dict[str, Rule] = {}
"""Every rule by id: S rules of the sheet, P rules of the prompt, V rules of the video's settings. A family
joins when its module is imported."""


def rule(id: str, meaning: str, severity: Severity) -> Callable[[Callable[..., Iterator[Fault]]], Rule]:
    """Register a generator of faults as the rule `id`, with one line that says what it demands.

    Raises:
        ValueError: the id is another rule's.
    """

    def register(check: Callable[..., Iterator[Fault]]) -> Rule:
        if id in RULES:
            raise ValueError(f"{id} is the id of a rule already: {RULES[id].meaning}")
        RULES[id] = Rule(id, meaning, severity, check)
        return RULES[id]

    return register


def family(letter: str) -> list[Rule]:
    """The registered rules whose id starts with `letter`, by id."""
    return [RULES[id] for id in sorted(RULES) if id.startswith(letter)]


def worst(findings: Sequence[Finding]) -> Severity | None:
    """The gravest severity among the findings; None if there are none."""
    return max((f.severity for f in findings), key=_ORDER.index, default=None)


def gravest_first(findings: Iterable[Finding]) -> list[Finding]:
    """Errors, then warnings, then remarks."""
    return sorted(findings, key=lambda one: -_ORDER.index(one.severity))


def counted(findings: Sequence[Finding]) -> str:
    """How many findings have each severity: "1 error, 2 warnings"; empty if there are none."""
    counts = Counter(one.severity for one in findings)
    named = {level: level if counts[level] == 1 else f"{level}s" for level in _ORDER}
    return ", ".join(f"{counts[level]} {named[level]}" for level in reversed(_ORDER) if counts[level])


def exit_code(findings: Sequence[Finding]) -> int:
    """A process's exit code: 2 with errors, 1 with warnings, else 0."""
    return {None: 0, "info": 0, "warning": 1, "error": 2}[worst(findings)]
