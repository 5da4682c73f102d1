"""The plain rule where it is sure, and a second look at what is left: fast, and as good as the second look.

A strict rule finds what is surely a transition, a loose one all that may be one. What lies between the two is
a doubt, and a slower detector settles it: TransNetV2, features of a vision model, or a model behind an
endpoint.

Legend: F frames, H height, W width.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from PIL import Image

from castsheet.judge.protocols import Embedder, cosine
from castsheet.pairs.protocols import Change, Pixels, ShotDetector
from castsheet.pairs.shots import transitions

STRICT, LOOSE = 1.8, 0.6
"""What the plain rule's thresholds are multiplied by."""
AROUND = 75  # frames on either side of a doubt that a detector is shown
NEAR = 12  # frames: a detector may place a transition so far from where the plain rule saw one
STEADY = 8  # frames of one shot that show how much its picture changes by itself
JUMP = 2.0  # a transition changes the picture so many times as much
SHOWN = (384, 216)  # px: small pictures as a vision model is shown them


class Second(Protocol):
    """Settles doubts."""

    @property
    def name(self) -> str:
        """Names the model and its version, for cache keys."""

    def real(self, small_FHW3: Pixels, doubt: Change) -> list[Change]:
        """The transitions that a doubt is; none if it is none."""


class SureFirst:
    """The plain rule with a second look: a shot detector."""

    def __init__(self, second: Second, name: str | None = None) -> None:
        self._second = second
        self.name = name or second.name

    def changes(self, small_FHW3: Pixels) -> list[Change]:
        """The transitions, in order."""
        sure = transitions(small_FHW3, STRICT)
        found = list(sure)
        for doubt in transitions(small_FHW3, LOOSE):
            if any(_touch(doubt, one) for one in sure):
                continue
            found += [
                one
                for one in self._second.real(small_FHW3, doubt)
                if not any(_touch(one, other) for other in found)
            ]
        return sorted(found, key=lambda one: (one.first, one.last))


class Detected:
    """Doubts settled by another shot detector, which sees the frames around them.

    Args:
        detector: such as TransNetV2. Its windows are the same wherever they begin, within its threshold.
    """

    def __init__(self, detector: ShotDetector) -> None:
        self._detector = detector
        self.name = detector.name

    def real(self, small_FHW3: Pixels, doubt: Change) -> list[Change]:
        """What the detector finds where the doubt is."""
        start = max(0, doubt.first - AROUND)
        part = small_FHW3[start : doubt.last + AROUND]
        found = [Change(one.first + start, one.last + start) for one in self._detector.changes(part)]
        return [one for one in found if _touch(one, doubt, NEAR)]


class Unlike:
    """Doubts settled by a vision model: a transition changes its vectors more than the shots around do."""

    def __init__(self, embedder: Embedder, name: str) -> None:
        self._embedder = embedder
        self.name = name

    def real(self, small_FHW3: Pixels, doubt: Change) -> list[Change]:
        """The doubt itself, if what is before and after it differs much."""
        last = len(small_FHW3) - 1
        before, after = max(0, doubt.first - 1), min(doubt.last, last)
        at = [max(0, before - STEADY), before, after, min(after + STEADY, last)]
        vectors = self._embedder.embed([small_FHW3[k] for k in at])
        before_far, far, after_far = (1 - float(one) for one in np.diag(cosine(vectors, vectors), 1))
        return [doubt] if far > JUMP * max(before_far, after_far) else []


def beside(small_FHW3: Pixels, doubt: Change) -> tuple[Image.Image, Image.Image]:
    """The pictures before and after a doubt, for a model that is asked whether they are of one shot."""
    before, after = max(0, doubt.first - 1), min(doubt.last, len(small_FHW3) - 1)
    one, other = (
        Image.fromarray(np.ascontiguousarray(small_FHW3[k])).resize(SHOWN, Image.Resampling.BICUBIC)
        for k in (before, after)
    )
    return one, other


def _touch(one: Change, other: Change, near: int = 1) -> bool:
    """Whether two transitions share frames, or lie next to each other."""
    return one.first <= other.last + near and other.first <= one.last + near
