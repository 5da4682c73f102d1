"""Does a picture hold all the rows that it claims? Decoders fill what is missing with black or grey.

Only a picture that ends in the filling's colour is looked at twice, so that usual pictures cost nothing.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from PIL import Image

# The decoder of JPEG fills missing blocks with this; a picture may well end so itself.
_GREY = 128
_PIECE = 1 << 20
# Bytes that continue a cut-off JPEG with other blocks, and that a whole one ignores. No 0xFF: it is a marker.
_JUNK = bytes((37 * n + n // 7) % 251 for n in range(4096))


def missing_rows(file: BinaryIO, picture: Image.Image, tiles: Sequence[Any]) -> str:
    """What a decoded picture lacks of what its header claims; empty for a whole one.

    Args:
        file: where it was read from.
        tiles: the decoder's plan, as it stood before the decoding.
    """
    width, height = picture.size
    if picture.format == "TIFF":
        ends = [tile[1][3] for tile in tiles if tile[1]]
        if ends and max(ends) < height:
            return f"it claims {height} rows and holds {max(ends)}"
    elif picture.format == "PNG" and _last_row(picture) == (0, 0):
        held = _png_bytes(file)
        if held is not None and held[0] < held[1]:
            return f"it claims {height} rows of {width} pixels, and its data ends before"
    elif (
        picture.format in ("JPEG", "MPO")
        and picture.mode in ("RGB", "L")
        and _last_row(picture) == (_GREY, _GREY)
        and _goes_on(file, picture)
    ):
        return f"it claims {height} rows of {width} pixels, and its data ends before"
    return ""


def _last_row(picture: Image.Image) -> tuple[int, int]:
    """The smallest and the largest number in the last row."""
    row = picture.crop((0, picture.height - 1, picture.width, picture.height)).tobytes()
    return min(row), max(row)


def _png_bytes(file: BinaryIO) -> tuple[int, int] | None:
    """(bytes of pixels that a PNG holds, bytes that its header claims); None where rows are interlaced."""
    file.seek(8)
    header, held, inflate = b"", 0, zlib.decompressobj()
    for kind, content in _chunks(file):
        if kind == b"IHDR":
            header = content
        elif kind == b"IDAT":
            while content and not inflate.eof:
                held += len(inflate.decompress(content, _PIECE))
                content = inflate.unconsumed_tail
    width, height, bits, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    claimed = height * (1 + (width * bits * channels + 7) // 8)
    return None if interlaced else (held, claimed)


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    while len(start := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", start)
        yield kind, file.read(length)
        file.seek(4, io.SEEK_CUR)


def _goes_on(file: BinaryIO, picture: Image.Image) -> bool:
    """Whether more bytes at the end of a JPEG would become pixels: then its own did not suffice."""
    file.seek(0)
    content = file.read()
    end = content.rfind(b"\xff\xd9")
    longer = io.BytesIO(content[:end] + _JUNK + content[end:] if end > 0 else content + _JUNK)
    with Image.open(longer, formats=("JPEG",)) as opened:
        opened.load()
        end_of = (0, max(0, picture.height - 16), picture.width, picture.height)
        return opened.crop(end_of).tobytes() != picture.crop(end_of).tobytes()
