"""Pictures of somebody from other times than the clip: which sights, of which view, cut out how.

Legend: H height, W width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from castsheet.elements import View
from castsheet.pairs.protocols import Pixels
from castsheet.pairs.records import Sight, Track
from castsheet.pairs.turning import (
    SLIM,
    SLIMMEST,
    breadth,
    breadths,
    broadest,
    goes_along,
    sides,
    stays_sideways,
    usual_breadth,
)
from castsheet.sheet.box import Box
from castsheet.sheet.look.edges import own_colours, refine

FRONT, QUARTER, SIDE = 22.0, (32.0, 64.0), 75.0
"""Degrees as detectors tell them, which is up to half as much again as the truth: a face below the first
looks at us, between the next two it is turned, above the last it is in profile; else nobody knows."""
CLOSE = 34.0
"""Degrees below which a face is a close-up's, if none below `FRONT` is: in truth it is turned by no more."""
LARGEST, LOOKING = 0.2, 0.165
"""Of a whole figure's height: no face is so tall, and none that looks at us: hair may pass for one."""
SIDEWAYS = 0.8  # of how broad somebody is from the front: in profile they are slimmer
LARGER, FEW = 1.3, 3
"""Times the median of so many faces of a near figure at least: the back of a head may pass for a face that is
larger."""
FACE = 0.125  # of the frame's height, 56 of 448 px: a close-up of a smaller face is enlarged too much
WHOLE = 0.4  # of the frame's height: smaller figures are too coarse for a panel
UNSEEN = 6  # sights from one with a face to the next: who turns their back shows none for so long
OUTLINE = 0.5  # of worth: a side that an outline alone tells is taken where no face tells of one
ROOM = 0.04  # around a cut-out, of its height
BODY: frozenset[View] = frozenset(("front", "three-quarter", "side", "back"))
FACED: frozenset[View] = frozenset(("face", "front", "three-quarter"))


@dataclass(frozen=True)
class Candidate:
    """A sight that may become a panel. `worth`: larger is better among candidates of one view."""

    track: Track
    index: int
    view: View
    worth: float

    @property
    def sight(self) -> Sight:
        """The sight itself."""
        return self.track.sights[self.index]

    @property
    def bust(self) -> bool:
        """Whether it shows a figure that the frame cuts off below, and no close-up of it."""
        return self.view != "face" and self.sight.edge and self.sight.view is None


def candidates(tracks: Sequence[Track], sizes: Mapping[str, tuple[int, int]]) -> list[Candidate]:
    """All usable sights of somebody, by view.

    Args:
        tracks: of shots other than the clip's. sizes: width and height at which each shot was looked at.
    """
    found = []
    usual = usual_breadth(tracks)
    for number, track in enumerate(_believed(one, usual) for one in tracks):
        tall = sizes[track.shot][1]
        front = broadest([*tracks[:number], *tracks[number + 1 :]]) if usual is None else usual
        broad = breadths(track.sights, usual)
        backs = _backs(track, broad)
        slim = {at for at in sides(track.sights) if broad[at] <= SLIMMEST}
        if not _faced(track) and stays_sideways(track.sights, front):
            slim = set(range(len(track.sights)))
        for index, one in enumerate(track.sights):
            if one.view is not None:
                found.append(Candidate(track, index, one.view, one.box.h / tall))
            if track.owner:  # of a track from a drawn box nothing else is sure
                continue
            if one.yaw is not None and abs(one.yaw) <= CLOSE and one.face >= FACE * tall:
                less = one.face if abs(one.yaw) > FRONT else 0
                found.append(Candidate(track, index, "face", one.face - less - abs(one.yaw) / 10))
            if one.box.h < WHOLE * tall or (one.edge and not _bust(one, sizes[track.shot])):
                continue
            view = _view(one, index in backs and not one.edge)
            if one.yaw is None and index in slim and not one.edge:
                found.append(Candidate(track, index, "side", one.box.h / tall - OUTLINE))
            elif view is not None:
                turned = 0.0 if one.yaw is None else _off(view, abs(one.yaw)) / 30
                found.append(Candidate(track, index, view, one.box.h / tall - turned))
    return found


def _bust(one: Sight, size: tuple[int, int]) -> bool:
    """Whether the frame cuts a figure off below and nowhere else, and a face tells how it is turned.

    Of who is near, a detector takes the back of a turned head for a profile too often.
    """
    inside = one.box.x > 1 and one.box.y > 0 and one.box.right < size[0] - 1
    return inside and one.yaw is not None and abs(one.yaw) <= QUARTER[1]


def _believed(track: Track, usual: float | None) -> Track:
    """A track without the faces that a whole figure cannot have: too large, or in profile on a broad outline
    of somebody who does not walk that way.

    Of a near one, without faces that are much larger than the others.

    Args:
        usual: how broad somebody is from the front, if that is known.
    """

    near = [one.face for one in track.sights if one.edge and one.yaw is not None and abs(one.yaw) <= FRONT]
    largest = LARGER * float(np.median(near)) if len(near) >= FEW else math.inf

    broad = usual is not None and not _walks_in_profile(track)

    def believed(one: Sight) -> bool:
        if one.yaw is None or one.edge:
            return one.face <= largest
        profile = broad and abs(one.yaw) >= SIDE
        slim = not profile or breadth(one) <= SIDEWAYS * (usual or 0.0)
        return slim and one.face <= (LARGEST if abs(one.yaw) > FRONT else LOOKING) * one.box.h

    if track.owner:  # a person drew it, and says what it shows
        return track
    sights = (one if believed(one) else replace(one, yaw=None, face=0) for one in track.sights)
    return replace(track, sights=tuple(sights))


def _faced(track: Track) -> bool:
    """Whether somebody shows more of their face than a profile in any sight."""
    return any(one.yaw is not None and abs(one.yaw) <= QUARTER[1] for one in track.sights)


def _walks_in_profile(track: Track) -> bool:
    """Whether somebody goes the way in which their profile looks, and shows nothing else.

    What they carry, and their steps, make them as broad as from the front.
    """
    looks = [one.yaw for one in track.sights if one.yaw is not None and abs(one.yaw) >= SIDE]
    if _faced(track) or len(looks) < FEW or min(looks) * max(looks) < 0:
        return False
    return goes_along(track.sights, looks[0])


def _view(one: Sight, back: bool) -> View | None:
    if one.yaw is None:
        return "back" if back else None
    turned = abs(one.yaw)
    if QUARTER[0] <= turned <= QUARTER[1]:
        return "three-quarter"
    return "front" if turned <= FRONT else "side" if turned >= SIDE else None


def _off(view: View, turned: float) -> float:
    """Degrees from what a view shows at its best."""
    return abs(turned - {"front": 0.0, "three-quarter": 50.0, "side": 85.0}.get(view, turned))


def _backs(track: Track, broad: NDArray[np.float64]) -> set[int]:
    """Sights from behind: in the middle of a stretch without a face, between two with a turned one.

    A missing face alone says nothing: the detector misses faces that look at us. Who turns from profile to
    the front within the stretch shows a profile again after two thirds of it: its middle fifth is sure.
    Who is turned to one side before and after it has walked on, and not turned round; and who shows no side
    on the way has not turned at all.

    Args:
        broad: how broad the figure is in each sight, in shares of its front.
    """
    seen = [index for index, one in enumerate(track.sights) if one.yaw is not None]
    found: set[int] = set()
    for before, after in pairwise(seen):
        yaws = [track.sights[index].yaw or 0.0 for index in (before, after)]
        turned = [abs(yaw) for yaw in yaws]
        same = min(turned) > FRONT and yaws[0] * yaws[1] > 0
        if after - before >= UNSEEN and max(turned) > FRONT and not same:
            most = 0.4 * (after - before)
            middle = range(math.ceil(before + most), math.floor(after - most) + 1)
            side = [yaw >= SIDE for yaw in turned]
            found |= {
                at
                for at in middle
                if (side[0] or broad[before : at + 1].min() <= SLIM)
                and (side[1] or broad[at : after + 1].min() <= SLIM)
            }
    return found


def missing(views: Set[View], *, near: bool) -> str | None:
    """The rule that somebody's views break, or None: a sheet shows of everybody what the clip shows.

    Whom the clip shows near has a close-up. Whom it shows whole has a figure, and a face: a close-up, or else
    the figure looks at us, and the sheet's close-up is its head.
    """
    if near:
        return None if "face" in views else "R60"
    if not views & BODY:
        return "R61"
    return None if views & FACED else "R60"


def of_one_kind(found: Sequence[Candidate]) -> list[Candidate]:
    """Candidates without busts, if there are whole figures: side by side they would be of two sizes."""
    whole = any(one.view in BODY and not one.bust for one in found)
    return [one for one in found if not (whole and one.bust)]


def best_of(
    found: Sequence[Candidate], views: Sequence[View], *, avoid: frozenset[str], skip: int = 0
) -> list[Candidate]:
    """One candidate for each view, in the order of `views`; views without one are left out.

    Args:
        avoid: shots of the clip's own place: another place is better, because then only the person is alike.
        skip: how many better ones to pass over, for other versions of a sheet.
    """
    chosen = []
    for view in views:
        mine = sorted(
            (one for one in found if one.view == view),
            key=lambda one: (one.track.shot in avoid, -one.worth, one.track.id, one.index),
        )
        if mine:
            shots: dict[str, Candidate] = {}
            for one in mine:
                shots.setdefault(one.track.shot, one)
            options = list(shots.values())
            chosen.append(options[skip % len(options)])
    return chosen


def cut(frame_HW3: Pixels, mask: NDArray[np.bool_], box: Box, looked: tuple[int, int]) -> Image.Image:
    """The figure of a sight on transparency, at the frame's own resolution.

    Args:
        mask: of the box, at the size at which the shot was looked at (`looked`: width and height).
    """
    height, width = frame_HW3.shape[:2]
    across, down = width / looked[0], height / looked[1]
    room = round(ROOM * box.h)
    x0, y0 = max(0, box.x - room), max(0, box.y - room)
    x1, y1 = min(looked[0], box.right + room), min(looked[1], box.bottom + room)
    wide = np.zeros((y1 - y0, x1 - x0), np.float32)
    wide[box.y - y0 : box.bottom - y0, box.x - x0 : box.right - x0] = mask
    left, top, right, bottom = round(x0 * across), round(y0 * down), round(x1 * across), round(y1 * down)
    rgb = Image.fromarray(np.ascontiguousarray(frame_HW3[top:bottom, left:right]))
    alpha = np.asarray(Image.fromarray(wide).resize(rgb.size, Image.Resampling.BILINEAR), np.float32)
    alpha = np.clip(refine(rgb, alpha), 0, 1).astype(np.float32)
    picture = own_colours(rgb, alpha)
    picture.putalpha(Image.fromarray(np.rint(alpha * 255).astype(np.uint8)))
    return picture
