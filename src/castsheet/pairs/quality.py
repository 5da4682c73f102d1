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
from castsheet.pairs.frames import grey_of
from castsheet.pairs.protocols import Floats, Pixels
from castsheet.pairs.records import Reject, Window
from castsheet.pairs.repeats import Footage, repeat_of
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
SURE, LETTERS = 0.6, 2  # of a line that is read: how sure the reader is, and letters and digits at least
WORDS = 60  # letters of what is read that are kept
SAME = 0.35  # levels: a step in which no pixel changes more than compression's noise
FROZEN = 24  # such steps in a row, one second: fewer are how somebody stands who hardly moves
SETTLED = 2  # steps before and after: their median tells, as compression changes a frozen picture at times
LESS, BESIDE = 0.3, 3  # of the largest change in so many steps beside it: what a repeated frame changes
SEEN, NOISE = 1.0, 2.0
"""Levels: that largest change, below which nobody sees whether frames are repeated, and the most that a
repeated frame is changed by compression."""


def measured(shot: str, number: int, frames: tuple[int, ...], pictures_FHW3: Pixels) -> Window:
    """A window with the measures of its frames."""
    grey = grey_of(pictures_FHW3)
    soft = grey.reshape(len(grey), grey.shape[1] // 2, 2, -1, 2)[:, :, :, : grey.shape[2] // 2].mean((2, 4))
    pairs = zip(pairwise(soft), pairwise(frames), strict=True)
    steps = [np.abs(b - a) for (a, b), (one, other) in pairs if one != other]
    real = np.array([np.percentile(one, 99.5) for one in steps])
    whole = np.array([one.mean() for one in steps])
    return Window(
        shot=shot,
        number=number,
        frames=frames,
        still=round(float(np.median(real)) if len(real) else 0.0, 3),
        sharp=round(float(np.median([_sharpness(one) for one in grey[::12]])), 3),
        repeats=round(repeated(real, whole) if len(real) else 1.0, 3),
        strokes=round(strokes(grey), 3),
        rolls=round(strokes(unrolled(grey)), 3),
        luma=(round(float(grey.mean()), 1), round(float(grey.std()), 1)),
    )


def repeated(change_N: Floats, whole_N: Floats) -> float:
    """The share of steps to a frame that shows the one before once more, or stands in a frozen stretch.

    Somebody who hardly moves changes as little from frame to frame as compression does. Of them every step is
    small; a repeated frame stands beside a step that is large, because it makes up for it.

    Args:
        change_N: levels by which the most changed pixels change, in each step. whole_N: all, on average.
    """
    again = (whole_N < LESS * _around(whole_N, BESIDE).max(axis=1)) & (change_N < NOISE)
    again &= _around(change_N, BESIDE).max(axis=1) > SEEN
    quiet = np.median(_around(change_N, SETTLED), axis=1) < SAME
    edges = np.flatnonzero(np.diff(quiet.astype(int), prepend=0, append=0))
    for first, end in edges.reshape(-1, 2):
        again[first:end] |= end - first >= min(FROZEN, REPEATS * len(change_N))
    return float(again.mean())


def _around(values_N: Floats, reach: int) -> Floats:
    """Each value with so many before and after it; beyond the ends the last one once more."""
    at = np.arange(len(values_N))[:, None] + np.arange(-reach, reach + 1)
    return np.asarray(values_N[at.clip(0, len(values_N) - 1)])


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


def fault_of(window: Window, usual: float) -> Reject | None:
    """The first rule that a window's own picture breaks, or None.

    Args:
        usual: the median sharpness of the film's windows.
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
    return None


def sifted(
    windows: Sequence[Window], footage: Footage, changed: Mapping[str, Reject], mark: float
) -> tuple[list[Window], list[Reject]]:
    """A film's windows that no rule leaves out, and the first rule that the others break.

    Args:
        windows: in the film's order. changed: those in which somebody takes another one's place, by their
            names; a rule of quality goes before. mark: see `corners`.
    """
    if mark > MARK:
        return [], [Reject(one.id, "R35", f"{mark:.1%} of a corner", f"{MARK:.0%}") for one in windows]
    usual = float(np.median([one.sharp for one in windows])) if windows else 0.0
    own = {one.id: fault_of(one, usual) for one in windows}
    # A copy without the writing, or the blur, of the first showing is the better one of the two.
    sound = {one.shot for one in windows if own[one.id] is None}
    footage = footage.without({one.shot for one in windows} - sound)
    kept: list[Window] = []
    left_out: list[Reject] = []
    for one in windows:
        fault = own[one.id] or repeat_of(one, footage) or changed.get(one.id)
        if fault is None:
            kept.append(one)
        else:
            left_out.append(fault)
    return kept, left_out
