"""What the judge knows about a sheet: its elements, their figures without the black, and the gutters.

Legend: F frames, H height, W width, C colour channel. Pixels are uint8 RGB at the working size
(`working_size`).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from castsheet.errors import SheetError
from castsheet.sheet.box import Box, Kind, PanelView
from castsheet.sheet.look.regions import luma, regions
from castsheet.sheet.manifest import ElementNote, Panel, Sheet

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]

LONG_SIDE = 192  # px: frames are judged at this size; it shows what a viewer sees at a glance
LIT = 20  # of 255: a brighter pixel belongs to a picture, not to the sheet's black
MIN_FIGURE = 0.04  # of the panel's width: a narrower lit stretch is not a figure
SPECK = 0.15  # of a row's height: lower things are specks that a cut-out left
DARK_SHARE = 0.2  # a picture with this much black around it is a cut-out; less is a photograph of a place
MIN_PANEL_SIDE = 8
ROW_ALIKE = 0.75  # of the tallest row's height: a lower band is part of another row
FIGURE_ASPECT = 0.4  # width over height of a standing person, arms a little away from the body
WIDEST = 0.75  # wider stretches are several people


@dataclass(frozen=True)
class Figure:
    """One figure on the sheet: one view of a character, a prop, or a place.

    Attributes:
        view: the panel's view.
        box: the panel's box, sheet pixels. Several looks share it when a turnaround was split.
        picture_HWC: the figure at the size at which it stands on the conditioning image.
        mask_HW: True on the figure itself.
    """

    view: PanelView
    box: Box
    picture_HWC: Pixels
    mask_HW: Mask


@dataclass(frozen=True)
class Member:
    """An element of the sheet. `human`: whether its face tells who it is, if it is a character."""

    id: str
    kind: Kind
    description: str
    looks: tuple[Figure, ...]
    human: bool = True

    @property
    def body(self) -> tuple[Figure, ...]:
        """The looks by which the element is found in a frame: whole figures, or faces if there are none."""
        whole = tuple(look for look in self.looks if look.view != "face")
        return whole or self.looks


@dataclass(frozen=True)
class Cast:
    """A sheet, ready to be compared with frames of one size.

    Attributes:
        members: elements in the sheet's order.
        sheet_HWC: the conditioning image.
        gutter_HW: True where the sheet is black between or around its panels.
        known: whether the panels come from a manifest; False if they were found in a bare picture.
    """

    members: tuple[Member, ...]
    sheet_HWC: Pixels
    gutter_HW: Mask
    known: bool


def working_size(width: int, height: int) -> tuple[int, int]:
    """The size (width, height) at which clips of this size are judged: long side 192 px, never enlarged."""
    scale = min(1.0, LONG_SIDE / max(width, height))
    return max(8, round(width * scale)), max(8, round(height * scale))


def working_frames(frames_FHWC: Pixels) -> Pixels:
    """Frames averaged down to the working size; the same array if they have it already."""
    height, width = frames_FHWC.shape[1:3]
    size = working_size(width, height)
    if size == (width, height):
        return frames_FHWC
    box = Image.Resampling.BOX
    return np.stack([np.asarray(Image.fromarray(frame).resize(size, box)) for frame in frames_FHWC])


def read_cast(sheet: Sheet, width: int, height: int) -> Cast:
    """Cut a sheet into its elements.

    With a manifest the panels are known. Without one, black lines separate them, and every panel becomes an
    element: "panel-1", "panel-2", ... A panel with black around its figure counts as a character, because
    only a model could tell a prop from a person. A panel that fills its box counts as a location.

    Args:
        sheet: with or without panels.
        width, height: the working size of the clip.

    Raises:
        SheetError: the sheet is so small at this size that no panel is left.
    """
    image = np.asarray(sheet.conditioning_image(width, height))
    panels = sheet.panels or _found(sheet)
    notes = {note.id: note for note in sheet.elements}
    members: dict[str, Member] = {}
    gutter = np.ones((height, width), np.bool_)
    for panel in panels:
        top, bottom, left, right = _place(sheet, panel.box, (width, height))
        gutter[top:bottom, left:right] = False
        crop = image[top:bottom, left:right]
        if min(crop.shape[:2]) < MIN_PANEL_SIDE:
            continue
        before = members.get(panel.element)
        looks = (*(before.looks if before else ()), *_looks(panel, crop))
        note = notes.get(panel.element) or ElementNote(panel.element, panel.kind, "")
        members[panel.element] = Member(note.id, panel.kind, note.description, looks, note.human)
    if not members:
        raise SheetError(
            f"no panel of the sheet is {MIN_PANEL_SIDE} px or more at {width}x{height}",
            remedy="use larger panels, or check that this is the clip's sheet",
        )
    return Cast(tuple(members.values()), image, gutter, known=bool(sheet.panels))


def _found(sheet: Sheet) -> tuple[Panel, ...]:
    """Panels of a bare picture, in reading order; an all black region is not a panel."""
    grey = luma(sheet.image)
    found: list[Panel] = []
    for box in regions(grey):
        part = grey[box.y : box.bottom, box.x : box.right]
        lit = part > LIT
        if min(box.w, box.h) < 0.05 * min(sheet.image.size) or lit.mean() < 0.02:
            continue
        kind: Kind = "character" if lit.mean() < 1 - DARK_SHARE else "location"
        view: PanelView = "turnaround" if kind == "character" else "place"
        found.append(Panel(f"panel-{len(found) + 1}", kind, view, box))
    return tuple(found)


def _place(sheet: Sheet, box: Box, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Rows and columns (top, bottom, left, right) of a sheet box on the conditioning image."""
    left, top, right, bottom = map(round, sheet.seen(box, size))
    columns, rows = np.clip([left, right], 0, size[0]), np.clip([top, bottom], 0, size[1])
    return int(rows[0]), int(rows[1]), int(columns[0]), int(columns[1])


def _looks(panel: Panel, crop_HWC: Pixels) -> list[Figure]:
    """The panel's figures: one, or all that stand apart from each other in a turnaround."""
    if panel.view in ("face", "place"):
        mask = np.ones(crop_HWC.shape[:2], np.bool_) if panel.view == "place" else figure_mask(crop_HWC)
        return [Figure(panel.view, panel.box, crop_HWC, mask)]
    views = len(panel.sources) if panel.kind == "character" else 1
    rows = _rows(crop_HWC, views)
    parts = [part for row_HWC in rows for part in _in_row(row_HWC)]
    if panel.kind == "character" and (not views or len(parts) < views):
        # Views that touch are cut apart. Where as many stand apart as there are, each is whole: a rabbit that
        # sits is as wide as two people.
        parts = [one for part in parts for one in _apart(part)]
    found = [Figure(panel.view, panel.box, part, figure_mask(part)) for part in parts]
    return found or [Figure(panel.view, panel.box, crop_HWC, np.ones(crop_HWC.shape[:2], np.bool_))]


def _rows(crop_HWC: Pixels, views: int) -> list[Pixels]:
    """A turnaround's rows: the planner stacks views if that makes them larger.

    Views are equally tall, so lower lit bands are parts of a row, such as a hat above black hair. If rows
    touch at this size, the number of views and the panel's shape tell the number of rows.

    Args:
        views: how many figures the panel shows; 0 or 1 if that is not known.
    """
    lit = crop_HWC.max(axis=-1) > LIT
    bands = _joined(_stretches(lit.any(axis=1)))
    if len(bands) > 1 and (not views or len(bands) <= views):
        return [crop_HWC[top:bottom] for top, bottom in bands]
    height, width = lit.shape

    def misfit(rows: int) -> float:
        aspect = (width / -(-views // rows)) / (height / rows)
        return abs(float(np.log(aspect / FIGURE_ASPECT)))

    count = min(range(1, views + 1), key=misfit) if views > 1 else 1
    return [crop_HWC[top:bottom] for top, bottom in _cuts(lit.sum(axis=1), count)]


def _joined(bands: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Bands of rows, lower ones joined to the nearest tall one: they are parts of it."""
    tallest = max((bottom - top for top, bottom in bands), default=0)
    tall = [one for one in bands if one[1] - one[0] >= ROW_ALIKE * tallest]
    ends = [list(one) for one in tall]
    for top, bottom in bands:
        gaps = [max(first - bottom, top - last, 0) for first, last in tall]
        at = int(np.argmin(gaps))
        ends[at] = [min(ends[at][0], top), max(ends[at][1], bottom)]
    return [(first, last) for first, last in ends]


def _in_row(row_HWC: Pixels) -> list[Pixels]:
    """What stands apart in one row, each cut to its own height."""
    lit = row_HWC.max(axis=-1) > LIT
    found = []
    for left, right in _stretches(lit.any(axis=0)):
        rows = np.flatnonzero(lit[:, left:right].any(axis=1))
        if right - left < max(3, MIN_FIGURE * row_HWC.shape[1]):
            continue
        if len(rows) >= SPECK * lit.shape[0]:
            found.append(row_HWC[rows[0] : rows[-1] + 1, left:right])
    return found


def _apart(part_HWC: Pixels) -> list[Pixels]:
    """The people in a part in which some touch: thin places near equal parts are cut."""
    lit = part_HWC.max(axis=-1) > LIT
    height, width = lit.shape
    count = max(1, round(width / (height * FIGURE_ASPECT))) if width > WIDEST * height else 1
    found = []
    for start, stop in _cuts(lit.sum(axis=0), count):
        rows = np.flatnonzero(lit[:, start:stop].any(axis=1))
        found.append(part_HWC[rows[0] : rows[-1] + 1, start:stop])
    return found


def _cuts(thick_N: NDArray[np.int64], count: int) -> list[tuple[int, int]]:
    """[0, N) in `count` nearly equal parts, cut at the thinnest places; ties go to the more equal parts."""
    length = len(thick_N)
    cuts = [0]
    for number in range(1, count):
        middle, reach = round(length * number / count), max(1, round(0.25 * length / count))
        low = max(middle - reach, cuts[-1] + 3)
        near = np.arange(low, min(middle + reach + 1, length))
        cuts.append(int(near[np.argmin(thick_N[near] + 0.01 * np.abs(near - middle))]))
    return list(pairwise([*cuts, length]))


def _stretches(flags_N: Mask) -> list[tuple[int, int]]:
    """Maximal runs [start, stop) of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags_N, [False]]).astype(np.int8)))
    return [(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]


def figure_mask(picture_HWC: Pixels) -> Mask:
    """The figure on black: lit pixels, and dark ones (hair, shoes) with lit ones on all four sides."""
    lit = picture_HWC.max(axis=-1) > LIT

    def between(axis: int) -> Mask:
        ahead = np.logical_or.accumulate(lit, axis=axis)
        behind = np.flip(np.logical_or.accumulate(np.flip(lit, axis), axis=axis), axis)
        return ahead & behind

    return lit | (between(0) & between(1))
