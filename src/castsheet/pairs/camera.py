"""How far the camera moved, and what the place behind the people looks like.

Pictures of one place that the camera sees from one distance differ by a shift, which phase correlation finds
(Kuglin and Hines, 1975). Laid over each other, the place is what several shots agree on.

Legend: N pictures, H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from castsheet.pairs.frames import greys
from castsheet.pairs.protocols import Floats, Pixels
from castsheet.pairs.seams import mended

ALIKE = 14  # levels, the largest of the channels: noise of compression stays below
AGREE = 0.55  # share of the overlap that two pictures of one place have alike
ELSEWHERE = 0.35  # the same, at any likely shift: two pictures that have less are of two places
OVERLAP = 0.5  # share of the picture that both must show

PICTURES = (0.15, 0.5, 0.85)
"""Moments of a shot at which its place is looked at."""

PEAKS = 5  # of a correlation, that are tried
TRIED = 3  # of the places along the whole breadth that are looked at closely
SLIDE = 0.05  # of what tells of a shift: by how much more must speak for one of the whole width
APART = 4  # px from one to the next place along a whole canvas, where a picture is tried
TELLING, MOST = 3, 180
"""Levels, of three channels together: what smooth ground tells of a shift, and what a sharp edge does."""

Shift = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Looked:
    """A picture (H,W,3) that is compared with many others: the spectrum of its edges is made once."""

    picture: Pixels

    @cached_property
    def planes(self) -> Pixels:
        """Its channels (3,H,W), one after the other: parts of them are compared three times as fast."""
        return np.ascontiguousarray(self.picture.transpose(2, 0, 1))

    @cached_property
    def spectrum(self) -> NDArray[np.complexfloating]:
        """Of the strength of its edges, which fades out towards the frame."""
        return np.fft.rfft2(gradients(self.picture))

    @cached_property
    def telling(self) -> Floats:
        """How much each of its pixels tells of where it lies."""
        return telling(self.picture)

    @cached_property
    def told(self) -> float:
        """The sum of it."""
        return float(self.telling.sum())


def shift_between(one: Looked, other: Looked, *, wide: bool = True) -> tuple[Shift, float]:
    """By how many px (x, y) the second picture's content lies to the left and above, and how well they agree.

    Sea and sky fit at any shift, and best where people lie on people, or outside the overlap. So a shift is
    chosen by how much of all that tells of it, in both pictures, speaks for it: what lies outside the overlap
    speaks against it.

    Args:
        wide: whether shifts along the whole breadth are tried, beside the likeliest ones.

    Returns:
        The shift, and the share of their overlap in which the pictures are alike.
    """
    share = agreement(one.picture, other.picture, (0, 0))
    if share > 0.9:
        return (0, 0), share
    height, width = one.picture.shape[:2]
    spectrum = one.spectrum * np.conj(other.spectrum)
    peaks = np.fft.irfft2(spectrum / np.maximum(np.abs(spectrum), 1e-6), (height, width)).ravel()
    tried = [(0, 0)]
    for flat in np.argpartition(peaks, -PEAKS)[-PEAKS:]:
        y, x = divmod(int(flat), width)
        tried.append((x - width if x > width // 2 else x, y - height if y > height // 2 else y))
    best = max(tried, key=lambda shift: speaks_for(one, other, shift))
    share = agreement(one.picture, other.picture, best)
    if share < ELSEWHERE:
        return best, share
    sideways = [(x, best[1]) for x in range(APART - width // 2, width // 2, APART)] if wide else []
    likely = sorted(sideways, key=lambda shift: -speaks_for(one, other, shift, every=2))[:TRIED]
    around = [
        (x + right, y + below)
        for x, y in (best, *likely)
        for right in range(1 - APART, APART)
        for below in (-1, 0, 1)
    ]
    best = max(dict.fromkeys((best, *around)), key=lambda shift: speaks_for(one, other, shift))
    return best, agreement(one.picture, other.picture, best)


def speaks_for(one: Looked, other: Looked, shift: Shift, every: int = 1) -> float:
    """The share of what two pictures tell that speaks for a shift, a little less for large ones.

    Args:
        every: one of so many rows is looked at.
    """
    height, width = one.picture.shape[:2]
    x, y = shift
    if (width - abs(x)) * (height - abs(y)) < OVERLAP * width * height:
        return -1.0
    here = slice(max(0, y), height + min(0, y), every), slice(max(0, x), width + min(0, x))
    there = slice(max(0, -y), height + min(0, -y), every), slice(max(0, -x), width + min(0, -x))
    same = alike(one.planes[:, *here], other.planes[:, *there])
    told = _sum_where(same, one.telling[here] + other.telling[there])
    return told / (one.told + other.told) * every - SLIDE * float(np.hypot(x, y)) / width


def agreement(one_HW3: Pixels, other_HW3: Pixels, shift: Shift) -> float:
    """The share of the overlap in which two pictures are alike; 0 if the overlap is small."""
    height, width = one_HW3.shape[:2]
    x, y = shift
    if (width - abs(x)) * (height - abs(y)) < OVERLAP * width * height:
        return 0.0
    a = one_HW3[max(0, y) : height + min(0, y), max(0, x) : width + min(0, x)]
    b = other_HW3[max(0, -y) : height + min(0, -y), max(0, -x) : width + min(0, -x)]
    return share_of(levels_between(a, b) <= ALIKE)


def share_of(mask_HW: NDArray[np.bool_]) -> float:
    """The share of a mask that is set; to count takes a tenth of the time of its mean."""
    return float(np.count_nonzero(mask_HW)) / mask_HW.size


def alike(one_3HW: Pixels, other_3HW: Pixels) -> NDArray[np.bool_]:
    """Where two pictures are alike in each of their channels (H, W)."""
    apart = np.maximum(one_3HW, other_3HW)
    apart -= np.minimum(one_3HW, other_3HW)
    return np.asarray(apart.max(axis=0) <= ALIKE)


def _sum_where(mask_HW: NDArray[np.bool_], values_HW: Floats) -> float:
    """The sum of some values. Of whole numbers it is exact, in whatever order they are added."""
    return float(np.dot(values_HW.ravel(), mask_HW.ravel().astype(np.float32)))


def levels_between(one_HW3: Pixels, other_HW3: Pixels) -> Pixels:
    """How far apart two pictures are at each pixel (H, W): the largest of the channels.

    The channels are compared one with another: a maximum along the last axis takes ten times as long.
    """
    apart = np.maximum(one_HW3, other_HW3) - np.minimum(one_HW3, other_HW3)
    return np.maximum(np.maximum(apart[..., 0], apart[..., 1]), apart[..., 2])


def gradients(picture_HW3: Pixels) -> Floats:
    """The strength of edges, less towards the frame."""
    found = edges(picture_HW3)
    return found * np.outer(np.hanning(found.shape[0]), np.hanning(found.shape[1])).astype(np.float32)


def edges(picture_HW3: Pixels) -> Floats:
    grey = greys(picture_HW3) / np.float32(3)
    across, down = np.zeros_like(grey), np.zeros_like(grey)
    across[:, 1:] = np.diff(grey, axis=1)
    down[1:] = np.diff(grey, axis=0)
    return np.asarray(np.hypot(across, down), np.float32)


@dataclass(frozen=True)
class Placed:
    """A picture of a place: which shot it is of, and where its upper left corner lies on the place's canvas;
    and where nobody is known to stand before the place, if that is known."""

    picture_HW3: Pixels
    shot: int
    corner: Shift
    free_HW: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Plate:
    """A place without people.

    Attributes:
        picture: (H,W,3) on the canvas. sure: (H,W), where several shots agree.
        origin: the corner of the canvas, in the shifts' coordinates.
    """

    picture: Pixels
    sure: NDArray[np.bool_]
    origin: Shift

    @cached_property
    def image(self) -> Image.Image:
        """The picture for Pillow, which copies it."""
        return Image.fromarray(self.picture)

    def at(self, corner: Shift, size: tuple[int, int]) -> tuple[Pixels, NDArray[np.bool_]]:
        """What a frame with its corner there would show of the place, and where that is sure.

        Args:
            size: width and height of the frame in px.
        """
        x, y = corner[0] - self.origin[0], corner[1] - self.origin[1]
        picture = np.zeros((size[1], size[0], 3), np.uint8)
        sure = np.zeros((size[1], size[0]), np.bool_)
        top, left = max(0, y), max(0, x)
        part = self.picture[top : max(top, y + size[1]), left : max(left, x + size[0])]
        rows, columns = slice(top - y, top - y + len(part)), slice(left - x, left - x + part.shape[1])
        picture[rows, columns] = part
        sure[rows, columns] = self.sure[top : top + len(part), left : left + part.shape[1]]
        return picture, sure


def telling(picture_HW3: Pixels) -> Floats:
    """How much each pixel tells of where a picture lies sideways: smooth ground tells little."""
    return told_of(steps(picture_HW3))


def steps(picture_HW3: Pixels) -> Floats:
    """How far neighbours in a row are apart (H, W-1), as far as that tells something; whole numbers."""
    return np.minimum(np.abs(np.diff(greys(picture_HW3), axis=1)), np.float32(MOST))


def told_of(steps_HV: Floats) -> Floats:
    """`telling` (H, W) of `steps` (H, V = W - 1)."""
    found = np.empty((steps_HV.shape[0], steps_HV.shape[1] + 1), np.float32)
    found[:, :1], found[:, 1:] = 0, steps_HV
    np.maximum(found[:, :-1], steps_HV, out=found[:, :-1])
    found += TELLING
    return found


def told_by(alike_HW: NDArray[np.bool_], telling_HW: Floats) -> float:
    """The share of what pixels tell that speaks for a place."""
    return _sum_where(alike_HW, telling_HW) / max(1e-6, float(telling_HW.sum()))


def corner_at(moment: float, corners: Sequence[tuple[int, int]]) -> tuple[float, float]:
    """Where a picture of a shot lies, by those of its `PICTURES`: a camera that moves does so before the
    first of them too, and after the last.

    Args:
        moment: share of the shot, from 0 to 1.
    """
    first = 0 if moment < PICTURES[1] else 1
    (before, after), (here, there) = PICTURES[first : first + 2], corners[first : first + 2]
    share = (moment - before) / (after - before)
    return here[0] + share * (there[0] - here[0]), here[1] + share * (there[1] - here[1])


def plate_of(pictures: Sequence[Placed]) -> Plate:
    """The place that pictures agree on: at each pixel the colour that most shots show.

    A person in front of the place is somewhere else in other shots, or is somebody else. Where people stand
    in most shots, see `seams`.
    """
    left, top = (min(one.corner[axis] for one in pictures) for axis in (0, 1))
    right = max(one.corner[0] + one.picture_HW3.shape[1] for one in pictures)
    bottom = max(one.corner[1] + one.picture_HW3.shape[0] for one in pictures)
    laid = [_laid(one, (left, top), (right - left, bottom - top)) for one in pictures]
    shots = sorted({one.shot for one in pictures})
    best = np.full((bottom - top, right - left), -1.0, np.float32)
    chosen = np.zeros((bottom - top, right - left, 3), np.uint8)
    votes, covering = np.zeros((2, *best.shape), np.int32)
    every: list[NDArray[np.int32]] = []
    for candidate, known in laid:
        agreed = np.zeros(best.shape, np.int32)
        closeness = np.zeros(best.shape, np.float32)
        for shot in shots:
            alike = np.zeros(best.shape, np.bool_)
            for (other, seen), one in zip(laid, pictures, strict=True):
                if one.shot == shot:
                    near = (levels_between(candidate, other) <= ALIKE) & seen
                    alike |= near
                    closeness += near
            agreed += alike
        score = np.where(known, agreed + closeness / (len(laid) + 1), -1.0).astype(np.float32)
        better = score > best
        best[better], votes[better] = score[better], agreed[better]
        chosen[better] = candidate[better]
        every.append(agreed)
    for shot in shots:
        mine = [seen for (_, seen), one in zip(laid, pictures, strict=True) if one.shot == shot]
        covering += np.any(mine, axis=0)
    # One shot may show a person there. Where two do not agree with the others, two may show one person.
    sure = (votes >= 3) | ((votes >= 2) & (votes >= covering - 1))
    if all(one.free_HW is not None for one in pictures):
        sure |= (covering > 0) & (votes >= covering)
    # Where half as many agree on something else, people in like clothes may have stood there by turns.
    for (candidate, known), agreed in zip(laid, every, strict=True):
        unlike = known & (levels_between(candidate, chosen) > ALIKE)
        sure &= ~(unlike & (2 * agreed > votes))
    return Plate(*mended(chosen, sure, laid), (left, top))


def _laid(one: Placed, origin: Shift, size: tuple[int, int]) -> tuple[Pixels, NDArray[np.bool_]]:
    x, y = one.corner[0] - origin[0], one.corner[1] - origin[1]
    height, width = one.picture_HW3.shape[:2]
    picture = np.zeros((size[1], size[0], 3), np.uint8)
    known = np.zeros((size[1], size[0]), np.bool_)
    picture[y : y + height, x : x + width] = one.picture_HW3
    known[y : y + height, x : x + width] = True if one.free_HW is None else one.free_HW
    return picture, known
