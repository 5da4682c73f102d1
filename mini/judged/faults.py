"""Faults with known truth, made from clean clips: what the judge is calibrated and tested on.

Each takes frames (F, H, W, C) uint8 and returns new ones; randomness comes in as a generator.
"""

from __future__ import annotations

import colorsys

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from castsheet.judge.cast import Mask, Pixels


def leak(frames_FHWC: Pixels, sheet_HWC: Pixels, span: tuple[int, int], weight: float = 1.0) -> Pixels:
    """The sheet over frames span[0] .. span[1] - 1, at `weight` (1 hides the clip)."""
    out = frames_FHWC.copy()
    part = out[span[0] : span[1]].astype(np.float32)
    out[span[0] : span[1]] = np.rint(part * (1 - weight) + sheet_HWC * np.float32(weight)).astype(np.uint8)
    return out


def letterbox(frames_FHWC: Pixels, share: float, *, upright: bool = False) -> Pixels:
    """Black bars that cover `share` of the height (upright: of the width), half on each side."""
    out = frames_FHWC.copy()
    axis = 2 if upright else 1
    count = max(1, round(out.shape[axis] * share / 2))
    if upright:
        out[:, :, :count] = out[:, :, -count:] = 0
    else:
        out[:, :count] = out[:, -count:] = 0
    return out


def paste(frames_FHWC: Pixels, panel_HWC: Pixels, at: tuple[int, int]) -> Pixels:
    """A panel with its black, drawn over every frame at (x, y)."""
    out = frames_FHWC.copy()
    x, y = at
    h, w = panel_HWC.shape[:2]
    room = out[:, y : y + h, x : x + w]
    room[:] = panel_HWC[: room.shape[1], : room.shape[2]]
    return out


def freeze(frames_FHWC: Pixels, at: int = 0) -> Pixels:
    """One frame for the whole clip."""
    return np.repeat(frames_FHWC[at : at + 1], len(frames_FHWC), axis=0)


def jitter(frames_FHWC: Pixels, amplitude: int, random: np.random.Generator) -> Pixels:
    """The picture shakes by up to `amplitude` px from frame to frame; borders are repeated."""
    height, width = frames_FHWC.shape[1:3]
    wide = np.pad(frames_FHWC, ((0, 0), (amplitude, amplitude), (amplitude, amplitude), (0, 0)), mode="edge")
    moves = random.integers(0, 2 * amplitude + 1, (len(frames_FHWC), 2))
    return np.stack([one[y : y + height, x : x + width] for one, (y, x) in zip(wide, moves, strict=True)])


def caption(frames_FHWC: Pixels, text: str, at: tuple[int, int], size: int, colour: str = "white") -> Pixels:
    """Text drawn over every frame at (x, y), `size` px high."""
    font = ImageFont.load_default(size)
    out = []
    for frame in frames_FHWC:
        picture = Image.fromarray(frame)
        ImageDraw.Draw(picture).text(at, text, font=font, fill=colour)
        out.append(np.asarray(picture))
    return np.stack(out)


def recolour(frames_FHWC: Pixels, masks_FHW: Mask, turn: float) -> Pixels:
    """Hues inside the masks turned by `turn` (of a full circle); greys stay grey."""
    out = frames_FHWC.copy()
    inside, back = np.unique(frames_FHWC[masks_FHW], axis=0, return_inverse=True)
    turned = np.array([_turned(colour, turn) for colour in inside], np.uint8).reshape(-1, 3)
    out[masks_FHW] = turned[back.ravel()]
    return out


def drift(frames_FHWC: Pixels, masks_FHW: Mask, turn: float) -> Pixels:
    """Hues inside the masks that turn further from frame to frame, by `turn` in the last one."""
    last = max(len(frames_FHWC) - 1, 1)
    return np.concatenate(
        [
            recolour(frames_FHWC[at : at + 1], masks_FHW[at : at + 1], turn * at / last)
            for at in range(len(frames_FHWC))
        ]
    )


def _turned(colour: NDArray[np.uint8], turn: float) -> tuple[int, int, int]:
    hue, lightness, saturation = colorsys.rgb_to_hls(*(float(v) / 255 for v in colour))
    r, g, b = colorsys.hls_to_rgb((hue + turn) % 1, lightness, saturation)
    return round(r * 255), round(g * 255), round(b * 255)
