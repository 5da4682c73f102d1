"""Who turns round, or stays sideways, by outlines: a figure is broad from the front and back, and slim from
the side.

At the size of whole figures most faces are missed, and outlines are not. How broad a figure is, is its area
over the square of its height: neither a wave of an arm nor a walk changes that by much.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from castsheet.pairs.records import Sight, Track

BROAD = 90  # percentile of a track's sights: the figure seen from the front or the back
SLIM, FULL = 0.82, 0.88  # of that: a side is below the first, and what parts two sides is above the second
SLIMMEST = 0.75  # of that: below it a sight shows little but the side
FEWEST = 5  # sights of a whole figure in which somebody turns
SLENDER = 0.5, 0.68  # of the front: all that is seen from the side only; less is a figure with holes
NARROW = 0.3  # of its height: the width of such a figure with its arms
GOES = 0.5  # times its height: how far somebody goes across the picture who walks the way they look
TALLER = 0.06  # of the usual height: who stretches or ducks by more is as slim as from the side


def breadth(sight: Sight) -> float:
    """The area of a figure over its squared height."""
    return sight.area / max(1, sight.box.h) ** 2


def usual_breadth(tracks: Sequence[Track]) -> float | None:
    """How broad somebody is from the front: the median of the tracks in which they turn; None if they turn in
    none."""
    found = []
    for track in tracks:
        whole = [breadth(one) for one in track.sights if not one.edge]
        if len(whole) >= FEWEST and min(whole) <= SLIMMEST * (broad := float(np.percentile(whole, BROAD))):
            found.append(broad)
    return float(np.median(found)) if found else None


def breadths(sights: Sequence[Sight], usual: float | None = None) -> NDArray[np.float64]:
    """How broad a figure is in each sight, in shares of its front.

    Args:
        usual: how broad somebody is from the front, if that is known: raised arms make a figure broader.
    """
    found = np.array([breadth(one) for one in sights])
    broad = float(np.percentile(found, BROAD))
    return np.asarray(found / max(1e-9, broad if usual is None else min(broad, usual)))


def sides(sights: Sequence[Sight]) -> list[int]:
    """Indices of the slimmest sights, one for each side that somebody shows between two broad views.

    Who turns round shows two at least; who shows one has hardly turned.
    """
    found: list[int] = []
    usual = float(np.median([one.box.h for one in sights])) if len(sights) else 0.0
    slimmest: int | None = None
    seen = False
    broad = breadths(sights) if len(sights) else np.zeros(0)
    for index, value in enumerate(broad):
        if value >= FULL:
            found += [] if slimmest is None else [slimmest]
            slimmest, seen = None, True
        elif abs(sights[index].box.h - usual) > TALLER * usual:
            slimmest, seen = None, False
        elif seen and value <= SLIM and (slimmest is None or value < broad[slimmest]):
            slimmest = index
    return found if len(found) > 1 else []


def turns_round(sights: Sequence[Sight]) -> bool:
    """Whether somebody shows both sides, and is seen broad before, between and after."""
    return bool(sides(sights))


def broadest(tracks: Sequence[Track]) -> float | None:
    """How broad somebody is in the broadest of tracks; None if none shows a whole figure for long."""
    whole = [[breadth(one) for one in track.sights if not one.edge] for track in tracks]
    return max((float(np.median(one)) for one in whole if len(one) >= FEWEST), default=None)


def stays_sideways(sights: Sequence[Sight], usual: float | None) -> bool:
    """Whether a track shows somebody from the side all the time: slim against their front, and narrow.

    Who lacks a part, because it has the colours of the place, is slim but not narrow, or slimmer than that.

    Args:
        usual: how broad somebody is in other tracks; None if nobody knows.
    """
    whole = [one for one in sights if not one.edge]
    if usual is None or len(whole) < FEWEST:
        return False
    least, most = np.percentile([breadth(one) / usual for one in whole], (100 - BROAD, BROAD))
    wide = np.percentile([one.box.w / one.box.h for one in whole], BROAD)
    return bool(SLENDER[0] <= least and most <= SLENDER[1] and wide <= NARROW)


def goes_along(sights: Sequence[Sight], looks: float) -> bool:
    """Whether somebody goes across the picture, to the side to which they look.

    Args:
        looks: above 0 to the right.
    """
    first, last = (one.box.x + one.box.w / 2 for one in (sights[0], sights[-1]))
    tall = float(np.median([one.box.h for one in sights]))
    return bool((last - first) * np.sign(looks) >= GOES * tall)
