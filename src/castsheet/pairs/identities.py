"""Who is who within a title: tracks of all its shots, joined to identities.

Average linkage over the distance of looks. Two who are seen at once are two. A distance between the two
thresholds is "unsure": it is shown to the person who corrects the cast, and nobody is paired over it. What is
surely one person stays so, whoever else may be the same.

Legend: T tracks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from castsheet.pairs.looks import Look, apart
from castsheet.pairs.records import Track

SAME = 0.46
OTHER = 0.52
"""Distances of looks: below the first two tracks are one person, above the second they are two."""
FEWER = 0.03
"""What each part that the two do not share takes off both thresholds: head and chest alone say less."""
PARTS = 3
TURN = 24  # frames of the film from the end of one track to the begin of the next: a slow transition's length
RIVALS, SETTLED = 3, 0.01
"""Pairs seen at once that an embedder needs, and how far below the limit a settled doubt lies."""


@dataclass(frozen=True)
class Identity:
    """Tracks of one person. `unsure`: ids of tracks of others that may be the same person."""

    tracks: tuple[str, ...]
    unsure: tuple[str, ...]


def identify(tracks: Sequence[Track]) -> list[Identity]:
    """The identities of a title, those with most tracks first."""
    if not tracks:
        return []
    far, limit = _distances(tracks)
    apart_TT = _at_once(tracks)
    far = _settled(tracks, far, limit, apart_TT)
    groups = [[k] for k in range(len(tracks))]
    while len(groups) > 1:
        best: tuple[float, int, int] | None = None
        for a in range(len(groups)):
            for b in range(a + 1, len(groups)):
                grid = np.ix_(groups[a], groups[b])
                if apart_TT[grid].any():
                    continue
                value = float((far[grid] - limit[grid]).mean())
                if value < 0 and (best is None or value < best[0]):
                    best = value, a, b
        if best is None:
            break
        _, a, b = best
        groups[a] += groups.pop(b)
    found = [
        Identity(
            tuple(tracks[k].id for k in sorted(group)), _near(group, groups, far, limit, apart_TT, tracks)
        )
        for group in groups
    ]
    return sorted(found, key=lambda one: (-len(one.tracks), one.tracks))


def replaced(tracks: Sequence[Track], width: int) -> list[tuple[int, int]]:
    """Frames between which somebody goes and somebody else comes in the middle of a shot's picture: nobody
    does, but in a transition between shots of one place.

    Args:
        width: of the picture in which the tracks were seen.
    """
    found = []
    for one in tracks:
        for other in tracks:
            end, start = one.sights[-1], other.sights[0]
            if one is other or one.owner or other.owner or abs(start.frame - end.frame) > TURN:
                continue
            if any(sight.box.x <= 1 or sight.box.right >= width - 1 for sight in (end, start)):
                continue
            if apart(Look.of_flat(one.colours), Look.of_flat(other.colours))[0] > OTHER:
                found.append((min(end.frame, start.frame), max(end.frame, start.frame)))
    return found


def _near(
    group: list[int],
    groups: list[list[int]],
    far: NDArray[np.float64],
    limit: NDArray[np.float64],
    apart_TT: NDArray[np.bool_],
    tracks: Sequence[Track],
) -> tuple[str, ...]:
    """Tracks of other groups that may be this person: on average nearer than the upper threshold."""
    found = []
    for other in groups:
        if other is group:
            continue
        grid = np.ix_(group, other)
        if not apart_TT[grid].any() and float((far[grid] - limit[grid]).mean()) < OTHER - SAME:
            found += [tracks[k].id for k in other]
    return tuple(sorted(found))


def _distances(tracks: Sequence[Track]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distances (T, T) of looks, and below what they mean one person."""
    looks = [Look.of_flat(track.colours) for track in tracks]
    far = np.zeros((len(looks), len(looks)))
    limit = np.full_like(far, SAME)
    for a in range(len(looks)):
        for b in range(a + 1, len(looks)):
            value, common = apart(looks[a], looks[b])
            far[a, b] = far[b, a] = value if common >= PARTS - 1 else 1.0
            limit[a, b] = limit[b, a] = SAME - FEWER * (PARTS - common)
    return far, limit


def _settled(
    tracks: Sequence[Track],
    far: NDArray[np.float64],
    limit: NDArray[np.float64],
    apart_TT: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Distances (T, T) with doubts of colours settled by an embedder's vectors, where tracks have some.

    An embedder's scale is its own. Two who are seen at once are two, and show how alike two people can be:
    tracks between which colours leave a doubt are one person if they are more alike than all of these. A
    vector of zeros says that the embedder saw nothing that it knows, and settles nothing.
    """
    if not all(track.vector for track in tracks) or len({len(track.vector) for track in tracks}) != 1:
        return far
    vectors_TD = np.array([track.vector for track in tracks])
    alike = vectors_TD @ vectors_TD.T
    known_T = np.linalg.norm(vectors_TD, axis=1) > 0
    known_TT = known_T[:, None] & known_T[None]
    rivals = alike[np.triu(apart_TT & known_TT)]
    if len(rivals) < RIVALS:
        return far
    doubt = (far >= limit) & (far < limit + OTHER - SAME) & ~apart_TT & known_TT
    return np.where(doubt & (alike > rivals.max()), limit - SETTLED, far)


def _at_once(tracks: Sequence[Track]) -> NDArray[np.bool_]:
    """Which pairs of tracks (T, T) are seen in one frame of one shot."""
    frames = [{one.frame for one in track.sights} for track in tracks]
    found = np.zeros((len(tracks), len(tracks)), np.bool_)
    for a, one in enumerate(tracks):
        for b, other in enumerate(tracks):
            found[a, b] = a != b and one.shot == other.shot and bool(frames[a] & frames[b])
    return found
