"""Whose face is it: `python -m mini.evaluation.faces`, on stories that are told from near.

Each take's face is compared with the faces of 16 stories' sheets, as the judge compares them. It counts where
the own sheet's is the likest. The rendered truth, and the truth through the codec, say what could be had.
Needs the `mini` and `identity` extras and an EGL driver.

Legend: N takes.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from castsheet.judge.cast import Pixels
from castsheet.judge.faces import FaceWitness
from castsheet.judge.models import installed_faces
from castsheet.judge.protocols import Detection, Detector, Embedder, Vectors
from mini.evaluation.score import GALLERY, Share
from mini.evaluation.stories import Source, add_source
from mini.script import finish
from mini.story.plot import plot_of
from mini.story.render import Renderer
from mini.story.sample import draw_sheet, sheet_random


class Remembering:
    """A detector and an embedder that look at each picture once, for it is compared with 16 sheets."""

    def __init__(self, detector: Detector, embedder: Embedder) -> None:
        self._detector, self._embedder = detector, embedder
        self._faces: dict[bytes, list[Detection]] = {}
        self._vectors: dict[bytes, NDArray[np.float32]] = {}
        self.name = f"{detector.name}, {embedder.name}"

    def detect(self, frame_HWC: Pixels) -> list[Detection]:
        key = frame_HWC.tobytes()
        if key not in self._faces:
            self._faces[key] = self._detector.detect(frame_HWC)
        return self._faces[key]

    def embed(self, crops: list[Pixels]) -> Vectors:
        for one in crops:
            if one.tobytes() not in self._vectors:
                self._vectors[one.tobytes()] = self._embedder.embed([one])[0]
        known = [self._vectors[one.tobytes()] for one in crops]
        return np.stack(known) if known else self._embedder.embed([])


def likenesses(witnesses: list[FaceWitness], frames_FHWC: Pixels) -> NDArray[np.float64]:
    """The face in a take against every sheet's, (N,); NaN where the two cannot be compared."""
    numbers = range(len(frames_FHWC))
    found = [
        [report.likeness for report in witness.look(frames_FHWC, numbers).values()] for witness in witnesses
    ]
    known = [[one for one in row if one is not None] for row in found]
    return np.array([max(row) if row else np.nan for row in known])


def first_of_sixteen(likeness_NN: NDArray[np.float64]) -> Share:
    """How often the likest of 16 sheets is the take's own, of the takes whose face can be compared with it.

    Takes and sheets come in the same order, in consecutive blocks of 16; an incomplete block is left out.
    """
    hits = total = 0
    for start in range(0, len(likeness_NN) - GALLERY + 1, GALLERY):
        block = likeness_NN[start : start + GALLERY, start : start + GALLERY]
        for index, row in enumerate(block):
            if np.isfinite(row[index]):
                hits, total = hits + int(int(np.nanargmax(row)) == index), total + 1
    return Share(hits, total)


def near(seeds: range, count: int) -> list[int]:
    """The first stories that are told from near: one person's, whose face is large enough."""
    return [
        seed for seed, _ in zip((seed for seed in seeds if plot_of(seed).near), range(count), strict=False)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=32, help="stories, a multiple of 16")
    add_source(parser)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    chosen, source = Source.told(options)

    def run() -> None:
        both = Remembering(*installed_faces())
        renderer, make, seeds = Renderer(), source.open(), near(chosen, options.count)
        sheets = [draw_sheet(renderer, plot_of(seed), sheet_random(seed)) for seed in seeds]
        witnesses = [FaceWitness(sheet, both, both) for sheet in sheets]
        rows = []
        for seed in seeds:
            rows.append(likenesses(witnesses, make(renderer, seed).frames))
            print(f"{len(rows)} of {len(seeds)} stories", end="\r", flush=True)
        share = first_of_sixteen(np.stack(rows)).to_dict()
        print(f"own face first of 16: {share}; takes: {len(seeds)}")
        if options.json is not None:
            options.json.write_text(
                json.dumps(share | {"takes": len(seeds)}, indent=1) + "\n", encoding="utf-8"
            )

    finish(run)


if __name__ == "__main__":
    main()
