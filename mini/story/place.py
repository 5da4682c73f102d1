"""Painted places of six kinds, told apart by their shapes; colours are free. A kind has ground and air."""

from __future__ import annotations

import colorsys
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

KINDS = ("meadow", "beach", "town", "forest", "mountains", "room")
HORIZON = 0.70  # share of the picture's height above the ground's far edge
WIDER = 1.25  # the painted place is this many times as wide as a still frame: room for a pan

Floats = NDArray[np.floating]
Chance = np.random.Generator


def kind_of(seed: int) -> str:
    """What kind of place a seed has."""
    return KINDS[int(np.random.default_rng([seed, 14]).integers(len(KINDS)))]


def paint(seed: int, width: int, height: int, kind: str | None = None) -> NDArray[np.uint8]:
    """A seed's place (height, width, 3), the same picture at every size; `kind` overrides the seed's own."""
    random = np.random.default_rng([seed, 15])
    x = np.broadcast_to((np.arange(width) + 0.5)[None, :] / width, (height, width))
    y = np.broadcast_to((np.arange(height) + 0.5)[:, None] / height, (height, width))
    soft = 1.0 / height
    air, land, ground = (_colour(random, *limits) for limits in _LIMITS)
    haze = np.clip(air * 0.6 + 0.4, 0, 1)
    picture = air + (haze - air) * np.clip(y / HORIZON, 0, 1)[..., None]
    _PAINTERS[kind or kind_of(seed)](picture, x, y, land, ground, random, soft)
    return (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)


_LIMITS = (((0.35, 0.75), (0.25, 0.75)), ((0.25, 0.6), (0.2, 0.7)), ((0.35, 0.7), (0.15, 0.6)))


def _colour(
    random: np.random.Generator, lightness: tuple[float, float], saturation: tuple[float, float]
) -> Floats:
    hue, light, full = random.random(), random.uniform(*lightness), random.uniform(*saturation)
    return np.array(colorsys.hls_to_rgb(hue, light, full))


def _over(picture: Floats, inside: Floats, colour: Floats) -> None:
    """Paint where `inside` (H,W) is 1."""
    picture += np.clip(inside, 0, 1)[..., None] * (colour - picture)


def _below(y: Floats, line: Floats | float, soft: float) -> Floats:
    return np.clip((y - line) / soft + 0.5, 0, 1)


def _disc(x: Floats, y: Floats, at: tuple[float, float], radius: float, soft: float) -> Floats:
    far = np.hypot((x - at[0]) * WIDER * 384 / 224, y - at[1])
    return np.clip((radius - far) / soft + 0.5, 0, 1)


def _around(
    shape: tuple[int, ...], at: tuple[float, float], across: float, along: float
) -> tuple[slice, slice]:
    """Rows and columns of all pixels that lie so near."""
    sides = []
    for length, middle, reach in zip(shape, (at[1], at[0]), (along, across), strict=True):
        first, last = (int((middle + far) * length) for far in (-reach, reach))
        sides.append(slice(max(0, first - 1), max(0, last + 2)))
    return sides[0], sides[1]


def _spot(
    picture: Floats, x: Floats, y: Floats, at: tuple[float, float], radius: float, soft: float, colour: Floats
) -> None:
    """Paint a disc, and touch nothing that lies far from it."""
    reach = radius + soft
    near = _around(y.shape, at, reach * 224 / (WIDER * 384), reach)
    _over(picture[near], _disc(x[near], y[near], at, radius, soft), colour)


def _meadow(
    picture: Floats, x: Floats, y: Floats, land: Floats, ground: Floats, random: Chance, soft: float
) -> None:
    if random.random() < 0.6:
        at = (random.uniform(0.2, 0.8), random.uniform(0.12, 0.26))
        _spot(picture, x, y, at, 0.075, soft, np.array([1.0, 0.93, 0.6]))
    for base, shade in ((0.50, 0.85), (0.58, 1.0)):
        wave = np.sin(2 * np.pi * random.uniform(1.2, 2.4) * x + random.uniform(0, 6.28))
        _over(picture, _below(y, base - 0.06 * wave, soft), land * shade)
    _over(picture, _below(y, HORIZON, soft), ground)
    for _ in range(36):
        at = (random.random(), random.uniform(HORIZON + 0.03, 1.0))
        rows, _ = _around(y.shape, at, 1.0, 0.03)
        line = at[1] - 0.025 + 2.2 * np.abs(x[rows] - at[0])
        tuft = _below(y[rows], line, soft) * (1 - _below(y[rows], at[1], soft))
        _over(picture[rows], tuft, ground * 0.72)


def _beach(
    picture: Floats, x: Floats, y: Floats, land: Floats, ground: Floats, random: Chance, soft: float
) -> None:
    at = (random.uniform(0.2, 0.8), random.uniform(0.12, 0.3))
    _spot(picture, x, y, at, 0.09, soft, np.array([1.0, 0.9, 0.55]))
    _over(picture, _below(y, 0.48, soft), land)
    for row in range(4):
        line = 0.51 + 0.05 * row + 0.006 * np.sin(2 * np.pi * (9 * x + 0.37 * row))
        crest = _below(y, line, soft) * (1 - _below(y, line + 0.012, soft))
        _over(picture, crest, np.clip(land * 0.5 + 0.5, 0, 1))
    shore = HORIZON + 0.008 * np.sin(2 * np.pi * 3 * x)
    _over(picture, _below(y, shore - 0.02, soft), np.array([0.95, 0.97, 0.98]))
    _over(picture, _below(y, shore, soft), np.clip(ground * 0.7 + 0.3, 0, 1))


def _town(
    picture: Floats, x: Floats, y: Floats, land: Floats, ground: Floats, random: Chance, soft: float
) -> None:
    count = int(random.integers(6, 9))
    for house in range(count):
        left, right = (house + 0.06) / count, (house + 0.94) / count
        top = random.uniform(0.22, 0.46)
        across = np.clip((x - left) / soft, 0, 1) * np.clip((right - x) / soft, 0, 1)
        _over(picture, _below(y, top, soft) * across, land * random.uniform(0.75, 1.1))
        for row in range(3):
            for column in (0.3, 0.7):
                centre = left + (right - left) * column
                middle = top + 0.075 + 0.09 * row
                near = _around(y.shape, (centre, middle), 0.016, 0.026)
                pane = (np.abs(x[near] - centre) < 0.016) & (np.abs(y[near] - middle) < 0.026)
                _over(picture[near], (pane & (middle < 0.60)).astype(float), np.array([1.0, 0.95, 0.7]))
    _over(picture, _below(y, HORIZON, soft), ground)
    for line in (0.76, 0.85):
        _over(picture, _below(y, line, soft) * (1 - _below(y, line + 0.008, soft)), ground * 0.7)
    joint = np.abs(((x - 0.5) * 10 / (0.4 + y) + 100.25) % 1 - 0.5) < 0.03
    _over(picture, joint * _below(y, HORIZON, soft), ground * 0.7)


def _forest(
    picture: Floats, x: Floats, y: Floats, land: Floats, ground: Floats, random: Chance, soft: float
) -> None:
    _over(picture, _below(y, 0.60, soft), land * 0.6)
    for tree in range(9):
        at = (tree + random.uniform(0.25, 0.75)) / 9
        trunk = (np.abs(x - at) < 0.011).astype(float) * _below(y, 0.35, soft)
        _over(picture, trunk * (1 - _below(y, HORIZON + 0.01, soft)), np.array([0.33, 0.24, 0.20]))
        top = at, random.uniform(0.22, 0.36)
        _spot(picture, x, y, top, 0.14, soft, land * random.uniform(0.8, 1.15))
    _over(picture, _below(y, HORIZON, soft), ground)
    for _ in range(60):
        at2 = (random.random(), random.uniform(HORIZON + 0.02, 1.0))
        _spot(picture, x, y, at2, 0.011, soft, ground * random.choice([0.65, 1.3]))


def _mountains(
    picture: Floats, x: Floats, y: Floats, land: Floats, ground: Floats, random: Chance, soft: float
) -> None:
    count = int(random.integers(3, 6))
    for peak in range(count):
        at, top = (peak + random.uniform(0.3, 0.7)) / count, random.uniform(0.18, 0.36)
        slope = top + 2.4 * np.abs(x - at)
        _over(picture, _below(y, slope, 2 * soft), land * random.uniform(0.8, 1.05))
        cap = _below(y, slope, 2 * soft) * (1 - _below(y, top + 0.10, soft))
        _over(picture, cap, np.array([0.97, 0.98, 1.0]))
    _over(picture, _below(y, 0.585, soft), land * 0.8)
    _over(picture, _below(y, HORIZON, soft), np.clip(ground * 0.25 + 0.72, 0, 1))


def _room(
    picture: Floats, x: Floats, y: Floats, land: Floats, ground: Floats, random: Chance, soft: float
) -> None:
    wall = np.clip(picture[0, 0] * 0.8 + 0.2, 0, 1)
    _over(picture, np.ones_like(x), wall)
    _over(picture, ((x * 24) % 1 < 0.5).astype(float), wall * 0.93)
    at = random.uniform(0.25, 0.75)
    frame = (np.abs(x - at) < 0.10) & (np.abs(y - 0.27) < 0.16)
    pane = (np.abs(x - at) < 0.09) & (np.abs(y - 0.27) < 0.14)
    bars = (np.abs(x - at) < 0.005) | (np.abs(y - 0.27) < 0.009)
    _over(picture, frame.astype(float), np.array([0.95, 0.95, 0.92]))
    _over(picture, (pane & ~bars).astype(float), np.array([0.55, 0.78, 0.95]))
    _over(picture, _below(y, 0.58, soft), land)
    _over(picture, _below(y, HORIZON, soft), ground)
    plank = np.abs(((x - 0.5) * 7 / (0.25 + y) + 100.25) % 1 - 0.5) < 0.035
    _over(picture, plank * _below(y, HORIZON, soft), ground * 0.7)


_PAINTERS: dict[str, Callable[..., None]] = {
    "meadow": _meadow,
    "beach": _beach,
    "town": _town,
    "forest": _forest,
    "mountains": _mountains,
    "room": _room,
}
