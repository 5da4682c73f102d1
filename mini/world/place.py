"""Painted locations: sky, a skyline, ground, a sun or moon; from a seed, without people."""

from __future__ import annotations

import colorsys

import numpy as np
from numpy.typing import NDArray

HORIZON = 0.70  # share of the picture's height above the ground's far edge


Floats = NDArray[np.floating]


def paint(seed: int, width: int, height: int) -> NDArray[np.uint8]:
    """A location (height, width, 3), the same picture at every size."""
    random = np.random.default_rng([seed, 3])
    x = (np.arange(width, dtype=np.float32) + 0.5)[None, :] / width
    y = (np.arange(height, dtype=np.float32) + 0.5)[:, None] / height
    hue = random.random()
    zenith = _colour(random, hue, (0.25, 0.75), (0.25, 0.75))
    haze = _colour(random, hue + random.uniform(-0.12, 0.12), (0.55, 0.9), (0.2, 0.7))
    picture = _mix(zenith, haze, np.clip(y / HORIZON, 0, 1) * np.ones_like(x))
    _disc(picture, x, y, random)
    hue_land = random.random()
    for layer, base in enumerate((0.50, 0.60)):
        colour = _colour(random, hue_land + 0.05 * layer, (0.25, 0.65), (0.2, 0.7))
        line = base - _skyline(random, x)
        edge = np.clip((y - line) * height + 0.5, 0, 1)
        picture = picture * (1 - edge[..., None]) + colour * edge[..., None]
    ground = _colour(random, random.random(), (0.3, 0.7), (0.1, 0.6))
    depth = np.clip((y - HORIZON) / (1 - HORIZON), 0, 1) * np.ones_like(x)
    floor = _mix(ground * 0.82, ground, depth)
    edge = np.clip((y - HORIZON) * height + 0.5, 0, 1) * np.ones_like(x)
    picture = picture * (1 - edge[..., None]) + floor * edge[..., None]
    return (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)


def _colour(
    random: np.random.Generator, hue: float, lightness: tuple[float, float], saturation: tuple[float, float]
) -> Floats:
    return np.array(
        colorsys.hls_to_rgb(hue % 1, random.uniform(*lightness), random.uniform(*saturation)), np.float32
    )


def _mix(a: Floats, b: Floats, share: Floats) -> Floats:
    return a * (1 - share[..., None]) + b * share[..., None]


def _disc(picture: Floats, x: Floats, y: Floats, random: np.random.Generator) -> None:
    if random.random() < 0.5:
        return
    radius = random.uniform(0.05, 0.10)
    centre_x, centre_y = random.uniform(0.1, 0.9), random.uniform(0.12, 0.3)
    aspect = picture.shape[1] / picture.shape[0]
    distance = np.sqrt(((x - centre_x) * aspect) ** 2 + (y - centre_y) ** 2)
    inside = np.clip((radius - distance) * picture.shape[0] + 0.5, 0, 1)[..., None]
    colour = _colour(random, random.choice([0.13, 0.6, 0.02]), (0.75, 0.95), (0.4, 1.0))
    picture *= 1 - inside
    picture += colour * inside


def _skyline(random: np.random.Generator, x: Floats) -> Floats:
    """Heights (1, width) as shares of the picture: hills, peaks, houses or trees."""
    kind = random.choice(["hills", "peaks", "houses", "trees"])
    phase, size = random.uniform(0, 6.28), random.uniform(0.08, 0.2)
    if kind == "hills":
        turns = random.uniform(1.2, 2.6)
        return size * (0.6 + 0.4 * np.sin(2 * np.pi * turns * x + phase))
    count = int(random.integers(4, 9))
    cell = np.floor(x * count).astype(int)
    heights = random.uniform(0.35, 1.0, count + 1)[np.clip(cell, 0, count)] * size * 1.4
    within = x * count - cell
    if kind == "peaks":
        return heights * (1 - np.abs(2 * within - 1))
    if kind == "houses":
        return heights * ((within > 0.08) & (within < 0.92))
    return heights * np.sqrt(np.clip(1 - (2 * within - 1) ** 2, 0, 1))
