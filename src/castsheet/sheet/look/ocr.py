"""Reading text on a picture, and taking it off again. The reader comes with `castsheet[ocr]`."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from castsheet.machine.files import require
from castsheet.sheet.box import Box

READ_SIDE = 1600  # px of the longer side; labels of a sheet of 2400 px are read as surely, in half the time
_RIM = 3  # lines beside a text box that say what lies under it


@dataclass(frozen=True)
class TextLine:
    """One line of text: what it says, how sure the reader is (0..1), and where, in px of the picture."""

    text: str
    score: float
    box: Box


class TextReader(Protocol):
    """Anything that finds lines of text on an RGB picture."""

    def read(self, image: Image.Image) -> list[TextLine]: ...


def installed() -> bool:
    """Whether the optional reader and its runtime are there; imports neither."""
    return all(importlib.util.find_spec(name) is not None for name in ("rapidocr", "onnxruntime"))


class RapidReader:
    """The PP-OCR models that come inside the rapidocr package, on the CPU, without network.

    Raises:
        DependencyError: rapidocr is not installed.
    """

    def __init__(self) -> None:
        module = require("rapidocr", "ocr")
        require("onnxruntime", "ocr")
        self._engine = module.RapidOCR(params={"Global.log_level": "error"})

    def read(self, image: Image.Image) -> list[TextLine]:
        """Lines from top to bottom, left to right."""
        shrink = max(1.0, max(image.size) / READ_SIDE)
        size = (max(1, round(image.width / shrink)), max(1, round(image.height / shrink)))
        rgb = np.asarray(image.convert("RGB").resize(size, Image.Resampling.BOX))
        found = self._engine(rgb[:, :, ::-1])  # the models were trained on BGR
        if found.boxes is None:
            return []
        lines = []
        for corners, text, score in zip(found.boxes, found.txts, found.scores, strict=True):
            box = _box(np.asarray(corners) * shrink, image.size)
            if box is not None:
                lines.append(TextLine(text, float(score), box))
        return sorted(lines, key=lambda line: (line.box.y, line.box.x))


def _box(corners: NDArray[np.float64], size: tuple[int, int]) -> Box | None:
    """The upright box around four corners, clamped to the picture; None when nothing is left of it."""
    x, y = (int(max(0, np.floor(low))) for low in corners.min(axis=0))
    right, bottom = (int(min(s, np.ceil(high))) for s, high in zip(size, corners.max(axis=0), strict=True))
    return Box(x, y, right - x, bottom - y) if right > x and bottom > y else None


def grown(box: Box, by: int, size: tuple[int, int]) -> Box:
    """The box with a margin of `by` px, clamped to a picture of this size."""
    x, y = max(0, box.x - by), max(0, box.y - by)
    return Box(x, y, min(size[0], box.right + by) - x, min(size[1], box.bottom + by) - y)


def erase(image: Image.Image, boxes: Iterable[Box]) -> Image.Image:
    """A copy in which each box is filled smoothly from the pixels around it.

    The fill is the Coons patch of the box's four rims (S. A. Coons, 1967): exact for plain and evenly shaded
    grounds, a blur over anything else. It does not invent what lay under the text.
    """
    pixels = np.asarray(image.convert("RGB"), np.float32).copy()
    for box in boxes:
        _fill(pixels, box)
    return Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))


def _fill(pixels_HWC: NDArray[np.float32], box: Box) -> None:
    height, width = pixels_HWC.shape[:2]
    rows, columns = slice(box.y, box.bottom), slice(box.x, box.right)
    top = pixels_HWC[max(0, box.y - _RIM) : box.y, columns]
    bottom = pixels_HWC[box.bottom : min(height, box.bottom + _RIM), columns]
    left = pixels_HWC[rows, max(0, box.x - _RIM) : box.x]
    right = pixels_HWC[rows, box.right : min(width, box.right + _RIM)]
    # A side on the picture's edge has no rim; the opposite rim is used twice.
    t, b = _pair(top, bottom, axis=0)
    w, e = _pair(left, right, axis=1)
    v = ((np.arange(box.h, dtype=np.float32) + 0.5) / box.h)[:, None, None]
    u = ((np.arange(box.w, dtype=np.float32) + 0.5) / box.w)[None, :, None]
    if t is not None and b is not None and w is not None and e is not None:
        upper = (1 - u) * (t[0] + w[0]) / 2 + u * (t[-1] + e[0]) / 2
        lower = (1 - u) * (b[0] + w[-1]) / 2 + u * (b[-1] + e[-1]) / 2
        across, down = (1 - u) * w[:, None] + u * e[:, None], (1 - v) * t[None] + v * b[None]
        pixels_HWC[rows, columns] = across + down - ((1 - v) * upper + v * lower)
    elif t is not None and b is not None:
        pixels_HWC[rows, columns] = (1 - v) * t[None] + v * b[None]
    elif w is not None and e is not None:
        pixels_HWC[rows, columns] = (1 - u) * w[:, None] + u * e[:, None]
    else:  # the whole picture is text
        pixels_HWC[rows, columns] = 0


Rim = NDArray[np.float32] | None


def _pair(first: NDArray[np.float32], second: NDArray[np.float32], *, axis: int) -> tuple[Rim, Rim]:
    """The medians of two opposite rims. One missing rim is replaced by the other; both may be missing."""
    a = np.median(first, axis=axis) if first.size else None
    b = np.median(second, axis=axis) if second.size else None
    return (b if a is None else a), (a if b is None else b)
