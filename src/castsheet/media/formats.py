"""The opener of pictures: formats by name, and whole files only.

A decoder is chosen by the file's content, whatever its name says, and a library of pictures knows some forty
formats. One of them starts another program (EPS), others were never meant for photographs; those that are not
listed here are not tried.
"""

from __future__ import annotations

import importlib
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError, features

from castsheet.errors import CastsheetError, DependencyError, ImageError
from castsheet.machine.files import require
from castsheet.media.whole import missing_rows

# Pillow's own guard against decompression bombs refuses above this as well (twice its warning level).
MAX_PIXELS = 178_000_000
# Pillow's plugin for each beginning of a file; that of JPEG reads MPO, several JPEGs in one file, too.
_FORMATS = {
    b"\x89PNG": "Png",
    b"\xff\xd8\xff": "Jpeg",
    b"RIFF": "WebP",
    b"GIF8": "Gif",
    b"BM": "Bmp",
    b"II*\0": "Tiff",
    b"MM\0*": "Tiff",
    b"II+\0": "Tiff",
    b"MM\0+": "Tiff",
}
_NAMES = "PNG, JPEG, WebP, GIF, BMP, TIFF, HEIC or AVIF"
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_AVIF = (b"avif", b"avis")

# What a decoder may raise on damaged data, besides OSError.
DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    ArithmeticError,
    AttributeError,
    RuntimeError,
    struct.error,
    zlib.error,
)


@contextmanager
def open_picture(file: BinaryIO, name: Path | str) -> Iterator[Image.Image]:
    """The picture in an open file, decoded; of an animation the first frame.

    Args:
        name: what messages call it.

    Raises:
        ImageError: not one of the formats, too many pixels, damaged, or cut short.
        DependencyError: a phone's format (HEIC, AVIF) without the package that reads it.
    """
    try:
        with Image.open(file, formats=(_format(file),)) as opened:
            require_pixels(name, opened.size)
            tiles = list(getattr(opened, "tile", ()))
            opened.load()
            missing = missing_rows(file, opened, tiles)
            if missing:
                raise ImageError(
                    f"{name} is cut short: {missing}", remedy="export or download the picture again"
                )
            yield opened
    except CastsheetError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(f"{name} is not a picture in a known format", remedy=f"use {_NAMES}") from error
    except (Image.DecompressionBombError, MemoryError) as error:
        raise _too_large(name) from error
    except DECODE_ERRORS as error:
        raise ImageError(
            f"{name} cannot be read; it is damaged or cut short: {error}",
            remedy="export or download the picture again",
        ) from error


def require_pixels(name: Path | str, size: tuple[int, int]) -> None:
    """Refuse a picture that would not fit into memory.

    Raises:
        ImageError: more than 178 million pixels.
    """
    if size[0] * size[1] > MAX_PIXELS:
        raise _too_large(name)


def _too_large(name: Path | str) -> ImageError:
    return ImageError(
        f"{name} has more than {MAX_PIXELS // 1_000_000} million pixels, or memory is too small for it",
        remedy="scale it down; 4096 px on the long side are plenty",
    )


def _format(file: BinaryIO) -> str:
    """The format that the first bytes name, its plugin loaded."""
    start = file.read(12)
    file.seek(0)
    for magic, plugin in _FORMATS.items():
        if start.startswith(magic):
            importlib.import_module(f"PIL.{plugin}ImagePlugin")
            return plugin.upper()
    brand = start[8:] if start[4:8] == b"ftyp" else b""
    if brand in _HEIC:
        # The package registers itself with Pillow, and only reads: it brings no encoder.
        require("pi_heif", "phones").register_heif_opener()
        return "HEIF"
    if brand in _AVIF:
        if not features.check("avif"):
            raise DependencyError(
                "this picture is an AVIF, which the installed Pillow does not read",
                remedy='pip install --upgrade "pillow>=11.3"',
            )
        importlib.import_module("PIL.AvifImagePlugin")
        return "AVIF"
    raise UnidentifiedImageError
