"""Figures of the sheet that stand in the picture as they are, whatever lies around them. No model is needed.

Legend: F frames, H height, W width, C colour channel; h, w of a template.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from PIL import Image

from castsheet.judge.cast import Cast, Figure, Pixels
from castsheet.judge.fields import (
    CLOSE_SIDE,
    Candidate,
    Field,
    Find,
    Floats,
    Place,
    Searched,
    apart,
    blurred,
    detail,
    luma,
    nothing,
    steps,
)

SMALLEST, STEP = 0.3, 1.05  # of the frame's height: smaller ones are like anything
RIM = 0.8  # of a blurred mask: below it is the figure's rim, where the ground shows
ROUGHLY = 0.66  # likeness from which a place is looked at closely
CANDIDATES = 3  # places of a frame: who acts in the panel's pose is often more like it from afar
CLOSE_STEPS = np.exp(np.linspace(-0.03, 0.03, 9))  # sizes beside the one that was found
BANDS, LEAST_BAND = 8, 40  # of a figure from head to feet, and the pixels that one must have
PLAIN = 3.0  # luma: a band with less spread says nothing


class Cut:
    """A figure of the sheet at every size at which it is searched; sizes are kept.

    Args:
        element: whose figure. look: the figure.
    """

    def __init__(self, element: str, look: Figure) -> None:
        self.element, self.look = element, look
        self._sizes: dict[tuple[int, int], tuple[Floats, Floats]] = {}

    def at(self, size: tuple[int, int]) -> tuple[Floats, Floats]:
        """Detail and mask (h, w) at a size (w, h), see `_masked`."""
        if size not in self._sizes:
            self._sizes[size] = _masked(self.look, size)
        return self._sizes[size]


def cuts(cast: Cast) -> list[Cut]:
    """Whole figures of the characters."""
    people = [member for member in cast.members if member.kind == "character"]
    return [Cut(member.id, look) for member in people for look in member.body]


def figures(searched: Searched, cuts: Sequence[Cut]) -> list[Find]:
    """The best place of every figure as it is.

    Definition: correlation of luma less its blur under the figure's own mask, first in small frames over all
    positions and sizes from 0.3 of the frame's height; then the three best places of each frame at 512 px, at
    the size and place that fit best. The likeness is the correlation of luma in the band of the figure, of
    eight from head to feet, that is least like it; the median over the frames that have such a place. A
    pasted figure has the panel's own pixels from head to feet and stays as it is; a person in its pose and
    clothes has another hand or foot, and moves.
    Source: masked normalised cross-correlation (Padfield, 2012), without the mean, which the blur took.
    Blind to: turned, mirrored and smaller figures; and to all in clips of less than 512 px, where an actor in
    the panel's pose keeps too little detail of his own.
    """
    if max(searched.full_FHWC[0].shape[:2]) < CLOSE_SIDE:
        return []
    best: dict[str, Find] = {}
    for cut in cuts:
        found = _figure(searched, cut)
        if cut.element not in best or found.likeness > best[cut.element].likeness:
            best[cut.element] = found
    return list(best.values())


def _figure(searched: Searched, cut: Cut) -> Find:
    look, rough = cut.look, _roughly(searched, cut)
    values, places = nothing(len(rough))
    for at, candidates in enumerate(rough):
        frame = searched.near(at)
        up = frame.shape[1] / searched.width
        near = [(_closely(frame, look, box, up), box) for value, box in candidates if value >= ROUGHLY]
        values[at], places[at] = max(near, key=lambda one: one[0], default=(-1.0, (0, 0, 1, 1)))
    found = searched.find("figure", cut.element, values, places)
    met = values[values > -1]
    return replace(found, likeness=round(float(np.median(met)), 4) if len(met) > 1 else 0.0)


def _roughly(searched: Searched, cut: Cut) -> list[list[Candidate]]:
    """The most likely places of each frame, apart from each other."""
    tall, wide = cut.look.picture_HWC.shape[:2]
    largest = min(searched.height / tall, searched.width / wide)
    tried: list[list[Candidate]] = [[] for _ in searched.numbers]
    for scale in steps(max(SMALLEST * searched.height / tall, 14 / wide), largest, STEP):
        size = round(wide * scale), round(tall * scale)
        values, corners = searched.detail.masked(*cut.at(size))
        for mine, value, (y, x) in zip(tried, values, corners, strict=True):
            mine.append((float(value), (x, y, *size)))
    return [apart(one, CANDIDATES) for one in tried]


def _closely(frame_HWC: Pixels, look: Figure, box: Place, up: float) -> float:
    """How much the least like band of a figure is like it, around one place of the small frame."""
    x, y, w, h = (round(up * side) for side in box)
    room = round(0.08 * h) + 4
    part = frame_HWC[max(0, y - room) : y + h + room, max(0, x - room) : x + w + room]
    field = Field(torch.from_numpy(detail(luma(part))[None]))
    tall, wide = look.picture_HWC.shape[:2]
    best = -1.0, (0, 0), (1, 1)
    for by in CLOSE_STEPS:
        size = round(wide * h / tall * by), round(h * by)
        (value,), (corner,) = field.masked(*_masked(look, size))
        best = max(best, (float(value), corner, size))
    return _least(luma(part), look, best[1], best[2])


def _least(grey_HW: Floats, look: Figure, corner: tuple[int, int], size: tuple[int, int]) -> float:
    """The lowest correlation of a figure's bands with what lies there, each moved by a pixel at most."""
    grey_hw = luma(np.asarray(Image.fromarray(look.picture_HWC).resize(size, Image.Resampling.BOX)))
    inside_hw = _masked(look, size)[1] > 0
    found = []
    for rows in np.array_split(np.arange(size[1]), BANDS):
        mine = inside_hw[rows]
        if mine.sum() < LEAST_BAND or grey_hw[rows][mine].std() < PLAIN:
            continue
        tops, lefts = (range(max(0, at - 1), at + 2) for at in (corner[0] + int(rows[0]), corner[1]))
        seen = [grey_HW[y : y + len(rows), x : x + size[0]] for y in tops for x in lefts]
        whole = [one[mine] for one in seen if one.shape == mine.shape]
        found.append(max((_correlation(grey_hw[rows][mine], one) for one in whole), default=0.0))
    return min(found, default=0.0)


def _correlation(one_N: Floats, other_N: Floats) -> float:
    a, b = one_N - one_N.mean(), other_N - other_N.mean()
    return float((a * b).sum() / np.sqrt((a**2).sum() * max(float((b**2).sum()), b.size)))


def _masked(look: Figure, size: tuple[int, int]) -> tuple[Floats, Floats]:
    """Detail and mask (h, w) of a figure at a size, without its rim."""
    cover = np.asarray(Image.fromarray(look.mask_HW.astype(np.uint8) * 255).resize(size), np.float32) / 255
    grey = luma(np.asarray(Image.fromarray(look.picture_HWC).resize(size, Image.Resampling.BOX)))
    mask = (blurred(cover) > RIM).astype(np.float32)
    # Blur under the mask: across the rim it would mix in the sheet's black.
    inside = blurred(grey * cover) / np.maximum(blurred(cover), 0.05)
    return np.asarray(np.clip(grey - inside, -64, 64) * mask, np.float32), mask
