"""The judge with a face detector and an embedder of your own.

`Options(faces=(detector, embedder))` takes any two objects of these shapes (`castsheet.judge.protocols`). The
detector below finds skin by its colour and the embedder compares colour histograms: they show the interface,
and are worse than `castsheet[identity]`.

    python examples/custom_detector.py CLIP.mp4 --sheet SHEET.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from castsheet import Clip, Judge, Sheet
from castsheet.clip import read_video
from castsheet.judge.judge import Options
from castsheet.judge.judgement import Judgement
from castsheet.judge.protocols import Detection
from castsheet.sheet.box import Box

Picture = NDArray[np.uint8]


class SkinDetector:
    """The box around everything in the colour of skin."""

    name = "skin colour"

    def detect(self, frame_HWC: Picture) -> list[Detection]:
        """One detection at most, in an RGB frame."""
        red, green, blue = (frame_HWC[..., channel].astype(int) for channel in range(3))
        rows, columns = np.nonzero((red > 90) & (red > green + 15) & (green > blue))
        if not len(rows):
            return []
        left, top, right, bottom = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        share = len(rows) / ((right - left) * (bottom - top))
        return [Detection(Box(int(left), int(top), int(right - left), int(bottom - top)), float(share))]


class HistogramEmbedder:
    """A crop as its colour histogram, eight bins a channel."""

    name = "colour histogram"

    def embed(self, crops: list[Picture]) -> NDArray[np.float32]:
        """Vectors (N, 24) of RGB crops."""
        found = [
            np.concatenate(
                [np.histogram(one[..., channel], bins=8, range=(0, 256))[0] for channel in range(3)]
            )
            for one in crops
        ]
        return np.array(found, np.float32).reshape(len(crops), 24)


def judged(clip: Clip, sheet: Sheet) -> Judgement:
    """The verdict on a clip, with these two instead of the installed networks."""
    return Judge(sheet, Options(faces=(SkinDetector(), HistogramEmbedder())))(clip, "clip")


def main() -> None:
    """Read the command line and run."""
    words = argparse.ArgumentParser(description="Judge a clip with a detector and an embedder of your own.")
    words.add_argument("clip", type=Path)
    words.add_argument("--sheet", type=Path, required=True)
    asked = words.parse_args()
    verdict = judged(Clip(*read_video(asked.clip)), Sheet.load(asked.sheet))
    print(verdict.verdict)
    print("compared by:", ", ".join(verdict.models))


if __name__ == "__main__":
    main()
