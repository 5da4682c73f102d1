"""Large pictures made small: cut out, composited on black, reduced by whole factors, and cached."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops
from PIL.PngImagePlugin import PngInfo

from castsheet.machine.files import sha256, write_atomic
from castsheet.media.pictures import load_image
from castsheet.sheet.look.matting import mask_beside
from castsheet.sheet.look.tools import Tools

# Raise it when prepared pictures come out differently.
_VERSION = 4
# Prepared pictures are read much more often than written; PNG's first level reads as fast as its others.
_COMPRESSION = 1
# Of 255: up to the first, pixels are dust of a cut-out or noise on black.
VISIBLE = 16
# A picture stands on black if at least this share of its border is black.
_BLACK_BORDER = 0.6
# Of 255: the median of a border that is black for sure, and what something of a picture on black reaches.
_PURE, _BRIGHT = 4, 72
# px around a figure that was cut out; none on sides where the figure touches the picture's border.
_MARGIN = 4


@dataclass(frozen=True)
class Small:
    """A picture.

    Args:
        rgb: composited on black.
        alpha: L, of the same size.
        reduced: source px per px, in both directions.
        sha256: hash of the source's file.
        cut: what cut it out of its background: "mask", "alpha", "plain", or a network's name; empty when
            nothing had to.
        doubt: what to look at; empty when nothing.
        faults: what the cut-out may have lost or kept, each as "kind: words" (see `doubts.KINDS`).
    """

    rgb: Image.Image
    alpha: Image.Image
    reduced: int
    sha256: str
    cut: str = ""
    doubt: str = ""
    faults: tuple[str, ...] = ()


def load_small(
    path: Path, *, reach: int | None = None, height: int | None = None, tools: Tools | None = None
) -> Small:
    """Read a picture, reduced by the largest whole factor that leaves `reach` px of its long side.

    A picture that does not stand free (neither transparent nor on black), or has a mask beside it, is cut out
    by the tools, and trimmed to its figure. The cache does not change the pixels. A damaged entry is made
    anew, and so is an entry that a network missing then would have cut better.

    Args:
        height: px of height that are enough for what was cut out: a standing figure is shown no higher.
        tools: None takes the picture as it is; so does one whose `cut` is "none".

    Raises:
        ImageError: it cannot be read, or the mask beside it does not fit.
        OutputError: the cache cannot be written.
    """
    tools = tools or Tools()
    if tools.pictures is None or reach is None or not path.is_file():
        return _prepared(path, reach, height, tools, None)
    digest = sha256(path)
    entry = tools.pictures / f"{_key(path, digest, (reach, height), tools)}.png"
    kept = _read(entry, digest)
    if kept is None:
        kept = _prepared(path, reach, height, tools, digest)
        if _lasting(kept, tools):
            _write(entry, kept)
    return kept


def silhouette(alpha: Image.Image, rgb: Image.Image) -> NDArray[np.uint8] | None:
    """How visible each pixel is (0..255, H x W), or None if the figure does not stand free.

    On the black sheet a black background counts as transparent.
    """
    opacity = np.asarray(alpha)
    if opacity.min() < 255 - VISIBLE:
        return opacity
    # For most pictures the border decides, and it has far fewer pixels.
    w, h = rgb.size
    strips = ((0, 0, w, 1), (0, h - 1, w, h), (0, 0, 1, h), (w - 1, 0, w, h))
    border = np.concatenate([np.asarray(brightest(rgb.crop(strip))).ravel() for strip in strips])
    if (border <= VISIBLE).mean() < _BLACK_BORDER:
        return None
    strength = np.asarray(brightest(rgb))
    # A photo taken in the dark has a dark border too, and nothing in it is bright.
    dark = float(np.median(border)) > _PURE and float(np.percentile(strength, 95)) < _BRIGHT
    return None if dark else strength


def brightest(rgb: Image.Image) -> Image.Image:
    """The largest of each pixel's three channels."""
    red, green, blue = rgb.split()[:3]
    return ImageChops.lighter(ImageChops.lighter(red, green), blue)


def _prepared(path: Path, reach: int | None, height: int | None, tools: Tools, digest: str | None) -> Small:
    rgba = load_image(path)
    before, method, doubt = 1, "", ""
    faults: tuple[str, ...] = ()
    wanted = tools.cut != "none"
    if wanted and (mask_beside(path) or silhouette(rgba.getchannel("A"), rgba) is None):
        cut, doubt = tools.cut_out(path, rgba)
        if cut is not None:
            rgba, before, method = _trimmed(cut.image), cut.reduced, cut.method
            faults = tuple(f"{one.kind}: {one.told}" for one in cut.doubts)
    alpha = rgba.getchannel("A")
    # Compositing first: the colour under transparent pixels must not bleed into the figure's edge.
    rgb = Image.new("RGB", rgba.size)
    rgb.paste(rgba, mask=alpha)
    factor = max(1, max(rgba.size) // reach) if reach else 1
    if method and reach and height:
        factor = max(1, rgba.width // reach, rgba.height // height)
    factor = min(factor, max(1, min(rgba.size) // 16))
    if factor > 1:
        # The last row and column of a side that does not divide evenly are dropped, at most factor - 1 px.
        even = (0, 0, rgba.width // factor * factor, rgba.height // factor * factor)
        rgb, alpha = rgb.reduce(factor, even), alpha.reduce(factor, even)
    return Small(rgb, alpha, factor * before, digest or sha256(path), method, doubt, faults)


def _lasting(small: Small, tools: Tools) -> bool:
    """Whether to cache it: not if it costs nothing, nor if an installed network would improve it."""
    if small.cut == "plain":
        return tools.cut == "plain"
    return bool(small.cut) or (small.reduced > 1 and not small.doubt)


def _trimmed(rgba: Image.Image) -> Image.Image:
    """A cut-out without the empty room around its figure."""
    box = rgba.getchannel("A").point(lambda value: 255 * (value > VISIBLE)).getbbox()
    if box is None:
        return rgba
    left, top = max(0, box[0] - _MARGIN), max(0, box[1] - _MARGIN)
    return rgba.crop((left, top, min(rgba.width, box[2] + _MARGIN), min(rgba.height, box[3] + _MARGIN)))


def _key(path: Path, digest: str, reach: tuple[int, int | None], tools: Tools) -> str:
    mask = mask_beside(path) if tools.cut != "none" else None
    parts = (digest, sha256(mask) if mask else "", tools.name, str(reach), str(_VERSION))
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def _read(entry: Path, digest: str) -> Small | None:
    """An earlier result; a damaged one counts as none."""
    if not entry.is_file():
        return None
    try:
        with Image.open(entry, formats=("PNG",)) as opened:
            opened.load()
            reduced, cut, doubt = (str(opened.info[name]) for name in ("reduced", "cut", "doubt"))
            kept = opened.convert("RGBA")
            faults = tuple(filter(None, str(opened.info["faults"]).splitlines()))
            return Small(kept.convert("RGB"), kept.getchannel("A"), int(reduced), digest, cut, doubt, faults)
    except (OSError, ValueError, KeyError, SyntaxError):
        return None


def _write(entry: Path, small: Small) -> None:
    info = PngInfo()
    told = {"reduced": str(small.reduced), "cut": small.cut, "doubt": small.doubt}
    for name, value in (told | {"faults": "\n".join(small.faults)}).items():
        info.add_itxt(name, value)
    both = Image.merge("RGBA", (*small.rgb.split(), small.alpha))

    def save(temporary: Path) -> None:
        both.save(temporary, "PNG", pnginfo=info, compress_level=_COMPRESSION)

    write_atomic(entry, save)
