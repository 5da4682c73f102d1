"""The picture of a clip's place without people, from other shots of the place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from castsheet.pairs.camera import Placed, Plate, corner_at, plate_of
from castsheet.pairs.frames import filled, read_frames
from castsheet.pairs.gates import from_clip, mask_of
from castsheet.pairs.ledger import Stored
from castsheet.pairs.protocols import Pixels
from castsheet.pairs.records import Film, Track, Window
from castsheet.pairs.scan import AT_LEAST, working_size
from castsheet.pairs.tools import ENDPOINT, HUB, inpainter_of

SHADOW = 0.25  # of a figure's width, on either side of its feet; a quarter of that of its height
ROOM = 9  # px of a square: what lies so near somebody may be theirs
UNSEEN, CLEAN = 0.03, 0.005
"""Of a picture: how much that no other shot shows a model may paint, and a rule may fill or leave open, which
makes a smear of more. Where more is not seen, a part of the place that lacks less is taken."""
PARTS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7)  # of the width and height of a frame, the largest first

MOMENTS = (0.05, 0.28, 0.5, 0.72, 0.95)
"""Moments of a shot at which its picture helps: who walks frees the place behind them."""
INWARDS = (2, 1, 3, 0, 4)  # the middle first: it is the one that an empty shot lends

Plain = tuple[Image.Image, list[tuple[str, int]]]
"""A picture of a place, and the films and frames that it comes from."""


class Refused(Exception):
    """A rule is broken: no pair is made of the window. `reject`: rule, value, limit."""

    def __init__(self, rule: str, value: str, limit: str = "") -> None:
        super().__init__(rule)
        self.reject = (rule, value, limit)


@dataclass(frozen=True)
class Backdrop:
    """Another shot of the window's place: its span, and where its three pictures lie.

    Attributes:
        empty: whether surely nobody is in it. people: who is. stored: path of its file in the ledger, which
            holds their masks.
    """

    shot: str
    span: tuple[int, int]
    corners: tuple[tuple[int, int], ...]
    empty: bool
    people: tuple[Track, ...] = ()
    stored: str = ""


def plain_of(
    film: Film,
    times: NDArray[np.float64],
    backdrops: Sequence[Backdrop],
    window: Window,
    size: tuple[int, int],
    filler: str,
) -> Plain:
    """A clip's place without people, from other shots, and the frames that it comes from.

    Args:
        times: of all frames of the film, seconds. window: the clip; the shot after it may begin so soon that
            its first pictures count as the clip's. size: width and height in px of the clips.
        filler: name of the inpainter (see `tools`).

    Raises:
        Refused: no other shot shows it, or people stand before a part of it in all of them.
    """
    if not backdrops:
        raise Refused("R70", "no other shot of the place")
    moments = [
        (number, k, frame)
        for number, one in enumerate(backdrops)
        for k in INWARDS
        if not from_clip(film.id, frame := _moment(one, k), window, film.id)
    ]
    empty = [frame for number, _, frame in moments if backdrops[number].empty]
    if empty:
        frame = empty[0]
        picture = next(read_frames(film, start=float(times[frame])))[1]
        return Image.fromarray(filled(picture, size)), [(film.id, frame)]
    shots = {number for number, _, _ in moments}
    if len(shots) < AT_LEAST:
        raise Refused("R70", f"{len(shots)} other shots", f"{AT_LEAST}")
    placed, sources = [], []
    for number, k, frame in sorted(moments):
        picture = next(read_frames(film, start=float(times[frame]), size=working_size(film)))[1]
        free = free_of(backdrops[number], frame, working_size(film))
        placed.append(Placed(picture, number, _corner(backdrops[number], k), free))
        sources.append((film.id, frame))
    plate = plate_of(placed)
    looked, inpainter = working_size(film), inpainter_of(filler)
    picture, sure = max(
        (plate.at(backdrops[number].corners[1], looked) for number in sorted(shots)),
        key=lambda found: float(found[1].mean()),
    )
    unseen, enough = 1 - float(sure.mean()), UNSEEN if filler.startswith((HUB, ENDPOINT)) else CLEAN
    if unseen > enough:
        part = clean_part(plate, looked)
        if part is None:
            raise Refused("R70", f"{unseen:.1%} unseen", f"{enough:.1%}")
        picture, sure = part
    if inpainter is not None:
        picture = np.asarray(inpainter.fill(Image.fromarray(picture), ~sure))
    share = picture.shape[1] / looked[0]
    return Image.fromarray(filled(picture, (round(size[0] * share), round(size[1] * share)))), sources


def clean_part(plate: Plate, size: tuple[int, int]) -> tuple[Pixels, NDArray[np.bool_]] | None:
    """The largest part of a place, in a frame's shape, that is known nearly everywhere, next to the middle,
    and what is known of it; None if each lacks too much, because somebody stood there in all shots.

    Args:
        size: width and height of the frame in px.
    """
    height, width = plate.sure.shape
    sums = np.pad((~plate.sure).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    for share in PARTS:
        w, h = round(size[0] * share), round(size[1] * share)
        if w > width or h > height:
            continue
        unknown = sums[h:, w:] - sums[:-h, w:] - sums[h:, :-w] + sums[:-h, :-w]
        if unknown.min() <= CLEAN * w * h:
            rows, columns = np.nonzero(unknown == unknown.min())
            far = np.hypot(rows - (height - h) / 2, columns - (width - w) / 2)
            top, left = int(rows[far.argmin()]), int(columns[far.argmin()])
            at = slice(top, top + h), slice(left, left + w)
            return plate.picture[at], plate.sure[at]
    return None


def free_of(one: Backdrop, frame: int, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Where nobody stands in a frame of a shot (H, W), with some room around people and their shadows.

    Args:
        size: width and height at which the shot was looked at.
    """
    width, height = size
    taken = np.zeros((height, width), np.bool_)
    arrays = Stored(Path(one.stored)).arrays() if one.people else {}
    for track in one.people:
        near = sorted(range(len(track.sights)), key=lambda k: abs(track.sights[k].frame - frame))[:2]
        for index in near:
            sight = track.sights[index]
            box = sight.box
            mask = mask_of(arrays[f"mask{track.number}.{index}"], sight)
            taken[box.y : box.bottom, box.x : box.right] |= mask
            beside, below = round(SHADOW * box.w), round(SHADOW * box.h / 4)
            left, top = max(0, box.x - beside), max(0, box.bottom - below)
            taken[top : box.bottom + below, left : box.right + beside] = True
    grown = Image.fromarray(taken.astype(np.uint8) * 255).filter(ImageFilter.MaxFilter(ROOM))
    return np.asarray(grown) == 0


def _moment(one: Backdrop, k: int) -> int:
    return one.span[0] + round(MOMENTS[k] * (one.span[1] - 1 - one.span[0]))


def _corner(one: Backdrop, k: int) -> tuple[int, int]:
    """Where the k-th picture of a shot lies, by the moments at which that is known."""
    x, y = corner_at(MOMENTS[k], one.corners)
    return round(x), round(y)
