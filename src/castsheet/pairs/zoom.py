"""A near shot of a place that is known from farther away: where on the place's picture it lies, how near.

The shot's picture is made smaller step by step, and each time laid on the place by the correlation of edges;
the best is then searched closely. It works for a camera that stands still, and a place without depth.

Legend: H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from castsheet.pairs.camera import ALIKE, Looked, Plate, levels_between, share_of, telling, told_by
from castsheet.pairs.frames import greys
from castsheet.pairs.protocols import Floats, Pixels

ZOOMS = tuple(float(one) for one in np.geomspace(1.3, 3.2, 16))
LEAST = 1.25  # the search may leave `ZOOMS` by a little
FINER = (0.02, 0.006)  # shares by which the zoom is changed when it is searched closely
APART, MOST = 4.0, 3  # px of the place from one place to the next along its breadth; how many are searched
AGREE = 0.5  # share of the picture that is alike, people left out of it or not


@dataclass(frozen=True)
class Zoomed:
    """Where a near shot lies: its upper left corner on the place's canvas, px, and how much nearer it is."""

    corner: tuple[float, float]
    zoom: float


def shown(plate: Plate, at: Zoomed, size: tuple[int, int]) -> tuple[Pixels, NDArray[np.bool_]]:
    """What a near shot of this width and height would show of the place (H,W,3), and where that is sure."""
    picture, sure = np.zeros((size[1], size[0], 3), np.uint8), np.zeros((size[1], size[0]), np.bool_)
    found = _seen_of(plate, at, size)
    if found is None:
        return picture, sure
    box, part, at_px = found
    picture[at_px] = np.asarray(plate.image.resize(part, Image.Resampling.BICUBIC, box=box))
    known = Image.fromarray(plate.sure.astype(np.uint8) * 255)
    sure[at_px] = np.asarray(known.resize(part, Image.Resampling.BILINEAR, box=box)) > 250
    return picture, sure


def _seen_of(
    plate: Plate, at: Zoomed, size: tuple[int, int]
) -> tuple[tuple[float, float, float, float], tuple[int, int], tuple[slice, slice]] | None:
    """Which part of a place a near shot shows: its box on the canvas, its width and height in the shot's px,
    and its rows and columns there; None if that is next to nothing."""
    height, width = plate.sure.shape
    left, top = at.corner
    right, bottom = left + size[0] / at.zoom, top + size[1] / at.zoom
    box = max(0.0, left), max(0.0, top), min(float(width), right), min(float(height), bottom)
    if box[2] - box[0] < 2 or box[3] - box[1] < 2:
        return None
    x0, y0 = round((box[0] - left) * at.zoom), round((box[1] - top) * at.zoom)
    part = (
        min(size[0] - x0, round((box[2] - box[0]) * at.zoom)),
        min(size[1] - y0, round((box[3] - box[1]) * at.zoom)),
    )
    if min(part) < 2:
        return None
    return box, part, (slice(y0, y0 + part[1]), slice(x0, x0 + part[0]))


def located(picture_HW3: Pixels, plate: Plate) -> tuple[Zoomed, float] | None:
    """Where a picture lies on a place, and the share of it that is alike there; None if it does not fit."""
    best: tuple[float, Zoomed] | None = None
    size = picture_HW3.shape[1] // 2, picture_HW3.shape[0] // 2
    half = Looked(np.asarray(Image.fromarray(picture_HW3).resize(size, Image.Resampling.BOX)))
    canvas = _edges(plate.picture)
    spectrum = np.conj(np.fft.rfft2(canvas))
    for zoom in ZOOMS:
        for one in _peaks(picture_HW3, zoom, canvas.shape, spectrum):
            share = _alike(half, plate, one)
            if best is None or share > best[0]:
                best = share, one
    if best is None or best[0] < AGREE / 2:
        return None
    for step in FINER:
        best = _closer(half, plate, best, step)
    best = _sideways(half, plate, best)
    # What wants to be no nearer than the place itself is not near: smooth ground fits at any zoom.
    return (best[1], best[0]) if best[0] >= AGREE and best[1].zoom > LEAST else None


def _sideways(half: Looked, plate: Plate, best: tuple[float, Zoomed]) -> tuple[float, Zoomed]:
    """The likeliest place along the whole breadth: sea and sky fit anywhere, and few edges tell where."""
    y, zoom = best[1].corner[1], best[1].zoom
    last = plate.sure.shape[1] - 2 * half.picture.shape[1] / zoom
    tried = [Zoomed((float(x), y), zoom) for x in np.arange(0.0, max(0.0, last) + 1, APART)]
    likely = sorted(tried, key=lambda one: -_worth(half, plate, one))[:MOST]
    found = [best]
    for one in likely:
        closer = _alike(half, plate, one), one
        for step in FINER:
            closer = _closer(half, plate, closer, step)
        found.append(closer)
    return max(found, key=lambda one: _worth(half, plate, one[1]))


def _peaks(
    picture: Pixels, zoom: float, shape: tuple[int, ...], spectrum: NDArray[np.complexfloating]
) -> Sequence[Zoomed]:
    """The two likeliest corners at a zoom."""
    height, width = picture.shape[:2]
    size = max(8, round(width / zoom)), max(8, round(height / zoom))
    if size[0] > shape[1] or size[1] > shape[0]:
        return ()
    small = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX))
    laid = np.zeros(shape, np.float32)
    laid[: size[1], : size[0]] = _edges(small)
    product = np.fft.rfft2(laid) * spectrum
    peaks = np.fft.irfft2(product / np.maximum(np.abs(product), 1e-6) ** 0.5, shape)[::-1, ::-1]
    peaks = np.roll(peaks, 1, (0, 1))[: shape[0] - size[1] + 1, : shape[1] - size[0] + 1]
    found = []
    for flat in np.argpartition(peaks, -min(2, peaks.size), axis=None)[-2:]:
        y, x = divmod(int(flat), peaks.shape[1])
        found.append(Zoomed((float(x), float(y)), zoom))
    return found


def _closer(half: Looked, plate: Plate, best: tuple[float, Zoomed], step: float) -> tuple[float, Zoomed]:
    """The best of the neighbours in zoom and place, as long as they get better; the middle stays."""
    height, width = (2 * side for side in half.picture.shape[:2])
    for _ in range(6):
        share, at = best
        centre = at.corner[0] + width / at.zoom / 2, at.corner[1] + height / at.zoom / 2
        tried = []
        for zoom in (at.zoom / (1 + step), at.zoom, at.zoom * (1 + step)):
            for dx, dy in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)):
                move = step * width / at.zoom / 4
                corner = centre[0] - width / zoom / 2 + dx * move, centre[1] - height / zoom / 2 + dy * move
                one = Zoomed(corner, zoom)
                tried.append((_alike(half, plate, one), one))
        first = max(tried, key=lambda found: found[0])
        if first[0] <= share:
            break
        best = first
    return best


def _alike(half: Looked, plate: Plate, at: Zoomed) -> float:
    """The share of a picture that is alike; it is given with half of the pixels a side."""
    return share_of(levels_between(half.picture, _under(half.picture, plate, at)) <= ALIKE)


def _worth(half: Looked, plate: Plate, at: Zoomed) -> float:
    """How much speaks for a place; it is given as for `_alike`."""
    laid = _under(half.picture, plate, at)
    return told_by(levels_between(half.picture, laid) <= ALIKE, np.maximum(half.telling, telling(laid)))


def _under(half: Pixels, plate: Plate, at: Zoomed) -> Pixels:
    """What lies of the place under a picture with half of the pixels a side; black where nothing is."""
    height, width = half.shape[:2]
    laid = np.zeros_like(half)
    found = _seen_of(plate, Zoomed(at.corner, at.zoom / 2), (width, height))
    if found is not None:
        box, part, at_px = found
        laid[at_px] = np.asarray(plate.image.resize(part, Image.Resampling.BICUBIC, box=box))
    return laid


def _edges(picture_HW3: Pixels) -> Floats:
    grey = greys(picture_HW3) / np.float32(3)
    across, down = np.zeros_like(grey), np.zeros_like(grey)
    across[:, 1:], down[1:] = np.diff(grey, axis=1), np.diff(grey, axis=0)
    return np.asarray(np.minimum(np.hypot(across, down), 60), np.float32)
