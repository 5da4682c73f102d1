"""Which action a clip shows: a measure of where and when the picture moves, without a mask or a network.

Every fourth frame counts. Absolute differences of neighbours are averaged in blocks of a latent cell and in
tenths of the clip; what moves everywhere at once (noise) is taken off; the square root of the rest,
scaled to length one, is the clip's motion. A clip shows the action whose mean motion over rendered
training identities is most alike (cosine).

Range of a likeness: 0..1. Blind to: who moves, what still pixels show, and the sense of a motion that
leaves the same trace at the same times (a turn to the left or the right).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mini.evaluation.identities import ACTIONS, CELL, FRAMES
from mini.evaluation.parts import Pixels

Floats = NDArray[np.float32]

STEP = 4
INDICES = tuple(range(0, FRAMES, STEP))
BLOCK = CELL
BINS = 10


def motion(frames_FHWC: Pixels) -> Floats:
    """The motion (840,) of a clip, given its frames at `INDICES`; unit length, or zero for a still."""
    grey = frames_FHWC.astype(np.float32).mean(-1)
    moved = np.abs(np.diff(grey, axis=0))
    count, height, width = moved.shape
    blocks = moved.reshape(count, height // BLOCK, BLOCK, width // BLOCK, BLOCK).mean((2, 4))
    binned = blocks.reshape(BINS, count // BINS, *blocks.shape[1:]).mean(1).reshape(BINS, -1)
    above = np.maximum(binned - np.median(binned, axis=1, keepdims=True), 0)
    flat = np.sqrt(above).ravel()
    length = float(np.linalg.norm(flat))
    return flat / length if length > 0 else flat


def centroids(motions: Sequence[Floats], actions: Sequence[str]) -> Floats:
    """The mean motion (6, 840) of every action, unit length, in the order of `ACTIONS`."""
    means = [
        np.mean([one for one, name in zip(motions, actions, strict=True) if name == action], axis=0)
        for action in ACTIONS
    ]
    return np.stack([mean / np.linalg.norm(mean) for mean in means]).astype(np.float32)


def classify(frames_FHWC: Pixels, centroids_AM: Floats) -> str:
    """The action that a clip shows, given its frames at `INDICES`."""
    return ACTIONS[int(np.argmax(centroids_AM @ motion(frames_FHWC)))]
