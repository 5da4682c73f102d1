"""A sheet's structure, read from its pixels alone: separators, regions, fingerprints."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from castsheet.sheet.box import Box

UNIFORM_STD = 3.0  # a line of one colour, with room for JPEG noise
SAME_TONE = 6.0  # neighbouring lines of one band differ by less, in luma
SHARP_EDGE = 24.0  # a picture sets off from a band by at least this; a gradient does not
MAX_SEPARATOR = 0.15  # of the side: a broader band is content (sky, studio wall), not a gutter


def luma(image: Image.Image) -> NDArray[np.uint8]:
    """BT.601 luma (H, W) of an image."""
    return np.asarray(image.convert("L"))


def bounds(mask_HW: NDArray[np.bool_]) -> Box | None:
    """The smallest box around all that is set; None where nothing is."""
    rows, columns = np.flatnonzero(mask_HW.any(axis=1)), np.flatnonzero(mask_HW.any(axis=0))
    if not rows.size:
        return None
    x, y = int(columns[0]), int(rows[0])
    return Box(x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y)


def _runs(lines_LP: NDArray[np.uint8]) -> Iterator[tuple[int, int]]:
    """Maximal runs [start, stop) of uniform lines of one tone. Lines are rows of the array."""
    uniform = lines_LP.std(axis=1) <= UNIFORM_STD
    tone = lines_LP.mean(axis=1)
    start: int | None = None
    for i in range(len(lines_LP)):
        if start is not None and (not uniform[i] or abs(tone[i] - tone[start]) > SAME_TONE):
            yield start, i
            start = None
        if start is None and uniform[i]:
            start = i
    if start is not None:
        yield start, len(lines_LP)


def separators(lines_LP: NDArray[np.uint8]) -> list[tuple[int, int]]:
    """Runs of rows that separate pictures: of one tone, at least 2 thick, inside, sharp on both sides.

    Pass the transpose for columns. A photo's sky does not count, because it touches the border; a gradient
    does not, because it has no sharp side.
    """
    count = len(lines_LP)
    found = []
    for start, stop in _runs(lines_LP):
        thick = stop - start
        if start == 0 or stop == count or thick < 2 or thick > MAX_SEPARATOR * count:
            continue
        tone = float(lines_LP[start:stop].mean())
        sides = (lines_LP[max(start - 4, 0) : start], lines_LP[stop : stop + 4])
        if all(np.abs(side.astype(np.float32) - tone).max() >= SHARP_EDGE for side in sides):
            found.append((start, stop))
    return found


def _pieces(count: int, gaps: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The stretches of [0, count) between the gaps; between two adjoining gaps there is none."""
    starts = [0, *(stop for _, stop in gaps)]
    stops = [*(start for start, _ in gaps), count]
    return [(start, stop) for start, stop in zip(starts, stops, strict=True) if start < stop]


def regions(luma_HW: NDArray[np.uint8], depth: int = 4) -> list[Box]:
    """Pictures on a bare sheet: recursive cuts along separators, rows and columns in turn.

    Returns one box when nothing parts the image.
    """
    height, width = luma_HW.shape
    rows = _pieces(height, separators(luma_HW))
    columns = _pieces(width, separators(luma_HW.T))
    if depth == 0 or len(rows) == len(columns) == 1:
        return [Box(0, 0, width, height)]
    found = []
    for top, bottom in rows:
        for left, right in columns:
            for inner in regions(luma_HW[top:bottom, left:right], depth - 1):
                found.append(Box(left + inner.x, top + inner.y, inner.w, inner.h))
    return found


def frame_tone(luma_HW: NDArray[np.uint8]) -> float | None:
    """The tone of a margin of one colour, 2 px or more, around all four sides; None where there is none."""
    edges = (luma_HW[:2], luma_HW[-2:], luma_HW[:, :2], luma_HW[:, -2:])
    tones = [float(edge.mean()) for edge in edges]
    if max(float(edge.std()) for edge in edges) > UNIFORM_STD or max(tones) - min(tones) > SAME_TONE:
        return None
    return float(np.mean(tones))


def _dct(size: int) -> NDArray[np.float64]:
    """The orthogonal DCT-II matrix."""
    k, n = np.mgrid[:size, :size]
    matrix = np.cos(np.pi * (2 * n + 1) * k / (2 * size)) * np.sqrt(2 / size)
    matrix[0] /= np.sqrt(2)
    return matrix


def _trimmed(image: Image.Image) -> Image.Image:
    """The image without black margins, so that the same picture in a wider box hashes alike."""
    box = image.convert("L").point(lambda value: 255 * (value > 8)).getbbox()
    return image if box is None else image.crop(box)


def perceptual_hash(image: Image.Image) -> NDArray[np.bool_] | None:
    """64 bits that survive scaling and compression; None for a picture too flat to have features.

    The signs, about their median, of the 8 x 8 lowest frequencies of a 32 x 32 grey thumbnail
    (C. Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010).
    """
    small = np.asarray(_trimmed(image).convert("L").resize((32, 32), Image.Resampling.LANCZOS), np.float64)
    if small.std() < 4:
        return None
    dct = _dct(32)
    low = (dct @ small @ dct.T)[:8, :8].ravel()
    return low > np.median(low[1:])


def colour_distance(a: Image.Image, b: Image.Image) -> float:
    """Mean absolute difference, in 0..255, of 16 x 16 colour thumbnails where either is not black."""
    box = Image.Resampling.BOX
    small_a, small_b = (
        np.asarray(_trimmed(i).convert("RGB").resize((16, 16), box), np.float32) for i in (a, b)
    )
    lit = (small_a.max(axis=-1) > 16) | (small_b.max(axis=-1) > 16)
    return float(np.abs(small_a - small_b)[lit].mean()) if lit.any() else 0.0
