"""Whose face a take of mini shows: how it is counted."""

from __future__ import annotations

import numpy as np

from castsheet.judge.protocols import Detection
from castsheet.sheet.box import Box
from mini.evaluation.faces import Remembering, first_of_sixteen, near
from mini.story.plot import plot_of
from mini.world import VALIDATION


def test_the_own_face_must_be_the_likest_of_its_sixteen() -> None:
    """Red: a stranger's face passes, faces that cannot be compared count, or sheets of other blocks do."""
    likeness = np.full((35, 35), 0.9)  # three are left over: no whole block
    for block in (slice(0, 16), slice(16, 32)):
        likeness[block, block] = 0.1
    np.fill_diagonal(likeness, 0.5)
    likeness[3, 4] = 0.6  # a stranger
    likeness[5, 5] = np.nan  # no face of its own
    likeness[6, 7:9] = np.nan
    share = first_of_sixteen(likeness)
    assert (share.hits, share.total) == (30, 31)


class Counting:
    """Finds one face in every picture, and counts what it is asked."""

    name = "counting"

    def __init__(self) -> None:
        self.asked = 0

    def detect(self, frame_HWC: np.ndarray) -> list[Detection]:
        self.asked += 1
        return [Detection(Box(0, 0, int(frame_HWC[0, 0, 0]), 2), 1.0)]

    def embed(self, crops: list[np.ndarray]) -> np.ndarray:
        self.asked += len(crops)
        return np.array([[float(one.sum())] for one in crops], np.float32).reshape(len(crops), 1)


def test_a_picture_is_looked_at_once() -> None:
    """Red: the count takes sixteen times as long, or one picture is given another's face."""
    detector, embedder = Counting(), Counting()
    both = Remembering(detector, embedder)
    pictures = [np.full((4, 4, 3), level, np.uint8) for level in (1, 2, 1)]
    assert [both.detect(one)[0].box.w for one in pictures] == [1, 2, 1]
    assert both.embed(pictures)[:, 0].tolist() == [48.0, 96.0, 48.0]
    assert both.embed([]).shape[0] == 0
    assert detector.asked == embedder.asked == 2


def test_faces_are_of_stories_told_from_near() -> None:
    """Red: faces of a few pixels are compared, which are anybody's."""
    seeds = near(VALIDATION, 4)
    assert len(set(seeds)) == 4
    assert all(plot_of(seed).near for seed in seeds)
