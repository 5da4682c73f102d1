"""What a close look dropped and a glance had: a panda's dark ears, a leaf, the thread of a spool.

A network that looks closely at a thing may take one bright part of it for the whole. Where the glance at the
whole picture saw more, and what was dropped has other colours than the background near it (it is no
hole between spokes), a third opinion decides.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from castsheet.sheet.box import Box
from castsheet.sheet.look.agree import fitted
from castsheet.sheet.look.components import boxes_of

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]

# Long side at which masks are compared.
_WORK = 320
# Of 1: the glance has what is above the first (a top-knot before trees was at 0.5), and the close look has
# dropped what is below the second.
_SEEN, _DROPPED = 0.45, 0.4
# Of 1: background by both looks.
_NONE = 0.05
# A dropped part has at least this share of what is left, and px at `_WORK` in its least width.
_LEAST, _WIDTH = 0.004, 5
# How far around a dropped part its background is looked at, px at `_WORK`; and how many px it takes.
_NEAR, _ENOUGH = 40, 50
# A part that shares more of its colours than this with the background near it is background.
_ALIKE = 0.2
_BINS = 10


def restored(rgb: Image.Image, glance: Array, close: Array, third: Callable[[], Array]) -> Array:
    """The close look's mask with the dropped parts that `third` takes for subject too.

    Args:
        rgb: the picture.
        glance, close: masks 0..1 at any sizes, stretched over the picture.
        third: makes a mask of that kind; asked only where a part was dropped.
    """
    scale = min(1.0, _WORK / max(rgb.size))
    size = max(1, round(rgb.width * scale)), max(1, round(rgb.height * scale))
    have, seen = fitted(close, size), fitted(glance, size)
    parts = _dropped(rgb, have, seen)
    if not parts:
        return close
    other = third()
    judged = fitted(other, size)
    back = np.zeros_like(have)
    for part in parts:
        if judged[part].mean() > 0.5:
            back[part] = 1
    if not back.any():
        return close
    # With their soft edges, which the comparison left out.
    around = Image.fromarray(back.astype(np.uint8) * 255).filter(ImageFilter.MaxFilter(2 * _WIDTH + 1))
    near = np.asarray(around.resize(close.shape[::-1], Image.Resampling.BILINEAR), np.float32) / 255
    return np.asarray(np.maximum(close, near * fitted(other, close.shape[::-1])), np.float32)


def _dropped(rgb: Image.Image, have: Array, seen: Array) -> list[Mask]:
    """The parts (H, W) that only the glance has, in colours that the background near them has not."""
    lost = Image.fromarray(((seen > _SEEN) & (have < _DROPPED)).astype(np.uint8) * 255)
    opened = lost.filter(ImageFilter.MinFilter(_WIDTH)).filter(ImageFilter.MaxFilter(_WIDTH))
    mask = np.asarray(opened) > 0
    if not mask.any():
        return []
    small = rgb.convert("RGB").resize(have.shape[::-1], Image.Resampling.BOX, reducing_gap=2)
    bins = np.asarray(small).astype(np.int64) * _BINS // 256 @ np.array((_BINS * _BINS, _BINS, 1))
    ground = (have < _NONE) & (seen < _NONE)
    least, found = _LEAST * float((have > 0.5).sum()), []
    for box, count in boxes_of(mask):
        if count < least:
            continue
        part = np.zeros_like(mask)
        place = np.s_[box.y : box.bottom, box.x : box.right]
        part[place] = mask[place]
        behind = _around(ground, box)
        if behind is not None and _shared(bins[part], bins[behind]) < _ALIKE:
            found.append(part)
    return found


def _around(ground: Mask, box: Box) -> Mask | None:
    """The background near a box, or all of it where there is too little; None where there is none."""
    near = np.zeros_like(ground)
    rows, columns = (slice(max(0, low - _NEAR), high + _NEAR) for low, high in _sides(box))
    near[rows, columns] = ground[rows, columns]
    return next((mask for mask in (near, ground) if mask.sum() >= _ENOUGH), None)


def _sides(box: Box) -> tuple[tuple[int, int], tuple[int, int]]:
    return (box.y, box.bottom), (box.x, box.right)


def _shared(one: NDArray[np.int64], other: NDArray[np.int64]) -> float:
    """How much of their colours two sets of pixels share, 0..1; near colours count in part."""
    return float(np.minimum(_colours(one), _colours(other)).sum())


def _colours(bins: NDArray[np.int64]) -> NDArray[np.float64]:
    counts = np.bincount(bins, minlength=_BINS**3).reshape(_BINS, _BINS, _BINS).astype(np.float64)
    for axis in range(3):
        wide = np.pad(counts, [(1, 1) if axis == side else (0, 0) for side in range(3)], mode="edge")
        before, after = wide.take(range(_BINS), axis), wide.take(range(2, _BINS + 2), axis)
        counts = 0.25 * before + 0.5 * counts + 0.25 * after
    return counts / max(1.0, float(counts.sum()))
