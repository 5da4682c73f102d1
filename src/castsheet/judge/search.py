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

from castsheet.judge.cast import Cast, Pixels
from castsheet.judge.fields import BLACK, Field, Find, Searched, edges, keep, luma, nothing, steps
from castsheet.judge.pasted import figures
from castsheet.sheet.box import Kind
from castsheet.sheet.manifest import Sheet

STEP = 1.1  # from size to size: between two of them edges lie off by less than their own width
PANEL_WIDEST = 0.55  # of the frame: a place that fills more of it, either way, is where the clip plays
BUSY = 0.15  # share of a place's pixels with edges: a plainer one is like any sky
SMALLEST_PANEL = 0.14  # heights or widths of the frame, whichever is less
FAINT = 6.0  # luma: weaker edges count as none
SMALL_SHEETS = (0.22, 0.55, 1.06)  # smallest, largest, step: a sheet in a corner
LARGE_SHEETS = (0.97, 1.35, 1.035)  # a sheet as large as the frame, or zoomed


Template = tuple[str, Kind, Image.Image]


def templates(sheet: Sheet, cast: Cast) -> list[Template]:
    """Whole panels, and each figure of a turnaround on its black, by element."""
    image = sheet.image.convert("RGB")
    panels = [(panel, panel.box) for panel in sheet.panels if panel.kind != "prop"]
    found: list[Template] = [
        (panel.element, panel.kind, image.crop((box.x, box.y, box.right, box.bottom)))
        for panel, box in panels
    ]
    for member in cast.members:
        if member.kind == "character" and (len(member.looks) > 1 or not panels):
            found += [(member.id, member.kind, Image.fromarray(look.picture_HWC)) for look in member.looks]
    return found


def panels(searched: Searched, templates: Sequence[Template]) -> list[Find]:
    """The best place of every panel, black and all.

    Definition: normalised cross-correlation of the strength of edges of a panel's whole rectangle with the
    frame's, largest over positions and sizes from 0.14 of the frame to its whole height; places up to 0.55
    of its width.
    A panel with black in it counts by 1 - m / 128, where m is the frame's mean luma under that black: a
    person who takes the panel's pose has a lit place around him. Props are not searched, since a prop that
    is kept well looks like its panel.
    Source: zero-mean normalised cross-correlation by FFT (Lewis, "Fast normalized cross-correlation", 1995).
    Blind to: turned and mirrored panels, panels without their black, and honest black around the same pose.
    """
    found = []
    for element, kind, picture in templates:
        if kind == "location" and not _busy(picture):
            continue
        smallest = SMALLEST_PANEL * min(searched.width / picture.width, searched.height / picture.height)
        smallest = max(smallest, 16 / min(picture.size))
        room = PANEL_WIDEST if kind == "location" else 1.0
        largest = min(room * searched.width / picture.width, room * searched.height / picture.height)
        values, places = nothing(len(searched.numbers))
        for scale in steps(smallest, largest, STEP):
            size = round(picture.width * scale), round(picture.height * scale)
            grey = luma(np.asarray(picture.resize(size, Image.Resampling.BOX)))
            scores, corners = searched.edges.likeness(edges(grey))
            keep(values, places, (scores * searched.darkness(grey < BLACK, corners), corners), size)
        found.append(searched.find("panel", element, values, places))
    return found


def _busy(picture: Image.Image) -> bool:
    small = picture.resize((120, max(1, round(120 * picture.height / picture.width))), Image.Resampling.BOX)
    return bool((edges(luma(np.asarray(small))) > FAINT).mean() >= BUSY)


def whole(searched: Searched, sheet: Sheet) -> Find:
    """The best place of the whole sheet: smaller than the frame, or larger, when the frame shows a part of
    it."""
    values, places = nothing(len(searched.numbers))
    size = searched.width, searched.height
    for scale in [*steps(*SMALL_SHEETS), *steps(*LARGE_SHEETS)]:
        shape = round(size[0] * scale), round(size[1] * scale)
        sharp = edges(luma(np.asarray(sheet.conditioning_image(*shape))))
        if scale <= 1:
            keep(values, places, searched.edges.likeness(sharp), shape)
            continue
        field = Field(torch.from_numpy(sharp[None]))
        scores = [float(field.likeness(one)[0][0]) for one in searched.edges.values_FHW.numpy()]
        keep(values, places, (np.array(scores, np.float32), [(0, 0)] * len(scores)), size)
    return searched.find("sheet", "", values, places)


def search(frames_FHWC: Pixels, numbers: Sequence[int], sheet: Sheet, cast: Cast) -> list[Find]:
    """Everything that can be searched, in the given frames: one find for the sheet, and for each element
    one of its panels and one of its figures."""
    searched = Searched(frames_FHWC, numbers)
    every = panels(searched, templates(sheet, cast))
    best = {one.element: one for one in sorted(every, key=lambda one: one.likeness)}
    return [whole(searched, sheet), *best.values(), *figures(searched, cast)]
