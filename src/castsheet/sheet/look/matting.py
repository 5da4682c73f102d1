"""Cut-outs: the subject of a picture, free of its background, with edges that survive a black sheet.

In this order, the first that applies: a mask made by hand, the alpha that the picture has, networks, the
colour of a plain background. Locations are never cut.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import astuple, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from castsheet.errors import DependencyError, ImageError
from castsheet.machine.files import write_atomic
from castsheet.media.pictures import load_image
from castsheet.sheet.box import Box
from castsheet.sheet.look.doubts import Doubt, Seen, doubts
from castsheet.sheet.look.edges import (
    closed,
    estimate_backdrop,
    key,
    own_colours,
    refine,
    together,
    without_specks,
    without_veil,
)
from castsheet.sheet.look.experts import Alone, Experts, installed_experts, installed_people, named, watched
from castsheet.sheet.look.faces import installed_detector
from castsheet.sheet.look.salience import Matter, NamedNetwork, U2Net

# Part of every cache key: raise it when results change.
VERSION = 12
# A sheet is at most about 1800 px wide. No panel needs more than this, not even a close-up.
LIMIT = 2560
# Long side at which a subject is looked for, and the room around it, as a share of that.
_LOOK, _ROOM = 1024, 0.02
# A result is called unsure if the subject has a smaller, or larger, share of the picture than this.
_LEAST, _MOST = 0.01, 0.97
# Of 255: a picture with a pixel below this has an alpha of its own.
_OPAQUE = 239
# A way to cut by name ("auto" joins all networks that are here), or a network of the user's: see
# `NamedNetwork`.
Quality = str
QUALITIES = ("auto", "u2netp", "u2net", "plain")
Array = NDArray[np.float32]


@dataclass(frozen=True)
class CutOut:
    """A subject on transparency.

    Args:
        image: RGBA, its long side at most about `LIMIT`; the colours are its own, so that no rim of the old
            background shows on black.
        reduced: px of the picture per px of `image`, in both directions.
        method: how it was made: mask, alpha, plain, or the network's name.
        note: what the user should look at; empty if nothing is in doubt.
        window: the part of the picture that `image` shows, in px of the picture; None is all of it. It has
            room on all sides but those where the subject itself reaches the picture's border.
        doubts: what may be lost or left over, measured; their places are px of the picture.
    """

    image: Image.Image
    reduced: int
    method: str
    note: str = ""
    window: Box | None = None
    doubts: tuple[Doubt, ...] = ()


def mask_beside(path: Path) -> Path | None:
    """The mask made by hand for a picture; None when there is none."""
    mask = mask_path(path)
    return mask if mask.is_file() else None


def mask_path(picture: Path) -> Path:
    """Where a picture's hand-made mask lies: `hero.mask.png` for `hero.jpg`."""
    return picture.with_name(f"{picture.stem}.mask.png")


def cut_out(
    path: Path | str,
    *,
    quality: Quality = "auto",
    matter: Matter | Experts | Alone | None = None,
    mask: Path | None = None,
    cache: Path | None = None,
    picture: Image.Image | None = None,
    keep: bool = True,
) -> CutOut:
    """The subject of a picture, cut out. Not for locations.

    Args:
        quality: which network; "plain" uses only the colour of a plain background.
        matter: replaces the network that `quality` names.
        mask: white where the subject is; by default the file `mask_beside` the picture, if there is one.
        cache: folder of earlier results; None computes anew.
        picture: the picture that `load_image` read from the path, if the caller has it already.
        keep: whether to write to the cache; else the cache is only read.

    Raises:
        ImageError: the picture or its mask cannot be read, they do not fit, or nothing stands out.
        DependencyError: the background is not plain, and the network is not installed.
    """
    path = Path(path)
    mask = mask or mask_beside(path)
    if cache is None:
        return _cut(path, picture, quality, matter, mask)
    entry = cache / f"{_key(path, mask, matter.name if matter else named(quality))}.png"
    kept = _read(entry)
    if kept is None:
        kept = _cut(path, picture, quality, matter, mask)
        # A result that was made without the network is made anew.
        if keep and (kept.method != "plain" or quality == "plain"):
            _write(entry, kept)
    return kept


def _cut(
    path: Path,
    picture: Image.Image | None,
    quality: Quality,
    matter: Matter | Experts | Alone | None,
    mask: Path | None,
) -> CutOut:
    picture = picture or load_image(path)
    if mask is not None:
        rgb, reduced = _shrunk(picture.convert("RGB"), _factor(picture.size))
        return _checked(path, CutOut(_joined(rgb, _drawn(mask, rgb.size)), reduced, "mask"))
    if _has_alpha(picture):
        given, reduced = _shrunk(picture, _factor(picture.size))
        return _checked(path, CutOut(given, reduced, "alpha"))
    # The subject is looked for in a small version, and drawn to the edges of its own part of the picture.
    look, step = _shrunk(picture.convert("RGB"), max(1, max(picture.size) // _LOOK))
    alpha, method, note, seen = _found(path, look, quality, matter)
    window = _window(alpha, step, picture.size)
    part = picture.crop(window.corners).convert("RGB")
    part, reduced = _shrunk(part, _factor(part.size))
    x, y = window.x / step, window.y / step
    right, bottom = (
        min(side, start + size * reduced / step)
        for side, start, size in zip(look.size, (x, y), part.size, strict=True)
    )
    coarse = Image.fromarray(alpha).resize(part.size, Image.Resampling.BICUBIC, box=(x, y, right, bottom))
    fine = without_veil(part, refine(part, np.clip(np.asarray(coarse), 0, 1)))
    share = float((alpha > 0.5).mean())

    def doubtful() -> tuple[Doubt, ...]:
        return () if seen is None else tuple(doubts(_whole(fine, window, step, look.size), seen))

    image, doubted = together(lambda: _joined(part, fine), doubtful)
    if doubted:
        note = "; ".join(filter(None, (note, *(one.told for one in doubted))))
    at_size = tuple(one.scaled(step) for one in doubted)
    return _checked(path, CutOut(image, reduced, method, note, window, at_size), share)


def _whole(fine: Array, window: Box, step: int, size: tuple[int, int]) -> Array:
    """The finished alpha of a window as part of the small picture in which the subject was looked for.

    The finished one, because a rim that was taken away with the old background is lost all the same.
    """
    part = max(1, window.w // step), max(1, window.h // step)
    canvas = Image.new("F", size)
    canvas.paste(
        Image.fromarray(fine).resize(part, Image.Resampling.BOX), (window.x // step, window.y // step)
    )
    return np.asarray(canvas)


def _factor(size: tuple[int, int]) -> int:
    return max(1, -(-max(size) // LIMIT))


def _shrunk(image: Image.Image, factor: int) -> tuple[Image.Image, int]:
    """The picture reduced by `factor`; rows and columns after the last whole step are dropped."""
    factor = min(factor, *image.size)
    if factor == 1:
        return image, 1
    even = tuple(side // factor * factor for side in image.size)
    return image.reduce(factor, (0, 0, even[0], even[1])), factor


def _window(alpha: Array, step: int, size: tuple[int, int]) -> Box:
    """The part of the picture (px) that may be subject, with a margin; the whole picture if there is none."""
    seen = alpha > 0.02
    rows, columns = (np.flatnonzero(seen.any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        return Box(0, 0, *size)
    margin = round(_ROOM * max(alpha.shape)) + 1
    x, y = (max(0, int(ends[0]) - margin) * step for ends in (columns, rows))
    right, bottom = (
        min(side, (int(ends[-1]) + 1 + margin) * step)
        for ends, side in zip((columns, rows), size, strict=True)
    )
    # Where the drawn part ends within a step of the border, it ends at the border.
    right, bottom = (
        side if side - end < 2 * step else end for end, side in zip((right, bottom), size, strict=True)
    )
    return Box(x, y, right - x, bottom - y)


def _found(
    path: Path, rgb: Image.Image, quality: Quality, matter: Matter | Experts | Alone | None
) -> tuple[Array, str, str, Seen | None]:
    """Alpha by the networks and the colour of a plain background; without a network by the colour alone."""
    backdrop = estimate_backdrop(rgb)
    try:
        network = matter or (None if quality == "plain" else _network(quality))
    except DependencyError:
        if backdrop is None:
            raise
        network = None
    if network is None:
        if backdrop is None:
            raise ImageError(
                f"{path}: the background is not plain, so its colour does not tell the subject apart",
                remedy="use --cut auto, so that the networks cut, or draw a mask beside it, "
                f"{path.stem}.mask.png, white where the subject is",
            )
        note = "cut by the plain background's colour alone; clothes of that colour may have gone with it"
        alpha = without_specks(key(rgb, backdrop))
        return alpha, "plain", note, watched(rgb, alpha, installed_people(), installed_detector())
    if isinstance(network, Experts | Alone):
        found = network.look(rgb)
        seen, knows = found.mask, found.seen
    else:
        seen, knows = network.mask(rgb), None
    alpha = _stretched(seen, rgb.size)
    if backdrop is not None and backdrop.exact:
        # A flat background is known to the pixel: every pixel that differs is subject, such as a strap's.
        alpha = np.maximum(alpha, key(rgb, backdrop))
    sure = float(((seen > 0.1) & (seen < 0.9)).mean()) < 0.5 * max(float((seen > 0.5).mean()), 1e-3)
    if backdrop is not None and not sure:
        # The network misses white clothes on a light studio wall; their colour finds them.
        alpha = np.maximum(alpha, key(rgb, backdrop) * closed(alpha))
    method = quality if matter is None else "u2netp"
    return without_specks(alpha), method, "" if sure else "the network was unsure; look at it", knows


_NETWORKS: dict[str, Alone] = {}


def _network(quality: Quality) -> Alone | Experts:
    """What cuts by that name, loaded once a process: loading it takes as long as using it."""
    if quality == "auto":
        return installed_experts()
    if quality not in _NETWORKS:
        known = quality in ("u2netp", "u2net")
        things: Matter = U2Net(quality) if known else NamedNetwork(quality)  # type: ignore[arg-type]
        _NETWORKS[quality] = Alone(things, installed_people(), installed_detector())
    return _NETWORKS[quality]


def _stretched(mask: Array, size: tuple[int, int]) -> Array:
    image = Image.fromarray(np.ascontiguousarray(mask, dtype=np.float32))
    return np.clip(np.asarray(image.resize(size, Image.Resampling.BICUBIC)), 0, 1)


def _has_alpha(rgba: Image.Image) -> bool:
    return int(np.asarray(rgba.getchannel("A")).min()) < _OPAQUE


def _drawn(mask: Path, size: tuple[int, int]) -> Array:
    """A mask made by hand: its alpha if it has one, else its brightness."""
    rgba = load_image(mask)
    if abs(rgba.width / rgba.height - size[0] / size[1]) > 0.02 * size[0] / size[1]:
        raise ImageError(
            f"{mask} is {rgba.width}x{rgba.height}, another shape than its picture",
            remedy="draw the mask on the picture itself, at its size",
        )
    grey = rgba.getchannel("A") if _has_alpha(rgba) else rgba.convert("L")
    return np.asarray(grey.resize(size, Image.Resampling.BILINEAR), dtype=np.float32) / np.float32(255)


def _joined(rgb: Image.Image, alpha: Array) -> Image.Image:
    image = own_colours(rgb, alpha)
    image.putalpha(Image.fromarray(np.rint(alpha * 255).astype(np.uint8)))
    return image


def _checked(path: Path, cut: CutOut, share: float | None = None) -> CutOut:
    """The cut-out, with a note if the subject's `share` of the picture is tiny or nearly all."""
    solid = float((np.asarray(cut.image.getchannel("A")) > 127).mean())
    if solid == 0:
        raise ImageError(
            f"{path}: nothing stands out as a subject",
            remedy=f"use a picture with one clear subject, or draw {path.stem}.mask.png, white where it is",
        )
    share = solid if share is None else share
    if cut.method in ("mask", "alpha") or _LEAST <= share <= _MOST:
        return cut
    told = f"{share:.0%} of the picture is taken for the subject; look at it"
    return replace(cut, note="; ".join(filter(None, (told, cut.note if cut.doubts else ""))))


def _key(path: Path, mask: Path | None, name: str) -> str:
    digest = hashlib.sha256(f"castsheet cut-out {VERSION} {name} {LIMIT}\n".encode())
    for file in (path, mask):
        if file is not None:
            try:
                digest.update(hashlib.sha256(file.read_bytes()).digest())
            except OSError as error:
                raise ImageError(
                    f"{file}: {error.strerror}", remedy="check the path and permissions"
                ) from error
    return digest.hexdigest()


def _read(entry: Path) -> CutOut | None:
    """An earlier result; a damaged one counts as none."""
    if not entry.is_file():
        return None
    try:
        with Image.open(entry, formats=("PNG",)) as opened:
            opened.load()
            reduced, method, note = (opened.info[name] for name in ("reduced", "method", "note"))
            sides = [int(side) for side in str(opened.info["window"]).split()]
            window = Box(*sides) if sides else None
            doubted = tuple(Doubt.from_json(one) for one in json.loads(str(opened.info["doubts"])))
            return CutOut(opened.convert("RGBA"), int(reduced), str(method), str(note), window, doubted)
    except (OSError, ValueError, TypeError, KeyError, SyntaxError):
        return None


def _write(entry: Path, cut: CutOut) -> None:
    info = PngInfo()
    window = "" if cut.window is None else " ".join(str(side) for side in astuple(cut.window))
    told = {"reduced": str(cut.reduced), "method": cut.method, "note": cut.note, "window": window}
    told["doubts"] = json.dumps([doubt.to_json() for doubt in cut.doubts])
    for name, value in told.items():
        info.add_itxt(name, value)

    def save(temporary: Path) -> None:
        cut.image.save(temporary, format="PNG", pnginfo=info, compress_level=1)

    write_atomic(entry, save)
