"""What the stages ask of models. Offline back ends are in this room; tests use doubles.

Legend: F frames, H height, W width, N pictures, D dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

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
