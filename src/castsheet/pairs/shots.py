"""Cuts, dissolves and fades by rule: no network, some 2,000 frames a second.

A cut is a step that is large and stands out among the steps around it. A dissolve is a stretch
in which each moment is the mixture of both ends that its time tells; movement is no such mixture. A fade is a
dissolve to black.

Legend: F frames, H height, W width.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from castsheet.pairs.blends import blends
from castsheet.pairs.looks import histogram
from castsheet.pairs.protocols import Change, Floats, Pixels

STEP = 0.035  # of the range, mean over the blocks: a cut between alike places reaches it
ABOVE = 3.2  # times the median of the steps around: what stands out
LEAST, FAR_ABOVE, ALONE = 0.004, 8.0, 3.5
"""A cut within one place changes the people only: a smaller step counts if nothing around is nearly as
large."""
RIVAL, NEW, SHADES = 1.9, 0.3, 4
"""Where a step around is nearly as large, something moves fast: a cut must bring new colours as well."""
LONE, FRESH = 1.8, 1.45
"""Times the largest around: a step between two who walk, and by how much it changes the colours."""
AROUND = 7  # frames on either side
REACHES = (8, 16, 28)  # frames: halves of the stretches in which dissolves are looked for
APART = 0.055  # of the range, mean over pixels: ends of a dissolve differ by more
MIDDLE = 0.26  # of the ends' difference: how far the middle may be from their mean
SPREAD = 0.35  # of the pixels: a dissolve changes the whole picture, a figure that moves only a part
TOUCH = 0.02
FAINT, CLEAN, PART = 0.01, 0.15, 0.14
"""A dissolve within one place changes its people only: ends that differ by less, and in a smaller part, count
if the middle is so exact a mixture that nothing moves so."""
BESIDE, STILL, PANS = 5, 0.4, 0.45
"""Eighths of a dissolve's length before and after it, and the share of its difference that they may differ
by, of a faint one and of others: a pan goes on, and a dissolve ends."""
ROOM = 3  # frames beyond the stretch that is a mixture
LONGEST = 60  # frames in which a dissolve has its middle


class PlainShots:
    """The rule."""

    name = "plain-1"

    def changes(self, small_FHW3: Pixels) -> list[Change]:
        """The transitions, in order; see the module."""
        return transitions(small_FHW3)


def transitions(small_FHW3: Pixels, strict: float = 1.0) -> list[Change]:
    """The transitions of a film, in order.

    Args:
        strict: what the rule's thresholds are multiplied by. Above 1 it finds what is surely a transition,
            below 1 all that may be one.
    """
    if len(small_FHW3) < 3:
        return []
    values = small_FHW3.astype(np.float32) / 255
    cuts = _cuts(values, strict)
    slow = _dissolves(values, cuts, strict)
    hard = [Change(at, at) for at in cuts if not any(one.first <= at <= one.last for one in slow)]
    return sorted([*hard, *slow], key=lambda one: one.first)


def steps(values_FHW3: Floats) -> Floats:
    """How much each frame differs from the one before (F), 0 for the first: the mean over blocks of colours.

    Blocks are blurred means, so that a camera's small movement counts little.
    """
    blocks = _blocks(values_FHW3)
    found = np.zeros(len(blocks), np.float32)
    found[1:] = np.abs(np.diff(blocks, axis=0)).mean(axis=(1, 2, 3))
    return found


def _blocks(values_FHW3: Floats) -> Floats:
    """Mean colours of 6 x 3 pixel blocks: (F, 9, 8, 3) at 48 x 27."""
    count, height, width, _ = values_FHW3.shape
    rows, columns = height // 3, width // 6
    cropped = values_FHW3[:, : rows * 3, : columns * 6]
    return cropped.reshape(count, rows, 3, columns, 6, 3).mean(axis=(2, 4))


def _cuts(values: Floats, strict: float) -> list[int]:
    """First frames of shots that follow a hard cut."""
    step = steps(values)
    found: list[int] = []
    for at in np.flatnonzero(step > LEAST):
        low, high = max(1, at - AROUND), min(len(step), at + AROUND + 1)
        others = np.concatenate([step[low:at], step[at + 1 : high]])
        usual = float(np.median(others)) if len(others) else 0.0
        if step[at] < step[low:high].max() - 1e-9:
            continue
        large = step[at] > STEP * strict
        if step[at] < (ABOVE if large else FAR_ABOVE) * strict * usual:
            continue
        alone = _alone(values, step, int(at), strict)
        if not large and not alone and step[at] < ALONE * strict * others.max(initial=0.0):
            continue
        moving = not alone and step[at] < RIVAL * strict * others.max(initial=0.0)
        if moving and _recoloured(values[at - 1], values[at]) < NEW * strict:
            continue
        if _flash(values, int(at)):
            continue
        found.append(int(at))
    return found


def _alone(values: Floats, step: Floats, at: int, strict: float) -> bool:
    """Whether a step is larger than those around, and changes the colours by more than they do, wherever
    these are: who walks takes their colours along, and who comes with a cut brings their own."""
    low, high = max(1, at - AROUND), min(len(step), at + AROUND + 1)
    if step[at] < LONE * strict * np.delete(step[low:high], at - low).max(initial=0.0):
        return False
    shades = np.stack([histogram(one.reshape(-1, 3) * 255) for one in values[low - 1 : high]])
    fresh = np.abs(np.diff(shades, axis=0)).sum(axis=1)
    return bool(fresh[at - low] >= FRESH * strict * np.delete(fresh, at - low).max(initial=0.0))


def _recoloured(before_HW3: Floats, after_HW3: Floats) -> float:
    """The share of pixels by which the colours of two frames differ, wherever they are."""
    shades = [np.minimum((one * SHADES).astype(np.int64), SHADES - 1) for one in (before_HW3, after_HW3)]
    codes = [(one @ np.array([SHADES * SHADES, SHADES, 1])).ravel() for one in shades]
    a, b = (np.bincount(one, minlength=SHADES**3) / len(one) for one in codes)
    return float(1 - np.minimum(a, b).sum())


def _flash(values: Floats, at: int) -> bool:
    """Whether the picture is the same again within four frames: a flash of light, not a cut."""
    before = values[at - 1]
    after = values[min(at + 4, len(values) - 1)]
    return bool(np.abs(before - after).mean() < 0.25 * np.abs(values[at] - before).mean())


def _dissolves(values: Floats, cuts: list[int], strict: float) -> list[Change]:
    """Stretches in which each moment is a mixture of the ends."""
    grey = values.mean(axis=3)
    marks = np.zeros(len(grey) + 1, np.int32)
    marks[cuts] = 1
    passed = np.cumsum(marks)
    score, reached = np.zeros(len(grey), np.float32), np.full(len(grey), 2 * REACHES[-1])
    for reach in REACHES:
        if len(grey) <= 2 * reach:
            continue
        count, quarter = len(grey) - 2 * reach, reach // 2
        left, right = grey[:count], grey[2 * reach :]
        apart = np.abs(right - left)
        far = apart.mean(axis=(1, 2))
        off = np.zeros(count, np.float32)
        for at in (quarter, reach, 2 * reach - quarter):  # half of the way is not enough: a pan may pass it
            mixed = left + (right - left) * (at / (2 * reach))
            off = np.maximum(off, np.abs(grey[at : at + count] - mixed).mean(axis=(1, 2)))
        wide = (apart > TOUCH).mean(axis=(1, 2))
        # A cut inside explains the difference of the ends.
        clean = passed[2 * reach : len(grey)] == passed[: len(grey) - 2 * reach]
        good = (far > APART * strict) & (off < MIDDLE / strict * far) & (wide > SPREAD * strict)
        faint = (far > FAINT * strict) & (off < CLEAN / strict * far) & (wide > PART * strict)
        beside = _beside(grey, passed, reach)
        good = ((good & (beside < PANS / strict * far)) | (faint & (beside < STILL / strict * far))) & clean
        middles = np.flatnonzero(good)
        score[middles + reach] = np.maximum(score[middles + reach], far[middles])
        reached[middles + reach] = np.minimum(reached[middles + reach], reach)
    for middle, reach in blends(values, cuts):
        if not score[max(0, middle - reach) : middle + reach].any():
            score[middle], reached[middle] = FAINT, reach
    return _stretches(score, reached, np.abs(np.diff(grey, axis=0)).mean(axis=(1, 2)), set(cuts))


def _beside(grey: Floats, passed: NDArray[np.int32], reach: int) -> Floats:
    """How much the picture changes for some time before or after a stretch. Cuts count for nothing."""
    starts = np.arange(len(grey) - 2 * reach)
    before, ends = np.maximum(starts - BESIDE * reach // 4, 0), starts + 2 * reach
    after = np.minimum(ends + BESIDE * reach // 4, len(grey) - 1)
    found = np.zeros(len(starts), np.float32)
    for one, other in ((before, starts), (ends, after)):
        apart = np.abs(grey[one] - grey[other]).mean(axis=(1, 2))
        found = np.maximum(found, np.where(passed[one] == passed[other], apart, 0.0))
    return found


def _stretches(score: Floats, reached: NDArray[np.int64], moved: Floats, cuts: set[int]) -> list[Change]:
    """Neighbouring middles as one transition, as long as the picture changes as fast as in its middle.

    A transition does not reach over a cut, nor far beyond what is a mixture: people may move beside it.

    Args:
        reached: of each middle, half of the shortest stretch that is a mixture.
    """
    found: list[Change] = []
    at = 0
    while at < len(score):
        if score[at] <= 0:
            at += 1
            continue
        end = at
        while end + 1 < len(score) and end + 1 not in cuts and score[end + 1 : end + 5].max(initial=0) > 0:
            end += 1
        if end - at > LONGEST:  # so long a mixture is a slow movement over smooth ground
            at = end + 1
            continue
        best = at + int(np.argmax(score[at : end + 1]))
        pace = float(np.median(moved[max(0, best - 2) : best + 3]))
        shortest = at + np.flatnonzero(reached[at : end + 1] == reached[at : end + 1].min())
        reach = int(reached[shortest[0]]) + ROOM
        low = max(found[-1].last if found else 0, int(shortest[0]) - reach)
        high = min(len(moved), int(shortest[-1]) + reach)
        first, last = best, best
        while first > low and first not in cuts and moved[max(0, first - 3) : first].max() > 0.35 * pace:
            first -= 1
        while last < high and last + 1 not in cuts and moved[last : last + 3].max() > 0.35 * pace:
            last += 1
        change = Change(min(first, at), min(max(last, end) + 1, len(score)))
        if found and change.first <= found[-1].last:  # to black and back: no shot lies between
            change = Change(found.pop().first, change.last)
        found.append(change)
        at = change.last + 1
    return found
