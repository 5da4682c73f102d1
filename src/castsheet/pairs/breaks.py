"""Transitions that no detector saw, found where tracks break off or leap.

People who move on both sides of a dissolve within one place hide it. But nobody comes, goes or leaps in the
middle of a picture: where a track does, less is asked of the picture than elsewhere.

Legend: F frames, H height, W width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from PIL import Image

from castsheet.pairs.blends import BETWEEN, left_over, straight
from castsheet.pairs.protocols import SMALL, Change, Floats, Pixels
from castsheet.pairs.subjects import Seen

REACH = 6  # frames: half of the stretches that are looked at; of 16 frames the middle ones are a mixture
TURN = 18  # frames from a break in which a transition has its middle
SHARE = 0.5  # of all that changes: what goes in a straight line
AREA, AMOUNT = 0.075, 0.009  # of the picture, and of the range over the whole of it: what does
LEFT = 0.8  # of the ends' difference: what no movement of the whole picture explains
JUMP = 0.7  # of two boxes together: what one look shares with the next at least
ROOM = 3  # frames beyond the stretches


def unseen(frames_FHW3: Pixels, first: int, lines: Sequence[Sequence[Seen]]) -> list[Change]:
    """The transitions in a shot's frames near which somebody comes, goes or leaps in the middle.

    Args:
        first: number of the first frame. lines: who is seen, each followed through the shot.
    """
    width, count = frames_FHW3.shape[2], len(frames_FHW3)
    breaks = {at - first for line in lines for at in _broken(line, width)}
    near = sorted(
        {at for one in breaks for at in range(max(REACH, one - TURN), min(count - REACH, one + TURN + 1))}
    )
    if not near:
        return []
    begin = near[0] - REACH
    values = _small(frames_FHW3[begin : near[-1] + REACH + 1])
    shares = {at: _share(values, at - begin) for at in near}
    met = [at for at in near if shares[at]]
    found = []
    for run in np.split(met, np.flatnonzero(np.diff(met) > BETWEEN) + 1) if met else []:
        best = max(map(int, run), key=lambda at: shares[at]) - begin
        if left_over(values[best - REACH], values[best + REACH]) > LEFT:
            reach = REACH + ROOM
            found.append(
                Change(first + max(0, int(run[0]) - reach), first + min(count, int(run[-1]) + reach))
            )
    return found


def _broken(line: Sequence[Seen], width: int) -> Iterator[int]:
    """Frames in which a track begins, ends, or is somewhere else at once; not at the sides of the picture."""
    yield from (one.frame for one in (line[0], line[-1]) if one.box.x > 1 and one.box.right < width - 1)
    for one, other in pairwise(line):
        shared = one.box.shared(other.box)
        if shared < JUMP * (one.box.area + other.box.area - shared):
            yield (one.frame + other.frame) // 2


def parts(first: int, last: int, changes: Sequence[Change]) -> list[tuple[int, int]]:
    """First and end frames of what transitions leave of a shot."""
    found, begin = [], first
    for one in changes:
        if one.first > begin:
            found.append((begin, one.first))
        begin = max(begin, one.last)
    return [*found, (begin, last)] if last > begin else found


def _small(frames_FHW3: Pixels) -> Floats:
    """Pictures of `SMALL`, 0..1."""
    pictures = [
        np.asarray(Image.fromarray(one).resize(SMALL, Image.Resampling.BOX), np.float32)
        for one in frames_FHW3
    ]
    return np.stack(pictures) / 255


def _share(values_FHW3: Floats, at: int) -> float:
    """The share of what changes around a frame that goes in a straight line; 0 if that is too little."""
    share, even, size = straight(values_FHW3, at - REACH, 2 * REACH)
    enough = share > SHARE and even.mean() > AREA and size[even].sum() > AMOUNT * size.size
    return share if enough else 0.0
