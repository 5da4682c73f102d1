"""Takes a ready-made sheet apart: finds its pictures, names them by their labels, and removes text.

It works on framed pictures, on pictures and figures on one plain ground, and on tiles separated by straight
lines. Without a text reader it finds the pictures, but does not name them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from castsheet.authoring.labels import Label, assign, contradictions, element_view
from castsheet.elements import View
from castsheet.errors import SheetError
from castsheet.lint.findings import Fault
from castsheet.machine.outputs import Output, try_outputs
from castsheet.machine.replace import replacing
from castsheet.media.png import save_png, wrote_png
from castsheet.sheet.box import Box
from castsheet.sheet.look.components import boxes_of
from castsheet.sheet.look.faces import FaceDetector
from castsheet.sheet.look.ocr import TextLine, TextReader, erase, grown
from castsheet.sheet.look.regions import luma, regions

Pixels = NDArray[np.int16]

_WORK_SIDE = 1024  # px of the longer side at which pictures are looked for
_GROUND_SHARE = 0.7  # of the border: a colour with this share is the ground
_GROUND_TONE = 18  # of 255: the ground's own shading and noise
_PLAIN = 24  # a picture's pixel differs from the ground by more
_MIN_SIDE = 0.05  # of the sheet's short side: smaller things are letters, arrows, logos
_MIN_AREA = 0.1  # of the median picture's area
_PAGE = 0.85  # an empty frame over this much of the sheet is the page's border, not a picture's
_HOLLOW = 0.15
_FRAME_DEPTH = 0.02  # of the sheet's short side: a thicker line is not a frame
_FRAME_CONTRAST = 40
_SOFT = 2  # px over which a frame's edges fade
_EDGE_TEXT = 0.25  # text in the outer quarter of a picture is cropped off if that strip holds nothing else


@dataclass(frozen=True)
class CutPart:
    """One picture of the sheet.

    Attributes:
        box: where it lies on the sheet, without its frame, px.
        image: RGB, without text.
        label: the text beside it; None if nothing was read.
        text: where text was removed, px of the sheet.
    """

    box: Box
    image: Image.Image
    label: Label | None = None
    text: tuple[Box, ...] = ()

    @property
    def view(self) -> View | None:
        """The view that an element files it under; None if its label does not say."""
        return None if self.label is None else element_view(self.label)


@dataclass(frozen=True)
class Split:
    """The parts of a sheet: its pictures in reading order, all text on it, and labels that look wrong."""

    parts: tuple[CutPart, ...]
    lines: tuple[TextLine, ...] = ()
    doubts: tuple[Fault, ...] = ()

    def save(self, folder: Path | str, *, overwrite: bool = False) -> dict[View, tuple[Path, ...]]:
        """Write every picture as a PNG; returns them by view, as an element takes them, a frontal one first.

        Pictures without a view are written as `NN-unnamed.png`, and are not in the result.

        Raises:
            OutputError: a file that Castsheet did not write is there, or the disk refused.
        """
        folder = Path(folder)
        names = [
            f"{number:02d}-{part.label.slug if part.label else 'unnamed'}.png"
            for number, part in enumerate(self.parts, 1)
        ]
        try_outputs([Output(folder / name, wrote_png) for name in names], overwrite=overwrite)
        views: dict[View, list[tuple[bool, Path]]] = {}
        with replacing(folder) as change:
            for part, name in zip(self.parts, names, strict=True):
                save_png(part.image, change.new(name))
                if part.label and part.view:
                    views.setdefault(part.view, []).append((part.label.facing != "front", folder / name))
        return {view: tuple(path for _, path in sorted(found)) for view, found in views.items()}


def split(
    image: Image.Image, *, reader: TextReader | None = None, faces: FaceDetector | None = None
) -> Split:
    """Find the pictures of a sheet, read their labels, and cut them out without text.

    Args:
        image: the sheet, any mode; transparent parts become black.
        reader: reads the labels; without one no picture is named and text inside pictures stays.
        faces: compares labels with the direction of faces; without one, skin alone is compared.

    Raises:
        SheetError: no picture was found on the ground.
    """
    rgba = image.convert("RGBA")
    rgb = Image.new("RGB", rgba.size)
    rgb.paste(rgba, mask=rgba.getchannel("A"))
    lines = tuple(reader.read(rgb)) if reader else ()
    boxes = find_pictures(rgb, [line.box for line in lines])
    if not boxes:
        raise SheetError(
            "the picture has no parts: nothing sets off from its ground",
            remedy="give the views as separate pictures",
        )
    labels = assign(boxes, lines)
    parts = tuple(_part(rgb, box, label, lines) for box, label in zip(boxes, labels, strict=True))
    doubts = contradictions([(part.box, part.label, part.image) for part in parts], faces)
    return Split(parts, lines, tuple(doubts))


def find_pictures(rgb: Image.Image, text: Sequence[Box] = ()) -> list[Box]:
    """Boxes of the pictures on a sheet in reading order, frames left out; `text` is ignored."""
    shrink = max(1.0, max(rgb.size) / _WORK_SIDE)
    size = (max(1, round(rgb.width / shrink)), max(1, round(rgb.height / shrink)))
    small = np.asarray(rgb.resize(size, Image.Resampling.BOX), np.int16)
    ground = _ground(small)
    if ground is None:
        return _reading_order(_tiles(rgb))
    found = [_scaled(box, shrink, rgb.size) for box in _islands(small, ground, text, shrink)]
    if len(found) == 1:  # a grid of lines around all pictures, or a single picture
        found = max(found, _tiles(rgb), key=len)
    return _reading_order([_without_frame(rgb, box, ground) for box in found])


def _ground(pixels_HWC: Pixels) -> Pixels | None:
    """The colour of the border; None if tiles run to the edge."""
    broad = max(2, min(pixels_HWC.shape[:2]) // 100)
    for rim in (broad, max(2, broad // 3)):  # the margin may be narrower than the first
        sides = (pixels_HWC[:rim], pixels_HWC[-rim:], pixels_HWC[:, :rim], pixels_HWC[:, -rim:])
        border = np.concatenate([side.reshape(-1, 3) for side in sides])
        colour = np.median(border, axis=0).astype(np.int16)
        same = np.abs(border - colour).max(axis=1) <= _GROUND_TONE
        if same.mean() >= _GROUND_SHARE:
            return colour
    return None


def _tiles(rgb: Image.Image) -> list[Box]:
    found = regions(luma(rgb))
    least = _MIN_SIDE * min(rgb.size)
    return [box for box in found if min(box.w, box.h) >= least]


def _islands(pixels_HWC: Pixels, ground: Pixels, text: Sequence[Box], shrink: float) -> list[Box]:
    """Connected things on the ground, large enough to be pictures; px of the working size."""
    height, width = pixels_HWC.shape[:2]
    mask = np.abs(pixels_HWC - ground).max(axis=2) > _PLAIN
    for line in text:
        box = grown(_scaled(line, 1 / shrink, (width, height)), 2, (width, height))
        mask[box.y : box.bottom, box.x : box.right] = False
    found = boxes_of(mask, reach=max(1, round(0.002 * max(width, height))))
    framed = [
        box
        for box, filled in found
        if not (box.area > _PAGE * width * height and filled < _HOLLOW * box.area)
    ]
    return _large(_merged(framed, 0.004 * max(width, height)), min(width, height))


def _merged(boxes: list[Box], near: float) -> list[Box]:
    """Boxes mostly within another, or tiny ones beside it, become part of it."""
    kept: list[Box] = []
    for box in sorted(boxes, key=lambda b: -b.area):
        for i, host in enumerate(kept):
            small = box.area < 0.1 * host.area
            shared = _shared(box, host, near if small else 0)
            if shared > 0.5 * box.area or (small and shared > 0):
                kept[i] = Box.around((host, box))
                break
        else:
            kept.append(box)
    return kept


def _shared(a: Box, b: Box, near: float) -> float:
    across = min(a.right, b.right) - max(a.x, b.x) + near
    down = min(a.bottom, b.bottom) - max(a.y, b.y) + near
    return max(across, 0) * max(down, 0)


def _large(boxes: list[Box], short: int) -> list[Box]:
    kept = [box for box in boxes if min(box.w, box.h) >= _MIN_SIDE * short]
    if not kept:
        return []
    median = sorted(box.area for box in kept)[len(kept) // 2]
    return [box for box in kept if box.area >= _MIN_AREA * median]


def _scaled(box: Box, by: float, size: tuple[int, int]) -> Box:
    x, y = int(box.x * by), int(box.y * by)
    right, bottom = min(size[0], round(box.right * by)), min(size[1], round(box.bottom * by))
    return Box(min(x, size[0] - 1), min(y, size[1] - 1), max(1, right - x), max(1, bottom - y))


def _without_frame(rgb: Image.Image, box: Box, ground: Pixels) -> Box:
    """The box inside its frame, if it has a frame on three sides or more.

    A frame is equally thick on all sides; a white shirt is not.
    """
    depth = max(3, round(_FRAME_DEPTH * min(rgb.size)))
    crop = np.asarray(rgb.crop(box.corners), np.int16)
    if min(crop.shape[:2]) < 4 * depth:
        return box
    sides = (crop, crop[::-1], crop.swapaxes(0, 1), crop.swapaxes(0, 1)[::-1])
    ends = [_frame(side[:depth], ground) for side in sides]
    known = [end for end in ends if end is not None]
    if len(known) < 3:  # a white shirt may hide one line of a frame, hardly two
        return box
    thick = min(stop - start for start, stop in known) + _SOFT
    usual = sorted(stop for _, stop in known)[1]
    inner = [usual if end is None else min(end[1], end[0] + thick) for end in ends]
    top, bottom, left, right = (stop + _SOFT for stop in inner)
    return Box(box.x + left, box.y + top, box.w - left - right, box.h - top - bottom)


def _frame(lines_LPC: Pixels, ground: Pixels) -> tuple[int, int] | None:
    """First line, and the one after the last, of a frame within these lines; None if there is none."""
    count = lines_LPC.shape[1]
    middle = lines_LPC[:, count // 10 : count - count // 10]
    tone = np.median(middle, axis=1)
    # Drawn frames are uneven and soft: three quarters of a line start a frame, a third continues it.
    plain = (np.abs(middle - tone[:, None]).max(axis=2) <= _FRAME_CONTRAST).mean(axis=1) >= 0.75
    apart = np.abs(tone - ground).max(axis=1) > _FRAME_CONTRAST
    lines = np.flatnonzero(plain & apart)
    if not lines.size:
        return None
    first = int(lines[0])
    # The line that differs most from the ground has the frame's colour; the first may be half ground.
    peak = first + int(np.abs(tone[first : first + 1 + _SOFT] - ground).max(axis=1).argmax())
    alike = (np.abs(middle - tone[peak]).max(axis=2) <= _FRAME_CONTRAST).mean(axis=1) >= 1 / 3
    end = peak
    while end < len(tone) and alike[end]:
        end += 1
    return (first, end) if end < len(tone) else None


def _reading_order(boxes: list[Box]) -> list[Box]:
    """Rows from the top, each from the left. A box joins the row whose first box is beside its middle."""
    rows: list[list[Box]] = []
    for box in sorted(boxes, key=lambda b: (b.y, b.x)):
        middle = box.y + box.h / 2
        for row in rows:
            if row[0].y <= middle < row[0].bottom:
                row.append(box)
                break
        else:
            rows.append([box])
    return [box for row in rows for box in sorted(row, key=lambda b: b.x)]


def _part(rgb: Image.Image, box: Box, label: Label | None, lines: Sequence[TextLine]) -> CutPart:
    """Cut a picture out. A plain strip with text at its edge is cut off; other text is filled."""
    inside = [grown(line.box, 2, rgb.size) for line in lines if line.box.overlaps(box)]
    kept = box
    for line in inside:
        kept = _strip_off(rgb, kept, line)
    crop = rgb.crop(kept.corners)
    holes = []
    for line in (line for line in inside if line.overlaps(kept)):
        x, y = max(line.x, kept.x), max(line.y, kept.y)
        right, bottom = min(line.right, kept.right), min(line.bottom, kept.bottom)
        holes.append(Box(x - kept.x, y - kept.y, right - x, bottom - y))
    return CutPart(kept, erase(crop, holes), label, tuple(inside))


def _strip_off(rgb: Image.Image, box: Box, text: Box) -> Box:
    """The box without a strip along its upper or lower edge that holds this text and nothing else."""
    reach = _EDGE_TEXT * box.h
    if text.bottom - box.y <= reach:
        strip, rest = Box(box.x, box.y, box.w, text.bottom - box.y), (text.bottom, box.bottom)
    elif box.bottom - text.y <= reach:
        strip, rest = Box(box.x, text.y, box.w, box.bottom - text.y), (box.y, text.y)
    else:
        return box
    pixels = np.asarray(rgb.crop(strip.corners), np.int16)
    beside = np.ones(pixels.shape[1], bool)
    beside[max(0, text.x - box.x) : max(0, text.right - box.x)] = False
    plain = pixels[:, beside].reshape(-1, 3)
    if not plain.size or plain.std(axis=0).max() > _GROUND_TONE / 2:
        return box
    return Box(box.x, rest[0], box.w, rest[1] - rest[0])
