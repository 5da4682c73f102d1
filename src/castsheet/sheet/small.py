"""Large pictures made small: composited on black, reduced by whole factors, kept on disk for next time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from castsheet.elements import load_image
from castsheet.errors import ImageError
from castsheet.files import sha256, write_atomic

# Changes whenever reduced pictures would come out differently.
_VERSION = 1
# Reduced pictures are read much more often than written; PNG's first level reads as fast as its others.
_COMPRESSION = 1


@dataclass(frozen=True)
class Small:
    """A picture.

    Args:
        rgb: composited on black.
        alpha: L, of the same size.
        reduced: source px per px, in both directions.
        sha256: hash of the source's file.
    """

    rgb: Image.Image
    alpha: Image.Image
    reduced: int
    sha256: str


def load_small(path: Path, *, reach: int | None = None, cache: Path | None = None) -> Small:
    """Read a picture, reduced by the largest whole factor that leaves `reach` px of its long side.

    The pixels are the same whether they come from the cache or not. A damaged entry is made anew.

    Args:
        cache: folder for reduced pictures; only those that were reduced are kept there.

    Raises:
        ImageError: it cannot be read.
        OutputError: the cache cannot be written.
    """
    if cache is None or reach is None or not path.is_file():
        return _reduced(path, load_image(path), reach, None)
    digest = sha256(path)
    for entry in sorted(cache.glob(f"{digest[:40]}-{reach}-{_VERSION}-*.png")):
        try:
            kept = load_image(entry)
        except (ImageError, UnidentifiedImageError):
            continue
        return Small(kept.convert("RGB"), kept.getchannel("A"), int(entry.stem.rsplit("-", 1)[1]), digest)
    small = _reduced(path, load_image(path), reach, digest)
    if small.reduced > 1:
        name = f"{digest[:40]}-{reach}-{_VERSION}-{small.reduced}.png"
        both = Image.merge("RGBA", (*small.rgb.split(), small.alpha))
        write_atomic(cache / name, lambda temporary: both.save(temporary, "PNG", compress_level=_COMPRESSION))
    return small


def _reduced(path: Path, rgba: Image.Image, reach: int | None, digest: str | None) -> Small:
    alpha = rgba.getchannel("A")
    # Compositing first: the colour under transparent pixels must not bleed into the figure's edge.
    rgb = Image.new("RGB", rgba.size)
    rgb.paste(rgba, mask=alpha)
    factor = max(1, max(rgba.size) // reach) if reach else 1
    factor = min(factor, max(1, min(rgba.size) // 16))
    if factor > 1:
        # The last row and column of a side that does not divide evenly are dropped, at most factor - 1 px.
        even = (0, 0, rgba.width // factor * factor, rgba.height // factor * factor)
        rgb, alpha = rgb.reduce(factor, even), alpha.reduce(factor, even)
    return Small(rgb, alpha, factor, digest or sha256(path))
