"""How one person looks: colours, pattern, hair, hat, face; all from a seed and the person's number in it."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from mini.evaluation.parts import lab
from mini.world.look import CLOTH, HAIR, SKIN, Colour, hex_colour

PATTERNS = ("plain", "plain", "stripes", "band", "halves")
HAIR_STYLES = ("short", "round", "long", "bun", "crop", "crest")
HATS = ("none", "none", "none", "cap", "brim", "cone")
BEARDS = ("none", "none", "none", "full", "moustache")
APART = 30.0  # CIE76: how far the second person's top and trousers are from the first's, at least
FACE_APART = 25.0  # CIE76 between skin and hair: dark brows on dark skin would tell nothing of a face


class Part(IntEnum):
    """What a triangle belongs to. A look gives each part its colour."""

    PUPIL = 0
    SKIN = 1
    HAIR = 2
    SLEEVE = 3
    FOREARM = 4
    CHEST = 5
    HIPS = 6
    SHIN = 7
    SHOE = 8
    EYE = 9
    HAT = 10
    PROP = 11
    PROP_TRIM = 12
    SHADOW = 13
    LIPS = 14
    BROW = 15
    GLASSES = 16


PARTS = len(Part)


@dataclass(frozen=True)
class Look:
    """One person's looks. Colours are sRGB in 0..1; brow is thickness and tilt, shares of their means."""

    skin: Colour
    hair: Colour
    top: Colour
    top_second: Colour
    bottom: Colour
    shoes: Colour
    hat: Colour
    iris: Colour
    lips: Colour
    glasses: Colour
    pattern: str
    hair_style: str
    hat_style: str
    beard: str
    brow: tuple[float, float]
    short_sleeves: bool
    shorts: bool
    spectacled: bool

    def palette(self) -> NDArray[np.float32]:
        """Colour (17, 3) of every `Part`."""
        colours = np.zeros((PARTS, 3), np.float32)
        by_part = {
            Part.SKIN: self.skin,
            Part.HAIR: self.hair,
            Part.SLEEVE: self.top,
            Part.FOREARM: self.skin if self.short_sleeves else self.top,
            Part.CHEST: self.top,
            Part.HIPS: self.bottom,
            Part.SHIN: self.skin if self.shorts else self.bottom,
            Part.SHOE: self.shoes,
            Part.EYE: (0.97, 0.97, 0.97),
            Part.PUPIL: self.iris,
            Part.HAT: self.hat,
            Part.LIPS: self.lips,
            Part.BROW: tuple(0.7 * value for value in self.hair),
            Part.GLASSES: self.glasses,
        }
        for part, colour in by_part.items():
            colours[part] = colour
        return colours


def distance(one: Colour, other: Colour) -> float:
    """CIE76 of two sRGB colours."""
    a, b = (lab((np.array(colour) * 255).round().astype(np.uint8)) for colour in (one, other))
    return float(np.linalg.norm(a - b))


def _pick(options: tuple[str, ...], random: np.random.Generator) -> str:
    return options[int(random.integers(len(options)))]


def cloth(random: np.random.Generator, *taken: Colour, apart: float = 25.0) -> Colour:
    """A cloth colour, slightly varied, that differs from those taken by `apart` CIE76 or more."""
    while True:
        hue, lightness, saturation = colorsys.rgb_to_hls(*hex_colour(_pick(CLOTH, random)))
        lightness = float(np.clip(lightness + random.uniform(-0.05, 0.05), 0.08, 0.96))
        colour = colorsys.hls_to_rgb((hue + random.uniform(-0.015, 0.015)) % 1.0, lightness, saturation)
        if all(distance(colour, other) >= apart for other in taken):
            return colour


def look_of(seed: int, index: int = 0) -> Look:
    """The looks of the first or second person of a seed."""
    first = sample_look(seed)
    return first if index == 0 else sample_look(seed, index, unlike=first)


def sample_look(seed: int, index: int = 0, unlike: Look | None = None) -> Look:
    """The looks of a seed's person; those of a second one stay away from `unlike`, the first one's."""
    random = np.random.default_rng([seed, 12, index])
    tops = () if unlike is None else (unlike.top,)
    skin, hair = hex_colour(_pick(SKIN, random)), hex_colour(_pick(HAIR, random))
    while distance(hair, skin) < FACE_APART or (unlike is not None and distance(hair, unlike.hair) < 20):
        hair = hex_colour(_pick(HAIR, random))
    top = cloth(random, *tops, apart=APART)
    bottom = cloth(random, top, *(() if unlike is None else (unlike.bottom,)), apart=APART)
    hat_style, hair_style = _pick(HATS, random), _pick(HAIR_STYLES, random)
    if hat_style != "none" and hair_style in ("round", "bun", "crest"):
        hair_style = "long"  # big hair would swallow the hat
    redder = np.clip(
        np.array(skin) * (0.80, 0.48, 0.50) + random.uniform(-0.03, 0.03, 3) + (0.06, 0, 0), 0, 1
    )
    irises = ("#2a1a10", "#3b6ea8", "#3f7d4a", "#51606e", "#7a4f1e")
    return Look(
        skin=skin,
        hair=hair,
        top=top,
        top_second=cloth(random, top, *tops),
        bottom=bottom,
        shoes=cloth(random, bottom),
        hat=cloth(random, hair),
        iris=hex_colour(_pick(irises, random)),
        lips=(float(redder[0]), float(redder[1]), float(redder[2])),
        glasses=cloth(random, skin),
        pattern=_pick(PATTERNS, random),
        hair_style=hair_style,
        hat_style=hat_style,
        beard=_pick(BEARDS, random),
        brow=(float(random.uniform(0.6, 1.7)), float(random.uniform(-0.35, 0.35))),
        short_sleeves=bool(random.random() < 0.5),
        shorts=bool(random.random() < 0.35),
        spectacled=bool(random.random() < 0.25),
    )
