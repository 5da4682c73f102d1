"""How one identity looks: colours of its parts, pattern, hair style, hat, prop; all from its seed."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mini.world.body import Part

Colour = tuple[float, float, float]

SKIN = ("#f3d3bd", "#e0ac86", "#c68a5f", "#9c6240", "#6f432b", "#472b1e")
HAIR = (
    "#17120f",
    "#3a2415",
    "#6e4223",
    "#b9863f",
    "#e6cf8f",
    "#d9d9d6",
    "#a8321e",
    "#2b6fd4",
    "#d63fa0",
    "#35b36a",
    "#7a3fd0",
    "#f28c28",
)
# No browns: cloth must never be taken for skin.
CLOTH = (
    "#d92b2b",
    "#f26a1b",
    "#f7c52b",
    "#8ed12f",
    "#1f9d4d",
    "#13b5a5",
    "#1fa6e0",
    "#2450c8",
    "#5a2fc2",
    "#a32fc0",
    "#e83e8c",
    "#f4f4f2",
    "#8f969c",
    "#2b2f36",
    "#b7e4f7",
    "#f7b3d2",
    "#c9f2c0",
    "#12305f",
)
PATTERNS = ("plain", "plain", "stripes", "band", "halves")
HAIR_STYLES = ("short", "short", "round", "long", "bun", "crop")
HATS = ("none", "none", "none", "cap", "brim", "cone")
PROPS = ("box", "ball", "cone", "drum", "star")


@dataclass(frozen=True)
class Look:
    """One identity's looks. Colours are sRGB in 0..1."""

    seed: int
    skin: Colour
    hair: Colour
    top: Colour
    top_second: Colour
    bottom: Colour
    shoes: Colour
    hat: Colour
    prop: Colour
    prop_trim: Colour
    pattern: str
    hair_style: str
    hat_style: str
    prop_shape: str
    short_sleeves: bool
    shorts: bool

    def palette(self) -> NDArray[np.float32]:
        """Colour (16, 3) of every `Part`."""
        colours = np.zeros((16, 3), np.float32)
        by_part = {
            Part.SKIN: self.skin,
            Part.HAIR: self.hair,
            Part.SLEEVE: self.top,
            Part.FOREARM: self.skin if self.short_sleeves else self.top,
            Part.CHEST: self.top,
            Part.HIPS: self.bottom,
            Part.SHIN: self.skin if self.shorts else self.bottom,
            Part.SHOE: self.shoes,
            Part.EYE: (0.98, 0.98, 0.98),
            Part.PUPIL: (0.06, 0.06, 0.08),
            Part.HAT: self.hat,
            Part.PROP: self.prop,
            Part.PROP_TRIM: self.prop_trim,
            Part.SHADOW: (0.0, 0.0, 0.0),
        }
        for part, colour in by_part.items():
            colours[part] = colour
        return colours


def hex_colour(text: str) -> Colour:
    """'#rrggbb' to sRGB in 0..1."""
    return tuple(int(text[i : i + 2], 16) / 255 for i in (1, 3, 5))  # type: ignore[return-value]


def sample_look(seed: int) -> Look:
    """The looks that belong to a seed."""
    random = np.random.default_rng([seed, 2])

    def pick(options: tuple[str, ...]) -> str:
        return options[int(random.integers(len(options)))]

    def cloth(*taken: Colour) -> Colour:
        """A cloth colour, slightly varied, that differs from those taken."""
        while True:
            hue, lightness, saturation = colorsys.rgb_to_hls(*hex_colour(pick(CLOTH)))
            lightness = float(np.clip(lightness + random.uniform(-0.05, 0.05), 0.08, 0.96))
            colour = colorsys.hls_to_rgb((hue + random.uniform(-0.015, 0.015)) % 1.0, lightness, saturation)
            if all(float(np.abs(np.subtract(colour, other)).sum()) > 0.45 for other in taken):
                return colour

    skin, hair = hex_colour(pick(SKIN)), hex_colour(pick(HAIR))
    top = cloth()
    bottom = cloth(top)
    prop = cloth()
    hat_style = pick(HATS)
    hair_style = pick(HAIR_STYLES)
    if hat_style != "none" and hair_style in ("round", "bun"):
        hair_style = "long"  # big hair would swallow the hat
    return Look(
        seed=seed,
        skin=skin,
        hair=hair,
        top=top,
        top_second=cloth(top),
        bottom=bottom,
        shoes=cloth(bottom),
        hat=cloth(hair),
        prop=prop,
        prop_trim=cloth(prop),
        pattern=pick(PATTERNS),
        hair_style=hair_style,
        hat_style=hat_style,
        prop_shape=pick(PROPS),
        short_sleeves=bool(random.random() < 0.5),
        shorts=bool(random.random() < 0.35),
    )
