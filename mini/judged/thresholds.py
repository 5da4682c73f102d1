"""How well a measure tells faults from clean clips: AUC, threshold from one half, rates on the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from castsheet.errors import SettingsError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """Attributes:
    auc: area under the ROC curve, all clips of the held-out half.
    threshold: chosen on the first half; a value at or above it is called a fault.
    detected: share of faulty clips called so, held-out half.
    false_alarms: share of clean clips called so, held-out half.
    faulty, clean: numbers of clips in the held-out half.
    """

    auc: float
    threshold: float
    detected: float
    false_alarms: float
    faulty: int
    clean: int


def auc(faulty: Sequence[float], clean: Sequence[float]) -> float:
    """Probability that a faulty clip's value is above a clean one's; ties count half. 0..1, 0.5 is chance.

    Source: the Mann-Whitney statistic (Hanley and McNeil, 1982). Values that grow with the fault.
    """
    a, b = _checked(faulty, "faulty"), _checked(clean, "clean")
    return float(((a[:, None] > b[None]) + 0.5 * (a[:, None] == b[None])).mean())


def threshold(faulty: Sequence[float], clean: Sequence[float], *, cost: float = 2.0) -> float:
    """The cut with the least missed faults plus `cost` times false alarms, in the middle of its gap.

    A false alarm throws away a good take, which is dearer than keeping a doubtful one for somebody to look
    at.
    """
    a, b = _checked(faulty, "faulty"), _checked(clean, "clean")
    values = np.unique(np.concatenate([a, b]))
    cuts = np.concatenate([[values[0] - 1e-6], (values[1:] + values[:-1]) / 2, [values[-1] + 1e-6]])
    loss = [(a < cut).mean() + cost * (b >= cut).mean() for cut in cuts]
    best = np.flatnonzero(np.isclose(loss, min(loss)))
    return float(cuts[best[len(best) // 2]])


def calibrate(
    faulty: tuple[Sequence[float], Sequence[float]], clean: tuple[Sequence[float], Sequence[float]]
) -> Calibration:
    """Choose on the first of each pair, report on the second.

    Raises:
        SettingsError: one of the four is empty or has values that are not finite.
    """
    cut = threshold(faulty[0], clean[0])
    a, b = _checked(faulty[1], "faulty"), _checked(clean[1], "clean")
    return Calibration(
        auc(a.tolist(), b.tolist()), cut, float((a >= cut).mean()), float((b >= cut).mean()), len(a), len(b)
    )


def _checked(values: Sequence[float], what: str) -> Floats:
    array = np.asarray(values, np.float64)
    if array.size == 0 or not np.isfinite(array).all():
        raise SettingsError(
            f"the {what} clips have no usable values", remedy="give one finite value a clip, one clip or more"
        )
    return array
