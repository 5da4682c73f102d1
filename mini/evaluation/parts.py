"""Which pixels of a clip belong to which region, and the regions' mean colours.

Regions are the parts of a person that a look colours (hair, skin, top, bottom, shoes, hat), the prop, and
three bands of the place (sky, land, ground) where nothing stands before them.

Legend: F frames, H height, W width, R regions.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Pixels = NDArray[np.uint8]

PERSON = ("hair", "skin", "top", "bottom", "shoes")
PLACE = ("sky", "land", "ground")
REGIONS = (*PERSON, "hat", "prop", *PLACE)
NONE = 255

_SHADE = 6  # levels by which a shadow or an edge differs from the empty place
MIN_PIXELS = 24  # a region seen on fewer eroded pixels in all frames together has no colour


def region_map(
    parts_FHW: Pixels,
    figures_FHW: Pixels,
    worn: Mapping[int, Mapping[int, str]],
    frames_FHWC: Pixels,
    places_FHWC: Pixels,
    bands: Mapping[str, tuple[float, float]],
) -> Pixels:
    """Region numbers (F,H,W), `NONE` for eyes, shadows, soft edges and what lies between the bands.

    Args:
        parts_FHW, figures_FHW: as `mini.story.sample.draw` gives them. worn: each figure's regions by part.
        frames_FHWC: the same frames as pictures. places_FHWC: the place without anybody, drawn the
            same way; one frame will do where the camera stands still.
        bands: the place's regions, between which shares of the height each shows.
    """
    regions = np.full(parts_FHW.shape, NONE, np.uint8)
    for figure, names in worn.items():
        numbers = np.full(256, NONE, np.uint8)
        for part, region in names.items():
            numbers[part] = REGIONS.index(region)
        inside = figures_FHW == figure
        regions[inside] = numbers[parts_FHW][inside]
    height = parts_FHW.shape[1]
    for name, (top, bottom) in bands.items():
        rows = slice(round(top * height), round(bottom * height))
        empty = figures_FHW[:, rows] == 0
        difference = np.abs(frames_FHWC[:, rows].astype(np.int16) - places_FHWC[:, rows]).max(-1)
        regions[:, rows][empty & (difference <= _SHADE)] = REGIONS.index(name)
    return regions


class Clothes(Protocol):
    """What of a look says which parts clothes cover."""

    @property
    def short_sleeves(self) -> bool: ...
    @property
    def shorts(self) -> bool: ...


def worn_by(look: Clothes, part: type[IntEnum]) -> dict[int, str]:
    """The region of each part of a person, by what the look covers; eyes, mouth and shadows have none.

    Args:
        part: numbers of the parts; each edition's world has its own.
    """
    names = {
        "HAIR": "hair",
        "SKIN": "skin",
        "CHEST": "top",
        "SLEEVE": "top",
        "FOREARM": "skin" if look.short_sleeves else "top",
        "HIPS": "bottom",
        "SHIN": "skin" if look.shorts else "bottom",
        "SHOE": "shoes",
        "HAT": "hat",
    }
    return {part[name]: region for name, region in names.items()}


def held_by(part: type[IntEnum]) -> dict[int, str]:
    """The region of each part of a prop."""
    return {part[name]: "prop" for name in ("PROP", "PROP_TRIM")}


def eroded(regions_FHW: Pixels) -> Pixels:
    """The same map without every pixel that touches, also diagonally, one of another region."""
    padded = np.pad(regions_FHW, ((0, 0), (1, 1), (1, 1)), mode="edge")
    height, width = regions_FHW.shape[1:]
    inside = np.ones(regions_FHW.shape, bool)
    for y in range(3):
        for x in range(3):
            inside &= padded[:, y : y + height, x : x + width] == regions_FHW
    return np.where(inside, regions_FHW, NONE).astype(np.uint8)


def mean_colours(frames_FHWC: Pixels, eroded_FHW: Pixels) -> Floats:
    """CIELAB means (R,3) over all frames; NaN where a region has fewer than `MIN_PIXELS` pixels."""
    colours = np.full((len(REGIONS), 3), np.nan)
    for number in range(len(REGIONS)):
        inside = eroded_FHW == number
        if np.count_nonzero(inside) >= MIN_PIXELS:
            colours[number] = lab(frames_FHWC[inside]).mean(0)
    return colours


# sRGB (IEC 61966-2-1) to CIE XYZ and the D65 white point.
_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_WHITE = np.array([0.95047, 1.0, 1.08883])


def lab(rgb: Pixels) -> Floats:
    """CIELAB (..., 3) of sRGB bytes (..., 3), D65. The distance of two is CIE76 (CIE 15:2004)."""
    value = rgb.astype(np.float64) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    ratio = linear @ _XYZ.T / _WHITE
    f = np.where(ratio > 216 / 24389, np.cbrt(ratio), (24389 / 27 * ratio + 16) / 116)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], -1)
