"""Mending what can be mended without new pictures. Makes a new sheet; the old one stays as it is.

Text is removed and filled from around it, surplus copies are dropped, everything outside the panels becomes
black, and the panels are laid out anew if shape, gutters, sizes or bands are wrong. Faults that need other
pictures (small sources, cut figures, people in a location, held props) are left, and the findings name them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from castsheet.authoring.split import find_pictures
from castsheet.errors import LayoutError
from castsheet.lint.findings import Finding
from castsheet.lint.panels import DEFAULT_GRID, DEFAULT_OUTPUT, lint_sheet
from castsheet.lint.pixels import Readers
from castsheet.sheet.box import Box
from castsheet.sheet.look.ocr import erase, grown
from castsheet.sheet.manifest import Panel, Sheet
from castsheet.sheet.plan.layout import VIEW_WEIGHT, plan
from castsheet.sheet.plan.worth import PanelWish

FIXABLE = ("S01", "S02", "S03", "S05", "S06", "S07", "S09", "S18")
_BY_PLANNING = {"S03", "S05", "S06", "S07", "S09", "S18"}
_SCALE = 2


@dataclass(frozen=True)
class Fixed:
    """A mended sheet, what was done to it, in order, what the checks say about it now, and what was left."""

    sheet: Sheet
    done: tuple[str, ...]
    findings: tuple[Finding, ...]
    left: tuple[str, ...] = ()


def fix(
    sheet: Sheet,
    *,
    output: tuple[int, int] | None = None,
    grid: int | None = None,
    readers: Readers | None = None,
    found: Sequence[Finding] | None = None,
) -> Fixed:
    """Mend a sheet as far as its own pixels allow. Arguments are those of `lint_sheet`, and `found`: the
    sheet's findings, if they are known already.

    A bare picture stays bare: its pictures are found by their outlines, and it gets no manifest.
    A new layout is kept only if the checks find fewer errors, or as many errors and fewer warnings.
    """
    output = output or (sheet.output if sheet.panels else DEFAULT_OUTPUT)
    told = sheet.layout.get("grid")
    grid = grid or (told if type(told) is int and told > 0 else DEFAULT_GRID)
    if found is None:
        found = lint_sheet(sheet, output=output, grid=grid, readers=readers)
    wanted = {one.rule for one in found if one.severity != "info"}
    if not wanted & set(FIXABLE):
        return Fixed(sheet, (), tuple(found), ("no finding can be mended from the sheet's own pixels",))
    boxes = [panel.box for panel in sheet.panels] or find_pictures(
        sheet.image, [one.where for one in found if one.rule == "S02" and one.where]
    )
    done: list[str] = []
    left: list[str] = []
    if "S02" in wanted:
        sheet = _without_text(sheet, boxes, found, done)
    if wanted & {"S01", "S02"}:
        sheet = _on_black(sheet, boxes, sorted(wanted & {"S01", "S02"}), done)
    if wanted & _BY_PLANNING:
        sheet = _laid_out_anew(sheet, boxes, found, output, grid, done, left)
    after = lint_sheet(sheet, output=output, grid=grid, readers=readers)
    return Fixed(dataclasses.replace(sheet, path=None), tuple(done), tuple(after), tuple(left))


def _without_text(sheet: Sheet, boxes: Sequence[Box], found: Sequence[Finding], done: list[str]) -> Sheet:
    """Fill text inside pictures; text outside them is blackened next."""
    places = [one.where for one in found if one.rule == "S02" and one.where]
    inside = [place for place in places if any(place.overlaps(box) for box in boxes)]
    if not inside:
        return sheet
    filled = erase(sheet.image, [grown(place, 3, sheet.image.size) for place in inside])
    done.append(f"S02: took text off in {_times(len(inside), 'place')}, filled from the pixels around it")
    return dataclasses.replace(sheet, image=filled)


def _on_black(sheet: Sheet, boxes: Sequence[Box], reasons: Sequence[str], done: list[str]) -> Sheet:
    """Black everywhere except in the boxes; unchanged if the sheet is so already."""
    if not boxes:
        return sheet
    image = Image.new("RGB", sheet.image.size)
    for box in boxes:
        image.paste(sheet.image.crop(box.corners), (box.x, box.y))
    blackened = dataclasses.replace(sheet, image=image)
    if blackened.sha256 == sheet.sha256:
        return sheet
    done.append(f"{', '.join(reasons)}: blackened what lies outside the {_times(len(boxes), 'picture')}")
    return blackened


def _laid_out_anew(
    sheet: Sheet,
    boxes: Sequence[Box],
    found: Sequence[Finding],
    output: tuple[int, int],
    grid: int,
    done: list[str],
    left: list[str],
) -> Sheet:
    """Drop copies and plan again; the unchanged sheet if that is no better, or impossible."""
    surplus = [one.where for one in found if one.rule == "S18" and one.where]
    kept = [i for i, box in enumerate(boxes) if all(_apart(box, where) for where in surplus)]
    if len(boxes) < 2 or not kept:
        left.append("the layout stays: the picture cannot be taken apart")
        return sheet
    wishes = [_wish(sheet, boxes[i], i) for i in kept]
    try:
        layout = plan(wishes, output=output, scale=_SCALE, grid=grid)
    except LayoutError as error:
        left.append(f"the layout stays: {error.what}")
        return sheet
    image = Image.new("RGB", layout.canvas)
    panels = []
    for i, wish, place in zip(kept, wishes, layout.boxes, strict=True):
        part = _part(boxes[i], place, may_crop=wish.min_aspect < wish.max_aspect)
        image.paste(
            sheet.image.crop(part.corners).resize((place.w, place.h), Image.Resampling.LANCZOS),
            (place.x, place.y),
        )
        if sheet.panels:
            panels.append(_moved(sheet.panels[i], part, place))
    settings = {
        "scale": _SCALE,
        "grid": grid,
        "gutter": layout.gutter,
        "cells": [list(dataclasses.astuple(cell)) for cell in layout.cells],
    }
    shown = {panel.element for panel in panels}
    anew = Sheet(
        image,
        tuple(panels),
        tuple(note for note in sheet.elements if note.id in shown),
        output if panels else image.size,
        settings if panels else {},
    )
    before, after = (_weight(lint_sheet(one, output=output, grid=grid)) for one in (sheet, anew))
    if after >= before:
        told = ", ".join(sorted({one.rule for one in found if one.severity != "info"} & _BY_PLANNING))
        left.append(f"{told}: the layout stays, because the planner finds none with fewer findings")
        return sheet
    if len(kept) < len(boxes):
        done.append(f"S18: dropped {_times(len(boxes) - len(kept), 'picture')} shown twice")
    mended = sorted({one.rule for one in found if one.severity != "info"} & _BY_PLANNING - {"S18"})
    done.append(
        f"{', '.join(mended) or 'S18'}: laid {_times(len(kept), 'picture')} out anew on "
        f"{image.width} x {image.height} with gutters of {layout.gutter} px"
    )
    return anew


def _times(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _apart(a: Box, b: Box) -> bool:
    return a.shared(b) <= 0.5 * max(a.area, b.area)


def _weight(found: Sequence[Finding]) -> tuple[int, int]:
    return tuple(sum(one.severity == level for one in found) for level in ("error", "warning"))  # type: ignore[return-value]


def _wish(sheet: Sheet, box: Box, index: int) -> PanelWish:
    aspect = box.w / box.h
    if not sheet.panels:  # nothing is known about the pictures, so their sizes count as intended
        return PanelWish(f"picture-{index}", "prop", "product", aspect, aspect, aspect, float(box.area))
    panel = sheet.panels[index]
    importance = next((n.importance for n in sheet.elements if n.id == panel.element), 1.0)
    slack = 0.9 if panel.view == "place" else 1.0
    weight = VIEW_WEIGHT[panel.view] * importance
    return PanelWish(panel.element, panel.kind, panel.view, aspect, aspect * slack, aspect / slack, weight)


def _part(box: Box, place: Box, *, may_crop: bool) -> Box:
    """The middle of a picture in the shape of its new place; the whole picture if it must not be cropped."""
    if not may_crop:
        return box
    w = min(box.w, round(box.h * place.w / place.h))
    h = min(box.h, round(box.w * place.h / place.w))
    return Box(box.x + (box.w - w) // 2, box.y + (box.h - h) // 2, max(1, w), max(1, h))


def _moved(panel: Panel, part: Box, place: Box) -> Panel:
    """The panel in its new place, with the sources' new scale and crop, which rule S16 reads."""
    ratio, left = place.h / part.h, part.area / panel.box.area
    sources = tuple(
        dataclasses.replace(s, scale=round(s.scale * ratio, 6), crop=round(1 - (1 - s.crop) * left, 6))
        for s in panel.sources
    )
    return dataclasses.replace(panel, box=place, sources=sources)
