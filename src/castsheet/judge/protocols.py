"""Interfaces of models that the judge can use if they are installed. Tests use doubles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from castsheet.judge.cast import Pixels
from castsheet.sheet.box import Box

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Detection:
    """Something found in a frame: where, how sure (0..1), and for a face how far it is turned, in degrees."""

    box: Box
    score: float
    turned: float = 0.0


class Detector(Protocol):
    """Finds faces, people or things in a frame."""

    @property
    def name(self) -> str:
        """Names model and version, for reports."""

    def detect(self, frame_HWC: Pixels) -> list[Detection]:
        """All detections in an RGB frame, the largest first."""


class Embedder(Protocol):
    """Turns crops into vectors; the cosine of two vectors is the similarity of their crops."""

    @property
    def name(self) -> str:
        """Names model and version, for reports."""

    def embed(self, crops: list[Pixels]) -> Vectors:
        """Vectors (N, D) of RGB crops of any size; not necessarily of unit length."""


@dataclass(frozen=True)
class Maps:
    """What a network sees in every part of pictures: features (N, h, w, D) over an even grid, in either case.

    Attributes:
        parts_NhwD: of its middle: parts and materials.
        kinds_NhwD: of its end: kinds of things. A network with one grid gives it twice.
    """

    parts_NhwD: Vectors
    kinds_NhwD: Vectors


class Looker(Protocol):
    """A network that looks at pictures part by part: it tells figures without a face, and places.

    Several threads call it at a time, each with its own pictures.
    """

    @property
    def name(self) -> str:
        """Names model and version, for reports."""

    def maps(self, pictures_NHWC: Pixels) -> Maps:
        """Features of RGB pictures of one size; a network of a fixed size may stretch them to it."""


class FrameReader(Protocol):
    """Finds writing in a frame."""

    @property
    def name(self) -> str:
        """Names model and version, for reports."""

    def read(self, frame_HWC: Pixels) -> list[str]:
        """The lines of text in an RGB frame."""


def cosine(a_ND: Vectors, b_MD: Vectors) -> NDArray[np.float64]:
    """Cosine (N, M) of two sets of vectors; 0 if one of the two vectors is zero."""
    a, b = a_ND.astype(np.float64), b_MD.astype(np.float64)
    norms = np.linalg.norm(a, axis=1)[:, None] * np.linalg.norm(b, axis=1)[None]
    return np.asarray(np.where(norms > 0, (a @ b.T) / np.maximum(norms, 1e-12), 0.0))


def crop(frame_HWC: Pixels, box: Box) -> Pixels:
    """The part of a frame under a box, which may reach outside; one pixel at least."""
    height, width = frame_HWC.shape[:2]
    left, top = min(max(box.x, 0), width - 1), min(max(box.y, 0), height - 1)
    right, bottom = min(max(box.right, left + 1), width), min(max(box.bottom, top + 1), height)
    return frame_HWC[top:bottom, left:right]
