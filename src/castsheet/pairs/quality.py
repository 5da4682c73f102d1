"""What is wrong with a window's picture: measures first, rules after.

Legend: F frames, H height, W width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from PIL import Image

from castsheet.judge.typography import strokes, thin_lines
from castsheet.pairs.corners import MARK
from castsheet.pairs.protocols import Floats, Pixels
from castsheet.pairs.records import Reject, Window
from castsheet.sheet.look.ocr import TextReader

STILL = 0.25  # levels: the 99.5th percentile of change between neighbours, in most of the steps
REPEATS = 0.3  # share of frames that are the frame before
BLURRED = 0.45  # of the film's median sharpness
DARK, BRIGHT, FLAT = 18.0, 238.0, 10.0  # levels: mean luma, and its spread
STROKES, ROLLS = 0.16, 0.05
"""Thin strokes in one place that are letters: still ones; ones that roll together, as little else does."""
ROLLED = 9  # frames in a row in which credits roll evenly
SLOWEST, FASTEST = 3, 64  # px that they roll in so many frames
LINES, TOGETHER = 0.003, 0.6  # of the picture: thin lines that move; of these: what moves on by one amount
REPEAT = 7.0  # levels between small pictures of two windows, where they differ most
MOST = 98  # percent of the cells: in one place, people are all that two windows differ by
SURE, LETTERS = 0.6, 2  # of a line that is read: how sure the reader is, and letters and digits at least
WORDS = 60  # letters of what is read that are kept
SAME = 0.35  # levels: a step in which no pixel changes more than compression's noise
SIGNATURE = (16, 9)
MOMENTS = 21
BT709 = 0.2126, 0.7152, 0.0722  # of red, green and blue
OFFSETS = 4  # moments by which a repeat may be shifted in time


def grey_of(frames_FHW3: Pixels) -> Floats:
    """Luma (F, H, W) by BT.709."""
    red, green, blue = (frames_FHW3[..., k] * np.float32(share) for k, share in enumerate(BT709))
    return np.asarray(red + green + blue)


def measured(shot: str, number: int, frames: tuple[int, ...], pictures_FHW3: Pixels) -> Window:
    """A window with the measures of its frames."""
    grey = grey_of(pictures_FHW3)
    soft = grey.reshape(len(grey), grey.shape[1] // 2, 2, -1, 2)[:, :, :, : grey.shape[2] // 2].mean((2, 4))
    change = np.array([np.percentile(np.abs(b - a), 99.5) for a, b in pairwise(soft)])
    same = np.array([a == b for a, b in pairwise(frames)])
    real = change[~same]
    return Window(
        shot=shot,
        number=number,
        frames=frames,
        still=round(float(np.median(real)) if len(real) else 0.0, 3),
        sharp=round(float(np.median([_sharpness(one) for one in grey[::12]])), 3),
        repeats=round(float((real < SAME).mean()) if len(real) else 1.0, 3),
        strokes=round(strokes(grey), 3),
        rolls=round(strokes(unrolled(grey)), 3),
        luma=(round(float(grey.mean()), 1), round(float(grey.std()), 1)),
        signature=signature(grey),
    )


def unrolled(grey_FHW: Floats) -> Floats:
    """The middle frames of a window with what rolls up or down in them laid to one place; an empty picture if
    nothing does."""
    middle = max(0, len(grey_FHW) // 2 - ROLLED // 2)
    frames = grey_FHW[middle : middle + ROLLED]
    height = frames.shape[1]
    first, last = thin_lines(frames[0]), thin_lines(frames[-1])
    moving = first & ~last
    amounts = [way * by for by in range(SLOWEST, min(FASTEST, height // 3)) for way in (1, -1)]
    met = [(int((moving & _moved(last, by)).sum()), by) for by in amounts]
    share, amount = max(met, default=(0, 0))
    if moving.mean() < LINES or share < TOGETHER * moving.sum():
        return np.zeros_like(frames)
    steps = [round(amount * k / (len(frames) - 1)) for k in range(len(frames))]
    return np.stack([_moved(one, by) for one, by in zip(frames, steps, strict=True)])


def _moved(values_HW: Any, by: int) -> Any:
    """A picture moved down by so many px; what comes in from outside is empty."""
    found = np.zeros_like(values_HW)
    height = len(values_HW)
    found[max(0, by) : height + min(0, by)] = values_HW[max(0, -by) : height - max(0, by)]
    return found


def _sharpness(grey_HW: Floats) -> float:
    """Spread of the Laplacian."""
    inner = grey_HW[1:-1, 1:-1]
    around = grey_HW[:-2, 1:-1] + grey_HW[2:, 1:-1] + grey_HW[1:-1, :-2] + grey_HW[1:-1, 2:]
    return float((around - 4 * inner).std())


def signature(grey_FHW: Floats) -> tuple[int, ...]:
    """Small pictures of some moments, in one row."""
    found: list[int] = []
    for at in np.linspace(0, len(grey_FHW) - 1, MOMENTS).round().astype(int):
        picture = Image.fromarray(grey_FHW[at]).resize(SIGNATURE, Image.Resampling.BOX)
        found += [round(float(value)) for value in np.asarray(picture).ravel()]
    return tuple(found)


def alike(one: Sequence[int], other: Sequence[int]) -> float:
    """Levels between the small pictures of two windows, or of one and the other one's mirror image.

    The two may be shifted against each other in time; the best shift counts.
    """
    shape = (MOMENTS, SIGNATURE[1], SIGNATURE[0])
    a, b = (np.array(row, np.float32).reshape(shape) for row in (one, other))
    best = 255.0
    for turned in (b, b[:, :, ::-1]):
        for offset in range(-OFFSETS, OFFSETS + 1):
            early = a[max(0, offset) : MOMENTS + min(0, offset)]
            late = turned[max(0, -offset) : MOMENTS + min(0, -offset)]
            best = min(best, float(np.percentile(np.abs(early - late), MOST)))
    return best


def lettered(window: Window) -> bool:
    """Whether strokes look like letters; grass, railings and leaves do as well."""
    return window.strokes > STROKES or window.rolls > ROLLS


def read(window: Window, pictures: Sequence[Pixels], reader: TextReader) -> Window:
    """A window with what is read in some of its pictures: letters that nobody can read are none."""
    lines = [line for one in pictures for line in reader.read(Image.fromarray(one))]
    said = [line.text for line in lines if line.score >= SURE and sum(map(str.isalnum, line.text)) >= LETTERS]
    return replace(window, words=" ".join(said)[:WORDS])


def _told(window: Window) -> str:
    return f"{max(window.strokes, window.rolls)} {window.words or ''}".strip()


def fault_of(window: Window, usual: float, earlier: Sequence[Window]) -> Reject | None:
    """The first rule that a window breaks, or None.

    Args:
        usual: the median sharpness of the film's windows.
        earlier: windows of the film before this one, without those of its own shot.
    """
    mean, spread = window.luma
    checks = (
        (
            "R32",
            not DARK <= mean <= BRIGHT or spread < FLAT,
            f"{mean} +- {spread}",
            f"{DARK}-{BRIGHT}, {FLAT}",
        ),
        ("R30", window.still < STILL, f"{window.still}", f"{STILL}"),
        ("R33", window.repeats > REPEATS, f"{window.repeats}", f"{REPEATS}"),
        ("R31", window.sharp < BLURRED * usual, f"{window.sharp}", f"{BLURRED * usual:.2f}"),
        ("R34", lettered(window) and window.words != "", _told(window), f"{STROKES}, {ROLLS}"),
    )
    for rule, broken, value, limit in checks:
        if broken:
            return Reject(window.id, rule, value, limit)
    for other in earlier:
        distance = alike(window.signature, other.signature)
        if distance < REPEAT:
            return Reject(window.id, "R36", f"{distance:.1f} from {other.id}", f"{REPEAT}")
    return None


def sifted(
    windows: Sequence[Window], changed: Mapping[str, Reject], mark: float
) -> tuple[list[Window], list[Reject]]:
    """A film's windows that no rule leaves out, and the first rule that the others break.

    Args:
        windows: in the film's order. changed: those in which somebody takes another one's place, by their
            names; a rule of quality goes before. mark: see `corners`.
    """
    if mark > MARK:
        return [], [Reject(one.id, "R35", f"{mark:.1%} of a corner", f"{MARK:.0%}") for one in windows]
    usual = float(np.median([one.sharp for one in windows])) if windows else 0.0
    kept: list[Window] = []
    left_out: list[Reject] = []
    for one in windows:
        # A repeat of a window that was left out for its own sake may stay; its original is no clip.
        fault = fault_of(one, usual, [other for other in kept if other.shot != one.shot])
        fault = fault or changed.get(one.id)
        if fault is None:
            kept.append(one)
        else:
            left_out.append(fault)
    return kept, left_out
