"""Who is who: optimal assignment of detections to panels, tracks through time, swaps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from castsheet.sheet.box import Box

Floats = NDArray[np.float64]


def assign(value_NM: Floats) -> list[tuple[int, int]]:
    """The one-to-one assignment of rows to columns with the largest sum: min(N, M) pairs, by row.

    Source: the Hungarian method (Kuhn 1955) in its shortest-augmenting-path form with potentials, O(n^2 m).
    """
    value = np.asarray(value_NM, np.float64)
    if value.size == 0:
        return []
    if value.shape[0] > value.shape[1]:
        return sorted((row, column) for column, row in assign(value.T))
    cost = -value
    rows, columns = cost.shape
    row_price, column_price = np.zeros(rows + 1), np.zeros(columns + 1)
    owner = np.full(columns + 1, -1)  # row of each column; the last column is where a search starts
    for row in range(rows):
        owner[columns] = row
        free = _augment(cost, owner, row_price, column_price)
        # Walk the path back and hand each column to the row before.
        path, via = free
        while path != columns:
            owner[path] = owner[via[path]]
            path = via[path]
    return sorted((int(owner[column]), column) for column in range(columns) if owner[column] >= 0)


def _augment(
    cost_NM: Floats, owner: NDArray[np.int64], row_price: Floats, column_price: Floats
) -> tuple[int, NDArray[np.int64]]:
    """Shortest path to an unowned column. Returns that column, and for each column the one before it."""
    columns = cost_NM.shape[1]
    at, slack = columns, np.full(columns, np.inf)
    via = np.full(columns + 1, columns)
    done = np.zeros(columns + 1, np.bool_)
    while owner[at] >= 0:
        done[at] = True
        row = int(owner[at])
        reduced = cost_NM[row] - row_price[row] - column_price[:columns]
        better = ~done[:columns] & (reduced < slack)
        slack[better] = reduced[better]
        via[:columns][better] = at
        open_ = np.where(done[:columns], np.inf, slack)
        nearest = int(np.argmin(open_))
        step = open_[nearest]
        row_price[owner[done]] += step
        column_price[done] -= step
        slack[~done[:columns]] -= step
        at = nearest
    return at, via


@dataclass(frozen=True)
class Swap:
    """At sampled frame number `frame`, a figure changed from one element to another."""

    frame: int
    before: str
    after: str


def swaps(places: Sequence[dict[str, Box]], *, reach: float) -> list[Swap]:
    """Exchanges of identity: who stands at a place, against who should stand there by continuity.

    Definition: from each sampled frame to the next, elements seen in both are matched twice, by name and by
    place (the assignment of least total distance). If the two disagree, the figure at that place took on
    another element's looks. A figure that would have moved farther than `reach` does not count.
    Range: 0 upwards; a clip with its cast kept has none.
    Blind to: a clip that is swapped from its first frame to its last (give the order of entrance), and people
    who pass in front of each other between two sampled frames, which looks the same as a swap.

    Args:
        places: for every sampled frame, the box of each element that was seen.
        reach: the largest distance that a figure moves between two samples, px.
    """
    found: list[Swap] = []
    last: dict[str, tuple[int, Box]] = {}
    for frame, boxes in enumerate(places):
        names = [name for name in boxes if name in last]
        if len(names) >= 2:
            before = np.array([_centre(last[name][1]) for name in names])
            after = np.array([_centre(boxes[name]) for name in names])
            distance = np.linalg.norm(before[:, None] - after[None], axis=-1)
            for i, j in assign(-distance):
                if i != j and distance[i, j] <= reach < distance[i, i]:
                    found.append(Swap(frame, names[i], names[j]))
        last |= {name: (frame, box) for name, box in boxes.items()}
    return found


def order(places: Sequence[dict[str, Box]]) -> list[str]:
    """Elements from left to right, by their median place."""
    centres: dict[str, list[float]] = {}
    for boxes in places:
        for name, box in boxes.items():
            centres.setdefault(name, []).append(_centre(box)[0])
    return sorted(centres, key=lambda name: float(np.median(centres[name])))


def _centre(box: Box) -> tuple[float, float]:
    return box.x + box.w / 2, box.y + box.h / 2
