"""Render a scene's sheet: pictures in, one image and its manifest out."""

from __future__ import annotations

import dataclasses
import math
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from PIL import Image

from castsheet.elements import Element, Scene
from castsheet.errors import LayoutError
from castsheet.sheet.box import Box, PanelView, Side
from castsheet.sheet.look.tools import Tools
from castsheet.sheet.manifest import ElementNote, Panel, PictureSource, Sheet
from castsheet.sheet.plan.layout import MAX_PANELS, Layout, canvas_size, plan, wishes
from castsheet.sheet.plan.pins import read_pins
from castsheet.sheet.sources import (
    TURNAROUND,
    Artwork,
    Picture,
    Piece,
    artworks,
    open_picture,
    shown_paths,
    unused_paths,
)

# Pillow first shrinks by whole factors while more than this remains to be filtered; the error is invisible.
_REDUCING_GAP = 3.0
# Pictures keep so many px of their long side for each px of the sheet's. A place may fill the sheet; a figure
# without a picture of its face lends the close-up its upper quarter; no other panel gets so large.
REACH, NEAR_REACH = 0.85, 1.25


def compose(
    scene: Scene,
    *,
    output: tuple[int, int] = (768, 448),
    scale: int = 2,
    grid: int = 32,
    gutter: int | None = None,
    tools: Tools | None = None,
) -> Sheet:
    """Plan and render the reference sheet of a scene, on black and without text.

    `scene.settings["layout"]` may pin panels (see `pins.read_pins`).

    Args:
        output: conditioning width and height in px, multiples of `grid`.
        scale: sheet px per conditioning px; composing at twice the size keeps edges clean.
        grid: side of a latent cell at the conditioning size (32 for LTX-2.3 and mini).
        gutter: px on the sheet; by default 16 px per 896 px of the short side.
        tools: cut people and things out and find faces (`Tools.installed()`); None leaves the pictures as
            they are.

    Raises:
        ImageError: a picture cannot be read, shows nothing, or is a close-up of several people.
        LayoutError: the sizes are not usable, or the panels do not fit.
        OutputError: the cache cannot be written.
    """
    canvas = canvas_size(output, scale, grid)  # refuses an impossible size before any picture is read
    if len(scene.elements) > MAX_PANELS:
        raise LayoutError(
            f"{len(scene.elements)} panels at least, one an element; a sheet holds {MAX_PANELS}",
            remedy="split a large cast over several sheets",
        )
    pins = read_pins(scene.settings.get("layout"), canvas)
    art: dict[tuple[str, PanelView], tuple[Artwork, ...]] = {}
    pictures = _opened(scene, canvas, tools or Tools())
    for element in scene.elements:
        found = artworks(element, pictures[element.id])
        art.update({(element.id, view): works for view, works in found.items()})
    wanted = wishes(scene, {key: [work.shape for work in works] for key, works in art.items()})
    layout = plan(wanted, output=output, scale=scale, grid=grid, gutter=gutter, pins=pins)
    image = Image.new("RGB", layout.canvas)
    panels = []
    for wish, box, variant in zip(wanted, layout.boxes, layout.variants, strict=True):
        may_crop = wish.min_aspect < wish.max_aspect
        sources = _render(image, art[wish.element, wish.view][variant], box, crop=may_crop)
        panels.append(Panel(wish.element, wish.kind, wish.view, box, sources))
    notes = tuple(
        ElementNote(e.id, e.kind, e.description, e.importance, e.kind != "character" or e.human)
        for e in scene.elements
    )
    unused = [path.as_posix() for element in scene.elements for path in unused_paths(element)]
    settings = (
        _settings(layout, scale, grid) | {"pinned": sorted(pins), "unused": unused} | _prepared(pictures)
    )
    return Sheet(image, tuple(panels), notes, output, settings)


def _opened(scene: Scene, canvas: tuple[int, int], tools: Tools) -> dict[str, dict[Path, Picture]]:
    """The pictures that panels show, by element; read in threads, as Pillow decodes without the lock."""
    wanted = [(element, path) for element in scene.elements for path in dict.fromkeys(shown_paths(element))]

    def read(one: tuple[Element, Path]) -> Picture:
        element, path = one
        faces = _close_up_path(element)
        near = element.kind == "location" or (path == faces and "face" not in element.images)
        reach = round((NEAR_REACH if near else REACH) * max(canvas))
        height = None if near else canvas[1]
        return open_picture(
            path,
            free=element.kind != "location",
            reach=reach,
            height=height,
            tools=tools,
            face=path == faces,
        )

    found: dict[str, dict[Path, Picture]] = {element.id: {} for element in scene.elements}
    # Each thread holds one decoded picture; more than four of 178 million pixels would exhaust a machine.
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        for (element, path), picture in zip(wanted, pool.map(read, wanted), strict=True):
            found[element.id][path] = picture
    return found


def _close_up_path(element: Element) -> Path | None:
    """The picture that lends a character its close-up."""
    if element.kind != "character":
        return None
    return next(
        (element.images[view][0] for view in ("face", *TURNAROUND[:2]) if view in element.images), None
    )


def _prepared(pictures: dict[str, dict[Path, Picture]]) -> dict[str, Any]:
    """What was done to the pictures before they were laid out, and what the user should look at."""
    every = [picture for shown in pictures.values() for picture in shown.values()]
    told: dict[str, Any] = {
        "cut": {picture.path.as_posix(): picture.cut for picture in every if picture.cut},
        "doubts": list(dict.fromkeys(picture.doubt for picture in every if picture.doubt)),
    }
    faults = {picture.path.as_posix(): list(picture.faults) for picture in every if picture.faults}
    return told | ({"faults": faults} if faults else {})


def _settings(layout: Layout, scale: int, grid: int) -> dict[str, Any]:
    """The planner's settings and result, JSON values only; `cells` are in the order of the panels."""
    score = dataclasses.asdict(layout.score)
    if not math.isfinite(layout.score.enlarged):
        score["enlarged"] = None  # JSON has no number for "without limit"
    return {
        "scale": scale,
        "grid": grid,
        "gutter": layout.gutter,
        "cells": [list(dataclasses.astuple(cell)) for cell in layout.cells],
        "score": score | {"bands": list(layout.score.bands)},
    }


def _render(image: Image.Image, art: Artwork, box: Box, *, crop: bool) -> tuple[PictureSource, ...]:
    """Draw an artwork into its box. With `crop` a single picture is centre-cropped; else all stay whole."""
    unit_x, unit_y = box.w / art.width, box.h / art.height
    sources = []
    for piece in art.pieces:
        x, y = min(round(piece.x * unit_x), box.w - 1), min(round(piece.y * unit_y), box.h - 1)
        right, bottom = round((piece.x + piece.w) * unit_x), round((piece.y + piece.h) * unit_y)
        place = Box(box.x + x, box.y + y, max(1, right - x), max(1, bottom - y))
        sources.append(_draw(image, piece, place, crop=crop))
    return tuple(sources)


def _draw(image: Image.Image, piece: Piece, place: Box, *, crop: bool) -> PictureSource:
    part, picture = piece.part, piece.picture
    w, h = float(part.w), float(part.h)
    if crop:
        w, h = min(w, h * place.w / place.h), min(h, w * place.h / place.w)
    x, y = part.x + (part.w - w) / 2, part.y + (part.h - h) / 2
    drawn = picture.rgb.resize(
        (place.w, place.h), Image.Resampling.LANCZOS, box=(x, y, x + w, y + h), reducing_gap=_REDUCING_GAP
    )
    image.paste(drawn, (place.x, place.y))
    return PictureSource(
        path=picture.path.as_posix(),
        sha256=picture.sha256,
        scale=round(place.h / (h * picture.reduced), 6),
        crop=round(1 - w * h / picture.figure.area, 6),
        clipped=tuple(side for side in picture.clipped if side in _reached(part, picture.figure)),
    )


def _reached(part: Box, figure: Box) -> set[Side]:
    """The sides of the figure that a part of it includes: a head includes the top, not the bottom."""
    reached: dict[Side, bool] = {
        "left": part.x == figure.x,
        "top": part.y == figure.y,
        "right": part.right == figure.right,
        "bottom": part.bottom == figure.bottom,
    }
    return {side for side, touches in reached.items() if touches}
