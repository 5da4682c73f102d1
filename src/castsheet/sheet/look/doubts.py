"""What is doubtful about a cut-out: parts of a person that it lost, background that it kept.

Each doubt has a kind, by which the checks of a sheet find it, and a sentence for the user. The limits were
set by eye on a few pictures; `python -m benchmarks.cutouts` counts how often they doubt good cut-outs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from castsheet.sheet.box import Box
from castsheet.sheet.look.components import boxes_of
from castsheet.sheet.look.faces import Face
from castsheet.sheet.look.litert import ARMS, FEET, HANDS, HEAD, Body

Array = NDArray[np.float32]
Kind = Literal["head", "hair", "hands", "feet", "person", "background", "disputed"]
# A part of a person that is not there.
LOSSES: tuple[Kind, ...] = ("head", "hair", "hands", "feet", "person")
KINDS: tuple[Kind, ...] = (*LOSSES, "background", "disputed")

# Long side at which a cut-out is examined.
_SIDE = 512
# Share of a part that must be there.
_LEFT = 0.6
# How far behind a profile's face its hair lies, in widths of the face.
_BEHIND = 0.7
# What the hair's alpha must be on average: hair before dark trees comes out half transparent.
_HAIR = 0.75
# Of 1: the networks of persons are sure, and the cut-out has nothing.
_PERSON, _GONE = 0.8, 0.25
# Shares of the subject's area: a lost part of a person, an island of background, a disputed place.
_LOST, _ISLAND, _DISPUTED = 0.012, 0.002, 0.04
# px that a soft rim is wide, and the share of the subject beyond it that is too soft.
_RIM, _FAINT = 15, 0.01
# So many times as much must be lost at the picture's border.
_AT_BORDER = 6


@dataclass(frozen=True)
class Doubt:
    """One thing to look at.

    Args:
        told: what, in words that stand after the picture's name.
        where: px of the picture that was examined.
    """

    kind: Kind
    told: str
    where: Box | None = None

    def scaled(self, factor: int) -> Doubt:
        """The same doubt on a picture `factor` times as large."""
        box = self.where
        where = None if box is None else Box(*(factor * side for side in (box.x, box.y, box.w, box.h)))
        return Doubt(self.kind, self.told, where)

    def to_json(self) -> list[Any]:
        """Kind, words and place, as JSON holds them."""
        box = self.where
        return [self.kind, self.told, None if box is None else [box.x, box.y, box.w, box.h]]

    @classmethod
    def from_json(cls, told: list[Any]) -> Doubt:
        """The opposite of `to_json`."""
        kind, words, where = told
        return cls(kind, words, None if where is None else Box(*where))


@dataclass(frozen=True)
class Seen:
    """What is known of a picture beside its cut-out; px of the picture examined."""

    faces: Sequence[Face] = ()
    body: Body | None = None
    disputed: NDArray[np.bool_] | None = None


def doubts(alpha: Array, seen: Seen) -> list[Doubt]:
    """What to look at, gravest first.

    Args:
        alpha: (H, W) 0..1, at the size of the picture that `seen` speaks of.
    """
    found = [*losses(alpha, seen), *_islands(alpha), *_beside(alpha, seen), *_faint(alpha)]
    if seen.disputed is not None:
        found += _disputed(alpha, seen.disputed)
    kinds: set[str] = set()
    return [one for one in found if one.kind not in kinds and not kinds.add(one.kind)]  # type: ignore[func-returns-value]


def losses(alpha: Array, seen: Seen) -> list[Doubt]:
    """The parts of a person that are not there; as `doubts`."""
    return [*_face(alpha, seen), *_limbs(alpha, seen.body), *_person(alpha, seen)]


def _face(alpha: Array, seen: Seen) -> list[Doubt]:
    """The face itself, and the strip above the brow where the hair begins."""
    found: list[Doubt] = []
    face = max(seen.faces, key=lambda one: one.box.h, default=None)
    if face is None:
        points = () if seen.body is None else seen.body.part(HEAD)
        if len(points) >= 4 and _covered(alpha, np.asarray(points)) < _LEFT:
            found.append(Doubt("head", "the head is not in the cut-out"))
        return found
    box = face.box
    if _mean(alpha, box) < _LEFT:
        return [Doubt("head", "the face is not in the cut-out", box)]
    # Of a head that is turned, the hair lies behind: away from where the nose points.
    behind = round(-_BEHIND * math.sin(math.radians(face.yaw)) * box.w)
    strip = Box(
        max(0, box.x + box.w // 5 + behind),
        max(0, box.y - round(0.14 * box.h)),
        max(1, 3 * box.w // 5),
        max(1, round(0.12 * box.h)),
    )
    if box.y > 0.3 * box.h and _mean(alpha, strip) < _HAIR:
        found.append(Doubt("hair", "the hair above the face is not in the cut-out", strip))
    return found


def _beside(alpha: Array, seen: Seen) -> list[Doubt]:
    """Something upright beside the head that is no raised arm, such as a trunk or a pole."""
    face = max(seen.faces, key=lambda one: one.box.h, default=None)
    if face is None:
        return []
    box = face.box
    band = alpha[max(0, box.y) : max(1, box.y + box.h // 2)]
    filled = (band > 0.5).mean(axis=0) > 0.5 if len(band) else np.zeros(alpha.shape[1], bool)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], filled, [False]]).astype(np.int8)))
    arms = () if seen.body is None else seen.body.part(ARMS)
    for first, stop in edges.reshape(-1, 2):
        head = first < box.right and stop > box.x
        arm = any(first - box.w < float(x) < stop + box.w and float(y) < box.bottom for x, y in arms)
        if not head and not arm and stop - first > box.w // 8:
            where = Box(int(first), max(0, box.y), int(stop - first), box.h)
            return [Doubt("background", "something beside the head may be background", where)]
    return []


def _limbs(alpha: Array, body: Body | None) -> list[Doubt]:
    """Hands and feet by their points: gone when most of their points are."""
    found: list[Doubt] = []
    for kind, parts in (("hands", HANDS), ("feet", FEET)):
        gone = []
        for name, indices in parts.items():
            points = () if body is None else body.part(indices)
            if len(points) >= 2 and _covered(alpha, np.asarray(points)) < 0.5:
                gone.append(name)
        if gone:
            told = f"the {' and the '.join(gone)} may be missing"
            found.append(Doubt(kind, told))  # type: ignore[arg-type]
    return found


def _person(alpha: Array, seen: Seen) -> list[Doubt]:
    """A part that the network of persons is sure of, and the cut-out has not."""
    if seen.body is None:
        return []
    scale = min(1.0, _SIDE / max(alpha.shape))
    size = max(1, round(alpha.shape[1] * scale)), max(1, round(alpha.shape[0] * scale))
    have, sure = _resized(alpha, size), _resized(seen.body.mask, size)
    lost = (sure > _PERSON) & (have < _GONE)
    for box, count in boxes_of(lost):
        # Where a body leaves the picture, its network takes benches and sofas for more of it.
        at_border = box.x == 0 or box.right == size[0] or box.bottom == size[1]
        least = _LOST * (_AT_BORDER if at_border else 1)
        if count > least * max(1, int((sure > 0.5).sum())) and min(box.w, box.h) >= 4:
            place = Box(*(round(side / scale) for side in (box.x, box.y, box.w, box.h)))
            return [_part_of(place, seen, alpha.shape)]
    return []


def _part_of(place: Box, seen: Seen, shape: tuple[int, ...]) -> Doubt:
    """A lost place named by the part of the body that is nearest."""
    face = max(seen.faces, key=lambda one: one.box.h, default=None)
    middle = place.y + place.h / 2
    if (
        face is not None
        and middle < face.box.bottom
        and abs(place.x + place.w / 2 - face.box.x - face.box.w / 2) < 1.5 * face.box.w
    ):
        return Doubt("hair", "a part of the head or its hair may be missing", place)
    side = "left" if place.x + place.w / 2 < shape[1] / 2 else "right"
    return Doubt(
        "person", f"a part of the person may be missing ({side}, {middle / shape[0]:.0%} down)", place
    )


def _islands(alpha: Array) -> list[Doubt]:
    """Loose pieces beside the subject."""
    scale = min(1.0, _SIDE / max(alpha.shape))
    size = max(1, round(alpha.shape[1] * scale)), max(1, round(alpha.shape[0] * scale))
    pieces = boxes_of(_resized(alpha, size) > 0.2)
    if len(pieces) < 2:
        return []
    pieces.sort(key=lambda one: -one[1])
    loose = [(box, count) for box, count in pieces[1:] if count > _ISLAND * pieces[0][1]]
    if not loose:
        return []
    box = loose[0][0]
    place = Box(*(round(side / scale) for side in (box.x, box.y, box.w, box.h)))
    many = "a loose piece" if len(loose) == 1 else f"{len(loose)} loose pieces"
    return [Doubt("background", f"{many} beside the subject may be background", place)]


def _faint(alpha: Array) -> list[Doubt]:
    """A part that is half transparent, and broader than a rim of hair."""
    scale = min(1.0, _SIDE / max(alpha.shape))
    size = max(1, round(alpha.shape[1] * scale)), max(1, round(alpha.shape[0] * scale))
    small = _resized(alpha, size)
    soft = Image.fromarray(((small > 0.15) & (small < 0.85)).astype(np.uint8) * 255)
    # The mean of a square is 255 where all of it is: a least value, in a twentieth of the time.
    broad = np.asarray(soft.filter(ImageFilter.BoxBlur(_RIM // 2))) == 255
    box, count = max(boxes_of(broad), key=lambda one: one[1], default=(Box(0, 0, 1, 1), 0))
    if count < _FAINT * max(1, int((small > 0.5).sum())):
        return []
    place = Box(*(round(side / scale) for side in (box.x, box.y, box.w, box.h)))
    x, y = (place.x + place.w / 2) / alpha.shape[1], (place.y + place.h / 2) / alpha.shape[0]
    return [Doubt("disputed", f"a part is half transparent ({x:.0%} across, {y:.0%} down)", place)]


def _disputed(alpha: Array, disputed: NDArray[np.bool_]) -> list[Doubt]:
    solid = float((alpha > 0.5).mean()) * disputed.size
    pieces = sorted(boxes_of(disputed), key=lambda one: -one[1])
    if not pieces or pieces[0][1] < _DISPUTED * max(1.0, solid):
        return []
    box, step = pieces[0][0], alpha.shape[1] / disputed.shape[1]
    place = Box(*(round(side * step) for side in (box.x, box.y, box.w, box.h)))
    x, y = (place.x + place.w / 2) / alpha.shape[1], (place.y + place.h / 2) / alpha.shape[0]
    return [Doubt("disputed", f"the networks disagree about a place {x:.0%} across, {y:.0%} down", place)]


def _mean(alpha: Array, box: Box) -> float:
    x, y = max(0, box.x), max(0, box.y)
    part = alpha[y : max(y + 1, box.bottom), x : max(x + 1, box.right)]
    return float(part.mean()) if part.size else 1.0


def _covered(alpha: Array, points: Array) -> float:
    """The share of points that have subject within a hundredth of the picture."""
    reach = max(1, round(0.008 * max(alpha.shape)))
    held = 0
    for x, y in points:
        row, column = round(float(y)), round(float(x))
        part = alpha[max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1]
        held += bool(part.size and float(part.max()) > 0.5)
    return held / max(1, len(points))


def _resized(values: Array, size: tuple[int, int]) -> Array:
    image = Image.fromarray(np.ascontiguousarray(values, np.float32))
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR))
