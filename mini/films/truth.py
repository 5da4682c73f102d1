"""What is true of a film, as `mini.films` wrote it beside the film, and how shares are counted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from castsheet.pairs.records import Film


@dataclass(frozen=True)
class Truth:
    """What is true of a film."""

    told: dict[str, Any]
    masks: Mapping[str, NDArray[np.uint8]]

    def shot_at(self, frame: int) -> dict[str, Any] | None:
        """The shot that a frame belongs to; None in a transition."""
        return next((one for one in self.told["shots"] if one["first"] <= frame < one["last"]), None)

    def near(self, frame: int) -> NDArray[np.uint8] | None:
        """The mask of a frame or of one of its neighbours: people move little in three frames."""
        offsets = (0, 1, -1, 2, -2, 3, -3)
        return next((self.masks[str(frame + k)] for k in offsets if str(frame + k) in self.masks), None)

    def transition_frames(self) -> set[int]:
        """All frames that belong to no shot."""
        return {k for one in self.told["transitions"] for k in range(one["first"], one["last"])}


def read_truth(folder: Path, film: Film) -> Truth | None:
    """A film's truth; None for a file that was made to be corrupt."""
    path = folder / f"{film.title}.json"
    if not path.is_file():
        return None
    with np.load(folder / f"{film.title}.masks.npz", allow_pickle=False) as masks:
        return Truth(json.loads(path.read_text()), {name: masks[name] for name in masks.files})


@dataclass
class Tally:
    """A share as it is counted, with what was wrong."""

    right: int = 0
    of: int = 0

    def add(self, right: bool) -> None:
        self.right += right
        self.of += 1

    def __str__(self) -> str:
        return f"{self.right}/{self.of} = {self.right / max(1, self.of):.3f}"


def best_overlap(mask_HW: NDArray[np.bool_], figures_HW: NDArray[np.uint8], people: int) -> float:
    """Intersection over union of a mask with the person that it fits best, with or without a prop in hand."""
    numbers = range(1, people + 1)
    sets = [figures_HW == k for k in numbers] + [(figures_HW == k) | (figures_HW > people) for k in numbers]
    return max(float((mask_HW & one).sum() / max(1, (mask_HW | one).sum())) for one in sets)
