"""From an element's pictures to its panels' artwork: which views, trimmed where, at which common scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from castsheet.elements import VIEWS, Element, View
from castsheet.errors import ImageError
from castsheet.sheet.box import Box, PanelView, Side
from castsheet.sheet.look.components import Mask
from castsheet.sheet.look.faces import face_crop
from castsheet.sheet.look.regions import bounds
from castsheet.sheet.look.small import VISIBLE, Small, brightest, load_small, silhouette
from castsheet.sheet.look.tools import Tools
from castsheet.sheet.plan.worth import PanelShape

# Head and shoulders are the top quarter of a standing figure: an adult's head is 1/7 to 1/8 of the height.
HEAD_SHARE = 0.25
# A standing person is at least this many times as high as wide; a cartoon rabbit, all head and belly, is not.
SLENDER = 2.0
# Space between two figures of a row, as a share of the row's height.
FIGURE_GAP = 0.03
MAX_FIGURES = 4
# A picture with more sheet px per source px than this is enlarged too much (lint rule S16).
MAX_ENLARGED = 1.5
TURNAROUND: tuple[View, ...] = ("front", "three-quarter", "side", "back")
# Of 255: above this, pixels are solid.
_SOLID = 96


@dataclass(frozen=True)
class Picture:
    """One source picture.

    Args:
        rgb: composited on black, reduced `reduced` times in both directions.
        figure: bounding box of what is visible, in pixels of `rgb`; the whole picture if its background
            belongs to it.
        cut_out: whether the figure stands free, on transparency or on black.
        clipped: sides on which a free figure touches the picture's border. Empty if it touches all four: then
            somebody trimmed the picture to its figure, and the border says nothing (a photo's border does).
        reduced: source px per px of `rgb`, in both directions.
        close_up: the part that a close-up shows, where a face was found; px of `rgb`.
        cut: what cut it out of its background (see `small.Small`); empty if it stood free already.
        doubt: what the user should look at; empty if nothing.
        faults: what its cut-out may have lost or kept (see `small.Small`).
    """

    path: Path
    sha256: str
    rgb: Image.Image
    figure: Box
    cut_out: bool
    clipped: tuple[Side, ...]
    reduced: int = 1
    close_up: Box | None = None
    cut: str = ""
    doubt: str = ""
    faults: tuple[str, ...] = ()


@dataclass(frozen=True)
class Piece:
    """A part of a picture (source px) and its place in the artwork (artwork units from the upper left)."""

    picture: Picture
    part: Box
    x: float
    y: float
    w: float
    h: float


@dataclass(frozen=True)
class Artwork:
    """What a panel shows, in units of its own."""

    width: float
    height: float
    pieces: tuple[Piece, ...]

    @property
    def shape(self) -> PanelShape:
        """What the planner needs: the shape, and the largest size that the sources' resolution allows."""
        finest = min(piece.part.h * piece.picture.reduced / piece.h for piece in self.pieces)
        return PanelShape(self.width / self.height, MAX_ENLARGED * finest * self.height)


def shown_paths(element: Element) -> tuple[Path, ...]:
    """The pictures that the panels show: one a view of a character, four of a prop, one of a place."""
    images = element.images
    every = [path for view in VIEWS for path in images.get(view, ())]
    if element.kind == "character":
        return tuple(images[view][0] for view in ("face", *TURNAROUND) if view in images)
    return tuple(every[:1] if element.kind == "location" else every[:MAX_FIGURES])


def unused_paths(element: Element) -> tuple[Path, ...]:
    """The pictures that no panel shows."""
    shown = set(shown_paths(element))
    return tuple(path for view in VIEWS for path in element.images.get(view, ()) if path not in shown)


def artworks(element: Element, pictures: Mapping[Path, Picture]) -> dict[PanelView, tuple[Artwork, ...]]:
    """The artwork of each panel that the element's pictures allow, in every arrangement, the usual one first.

    A character's close-up is its `face` picture, cropped to head and shoulders if the face was found. Without
    a `face` picture it is that part of the front or three-quarter figure, or the figure's top quarter if the
    figure stands free and is as slender as a person; else there is no close-up. The turnaround shows front,
    three-quarter, side and back side by side. A prop's pictures stand side by side, four at most. A location
    shows its first picture.

    Args:
        pictures: those of `shown_paths`.
    """
    images = element.images
    shown = [pictures[path] for path in shown_paths(element)]
    found: dict[PanelView, tuple[Artwork, ...]] = {}
    if element.kind == "location":
        found["place"] = (in_rows(shown, 1),)
    elif element.kind == "prop":
        found["product"] = arrangements(shown)
    else:
        figures = {view: pictures[images[view][0]] for view in TURNAROUND if view in images}
        fronts = [figures[view] for view in TURNAROUND[:2] if view in figures]
        heads = [p for p in fronts if p.close_up is not None or _slender(p)]
        if "face" in images:
            face = pictures[images["face"][0]]
            found["face"] = (in_rows([face], 1) if face.close_up is None else part_of(face, face.close_up),)
        elif heads:
            top = heads[0]
            found["face"] = (head_of(top) if top.close_up is None else part_of(top, top.close_up),)
        if figures:
            found["turnaround"] = arrangements(list(figures.values()))
    return found


def open_picture(
    path: Path,
    *,
    free: bool,
    reach: int | None = None,
    height: int | None = None,
    tools: Tools | None = None,
    face: bool = False,
) -> Picture:
    """Read a picture and find what is visible in it.

    Args:
        free: whether to look for a free-standing figure; a location is its whole picture.
        reach: px that the long side must keep; larger pictures are reduced by a whole factor.
        height: px of height that are enough for a figure that is cut out.
        tools: cut the figure out, find its face, and keep both.
        face: whether to look for the face that a close-up shows.

    Raises:
        ImageError: it cannot be read, is fully transparent or black, or shows several faces.
    """
    tools = tools or Tools()
    used = tools if free else replace(tools, cut="none")
    small = load_small(path, reach=reach, height=height, tools=used)
    strength = silhouette(small.alpha, small.rgb) if free else None
    figure: Box | None = Box(0, 0, small.rgb.width, small.rgb.height)
    clipped: tuple[Side, ...] = ()
    if strength is not None:
        figure = bounds(strength > VISIBLE)
        clipped = _clipped(strength > _SOLID, trimmed=not small.cut)
    if figure is None:
        raise ImageError(f"{path} is empty: fully transparent or black", remedy="use another picture")
    return Picture(
        path=path,
        sha256=small.sha256,
        rgb=small.rgb,
        figure=figure,
        cut_out=strength is not None,
        clipped=clipped,
        reduced=small.reduced,
        close_up=_close_up(path, small, tools) if face else None,
        cut=small.cut,
        doubt=small.doubt,
        faults=small.faults,
    )


def _close_up(path: Path, small: Small, tools: Tools) -> Box | None:
    if tools.faces is None:
        return None
    rgba = small.rgb.copy()
    rgba.putalpha(small.alpha)
    crop = face_crop(rgba, tools.faces, where=str(path))
    return None if crop is None else crop.box


def _clipped(solid: Mask, *, trimmed: bool) -> tuple[Side, ...]:
    """The sides on which a figure touches its picture's border.

    Args:
        trimmed: whether a picture may have been trimmed to its figure. If it was, the figure touches all
            sides, and no side counts.
    """
    touched: dict[Side, bool] = {
        "left": bool(solid[:, 0].any()),
        "top": bool(solid[0].any()),
        "right": bool(solid[:, -1].any()),
        "bottom": bool(solid[-1].any()),
    }
    sides = tuple(side for side, touches in touched.items() if touches)
    return () if trimmed and len(sides) == len(touched) else sides


def arrangements(pictures: Sequence[Picture]) -> tuple[Artwork, ...]:
    """One row, then two equally long rows: a turnaround of four as two and two.

    Three or four figures never stand in one column: it would not look like one person turning.
    """
    count = len(pictures)
    rows = (count, count // 2) if count % 2 == 0 else (count,)
    return tuple(in_rows(pictures, columns) for columns in rows)


def in_rows(pictures: Sequence[Picture], columns: int) -> Artwork:
    """Figures in rows on a common baseline, trimmed and whole, all at one scale.

    Renders of equal height (one camera, one canvas) keep their relative sizes. All other figures get one
    height, because one standing person has one height. Photos that had to be cut out always get one height:
    the camera's distance differs, so the height of a photo says nothing about the figure.
    """
    heights = {0 if picture.cut else picture.rgb.height * picture.reduced for picture in pictures}
    same = len(heights) == 1 and 0 not in heights
    tallest = max(picture.figure.h * picture.reduced for picture in pictures)
    scales = [float(picture.reduced) if same else tallest / picture.figure.h for picture in pictures]
    gap = FIGURE_GAP * tallest
    sizes = [(p.figure.w * scale, p.figure.h * scale) for p, scale in zip(pictures, scales, strict=True)]
    starts = range(0, len(pictures), columns)
    widths = [sum(w + gap for w, _ in sizes[start : start + columns]) - gap for start in starts]
    pieces, y = [], 0.0
    for start, width in zip(starts, widths, strict=True):
        row = range(start, start + columns)
        x, height = (max(widths) - width) / 2, max(sizes[i][1] for i in row)
        for i in row:
            w, h = sizes[i]
            pieces.append(Piece(pictures[i], pictures[i].figure, x, y + height - h, w, h))
            x += w + gap
        y += height + gap
    return Artwork(max(widths), y - gap, tuple(pieces))


def _slender(picture: Picture) -> bool:
    """Whether a free figure's head is in its top quarter: not so for creatures and people who sit."""
    return picture.cut_out and picture.figure.h >= SLENDER * picture.figure.w


def part_of(picture: Picture, part: Box) -> Artwork:
    """A part of a picture, trimmed to its figure."""
    figure = picture.figure
    x, y = max(part.x, figure.x), max(part.y, figure.y)
    right, bottom = min(part.right, figure.right), min(part.bottom, figure.bottom)
    box = Box(x, y, right - x, bottom - y) if right > x and bottom > y else figure
    w, h = float(box.w * picture.reduced), float(box.h * picture.reduced)
    return Artwork(w, h, (Piece(picture, box, 0.0, 0.0, w, h),))


def head_of(picture: Picture) -> Artwork:
    """Head and shoulders of a free-standing figure: its top quarter, trimmed at the sides."""
    figure = picture.figure
    height = max(1, round(HEAD_SHARE * figure.h))
    top = picture.rgb.crop((figure.x, figure.y, figure.right, figure.y + height))
    # Black hair or clothes do no harm: only the outermost visible columns are looked for.
    seen = bounds(np.asarray(brightest(top)) > VISIBLE) or Box(0, 0, figure.w, height)
    part = Box(figure.x + seen.x, figure.y, seen.w, height)
    w, h = float(part.w * picture.reduced), float(part.h * picture.reduced)
    return Artwork(w, h, (Piece(picture, part, 0.0, 0.0, w, h),))
