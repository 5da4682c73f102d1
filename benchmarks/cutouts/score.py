"""How near a cut-out is to the truth: region, boundary, and what was lost."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]
# A part counts as lost when less than this share of it is left.
LEFT = 0.5


def iou(found: Mask, truth: Mask) -> float:
    """Intersection over union."""
    return float((found & truth).sum()) / max(1, int((found | truth).sum()))


def boundary_f(found: Mask, truth: Mask, reach: int = 3) -> float:
    """F measure of the outlines, a point counting as met within `reach` px (Martin et al., PAMI 2004)."""
    one, other = _outline(found), _outline(truth)
    if not one.any() or not other.any():
        return 0.0
    met = float((one & (ndimage.distance_transform_edt(~other) <= reach)).sum()) / float(one.sum())
    held = float((other & (ndimage.distance_transform_edt(~one) <= reach)).sum()) / float(other.sum())
    return 2 * met * held / max(1e-9, met + held)


def _outline(mask: Mask) -> Mask:
    return mask & ~ndimage.binary_erosion(mask, border_value=1)


def lost(found: Mask, parts: dict[str, Mask]) -> list[str]:
    """The parts of which less than half is left."""
    return [name for name, part in parts.items() if float((found & part).sum()) < LEFT * float(part.sum())]


def spread(values: list[float]) -> dict[str, float]:
    """Mean, the tenth percentile, and the mean of the worst tenth."""
    ordered = np.sort(np.asarray(values))
    worst = ordered[: max(1, len(ordered) // 10)]
    return {
        "mean": float(ordered.mean()),
        "p10": float(np.quantile(ordered, 0.1)),
        "worst_tenth": float(worst.mean()),
        "least": float(ordered[0]),
    }
