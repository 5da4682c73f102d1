"""How a subject looks: colours of head, chest and legs, and how far two looks are apart.

A part is a band of the figure's mask. Of a figure that the frame cuts off below, its face tells how much is
seen; without a face nobody knows, and it has no look.

Legend: H height, W width, h and w those of a box, B bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from castsheet.pairs.protocols import Floats, Pixels
from castsheet.sheet.box import Box

Mask = NDArray[np.bool_]

BINS = 5  # along each channel; a colour counts for its eight nearest bins
PARTS = ("head", "chest", "legs")
FACE = 0.11  # of a whole figure's height, from the brow to the chin
SHOULDERS = 0.225  # of a whole figure's height, from above: they lie there in front and back views
# Of the figure's greatest width: what reaches the first is shoulders; a head above is below the second.
BROAD, SLIM = 0.75, 0.55
LOW = (0.25, 0.75)  # shares of a cut-off figure's height between which shoulders may lie
BANDS = {"head": (0.0, 0.2, 0.19), "chest": (0.26, 0.44, 0.28), "legs": (0.54, 0.84, 0.8)}
"""Shares of the height, from above: where a part begins and ends, and how far a figure must be seen for it. A
cartoon's head is larger than a person's: bands leave the borders out. Of a chest the upper edge is enough,
because faces look larger than they are, and then more of a figure is seen than its face tells."""
SIZE = BINS**3
ODD = 0.18  # by which one part may differ more than all of them together


@dataclass(frozen=True)
class Look:
    """Colour histograms (B) of parts, each with the sum 1; a part that is not seen is not there."""

    parts: dict[str, Floats]

    def flat(self) -> list[float]:
        """All parts in one row, zeros for those that are not seen."""
        empty = np.zeros(SIZE, np.float32)
        row = np.concatenate([self.parts.get(part, empty) for part in PARTS])
        return [round(float(value), 4) for value in row]

    @classmethod
    def of_flat(cls, row: Sequence[float]) -> Look:
        """What `flat` gave."""
        values = np.array(row, np.float32).reshape(len(PARTS), SIZE)
        return cls({part: one for part, one in zip(PARTS, values, strict=True) if one.any()})


def look_at(frame_HW3: Pixels, mask_hw: Mask, box: Box, seen: float | None) -> Look:
    """A subject's look in one frame.

    Args:
        mask_hw: the subject in its box.
        seen: the share of the figure, from above, that the box shows; None if nobody knows.
    """
    if seen is None:
        return Look({})
    pixels = frame_HW3[box.y : box.bottom, box.x : box.right]
    parts = {}
    for part, (top, bottom, least) in BANDS.items():
        if seen < least:
            continue
        first, last = round(top / seen * box.h), round(min(1.0, bottom / seen) * box.h)
        rows = slice(first, max(first + 1, last))
        chosen = pixels[rows][mask_hw[rows]]
        if len(chosen) >= 12:
            parts[part] = histogram(chosen)
    return Look(parts)


def share_seen(box: Box, height: int, face: int) -> float | None:
    """How much of a figure a box shows, from above, in a frame of this height.

    Args:
        face: px of height of its face; 0 where none was seen.
    """
    if box.bottom < height - 1:
        return 1.0
    return min(1.0, max(0.2, FACE * box.h / face)) if face else None


def share_by_shoulders(mask_HW: Mask) -> float | None:
    """How much is seen of a figure that is cut off below, by its shoulders; None where they are not seen.

    Args:
        mask_HW: the figure in its box.
    """
    wide = mask_HW.sum(axis=1)
    at = int(np.argmax(wide >= BROAD * wide.max()))
    if not LOW[0] <= at / len(wide) <= LOW[1] or wide[:at].mean() > SLIM * wide.max():
        return None
    return min(1.0, SHOULDERS * len(wide) / at)


def histogram(pixels_N3: Pixels) -> Floats:
    """Trilinear colour histogram: a colour near a bin's border moves smoothly from one bin to the other."""
    at = pixels_N3.astype(np.float32) / 255 * (BINS - 1)
    low = np.minimum(at.astype(np.int64), BINS - 2)
    share = at - low
    total = np.zeros(SIZE, np.float64)
    first = low @ np.array([BINS * BINS, BINS, 1])
    sides = [(1 - one, one) for one in np.ascontiguousarray(share.T)]
    for red, green, blue in product((0, 1), repeat=3):
        weight = sides[0][red] * sides[1][green] * sides[2][blue]
        index = first + (red * BINS * BINS + green * BINS + blue)
        total += np.bincount(index, weight, minlength=SIZE)
    return np.asarray(total / total.sum(), np.float32)


def typical(looks: Sequence[Look]) -> Look:
    """The mean look of a track: each part over the frames that show it."""
    parts = {}
    for part in PARTS:
        seen = [one.parts[part] for one in looks if part in one.parts]
        if seen:
            mean = np.mean(seen, axis=0)
            parts[part] = np.asarray(mean / mean.sum(), np.float32)
    return Look(parts)


def apart(one: Look, other: Look) -> tuple[float, int]:
    """How far two looks are apart, in 0..1, and how many parts both show.

    Hellinger distances of the parts. What somebody holds covers one part, and their hair is all that is seen
    of a head from behind: of three parts one may differ by `ODD` more than they do together. Of fewer parts
    the one that differs most counts.
    """
    common = [part for part in PARTS if part in one.parts and part in other.parts]
    far = [
        float(np.sqrt(max(0.0, 1 - np.sqrt(one.parts[part] * other.parts[part]).sum()))) for part in common
    ]
    if len(far) < len(PARTS):
        return (max(far) if far else 1.0), len(far)
    return max(float(np.sqrt(np.mean(np.square(far)))), max(far) - ODD), len(far)
