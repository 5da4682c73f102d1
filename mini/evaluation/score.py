"""Whose sheet was it: the arithmetic of mini's evaluation, on colours that were measured elsewhere.

Legend: N identities, R regions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mini.evaluation.parts import PERSON, PLACE, REGIONS, Floats

TELLING = 20.0  # CIE76: colours nearer than this do not tell two identities apart
GALLERY = 16
GROUPS: dict[str, tuple[str, ...]] = {"person": PERSON, "prop": ("prop",), "location": PLACE}
_RETRIEVAL = (*PERSON, "prop", *PLACE)


@dataclass(frozen=True)
class Share:
    """`hits` out of `total`."""

    hits: int
    total: int

    def to_dict(self) -> dict[str, Any]:
        """Share and its 95 % interval (Wilson, 1927), None where nothing was compared.

        The comparisons of one clip are not independent, so the true interval is somewhat wider.
        """
        if not self.total:
            return {"share": None, "hits": 0, "total": 0, "interval": None}
        share, n, z = self.hits / self.total, self.total, 1.96
        centre = (share + z * z / (2 * n)) / (1 + z * z / n)
        reach = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
        low, high = round(centre - reach, 4), round(centre + reach, 4)
        return {"share": round(share, 4), "hits": self.hits, "total": n, "interval": [low, high]}


def comparisons(
    measured_NR3: Floats, own_NR3: Floats, other_NR3: Floats
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which colours count, and which of those lie nearer to the own identity's than to the other's: (N,R)
    each.

    A colour counts where the two identities' true colours differ by `TELLING` or more. One that lies
    exactly between them is no hit.
    """
    apart = np.linalg.norm(own_NR3 - other_NR3, axis=-1)
    counted = np.isfinite(measured_NR3).all(-1) & (np.nan_to_num(apart) >= TELLING)
    to_own = np.linalg.norm(measured_NR3 - own_NR3, axis=-1)
    to_other = np.linalg.norm(measured_NR3 - other_NR3, axis=-1)
    return counted, counted & (to_own < to_other)


def identity_score(measured_NR3: Floats, own_NR3: Floats, other_NR3: Floats) -> dict[str, Any]:
    """Shares of comparisons won, by group and by region."""
    counted, won = comparisons(measured_NR3, own_NR3, other_NR3)

    def share(names: Sequence[str]) -> dict[str, Any]:
        columns = [REGIONS.index(name) for name in names]
        return Share(int(won[:, columns].sum()), int(counted[:, columns].sum())).to_dict()

    groups = {name: share(regions) for name, regions in GROUPS.items()}
    return groups | {"regions": {name: share([name]) for name in REGIONS}}


def retrieval(measured_NR3: Floats, own_NR3: Floats) -> dict[str, Any]:
    """How often the nearest of 16 identities (mean CIE76 over common regions) is the one that was given.

    Identities are taken in consecutive blocks of 16; an incomplete last block is left out.
    """
    columns = [REGIONS.index(name) for name in _RETRIEVAL]
    whole = len(measured_NR3) // GALLERY * GALLERY
    hits = 0
    for index in range(whole):
        start = index // GALLERY * GALLERY
        gallery = own_NR3[start : start + GALLERY, columns]
        distances = np.linalg.norm(gallery - measured_NR3[index, columns], axis=-1)
        seen = np.isfinite(distances)
        mean = np.where(seen, distances, 0).sum(1) / np.maximum(seen.sum(1), 1)
        hits += int(np.argmin(np.where(seen.any(1), mean, np.inf)) == index - start)
    return Share(hits, whole).to_dict()


def action_score(asked: Sequence[str], shown: Sequence[str]) -> dict[str, Any]:
    """How often clips show the action that was asked for, in all and by action; and what else they show."""
    by_action: dict[str, Any] = {}
    for action in dict.fromkeys(asked):
        seen = [there for want, there in zip(asked, shown, strict=True) if want == action]
        wrong = {name: seen.count(name) for name in dict.fromkeys(seen) if name != action}
        by_action[action] = Share(seen.count(action), len(seen)).to_dict() | {"mistaken_for": wrong}
    hits = sum(want == there for want, there in zip(asked, shown, strict=True))
    return Share(hits, len(asked)).to_dict() | {"actions": by_action}
