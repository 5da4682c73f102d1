"""The shot rule on a real film: `python -m mini.films.bunny FILE [--shots plain-1]`.

FILE is `bbb.mp4` of Big Buck Bunny as the source package of moviepy 2.2.1 holds it. Its transitions were
labelled by eye (`bunny.json`: facts only, no picture). Prints precision, recall and F1 of all transitions,
cuts within two frames, slow ones by overlap; and which of the known fast movements are called a cut.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from castsheet.machine.files import sha256
from castsheet.media.film import film_frames
from castsheet.pairs.protocols import SMALL, Change
from castsheet.pairs.records import PairsError
from castsheet.pairs.tools import shots_of
from mini.script import finish

LABELS = Path(__file__).with_name("bunny.json")
NEAR = 2  # frames


@dataclass(frozen=True)
class Score:
    """How found transitions agree with labelled ones."""

    found: int
    right: int
    labelled: int
    seen: int
    movements: list[int]

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall."""
        precision, recall = self.right / max(1, self.found), self.seen / max(1, self.labelled)
        return 2 * precision * recall / max(1e-9, precision + recall)


def score(found: list[Change], labels: dict[str, Any]) -> Score:
    """Compare transitions with the labels."""
    cuts, slow = labels["cuts"], labels["slow"]

    def is_right(one: Change) -> bool:
        near = any(one.first - NEAR <= at <= one.last + NEAR for at in cuts)
        return near or any(
            one.first < last and first < max(one.last, one.first + 1) for first, last, _ in slow
        )

    def is_seen(first: int, last: int) -> bool:
        return any(one.first - NEAR <= last and first <= one.last + NEAR for one in found)

    seen = sum(is_seen(at, at) for at in cuts) + sum(is_seen(first, last) for first, last, _ in slow)
    hard = {one.first for one in found if one.first == one.last}
    fooled = [at for at in labels["movements"] if any(abs(at - other) <= NEAR for other in hard)]
    return Score(len(found), sum(is_right(one) for one in found), len(cuts) + len(slow), seen, fooled)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("film", type=Path)
    parser.add_argument("--shots", default="plain-1")
    options = parser.parse_args()
    labels = json.loads(LABELS.read_text(encoding="utf-8"))
    if sha256(options.film) != labels["sha256"]:
        raise PairsError(f"{options.film} is not the film that was labelled", remedy=labels["film"])
    small = np.stack([frame for _, frame in film_frames(options.film, size=SMALL)])
    one = score(shots_of(options.shots).changes(small), labels)
    print(f"precision {one.right}/{one.found}, recall {one.seen}/{one.labelled}, F1 {one.f1:.3f}")
    print(f"movements called a cut: {one.movements or 'none'}")


if __name__ == "__main__":
    finish(main)
