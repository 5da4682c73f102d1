"""What a close look dropped and a glance had: a panda's dark ears, a leaf, bare legs, hair before trees.

A network that looks closely at a thing may take one bright part of it for the whole. Where the glance at the
whole picture saw more, and what was dropped has other colours than the background near it (it is no
hole between spokes), a third opinion decides. Where the close look is not sure, as of dark hair before dark
trees, the network of persons decides alone: colours do not help there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
# Of 1: the close look is not sure between these; the glance and the person's mask are above the others.
_DOUBTED, _DECIDED, _GLANCED, _PERSON = 0.05, 0.85, 0.5, 0.8
# Of 1: background by both looks.
_NONE = 0.05
# A dropped part has at least this share of what is left, and px at `_WORK` in its least width.
_LEAST, _WIDTH = 0.004, 5
# How far around a dropped part its background is looked at, px at `_WORK`; and how many px it takes.
_NEAR, _ENOUGH = 40, 50
# A part that shares more of its colours than this with the background near it is background.
_ALIKE = 0.2
_BINS = 10


def restored(
    rgb: Image.Image, glance: Array, close: Array, third: Callable[[], Array], person: Array | None = None
) -> Array:
    """The close look's mask with the dropped parts that the person's mask or `third` takes for subject too.

    Args:
        rgb: the picture.
        glance, close: masks 0..1 at any sizes, stretched over the picture.
        third: makes a mask of that kind; asked only where a part was dropped that is not the person's.
        person: the mask of the person that the picture is of, likewise.
    """
    size = _work_size(rgb)
    parts = _dropped(rgb, fitted(close, size), fitted(glance, size))
    if parts and person is not None:
        known = fitted(person, size)
        theirs = [part for part in parts if float(known[part].mean()) > _PERSON and not _at_border(part)]
        close = _with(close, theirs, person)
        parts = [part for part in parts if not any(part is one for one in theirs)]
    if not parts:
        return close
    other = third()
    judged = fitted(other, size)
    return _with(close, [part for part in parts if float(judged[part].mean()) > 0.5], other)


def decided(rgb: Image.Image, glance: Array, close: Array, person: Array) -> Array:
    """The close look's mask, and the person's where it is not sure and glance and person say subject.

    Args:
        rgb: the picture.
        glance, close, person: masks 0..1 at any sizes, stretched over the picture.
    """
    size = _work_size(rgb)
    have = fitted(close, size)
    told = (fitted(glance, size) > _GLANCED) & (fitted(person, size) > _PERSON)
    unsure = _opened((have > _DOUBTED) & (have < _DECIDED) & told)
    least = _LEAST * float((have > 0.5).sum())
    parts = [part for _, part in _pieces(unsure, least) if not _at_border(part)]
    return _with(close, parts, person)


def _at_border(part: Mask) -> bool:
    """Where a body leaves the picture, its network takes tables and benches for more of it."""
    return bool(part[:2].any() or part[-2:].any() or part[:, :2].any() or part[:, -2:].any())


def _work_size(rgb: Image.Image) -> tuple[int, int]:
    scale = min(1.0, _WORK / max(rgb.size))
    return max(1, round(rgb.width * scale)), max(1, round(rgb.height * scale))


def _with(close: Array, parts: Sequence[Mask], other: Array) -> Array:
    """The mask with parts as another has them, and their soft edges, which the comparison left out."""
    if not parts:
        return close
    back = np.logical_or.reduce(list(parts))
    around = Image.fromarray(back.astype(np.uint8) * 255).filter(ImageFilter.MaxFilter(2 * _WIDTH + 1))
    near = np.asarray(around.resize(close.shape[::-1], Image.Resampling.BILINEAR), np.float32) / 255
    return np.asarray(np.maximum(close, near * fitted(other, close.shape[::-1])), np.float32)


def _opened(mask: Mask) -> Mask:
    """The mask without what is thinner than `_WIDTH`."""
    image = Image.fromarray(mask.astype(np.uint8) * 255)
    return np.asarray(image.filter(ImageFilter.MinFilter(_WIDTH)).filter(ImageFilter.MaxFilter(_WIDTH))) > 0


def _pieces(mask: Mask, least: float) -> list[tuple[Box, Mask]]:
    """The mask's pieces (H, W) of at least so many px, each with its box."""
    found = []
    for box, count in boxes_of(mask):
        part = np.zeros_like(mask)
        place = np.s_[box.y : box.bottom, box.x : box.right]
        part[place] = mask[place]
        if count >= least:
            found.append((box, part))
    return found


def _dropped(rgb: Image.Image, have: Array, seen: Array) -> list[Mask]:
    """The parts (H, W) that only the glance has, in colours that the background near them has not."""
    mask = _opened((seen > _SEEN) & (have < _DROPPED))
    if not mask.any():
        return []
    small = rgb.convert("RGB").resize(have.shape[::-1], Image.Resampling.BOX, reducing_gap=2)
    bins = np.asarray(small).astype(np.int64) * _BINS // 256 @ np.array((_BINS * _BINS, _BINS, 1))
    ground = (have < _NONE) & (seen < _NONE)
    least, found = _LEAST * float((have > 0.5).sum()), []
    for box, part in _pieces(mask, least):
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
