"""PNG files of ours that have no manifest or sidecar: they say in their header who wrote them."""

from __future__ import annotations

from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

_KEY, _WRITER = "Software", "castsheet"
# The chunk stands before the pixels: signature, size, then the text.
_HEAD = 120


def save_png(image: Image.Image, path: Path) -> None:
    """Write a picture as a PNG that says that Castsheet wrote it."""
    notes = PngInfo()
    notes.add_text(_KEY, _WRITER)
    image.save(path, "PNG", pnginfo=notes)


def wrote_png(path: Path) -> bool:
    """Whether `save_png` wrote the file."""
    try:
        with path.open("rb") as file:
            return f"tEXt{_KEY}\0{_WRITER}".encode() in file.read(_HEAD)
    except OSError:
        return False
