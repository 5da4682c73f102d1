"""From rows to figures: per identity, then a mean with its interval.

Legend: N identities, R regions, G groups of regions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from castsheet.judge.reroll import picked
from mini.evaluation.parts import REGIONS, Floats
from mini.evaluation.score import GROUPS, comparisons
from mini.evaluation.validation import ValidationSet, action_of, partner_of
from mini.studies.measure import Row

RESAMPLES = 4000
GROUP_NAMES = tuple(GROUPS)


@dataclass(frozen=True)
class Mean:
    """A mean over identities and its 95 % interval; None where no identity has a value.

    Source of the interval: percentile bootstrap (Efron, 1979) over pairs of partners, who share action and
    noise and so are not independent.
    """

    mean: float | None
    low: float | None = None
    high: float | None = None
    count: int = 0

    @classmethod
    def of(cls, values_N: Floats) -> Mean:
        """Of one value an identity; NaN is left out. Partners are neighbours."""
        count = int(np.isfinite(values_N).sum())
        if not count:
            return cls(None)
        padded = np.append(values_N, np.nan) if len(values_N) % 2 else values_N
        pairs = padded.reshape(-1, 2)
        drawn = np.random.default_rng(0).integers(0, len(pairs), (RESAMPLES, len(pairs)))
        sums = np.nansum(pairs, axis=1)[drawn].sum(1)
        counts = np.isfinite(pairs).sum(1)[drawn].sum(1)
        means = sums[counts > 0] / counts[counts > 0]
        low, high = np.percentile(means, (2.5, 97.5))
        return cls(float(np.nanmean(values_N)), float(low), float(high), count)


def identity(row: Row, index: int, truths: ValidationSet, *, partner: bool = False) -> dict[str, float]:
    """By group: the share of telling colours that lie nearer to the own identity's than to its partner's.

    NaN where the two differ in no colour of the group; see `mini.evaluation.score.comparisons`.

    Args:
        partner: the person wanted is the partner's; prop and place stay the own.
    """
    own, other = truths.colours_NR3[index][None], truths.colours_NR3[partner_of(index)][None]
    shares = {}
    for group, names in GROUPS.items():
        swapped = partner and group == "person"
        wanted, against = (other, own) if swapped else (own, other)
        counted, won = comparisons(row.lab[None], wanted, against)
        columns = [REGIONS.index(name) for name in names]
        total = int(counted[:, columns].sum())
        shares[group] = float(won[:, columns].sum() / total) if total else float("nan")
    return shares


def distance(row: Row, index: int, truths: ValidationSet, *, partner: bool = False) -> dict[str, float]:
    """By group: mean CIE76 from the measured to the true colours; NaN where nothing was measured."""
    found = {}
    for group, names in GROUPS.items():
        whose = partner_of(index) if partner and group == "person" else index
        columns = [REGIONS.index(name) for name in names]
        apart = np.linalg.norm(row.lab[columns] - truths.colours_NR3[whose][columns], axis=-1)
        found[group] = float(np.nanmean(apart)) if np.isfinite(apart).any() else float("nan")
    return found


def summarise(
    rows: Sequence[Sequence[Row]], truths: ValidationSet, *, partner: bool = False
) -> dict[str, Floats]:
    """Per-identity values (N,) of one condition, means over its takes: `person`, `person off`, `action`..."""

    def each(value: list[dict[str, float]]) -> dict[str, float]:
        return {name: float(np.mean([one[name] for one in value])) for name in value[0]}

    per = []
    for index, takes in enumerate(rows):
        won = each([identity(row, index, truths, partner=partner) for row in takes])
        off = each([distance(row, index, truths, partner=partner) for row in takes])
        shown = float(np.mean([row.action == action_of(index) for row in takes]))
        leaked = float(np.mean([row.leaked for row in takes]))
        per.append(
            won | {f"{name} off": value for name, value in off.items()} | {"action": shown, "leaked": leaked}
        )
    return {name: np.array([one[name] for one in per]) for name in per[0]}


def overall(row: Row, index: int, truths: ValidationSet) -> float:
    """One identity figure of a clip: the mean of its groups' shares."""
    return float(np.nanmean(list(identity(row, index, truths).values())))


def off(row: Row, index: int, truths: ValidationSet) -> float:
    """How far a clip's colours are from the true ones: the mean of its groups' CIE76 distances."""
    return float(np.nanmean(list(distance(row, index, truths).values())))


def choices(
    rows: Sequence[Sequence[Row]],
    truths: ValidationSet,
    value: Callable[[Row, int, ValidationSet], float] = overall,
) -> dict[str, NDArray[np.float64]]:
    """What each way of choosing among an identity's takes gives: (N,) values of the choice, and takes made.

    `first` is one take; `random` the mean of all; `judge` the judge's pick of all; `judge, early` that of
    `--takes`, which stops at the first take that passes; `highest` and `lowest` are the values' extremes.
    """
    found: dict[str, list[float]] = {
        name: [] for name in ("first", "random", "judge", "judge, early", "highest", "lowest", "takes made")
    }
    for index, takes in enumerate(rows):
        figures = np.array([value(row, index, truths) for row in takes])
        ranks = [(bool(row.passed), float(row.score or 0)) for row in takes]
        early = next((n + 1 for n, rank in enumerate(ranks) if rank[0]), len(ranks))
        values = (
            figures[0],
            figures.mean(),
            figures[picked(ranks)],
            figures[picked(ranks[:early])],
            figures.max(),
            figures.min(),
            early,
        )
        for name, one in zip(found, values, strict=True):
            found[name].append(float(one))
    return {name: np.array(values) for name, values in found.items()}
