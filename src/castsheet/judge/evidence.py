"""What is held against a clip's elements: figures, grounds and faces, in a few frames looked at closely.

Legend: H height, W width, C colour channel, K colours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from castsheet.judge.cast import Cast, Member, Pixels
from castsheet.judge.figures import LONG_SIDE, Field, Look, Seen, colours, look_of, used
from castsheet.judge.looks import Examiner, figure_together, place_together
from castsheet.judge.protocols import Looker
from castsheet.sheet.box import Box, Kind
from castsheet.sheet.look.salience import Matter

Floats = NDArray[np.float32]

LOOKS = 6  # frames that are looked at closely
GROUND_WIDTH, GROUND_LEVELS = 96, 12  # px, and steps of lightness
HELD = 0.5  # of a window: with less of it in a thing, it is no part of that thing
GROUND_PARTS = (
    (0.0, 1.0),
    (0.0, 0.65),
    (0.35, 1.0),
)  # of a place's picture, from the top: nearer or lower cameras


@dataclass(frozen=True)
class Glimpse:
    """One element in one frame that was looked at.

    Attributes:
        frame: its number. likeness: in 0..1, of the best figure, or of the ground for a place.
        box: (x, y, w, h) in pixels of the clip, of what is shown: the whole thing that was taken for it.
        margin: likeness less what the same window is to the nearest other element of its kind.
        looks: likeness and networks together, in 0..1, see `castsheet.judge.looks`; None without networks.
    """

    frame: int
    likeness: float
    box: tuple[int, int, int, int]
    margin: float | None = None
    looks: float | None = None

    @property
    def value(self) -> float:
        """The best that is known of it: networks and colours together, else colours."""
        return self.likeness if self.looks is None else self.looks


def better_half(glimpses: Sequence[Glimpse]) -> float:
    """Mean value of the better half. An element that is there for half of a clip is there, and a mask that
    fails in some frames says nothing of the others."""
    values = sorted((one.value for one in glimpses), reverse=True)
    return float(np.mean(values[: (len(values) + 1) // 2]))


def by_element(frames: Sequence[dict[str, Glimpse]]) -> dict[str, list[Glimpse]]:
    """What was seen in each frame, as a list for each element."""
    return {name: [one[name] for one in frames] for name in (frames[0] if frames else ())}


def looked_at(count: int, leaked: Sequence[bool]) -> list[int]:
    """Numbers of the frames to look at: evenly spread over those that do not show the sheet."""
    honest = [at for at in range(count) if not leaked[at]] or list(range(count))
    spots = np.linspace(0.06, 0.94, min(LOOKS, len(honest))) * (len(honest) - 1)
    return sorted({honest[round(float(at))] for at in spots})


class Witness:
    """A sheet's figures and places, ready to be looked for.

    Args:
        cast: figures at any size. matter: tells figures from their ground, a thing too.
        lookers: networks that look at figures and grounds beside their colours.
    """

    def __init__(self, cast: Cast, matter: Matter, lookers: Sequence[Looker] = ()) -> None:
        self._matter = matter
        # By the colours of what stands out nobody knows a prop: with networks it is looked at as a figure is.
        kinds: tuple[Kind, ...] = ("character", "prop") if lookers else ("character",)
        figures = {one.id: one.body for one in cast.members if one.kind in kinds}
        self._kinds = {one.id: one.kind for one in cast.members}
        grounds = {
            one.id: [look.picture_HWC for look in one.looks] for one in cast.members if one.kind == "location"
        }
        self._examiners = [Examiner(one, figures, grounds) for one in lookers]
        self._figures = {name: [look_of(look) for look in body] for name, body in figures.items()}
        self._places = {one.id: _grounds(one) for one in cast.members if one.kind == "location"}
        self._kept = used([look for looks in self._figures.values() for look in looks])

    def look(self, frames_FHWC: Pixels, numbers: Sequence[int]) -> dict[str, list[Glimpse]]:
        """Every character and place in the given frames; with networks, every prop too."""
        return by_element([self.glance(frames_FHWC[at], at) for at in numbers])

    def glance(self, frame_HWC: Pixels, at: int) -> dict[str, Glimpse]:
        """The same in one frame, the clip's number `at`; frames may be looked at side by side."""
        seen = see(frame_HWC, self._matter)
        things = [seen.up(box) for box in seen.things]
        views = [one.view(frame_HWC, seen.mask_HW, things) for one in self._examiners]
        field = Field(seen, self._kept) if self._figures else None
        found = {}
        for name, looks in self._figures.items():
            assert field is not None
            like, box = self._best(field, looks)
            others = [self._at(field, self._figures[key], box) for key in self._rivals(name)]
            margin = like - max(others) if others else None
            told = [one.figure(name, view) for one, view in zip(self._examiners, views, strict=True)]
            both = figure_together(like, told) if told else None
            alike = [one.things(name, view) for one, view in zip(self._examiners, views, strict=True)]
            whole = _whole(seen.up(box), things, alike)
            found[name] = Glimpse(at, round(like, 4), _sides(whole), margin, both)
        ground = _ground(seen.picture_HWC, 1 - seen.mask_HW)
        for name, parts in self._places.items():
            like = max(_alike(ground, part) for part in parts)
            told = [
                value
                for one, view in zip(self._examiners, views, strict=True)
                if (value := one.place(name, view)) is not None
            ]
            both = place_together(like, told) if told else None
            found[name] = Glimpse(at, round(like, 4), (0, 0, *frame_HWC.shape[1::-1]), None, both)
        return found

    def _rivals(self, name: str) -> list[str]:
        """Other figures of the same kind."""
        return [key for key in self._figures if key != name and self._kinds[key] == self._kinds[name]]

    def _best(self, field: Field, looks: Sequence[Look]) -> tuple[float, Box]:
        return max((field.best(look, self._kept) for look in looks), key=lambda one: one[0])

    def _at(self, field: Field, looks: Sequence[Look], box: Box) -> float:
        return max(field.of(look, self._kept, box) for look in looks)


def see(frame_HWC: Pixels, matter: Matter) -> Seen:
    """A frame, small, with its figures told from its ground."""
    image = Image.fromarray(frame_HWC)
    scale = max(1.0, max(image.size) / LONG_SIDE)
    size = max(8, round(image.width / scale)), max(8, round(image.height / scale))
    mask = Image.fromarray(np.asarray(matter.mask(image), np.float32)).resize(size, Image.Resampling.BOX)
    small = np.asarray(image.resize(size, Image.Resampling.BOX))
    return Seen(small, np.clip(np.asarray(mask, np.float32), 0, 1), image.width / size[0])


def _grounds(member: Member) -> list[Floats]:
    """Colours (K,) of a place's pictures and of their parts."""
    found = []
    for look in member.looks:
        picture = look.picture_HWC
        for top, bottom in GROUND_PARTS:
            rows = slice(round(top * len(picture)), max(round(bottom * len(picture)), 1))
            part = picture[rows]
            found.append(_ground(part, np.ones(part.shape[:2], np.float32)))
    return found


def _ground(picture_HWC: Pixels, weight_HW: Floats) -> Floats:
    """Shares (K,) of a ground's colours; they add up to 1."""
    height, width = weight_HW.shape
    size = min(GROUND_WIDTH, width), max(1, round(height * min(1.0, GROUND_WIDTH / width)))
    small = np.asarray(Image.fromarray(picture_HWC).resize(size, Image.Resampling.BOX))
    weight = np.asarray(Image.fromarray(weight_HW).resize(size, Image.Resampling.BOX), np.float32)
    held = np.einsum("hwk,hw->k", colours(small, GROUND_LEVELS), weight)
    return np.asarray(held / max(float(held.sum()), 1e-6), np.float32)


def _alike(ground_K: Floats, place_K: Floats) -> float:
    """Bhattacharyya's coefficient."""
    return float(np.sqrt(ground_K * place_K).sum())


def _whole(window: Box, things: Sequence[Box], alike: Sequence[Floats]) -> Box:
    """What is shown of a figure: the thing that networks find most like it, or the thing that holds the
    window of its colours. Half of somebody convinces nobody.

    Args:
        alike: of every network, how much each of the first things is like the figure.
    """
    if alike and len(alike[0]):
        return things[int(np.argmax(np.sum(alike, axis=0)))]
    held = max(things, key=lambda thing: _common(window, thing), default=window)
    return held if _common(window, held) >= HELD * window.w * window.h else window


def _common(one: Box, other: Box) -> int:
    """Pixels that two boxes share."""
    width = min(one.right, other.right) - max(one.x, other.x)
    height = min(one.bottom, other.bottom) - max(one.y, other.y)
    return max(0, width) * max(0, height)


def _sides(box: Box) -> tuple[int, int, int, int]:
    return box.x, box.y, box.w, box.h
