"""Doubles for the judge's optional models, and the rendered fixture clips."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from castsheet.clip import Clip, read_video
from castsheet.judge.protocols import Detection
from castsheet.sheet.box import Box
from castsheet.sheet.manifest import Sheet

FOLDER = Path(__file__).parents[1] / "data" / "judge"


@cache
def fixture_clip(name: str) -> Clip:
    """One of tests/data/judge/*.mp4: 32 frames of rendered validation identities."""
    return Clip(*read_video(FOLDER / f"{name}.mp4"))


@cache
def fixture_sheet() -> Sheet:
    """The sheet that all of them were asked to follow."""
    return Sheet.load(FOLDER / "sheet.png")


class BlobFaces:
    """Finds pure-coloured squares on black: a red, a green and a blue person."""

    name = "blobs"

    def detect(self, frame_HWC: np.ndarray) -> list[Detection]:
        found = []
        for channel in range(3):
            others = [c for c in range(3) if c != channel]
            mask = (frame_HWC[..., channel] > 100) & (frame_HWC[..., others].max(axis=-1) < 90)
            rows, columns = np.nonzero(mask)
            if len(rows):
                x, y = int(columns.min()), int(rows.min())
                box = Box(x, y, int(columns.max()) - x + 1, int(rows.max()) - y + 1)
                found.append(Detection(box, 0.9))
        return sorted(found, key=lambda one: -one.box.area)


class MeanColour:
    """Embeds a crop as its mean colour."""

    name = "mean-colour"

    def embed(self, crops: list[np.ndarray]) -> np.ndarray:
        return np.array([one.reshape(-1, 3).mean(axis=0) for one in crops], np.float32).reshape(-1, 3)


class Reads:
    """Reads the same lines everywhere."""

    name = "reads"

    def __init__(self, *lines: str) -> None:
        self._lines = list(lines)

    def read(self, frame_HWC: np.ndarray) -> list[str]:
        return self._lines if frame_HWC.ndim == 3 else []
