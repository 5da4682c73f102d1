"""Figures that fall into parts: who wears the colours of the place behind them is not seen there.

What is missing lies between two parts that stand one above the other. Two people do not stand so: who stands
behind somebody is hidden by them, or touches them in the picture.

Legend: H height, W width, h and w those of a box.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from castsheet.sheet.box import Box
from castsheet.sheet.look.components import things_of

Mask = NDArray[np.bool_]
Part = tuple[Box, Mask]

REACH = 2  # px: what lies nearer is connected
GAP = 0.3  # of the height of both parts together: what may be missing between them
OVER = 0.6  # of the narrower part's width that lies below or above the other one
SPECK, THIN = 0.03, 0.03
"""Of the larger part's area, and of the height of both together: what is smaller or thinner joins nothing."""
FARTHER = 0.06  # of the height of both: how much more may be missing in a column than in the narrowest one
TALL = 1.1  # times their width: both parts together are at least so tall


def figures(mask_HW: Mask) -> list[Part]:
    """What is connected in a mask: boxes, and each one's own pixels (h, w), the largest box first.

    Parts of one figure that lie one above the other are joined, and what is missing between them is filled.
    """
    parts = things_of(mask_HW, reach=REACH)
    at = 0
    while at < len(parts):
        other = next((k for k in range(at + 1, len(parts)) if _one_figure(parts[at], parts[k])), None)
        if other is None:
            at += 1
        else:
            parts[at] = _joined(parts[at], parts.pop(other))
            at = 0
    return sorted(parts, key=lambda one: -one[0].area)


def _ordered(one: Part, other: Part) -> tuple[Part, Part]:
    """The upper one of two parts, and the lower one."""
    return (one, other) if one[0].y + one[0].bottom <= other[0].y + other[0].bottom else (other, one)


def _one_figure(one: Part, other: Part) -> bool:
    """Whether two parts lie as parts of one figure do."""
    (upper, above), (lower, below) = _ordered(one, other)
    across = min(upper.right, lower.right) - max(upper.x, lower.x)
    tall = max(upper.bottom, lower.bottom) - min(upper.y, lower.y)
    wide = max(upper.right, lower.right) - min(upper.x, lower.x)
    beside = across >= OVER * min(upper.w, lower.w) and lower.y - upper.bottom <= GAP * tall
    thick = min(upper.w, upper.h, lower.w, lower.h) >= THIN * tall
    if not (beside and thick and tall >= TALL * wide):
        return False
    sizes = int(above.sum()), int(below.sum())
    return min(sizes) >= SPECK * max(sizes)


def _joined(one: Part, other: Part) -> Part:
    """Two parts as one, with what lies between them in the columns that both cover."""
    (upper, above), (lower, below) = _ordered(one, other)
    x, y = min(upper.x, lower.x), min(upper.y, lower.y)
    box = Box(x, y, max(upper.right, lower.right) - x, max(upper.bottom, lower.bottom) - y)
    laid = np.zeros((2, box.h, box.w), np.bool_)
    for number, (part, own) in enumerate(((upper, above), (lower, below))):
        laid[number, part.y - y : part.bottom - y, part.x - x : part.right - x] = own
    rows = np.arange(box.h)[:, None]
    ends = np.where(laid[0], rows, -1).max(axis=0)
    starts = np.where(laid[1] & (rows > ends), rows, box.h).min(axis=0)
    far = np.where((ends >= 0) & (starts < box.h), starts - ends, 2 * box.h)
    between = (far <= min(far.min(), GAP * box.h) + FARTHER * box.h) & (rows > ends) & (rows < starts)
    return box, laid[0] | laid[1] | between
