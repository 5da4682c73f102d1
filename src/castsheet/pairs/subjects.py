"""Subjects of a shot: found in every sixth frame, followed through the shot, and described.

Legend: F frames, H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from castsheet.elements import View
from castsheet.judge.protocols import Embedder
from castsheet.pairs.looks import Look, look_at, share_by_shoulders, share_seen, typical
from castsheet.pairs.parts import figures
from castsheet.pairs.protocols import Pixels
from castsheet.pairs.records import Sight, Track
from castsheet.pairs.references import FRONT
from castsheet.sheet.box import Box
from castsheet.sheet.look.faces import FaceDetector

Mask = NDArray[np.bool_]

EVERY = 6
"""Frames of the film from one look to the next."""
LEAST = 0.006  # share of the frame: smaller things are specks or props
GHOST = 0.35  # share of a subject before an unknown part of the place
JUMP = 0.22  # of the frame's width: how far a subject moves between two looks
GROWS = 1.9  # times its area: more than that are two subjects in one
FEW = 3  # sights of shoulders at least
PATIENCE = 24  # sights of a track at which a patient detector looks
NEARLY = 0.85  # of the usual height of a figure that the frame cuts off
LOOKS = 4  # sights of a track that an embedder sees
SMALLER = 80  # percent of a track's faces that are seen larger than the one that counts
NEAR_SIDE = 288  # px: faces are looked for in crops enlarged to this


@dataclass(frozen=True)
class Seen:
    """A subject in one frame: the frame's number, box, pixels, look and mask; the view where a person drew
    it."""

    frame: int
    box: Box
    area: int
    edge: bool
    look: Look
    mask: Mask
    yaw: float | None
    face: int
    view: View | None = None


def sights_of(
    frame: int,
    picture_HW3: Pixels,
    mask_HW: Mask,
    faces: FaceDetector | None,
    unsure_HW: Mask | None = None,
    *,
    every_face: bool = True,
) -> list[Seen]:
    """The subjects of one frame, from left to right.

    Args:
        mask_HW: where subjects are, of all of them together.
        faces: tells which way heads look; None leaves that open.
        unsure_HW: where the place behind them is not known: what lies there mostly may be a ghost of others.
        every_face: False looks only for faces of figures that the frame cuts off below, because nothing else
            tells how much of them is seen.
    """
    height, width = mask_HW.shape
    found = []
    for box, own in figures(mask_HW):
        area = int(own.sum())
        if area < LEAST * height * width or box.h < 24:
            continue
        if unsure_HW is not None:
            doubtful = unsure_HW[box.y : box.bottom, box.x : box.right][own].mean()
            if doubtful > GHOST:
                continue
        edge = box.x <= 1 or box.y <= 1 or box.right >= width - 1 or box.bottom >= height - 1
        wanted = faces is not None and (every_face or box.bottom >= height - 1)
        yaw, size = _face(picture_HW3, box, faces) if wanted and faces is not None else (None, 0)
        look = look_at(picture_HW3, own, box, share_seen(box, height, size))
        found.append(Seen(frame, box, area, edge, look, own, yaw, size))
    return sorted(found, key=lambda one: one.box.x)


def _face(picture_HW3: Pixels, box: Box, faces: FaceDetector) -> tuple[float | None, int]:
    """Yaw of the face in a box, degrees, and its height in px; None and 0 without one."""
    grow = round(0.08 * box.h)
    height, width = picture_HW3.shape[:2]
    x, y = max(0, box.x - grow), max(0, box.y - grow)
    right = min(width, box.right + grow)
    cut_off = box.bottom >= height - 1
    bottom = min(height, box.y + round((0.75 if cut_off else 0.45) * box.h))
    part = Image.fromarray(picture_HW3[y:bottom, x:right])
    scale = NEAR_SIDE / max(part.size)
    size = max(1, round(part.width * scale)), max(1, round(part.height * scale))
    found = faces.find(part.resize(size, Image.Resampling.BICUBIC))
    if not found:
        return None, 0
    return round(found[0].yaw, 1), round(found[0].box.h / scale)


@dataclass
class _Line:
    """A track as it grows."""

    seen: list[Seen]

    def cost(self, one: Seen, width: int) -> float:
        """How unlikely it is that `one` goes on with this line; 1 and above is impossible."""
        last = self.seen[-1]
        looks = one.frame - last.frame
        if looks > 3 * EVERY:
            return 2.0
        far = abs(_middle(one) - _middle(last)) / width
        ratio = max(one.area, last.area) / max(1, min(one.area, last.area))
        if far > JUMP * max(1, looks / EVERY) or ratio > GROWS:
            return 2.0
        return far / JUMP * 0.6 + (ratio - 1) / GROWS * 0.4


def _middle(one: Seen) -> float:
    return one.box.x + one.box.w / 2


def follow(frames: Sequence[Sequence[Seen]], width: int) -> list[list[Seen]]:
    """Subjects of frames in order, joined to tracks: the best pairs first, as long as they are likely."""
    lines: list[_Line] = []
    for seen in frames:
        pairs = sorted(
            (line.cost(one, width), number, at)
            for number, line in enumerate(lines)
            for at, one in enumerate(seen)
        )
        taken_lines: set[int] = set()
        taken: set[int] = set()
        for cost, number, at in pairs:
            if cost < 1 and number not in taken_lines and at not in taken:
                lines[number].seen.append(seen[at])
                taken_lines.add(number)
                taken.add(at)
        lines += [_Line([one]) for at, one in enumerate(seen) if at not in taken]
    return [line.seen for line in lines if len(line.seen) >= 3]


def second_look(
    frames_FHW3: Pixels, first: int, seen: Sequence[Seen], faces: FaceDetector | None
) -> Sequence[Seen]:
    """A near track in which nobody looks at us, with the faces from the front that a patient detector finds.

    Args:
        first: the film's number of the first of the frames.
    """
    near = 2 * sum(one.box.bottom >= frames_FHW3.shape[1] - 1 for one in seen) > len(seen)
    if faces is None or not near or any(abs(one.yaw) <= FRONT for one in seen if one.yaw is not None):
        return seen
    every = -(-len(seen) // PATIENCE)
    found = []
    for number, one in enumerate(seen):
        yaw, size = None, 0
        if one.yaw is None and number % every == 0:
            yaw, size = _face(frames_FHW3[one.frame - first], one.box, faces)
        found.append(one if yaw is None else replace(one, yaw=yaw, face=size))
    return found


def evened(frames_FHW3: Pixels, first: int, seen: Sequence[Seen]) -> list[Seen]:
    """A track whose figure the frame cuts off below, with looks by what all its faces tell of its size.

    A single face says little: a detector sees one that turns away, or has hair around it, larger than it is.
    So most of the faces are larger than they should be, and the smaller ones are right. Where no face is seen
    at all, shoulders tell.

    Args:
        first: the film's number of the first of the frames.
    """
    height = frames_FHW3.shape[1]
    cut = [one for one in seen if one.box.bottom >= height - 1]
    if 2 * len(cut) > len(seen):  # a stripe in the place's colours does not make a whole figure of a bust
        least = NEARLY * float(np.median([one.box.h for one in cut]))
        cut += [one for one in seen if one.box.bottom < height - 1 and one.box.h > least]
    shares = [share for one in cut if (share := share_seen(one.box, one.box.bottom, one.face)) is not None]
    if shares:
        share = float(np.percentile(shares, SMALLER))
    else:
        shares = [share for one in cut if (share := share_by_shoulders(one.mask)) is not None]
        if len(shares) < FEW:
            return list(seen)
        share = float(np.median(shares))
    found = []
    for one in seen:
        if any(one is other for other in cut):
            look = look_at(frames_FHW3[one.frame - first], one.mask, one.box, share)
            found.append(replace(one, look=look))
        else:
            found.append(one)
    return found


def vector_of(
    frames_FHW3: Pixels, first: int, seen: Sequence[Seen], embedder: Embedder | None
) -> tuple[float, ...]:
    """What an embedder sees in a track: the mean of some sights' vectors, of unit length; () without one.

    Args:
        first: the film's number of the first of the frames.
    """
    if embedder is None:
        return ()
    chosen = sorted(seen, key=lambda one: (one.edge, -one.area))[:LOOKS]
    crops = [
        frames_FHW3[one.frame - first, one.box.y : one.box.bottom, one.box.x : one.box.right]
        for one in chosen
    ]
    vectors_ND = embedder.embed(crops).astype(np.float64)
    mean = (vectors_ND / np.maximum(np.linalg.norm(vectors_ND, axis=1, keepdims=True), 1e-9)).mean(axis=0)
    return tuple(round(float(value), 5) for value in mean / max(1e-9, float(np.linalg.norm(mean))))


def track_of(
    shot: str, number: int, seen: Sequence[Seen], vector: tuple[float, ...] = (), owner: str = ""
) -> Track:
    """The record of a track. `vector`: see `vector_of`; `owner`: who drew it said whom it shows."""
    sights = tuple(Sight(one.frame, one.box, one.area, one.edge, one.yaw, one.face, one.view) for one in seen)
    return Track(shot, number, sights, tuple(typical([one.look for one in seen]).flat()), vector, owner)
