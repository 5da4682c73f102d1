"""Curves of a run's record: values over steps, smoothed and thinned. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LEVELS = 5
Point = tuple[float, float]


@dataclass(frozen=True)
class Curve:
    """A named line."""

    name: str
    points: Sequence[Point]


def series(lines: Sequence[Mapping[str, Any]], field: str) -> list[Point]:
    """(step, value) of the lines that have the field."""
    return [(line["step"], line[field]) for line in lines if field in line]


def by_level(train: Sequence[Mapping[str, Any]]) -> list[Curve]:
    """Smoothed loss of each fifth of the noise levels: the mean alone hides what is learned at low noise."""
    levels: list[list[Point]] = [[] for _ in range(LEVELS)]
    for line in train:
        for sigma, loss in line["samples"]:
            levels[min(int(sigma * LEVELS), LEVELS - 1)].append((line["step"], loss))
    names = [f"{i / LEVELS:.1f} to {(i + 1) / LEVELS:.1f}" for i in range(LEVELS)]
    return [Curve(name, thin(smooth(points))) for name, points in zip(names, levels, strict=True)]


def smooth(points: Sequence[Point], memory: float = 0.95) -> list[Point]:
    """Exponential mean, corrected for its start."""
    smoothed, mean, weight = [], 0.0, 0.0
    for step, value in points:
        mean = memory * mean + (1 - memory) * value
        weight = memory * weight + (1 - memory)
        smoothed.append((step, mean / weight))
    return smoothed


def thin(points: Sequence[Point], most: int = 400) -> list[Point]:
    """Every n-th point and the last: the page of a long run must stay small."""
    every = math.ceil(len(points) / most) or 1
    return [*points[:-1:every], *points[-1:]]
