"""Boxes drawn by hand: what no detector here knows, an animal or a thing, is followed from one box a shot.

What stands out in the box is cut out once, where the box was drawn; from there the box is laid on frame after
frame where the cut-out's pixels fit best. Only the drawn picture becomes a panel: a person chose it, and
said which view it is.

Legend: F frames, H height, W width, N places.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from castsheet.elements import View
from castsheet.pairs.looks import look_at
from castsheet.pairs.protocols import Floats, Pixels, Segmenter
from castsheet.pairs.subjects import EVERY, Mask, Seen
from castsheet.sheet.box import Box

STEP = 2  # frames from one fit to the next, at most
SMALL = 28  # px of the longer side at which a fit is looked for first
AROUND = 0.5  # of the box: how far it goes in a step, at most
SCALES = (0.96, 1.0, 1.04)
FINE = 2  # px in which the fit is then made exact
LOST = 34.0  # levels between cut-out and frame: more is something else
COVERS = 0.15  # of the box: where less stands out, the whole box is the subject


@dataclass(frozen=True)
class Drawn:
    """A box that a person drew.

    Args:
        owner: key of whom it shows in `cast.yaml`. frame: of the film. box: px of the film's picture, without
            its bars. view: what it shows of them.
    """

    owner: str
    frame: int
    box: Box
    view: View = "front"

    def scaled(self, by: tuple[float, float], size: tuple[int, int]) -> Box:
        """The box in a picture of another size (width and height), inside it."""
        left, top = max(0, round(self.box.x * by[0])), max(0, round(self.box.y * by[1]))
        right, bottom = round(self.box.right * by[0]), round(self.box.bottom * by[1])
        return Box(left, top, max(1, min(size[0], right) - left), max(1, min(size[1], bottom) - top))


def followed(
    frames_FHW3: Pixels,
    first: int,
    one: Drawn,
    picture: tuple[int, int],
    segmenter: Segmenter | None,
    every: int,
) -> list[Seen]:
    """The sights of a box through its shot, in order of time: at every so many frames of the shot, where
    found subjects have theirs, and where it was drawn.

    Args:
        first: the film's number of the first frame. picture: width and height in px that the box is drawn on.
        segmenter: cuts out what stands out in the box; None takes all of it.
    """
    height, width = frames_FHW3.shape[1:3]
    start = one.frame - first
    box = one.scaled((width / picture[0], height / picture[1]), (width, height))
    mask = _cut_out(frames_FHW3[start], box, segmenter)
    found = [_seen(frames_FHW3[start], first + start, box, mask, one.view)]
    for way in (1, -1):
        for at, moved in _fits(frames_FHW3, start, way, box, mask, every):
            if at % every == 0:
                found.append(_seen(frames_FHW3[at], first + at, moved, _stretched(mask, moved)))
    return sorted(found, key=lambda seen: seen.frame)


def _cut_out(frame_HW3: Pixels, box: Box, segmenter: Segmenter | None) -> Mask:
    """What belongs to the subject in its box."""
    whole = np.ones((box.h, box.w), np.bool_)
    if segmenter is None:
        return whole
    mask = segmenter.within(frame_HW3, [box])[0, box.y : box.bottom, box.x : box.right] > 0.5
    return mask if mask.mean() > COVERS else whole


def _seen(frame_HW3: Pixels, number: int, box: Box, mask: Mask, view: View | None = None) -> Seen:
    height, width = frame_HW3.shape[:2]
    edge = box.x <= 1 or box.y <= 1 or box.right >= width - 1 or box.bottom >= height - 1
    look = look_at(frame_HW3, mask, box, 1.0)
    return Seen(number, box, int(mask.sum()), edge, look, mask, None, 0, view)


def _fits(
    frames_FHW3: Pixels, start: int, way: int, box: Box, mask: Mask, every: int
) -> Iterator[tuple[int, Box]]:
    """Frames after (1) or before (-1) the drawn one, with the box there, until it is lost."""
    at = start
    while True:
        before = at
        at += way if (at + way) % every == 0 else STEP * way
        if not 0 <= at < len(frames_FHW3):
            return
        shown = frames_FHW3[before, box.y : box.bottom, box.x : box.right]
        fit = _fit(shown, _stretched(mask, box), frames_FHW3[at], box)
        if fit is None:
            return
        box = fit
        yield at, box


def _fit(shown_HW3: Pixels, mask: Mask, frame_HW3: Pixels, box: Box) -> Box | None:
    """Where a picture of the box lies in the next frame: coarsely, then exactly; None if nowhere."""
    by = min(1.0, SMALL / max(box.w, box.h))
    size = max(4, round(box.w * by)), max(4, round(box.h * by))
    reach = max(2, round(AROUND * max(size)))
    coarse: tuple[float, Box] | None = None
    for scale in SCALES:
        w, h = box.w * scale, box.h * scale
        x, y = box.x + (box.w - w) / 2, box.y + (box.h - h) / 2
        px = w / size[0], h / size[1]
        area = (x - reach * px[0], y - reach * px[1], x + w + reach * px[0], y + h + reach * px[1])
        field = _resized(frame_HW3, area, (size[0] + 2 * reach, size[1] + 2 * reach))
        cost = _costs(_resized(shown_HW3, None, size), _resized(mask, None, size), field)
        row, column = divmod(int(cost.argmin()), cost.shape[1])
        if coarse is None or cost[row, column] < coarse[0]:
            left, top = x + (column - reach) * px[0], y + (row - reach) * px[1]
            coarse = float(cost[row, column]), Box(round(left), round(top), round(w), round(h))
    assert coarse is not None
    near = coarse[1]
    area = (near.x - FINE, near.y - FINE, near.right + FINE, near.bottom + FINE)
    field = _resized(frame_HW3, area, (near.w + 2 * FINE, near.h + 2 * FINE))
    cost = _costs(_resized(shown_HW3, None, (near.w, near.h)), _resized(mask, None, (near.w, near.h)), field)
    if cost.min() > LOST:
        return None
    row, column = divmod(int(cost.argmin()), cost.shape[1])
    return _inside(Box(near.x + column - FINE, near.y + row - FINE, near.w, near.h), frame_HW3)


def _costs(shown_HW3: Floats, mask_HW1: Floats, field: Floats) -> Floats:
    """Mean levels between a picture and a larger one at each place where it fits in (N, N)."""
    height, width = shown_HW3.shape[:2]
    windows = np.lib.stride_tricks.sliding_window_view(field, (height, width), axis=(0, 1))
    shown = shown_HW3.transpose(2, 0, 1)
    weight = mask_HW1.transpose(2, 0, 1) / max(1e-6, float(mask_HW1.sum()) * 3)
    return np.asarray([[float((np.abs(one - shown) * weight).sum()) for one in row] for row in windows])


def _resized(
    values: NDArray[np.uint8] | Mask, area: tuple[float, float, float, float] | None, size: tuple[int, int]
) -> Floats:
    """A part of a picture at a size, as floats (H,W,C); what lies outside repeats the edge."""
    picture = values.astype(np.uint8) * (255 if values.dtype == np.bool_ else 1)
    if area is not None:
        height, width = picture.shape[:2]
        left, top = max(0, -int(np.floor(area[0]))), max(0, -int(np.floor(area[1])))
        right, bottom = max(0, int(np.ceil(area[2])) - width), max(0, int(np.ceil(area[3])) - height)
        picture = np.pad(picture, ((top, bottom), (left, right), (0, 0)), mode="edge")
        area = area[0] + left, area[1] + top, area[2] + left, area[3] + top
    found = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR, box=area), np.float32)
    return found if found.ndim == 3 else found[..., None] / 255


def _stretched(mask: Mask, box: Box) -> Mask:
    """The cut-out's mask at a box's size."""
    image = Image.fromarray(mask.astype(np.uint8) * 255).resize((box.w, box.h), Image.Resampling.BILINEAR)
    return np.asarray(image) > 127


def _inside(box: Box, frame_HW3: Pixels) -> Box | None:
    """The part of a box inside the frame; None if that is less than a third."""
    height, width = frame_HW3.shape[:2]
    left, top = max(0, box.x), max(0, box.y)
    w, h = min(width, box.right) - left, min(height, box.bottom) - top
    return Box(left, top, w, h) if w > 3 and h > 3 and 3 * w * h >= box.w * box.h else None


def others(lines: Sequence[list[Seen]], drawn: Sequence[list[Seen]]) -> list[list[Seen]]:
    """Found tracks that are not what a person drew: what the person says wins."""
    boxes: dict[int, list[Box]] = {seen.frame: [] for line in drawn for seen in line}
    for line in drawn:
        for seen in line:
            boxes[seen.frame].append(seen.box)
    return [line for line in lines if not _mostly(line, boxes)]


def _mostly(line: Sequence[Seen], boxes: dict[int, list[Box]]) -> bool:
    """Whether a track lies on drawn boxes wherever it is near one in time."""
    shared = []
    for seen in line:
        near = min(boxes, key=lambda frame: abs(frame - seen.frame), default=None)
        if near is not None and abs(near - seen.frame) < EVERY:
            shared.append(max(_overlap(seen.box, box) for box in boxes[near]))
    return bool(shared) and float(np.median(shared)) > 0.5


def _overlap(one: Box, other: Box) -> float:
    """Intersection over union."""
    w = min(one.right, other.right) - max(one.x, other.x)
    h = min(one.bottom, other.bottom) - max(one.y, other.y)
    both = max(0, w) * max(0, h)
    return both / (one.w * one.h + other.w * other.h - both)
