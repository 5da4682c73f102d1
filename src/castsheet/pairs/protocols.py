"""What the stages ask of models. Offline back ends are in this room, models of transformers in `hub`, models
behind an endpoint in `asked`; tests use doubles. An embedder is the judge's `Embedder`. Every one of the six
has back ends of all three kinds (see `tools`).

Legend: F frames, H height, W width, N pictures, D dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from castsheet.sheet.box import Box

Pixels = NDArray[np.uint8]
Floats = NDArray[np.floating]

SMALL = (48, 27)
"""Width and height in px at which shot detectors look at a film: TransNetV2's."""


@dataclass(frozen=True)
class Change:
    """A transition: frames `first` to before `last` belong to neither shot; a hard cut has first == last."""

    first: int
    last: int


class ShotDetector(Protocol):
    """Finds where one shot ends and the next begins."""

    @property
    def name(self) -> str:
        """Names the rule or model and its version, for cache keys."""

    def changes(self, small_FHW3: Pixels) -> list[Change]:
        """The transitions of a film, in order, from its frames at `SMALL`."""


class Segmenter(Protocol):
    """Tells subjects from their place in the frames of one shot."""

    @property
    def name(self) -> str:
        """Names model and version, for cache keys."""

    def cover(self, frames_FHW3: Pixels) -> Floats:
        """How much each pixel (F, H, W) belongs to a subject, in 0..1."""

    def within(self, frame_HW3: Pixels, boxes: Sequence[Box]) -> Floats:
        """How much each pixel (N, H, W) belongs to the subject of each box, in 0..1; nothing outside it."""


@dataclass(frozen=True)
class Found:
    """Something that a detector found: where in the frame, what it was asked for, and how sure it is, in
    0..1."""

    box: Box
    word: str
    score: float


class Detector(Protocol):
    """Finds in a frame what words name."""

    @property
    def name(self) -> str:
        """Names model and version, for cache keys."""

    def find(self, frame_HW3: Pixels, words: Sequence[str]) -> list[Found]:
        """All that the words name, the surest first; boxes lie inside the frame."""


class Captioner(Protocol):
    """Says what happens in a clip."""

    @property
    def name(self) -> str:
        """Names model and version, for cache keys."""

    def say(self, frames_FHW3: Pixels, question: str) -> str:
        """The answer to a question about some frames of a clip, in their order."""


class Inpainter(Protocol):
    """Fills holes in the picture of a place."""

    @property
    def name(self) -> str:
        """Names model and version, for cache keys."""

    def fill(self, picture: Image.Image, hole_HW: NDArray[np.bool_]) -> Image.Image:
        """The picture with its hole filled; outside the hole it is unchanged."""
