"""From an element's pictures to its panels' artwork: which views, trimmed where, at which common scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

from castsheet.elements import VIEWS, Element, View, load_image
from castsheet.errors import ImageError
from castsheet.files import sha256
from castsheet.sheet.manifest import Box, PanelView, Side

# Head and shoulders are the top quarter of a standing figure: an adult's head is 1/7 to 1/8 of the height.
HEAD_SHARE = 0.25
# Space between two figures of a row, as a share of the row's height.
FIGURE_GAP = 0.03
MAX_FIGURES = 4
TURNAROUND: tuple[View, ...] = ("front", "three-quarter", "side", "back")
# Of 255: up to the first, pixels are dust of a cut-out or noise on black; above the second they are solid.
_VISIBLE = 16
_SOLID = 96
# A picture stands on black when so much of its border is black.
_BLACK_BORDER = 0.6

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Picture:
    """One source picture.

    Args:
        rgb: composited on black.
        figure: bounding box of what is visible; the whole picture when its background belongs to it.
        cut_out: whether the figure stands free, on transparency or on black.
        clipped: sides on which a free figure touches the picture's border. Empty when it touches all four:
            such a picture was trimmed to its figure, and the border says nothing.
    """

    path: Path
    sha256: str
    rgb: Image.Image
    figure: Box
    cut_out: bool
    clipped: tuple[Side, ...]


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
    """What a panel shows, in units of its own; only `width / height` matters to the planner."""

    width: float
    height: float
    pieces: tuple[Piece, ...]


def artworks(element: Element) -> tuple[dict[PanelView, Artwork], tuple[Path, ...]]:
    """The artwork of each panel that the element's pictures allow, and the pictures that no panel uses.

    A character's close-up is its `face` picture, else the top of its front or three-quarter figure when that
    stands free (on a background of its own, nobody knows where the head is). Its turnaround shows front,
    three-quarter, side and back side by side. A prop's pictures stand side by side, four at most. A location
    shows its first picture.

    Raises:
        ImageError: a picture cannot be read, or shows nothing.
    """
    images, used = element.images, dict[Path, Picture]()

    def picture(path: Path) -> Picture:
        return used.setdefault(path, open_picture(path, free=element.kind != "location"))

    found: dict[PanelView, Artwork] = {}
    every = [path for view in VIEWS for path in images.get(view, ())]
    if element.kind == "location":
        found["place"] = in_row([picture(every[0])])
    elif element.kind == "prop":
        found["product"] = in_row([picture(path) for path in every[:MAX_FIGURES]])
    else:
        figures = {view: picture(images[view][0]) for view in TURNAROUND if view in images}
        heads = [figures[view] for view in TURNAROUND[:2] if view in figures and figures[view].cut_out]
        if "face" in images:
            found["face"] = in_row([picture(images["face"][0])])
        elif heads:
            found["face"] = head_of(heads[0])
        if figures:
            found["turnaround"] = in_row(list(figures.values()))
    return found, tuple(path for path in every if path not in used)


def open_picture(path: Path, *, free: bool) -> Picture:
    """Read a picture and find what is visible in it.

    Args:
        free: whether to look for a free-standing figure; a location is its whole picture.

    Raises:
        ImageError: it cannot be read, or is fully transparent or black.
    """
    rgba = load_image(path)
    rgb = Image.new("RGB", rgba.size)
    rgb.paste(rgba, mask=rgba.getchannel("A"))
    strength = _silhouette(rgba, rgb) if free else None
    whole = Box(0, 0, rgb.width, rgb.height)
    if strength is None:
        return Picture(path, sha256(path), rgb, whole, False, ())
    figure = _bounds(strength > _VISIBLE)
    if figure is None:
        raise ImageError(f"{path} is empty: fully transparent or black", remedy="use another picture")
    solid = strength > _SOLID
    touched: dict[Side, bool] = {
        "left": bool(solid[:, 0].any()),
        "top": bool(solid[0].any()),
        "right": bool(solid[:, -1].any()),
        "bottom": bool(solid[-1].any()),
    }
    clipped = tuple(side for side, touches in touched.items() if touches)
    return Picture(path, sha256(path), rgb, figure, True, clipped if len(clipped) < len(touched) else ())


def _silhouette(rgba: Image.Image, rgb: Image.Image) -> NDArray[np.uint8] | None:
    """How visible each pixel is (0..255, H x W), or None when the figure does not stand free.

    On the black sheet, a black background is as good as a transparent one.
    """
    alpha = np.asarray(rgba.getchannel("A"))
    if alpha.min() < 255 - _VISIBLE:
        return alpha
    brightest = np.asarray(_brightest(rgb))
    border = np.concatenate([brightest[0], brightest[-1], brightest[:, 0], brightest[:, -1]])
    return brightest if (border <= _VISIBLE).mean() >= _BLACK_BORDER else None


def _brightest(rgb: Image.Image) -> Image.Image:
    red, green, blue = rgb.split()
    return ImageChops.lighter(ImageChops.lighter(red, green), blue)


def _bounds(mask: Mask) -> Box | None:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return None
    x, y = int(columns[0]), int(rows[0])
    return Box(x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y)


def in_row(pictures: Sequence[Picture]) -> Artwork:
    """Figures side by side on one baseline, trimmed and whole, at one common scale.

    Pictures of equal height (one camera, one canvas) keep their sizes relative to each other; otherwise all
    figures get the same height, which for one person standing is the same thing.
    """
    same_canvas = len({picture.rgb.height for picture in pictures}) == 1
    tallest = max(picture.figure.h for picture in pictures)
    scales = [1.0 if same_canvas else tallest / picture.figure.h for picture in pictures]
    gap = FIGURE_GAP * tallest
    x, pieces = 0.0, []
    for picture, scale in zip(pictures, scales, strict=True):
        w, h = picture.figure.w * scale, picture.figure.h * scale
        pieces.append(Piece(picture, picture.figure, x, tallest - h, w, h))
        x += w + gap
    return Artwork(x - gap, float(tallest), tuple(pieces))


def head_of(picture: Picture) -> Artwork:
    """Head and shoulders of a free-standing figure: its top quarter, trimmed at the sides."""
    figure = picture.figure
    height = max(1, round(HEAD_SHARE * figure.h))
    top = picture.rgb.crop((figure.x, figure.y, figure.right, figure.y + height))
    # Black hair or clothes within the trimmed width do no harm: only the outermost visible columns count.
    seen = _bounds(np.asarray(_brightest(top)) > _VISIBLE) or Box(0, 0, figure.w, height)
    part = Box(figure.x + seen.x, figure.y, seen.w, height)
    w, h = float(part.w), float(part.h)
    return Artwork(w, h, (Piece(picture, part, 0.0, 0.0, w, h),))
