"""Search: panels of the sheet anywhere in the picture, at any size. No model is needed.

A sheet rarely leaks as a whole. It leaks as framed pictures on a wall, as a small sheet in a corner, as a
third of the screen, zoomed, or as one figure pasted from its panel, with its black or without.

Legend: F frames, H height, W width, C colour channel; h, w of a template.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from castsheet.judge.cast import Cast, Mask, Pixels
from castsheet.judge.fields import (
    BLACK,
    Candidate,
    Field,
    Find,
    Floats,
    Place,
    Searched,
    apart,
    edges,
    keep,
    luma,
    nothing,
    steps,
)
from castsheet.judge.pasted import cuts, figures
from castsheet.sheet.box import Kind
from castsheet.sheet.manifest import Sheet

STEP = 1.1  # from size to size: between two of them edges lie off by less than their own width
PANEL_WIDEST = 0.55  # of the frame: a place that fills more of it, either way, is where the clip plays
BUSY = 0.15  # share of a place's pixels with edges: a plainer one is like any sky
SMALLEST_PANEL = 0.14  # heights or widths of the frame, whichever is less
FAINT = 6.0  # luma: weaker edges count as none
CANDIDATES = 3  # places of a frame: a long horizon is often more like a panel's edges than the panel
ROUGHLY = 0.5  # likeness of edges from which a place is looked at closely
PARTS, SMALLEST_PART = 4, 6  # of a panel, in either direction, and their smallest side in px
PLAIN = 3.0  # luma: a part of a panel with less spread says nothing
CLOSE_ROOM = 0.12  # of a panel's longer side: how far beside the place that was found it is looked for
CLOSE_STEPS = np.exp(np.linspace(-0.1, 0.1, 13))  # sizes beside the one that was found
SMALL_SHEETS = (0.22, 0.55, 1.06)  # smallest, largest, step: a sheet in a corner
LARGE_SHEETS = (0.97, 1.35, 1.035)  # a sheet as large as the frame, or zoomed


class Template:
    """A panel's picture, and what is compared of it at every size. Sizes are kept: a sheet judges many
    clips.

    Args:
        element: whose panel. kind: the element's. picture: RGB.
    """

    def __init__(self, element: str, kind: Kind, picture: Image.Image) -> None:
        self.element, self.kind, self.picture = element, kind, picture
        self.plain = kind == "location" and not _busy(picture)
        self._sizes: dict[tuple[int, int], tuple[Floats, Mask]] = {}

    def at(self, size: tuple[int, int]) -> tuple[Floats, Mask]:
        """Strength of edges (h, w), and where it is black (h, w), at a size (w, h)."""
        if size not in self._sizes:
            grey = luma(np.asarray(self.picture.resize(size, Image.Resampling.BOX)))
            self._sizes[size] = edges(grey), grey < BLACK
        return self._sizes[size]


class Wanted:
    """All of a sheet that is searched.

    Args:
        sheet: as it is. cast: its figures at the size of the clips.
    """

    def __init__(self, sheet: Sheet, cast: Cast) -> None:
        self._sheet = sheet
        self.templates, self.cuts = templates(sheet, cast), cuts(cast)
        self._sizes: dict[tuple[int, int], Floats] = {}

    def edges(self, size: tuple[int, int]) -> Floats:
        """Strength of the whole sheet's edges (h, w), as it would stand on a conditioning image of a size
        (w, h)."""
        if size not in self._sizes:
            self._sizes[size] = edges(luma(np.asarray(self._sheet.conditioning_image(*size))))
        return self._sizes[size]


def templates(sheet: Sheet, cast: Cast) -> list[Template]:
    """Whole panels, and each figure of a turnaround on its black, by element."""
    image = sheet.image.convert("RGB")
    panels = [(panel, panel.box) for panel in sheet.panels if panel.kind != "prop"]
    found = [
        Template(panel.element, panel.kind, image.crop((box.x, box.y, box.right, box.bottom)))
        for panel, box in panels
    ]
    for member in cast.members:
        if member.kind == "character" and (len(member.looks) > 1 or not panels):
            pictures = [Image.fromarray(look.picture_HWC) for look in member.looks]
            found += [Template(member.id, member.kind, picture) for picture in pictures]
    return found


def panels(searched: Searched, templates: Sequence[Template]) -> list[Find]:
    """The best place of every panel, black and all.

    Definition: first, normalised cross-correlation of the strength of edges of a panel's whole rectangle with
    the frame's, largest over positions and sizes from 0.14 of the frame to its whole height; places up to
    0.55 of its width. A panel with black in it counts by 1 - m / 128, where m is the frame's mean luma under
    that black: a person who takes the panel's pose has a lit place around him. Then that place is looked at
    closely: the likeness is the median correlation of luma over the parts of the panel, four by four. A
    meadow has the edges of any other meadow, for its edges are its horizon; a copy is like the panel in
    every part. Props are not searched, since a prop that is kept well looks like its panel.
    Source: zero-mean normalised cross-correlation by FFT (Lewis, "Fast normalized cross-correlation", 1995).
    Blind to: turned and mirrored panels, panels without their black, and honest black around the same pose.
    """
    found = []
    for one in templates:
        if one.plain:
            continue
        rough = _roughly(searched, one, PANEL_WIDEST if one.kind == "location" else 1.0)
        values, places = nothing(len(rough))
        for at, candidates in enumerate(rough):
            near = [
                (_closely(searched, at, one.picture, box), box)
                for value, box in candidates
                if value >= ROUGHLY
            ]
            values[at], places[at] = max(near, key=lambda pair: pair[0], default=(0.0, (0, 0, 1, 1)))
        found.append(searched.find("panel", one.element, values, places))
    return found


def _roughly(searched: Searched, template: Template, room: float) -> list[list[Candidate]]:
    """The likeliest places of each frame with the panel's edges, up to `room` of its width or height."""
    picture = template.picture
    smallest = SMALLEST_PANEL * min(searched.width / picture.width, searched.height / picture.height)
    smallest = max(smallest, 16 / min(picture.size))
    largest = min(room * searched.width / picture.width, room * searched.height / picture.height)
    tried: list[list[Candidate]] = [[] for _ in searched.numbers]
    for scale in steps(smallest, largest, STEP):
        size = round(picture.width * scale), round(picture.height * scale)
        sharp, black = template.at(size)
        scores, corners = searched.edges.likeness(sharp)
        scores = scores * searched.darkness(black, corners)
        for mine, value, (y, x) in zip(tried, scores, corners, strict=True):
            mine.append((float(value), (x, y, *size)))
    return [apart(one, CANDIDATES) for one in tried]


def _closely(searched: Searched, at: int, picture: Image.Image, place: Place) -> float:
    """How much the parts of a panel are like those of one place of a frame, at the size that fits best."""
    frame_HW = luma(searched.near(at))
    up = frame_HW.shape[1] / searched.width
    x, y, w, h = (round(up * side) for side in place)
    room = round(CLOSE_ROOM * max(w, h)) + 2
    top, left = max(0, y - room), max(0, x - room)
    near_HW = frame_HW[top : y + h + room, left : x + w + room]
    field = Field(torch.from_numpy(np.ascontiguousarray(near_HW)[None]))
    best = -1.0, near_HW[:1, :1], near_HW[:1, :1]
    for by in CLOSE_STEPS:
        grey = luma(np.asarray(picture.resize((round(w * by), round(h * by)), Image.Resampling.BOX)))
        (value,), ((row, column),) = field.likeness(grey)
        if value > best[0]:
            best = value, grey, near_HW[row : row + grey.shape[0], column : column + grey.shape[1]]
    return _parts(best[1], best[2])


def _parts(panel_hw: Floats, seen_hw: Floats) -> float:
    """Median correlation of the parts of a panel that show something."""
    rows, columns = (max(1, min(PARTS, side // SMALLEST_PART)) for side in panel_hw.shape)
    found = []
    for part_hw, other_hw in zip(
        _split(panel_hw, rows, columns), _split(seen_hw, rows, columns), strict=True
    ):
        if part_hw.std() >= PLAIN:
            a, b = part_hw - part_hw.mean(), other_hw - other_hw.mean()
            found.append(float((a * b).sum() / np.sqrt((a**2).sum() * max(float((b**2).sum()), b.size))))
    return float(np.median(found)) if found else 0.0


def _split(values_hw: Floats, rows: int, columns: int) -> list[Floats]:
    bands = np.array_split(values_hw, rows, axis=0)
    return [part for band in bands for part in np.array_split(band, columns, axis=1)]


def _busy(picture: Image.Image) -> bool:
    small = picture.resize((120, max(1, round(120 * picture.height / picture.width))), Image.Resampling.BOX)
    return bool((edges(luma(np.asarray(small))) > FAINT).mean() >= BUSY)


def whole(searched: Searched, wanted: Wanted) -> Find:
    """The best place of the whole sheet: smaller than the frame, or larger, when the frame shows a part of
    it."""
    values, places = nothing(len(searched.numbers))
    size = searched.width, searched.height
    for scale in [*steps(*SMALL_SHEETS), *steps(*LARGE_SHEETS)]:
        shape = round(size[0] * scale), round(size[1] * scale)
        sharp = wanted.edges(shape)
        if scale <= 1:
            keep(values, places, searched.edges.likeness(sharp), shape)
            continue
        field = Field(torch.from_numpy(sharp[None]))
        scores = [float(field.likeness(one)[0][0]) for one in searched.edges.values_FHW.numpy()]
        keep(values, places, (np.array(scores, np.float32), [(0, 0)] * len(scores)), size)
    return searched.find("sheet", "", values, places)


def search(frames_FHWC: Pixels, numbers: Sequence[int], wanted: Wanted) -> list[Find]:
    """Everything that can be searched, in the given frames: one find for the sheet, and for each element
    one of its panels and one of its figures."""
    searched = Searched(frames_FHWC, numbers)
    every = panels(searched, wanted.templates)
    best = {one.element: one for one in sorted(every, key=lambda one: one.likeness)}
    return [whole(searched, wanted), *best.values(), *figures(searched, wanted.cuts)]
