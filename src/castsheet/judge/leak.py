"""Leak: frames that show the sheet itself. No model is needed.

Legend: F frames, H height, W width, C colour channel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from castsheet.judge.cast import Cast, Mask, Pixels
from castsheet.sheet.look.regions import separators

Floats = NDArray[np.float32]

BLACK = 20.0  # luma: darker lines may be gutters or bars
SHARP = 12.0  # luma: by how much the picture sets off from a bar
ALONG = 0.5  # of a bar's length: where the picture begins along less of it, it is a thing before black


@dataclass(frozen=True)
class Leak:
    """Per-frame measures (each (F,)).

    Attributes:
        likeness: how similar the frame is to the sheet, see `likeness`.
        grid: how far the frame is dark exactly at the sheet's gutters, see `gutters`.
        bars: share of the frame covered by letterbox or pillarbox bars, see `bars`.
        lines: black lines through the frame like those between panels, see `part_lines`.
    """

    likeness: Floats
    grid: Floats
    bars: Floats
    lines: NDArray[np.int64]


def measure(frames_FHWC: Pixels, cast: Cast) -> Leak:
    """All four, for frames at the working size."""
    grey = luma_of(frames_FHWC)
    return Leak(
        likeness=likeness(grey, luma_of(cast.sheet_HWC[None])[0]),
        grid=gutters(grey, cast.gutter_HW),
        bars=np.array([bars(frame) for frame in grey], np.float32),
        lines=np.array([part_lines(frame) for frame in grey], np.int64),
    )


def luma_of(frames_FHWC: Pixels) -> Floats:
    """BT.601 luma (F, H, W) in 0..255."""
    return frames_FHWC.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)


def likeness(grey_FHW: Floats, sheet_HW: Floats) -> Floats:
    """Normalised correlation of each frame's detail with the sheet's, in -1..1; 1 is the sheet itself.

    Definition: Pearson correlation of horizontal and vertical first differences, each clipped to +-64: a few
    hard edges must not decide. Differences instead of luma, because two unrelated pictures easily agree in
    "bright above, dark below". A sheet that shines through with weight a gives about a.
    Source: normalised cross-correlation at zero shift (the sheet's latent is at the frame's own positions).
    Blind to: a leaked sheet that is shifted or scaled (then `part_lines` or the paste measure sees it), and
    weak (weights under about 0.2).
    """
    frames, sheet = _detail(grey_FHW), _detail(sheet_HW[None])
    norm = np.sqrt((frames**2).sum(1) * (sheet**2).sum())
    return np.where(norm > 0, (frames @ sheet[0]) / np.maximum(norm, 1e-6), 0).astype(np.float32)


def _detail(grey_FHW: Floats) -> Floats:
    # One pixel of smoothing: H.264 and bilinear scaling leave edges half a pixel off.
    soft = (grey_FHW[:, 1:, 1:] + grey_FHW[:, :-1, 1:] + grey_FHW[:, 1:, :-1] + grey_FHW[:, :-1, :-1]) / 4
    parts = [np.diff(soft, axis=axis).reshape(len(soft), -1) for axis in (1, 2)]
    detail = np.clip(np.concatenate(parts, axis=1), -64, 64)
    return detail - detail.mean(axis=1, keepdims=True)


def gutters(grey_FHW: Floats, gutter_HW: Mask) -> Floats:
    """How well "dark" predicts "gutter of the sheet", in -1..1; 1 is the sheet's black exactly in place.

    Definition: the phi coefficient (Pearson correlation of two yes/no maps) of luma < 20 with the gutter map;
    0 if the frame or the sheet has no such pixels.
    Blind to: brightened gutters, and sheets without gutters.
    """
    dark = (grey_FHW < BLACK).reshape(len(grey_FHW), -1).astype(np.float32)
    gutter = gutter_HW.reshape(-1).astype(np.float32)
    both = dark @ gutter / gutter.size
    p, q = dark.mean(axis=1), gutter.mean()
    spread = np.sqrt(p * (1 - p) * q * (1 - q))
    return np.where(spread > 1e-6, (both - p * q) / np.maximum(spread, 1e-6), 0).astype(np.float32)


def bars(grey_HW: Floats) -> float:
    """Share of the frame's height (or width, whichever is more) under black bars at its borders, in 0..1.

    Definition: rows from the border inwards with mean luma under 20 and deviation under 4. They count only if
    the picture begins sharply after them, over half of their length or more; an all black frame has no
    bars.
    Blind to: coloured and blurred bars, and bars that belong to the scene.
    """
    return max(_bars(grey_HW), _bars(grey_HW.T))


def _bars(grey_LP: Floats) -> float:
    plain = (grey_LP.mean(axis=1) < BLACK) & (grey_LP.std(axis=1) < 4)
    if plain.all():
        return 0.0
    first, last = int(np.argmin(plain)), len(plain) - int(np.argmin(plain[::-1]))
    covered = 0
    # Compared two lines on: compression smears a bar's edge over one line. A gradual darkening is no bar.
    for count, edge, inner in (
        (first, first - 1, min(first + 1, last - 1)),
        (len(plain) - last, last % len(plain), max(last - 2, first)),
    ):
        step_P = grey_LP[inner] - grey_LP[edge]
        # Along the line too: a ball before black begins with a short stretch.
        if count and step_P.mean() >= SHARP and (step_P >= SHARP / 2).mean() >= ALONG:
            covered += count
    return covered / len(plain)


def part_lines(grey_HW: Floats) -> int:
    """Number of black lines across the whole frame, or the whole of one of its parts, as between panels.

    Definition: `castsheet.sheet.look.regions.separators` of tone under 20, rows and columns, and those inside
    each part.
    Range: 0 upwards; a picture has none, a sheet of six panels about five.
    Blind to: panels that meet without a gutter, gutters of another colour.
    """
    lines = np.clip(np.rint(grey_HW), 0, 255).astype(np.uint8)
    rows, columns = _black(lines), _black(lines.T)
    count = len(rows) + len(columns)
    for gaps, parted in ((rows, lines), (columns, lines.T)):
        if gaps:
            starts, stops = [0, *(b for _, b in gaps)], [*(a for a, _ in gaps), len(parted)]
            count += sum(len(_black(parted[a:b].T)) for a, b in zip(starts, stops, strict=True) if b - a >= 8)
    return count


def _black(lines_LP: Pixels) -> list[tuple[int, int]]:
    return [(a, b) for a, b in separators(lines_LP) if lines_LP[a:b].mean() < BLACK]
