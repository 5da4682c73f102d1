"""Forty files that somebody may send in as a picture: each must be refused, or taken for what it shows."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 96


def saved(picture: Image.Image, format: str, **more: object) -> bytes:
    held = io.BytesIO()
    picture.save(held, format=format, **more)
    return held.getvalue()


def picture(mode: str = "RGB", side: int = SIDE) -> Image.Image:
    """A picture in which everything is different from everything."""
    noise = np.random.default_rng(3).integers(0, 255, (side, side, 3), np.uint8)
    return Image.fromarray(noise).convert(mode)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_of(width: int, height: int, rows: bytes = b"") -> bytes:
    """A PNG that states a size, whatever its pixels are."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def bombs() -> Iterator[tuple[str, bytes]]:
    """Files that are small and become large. All must be refused."""
    yield "png of 900 million pixels", saved(Image.new("1", (30_000, 30_000)), "PNG")
    yield "png that states 60,000 x 60,000", png_of(60_000, 60_000)
    yield "png that states 2^31 - 1", png_of(2**31 - 1, 2**31 - 1)
    yield "png of 0 x 0", png_of(0, 0)
    yield (
        "png with a text of 200 MB",
        b"".join(
            (
                b"\x89PNG\r\n\x1a\n",
                chunk(b"IHDR", struct.pack(">IIBBBBB", 9000, 9000, 8, 2, 0, 0, 0)),
                chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(200 << 20), 9)),
                chunk(b"IDAT", zlib.compress(b"", 9)),
                chunk(b"IEND", b""),
            )
        ),
    )
    yield (
        "tiff of 225 million pixels",
        saved(Image.new("L", (15_000, 15_000)), "TIFF", compression="tiff_lzw"),
    )
    yield "webp of 144 million pixels", saved(Image.new("RGB", (12_000, 12_000)), "WEBP", quality=1)
    yield "gif of 100 million pixels", saved(Image.new("P", (10_000, 10_000)), "GIF")
    yield (
        "bmp that states 40,000 x 40,000",
        b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 40_000, 40_000, 1, 24, 0, 0, 0, 0, 0, 0),
    )
    yield "jpeg 2000 of nothing", b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(100)


def broken() -> Iterator[tuple[str, bytes]]:
    """What is no picture, or no whole one. All must be refused."""
    whole, photo = saved(picture(), "PNG"), saved(picture(), "JPEG")
    yield "empty", b""
    yield "one byte", b"\x89"
    yield "png cut in half", whole[: len(whole) // 2]
    yield "jpeg cut in half", photo[: len(photo) // 3]
    yield "png with a wrong sum", whole[:60] + b"\xff" + whole[61:]
    yield "text", b"hello, I am a picture"
    yield "svg with a script", b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    yield "html", b"<!doctype html><script>alert(1)</script>"
    yield "zip", b"PK\x03\x04" + bytes(300)
    yield "pickle", b"\x80\x04\x95" + bytes(60)
    yield "elf", b"\x7fELF" + bytes(600)
    yield "pdf", b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\n" + bytes(200)
    yield "postscript", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 900 900\n(%pipe%id) (w) file\n"
    yield "path as content", b"/etc/passwd"
    yield "zeros", bytes(1 << 20)
    yield "4 x 4", saved(picture(side=4), "PNG")
    yield "video", b"\0\0\0\x18ftypmp42" + bytes(400)
    yield "wav", b"RIFF" + struct.pack("<I", 36) + b"WAVEfmt " + bytes(60)
    yield "fits header", b"SIMPLE  =                    T" + bytes(2880)
    yield "gif head alone", b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0x80, 0, 0)


def odd() -> Iterator[tuple[str, bytes]]:
    """Pictures of unusual kinds. Each must be taken, as a PNG of its pixels and nothing else."""
    yield "png with html behind it", saved(picture(), "PNG") + b"<script>alert(1)</script>"
    yield "gif with html in its comment", saved(picture("P"), "GIF", comment=b"<script>alert(1)</script>")
    yield "cmyk jpeg", saved(picture("CMYK"), "JPEG")
    yield "16-bit grey png", saved(Image.fromarray(np.full((SIDE, SIDE), 4000, np.uint16)), "PNG")
    yield "grey with alpha", saved(picture("LA"), "PNG")
    yield "palette with transparency", saved(picture("P"), "PNG", transparency=0)
    frames = [picture() for _ in range(300)]
    yield "gif of 300 frames", saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    exif = Image.Exif()
    exif[0x010E] = "x" * 60_000
    exif[0x0112] = 6
    exif.get_ifd(0x8825)[1] = "N"
    yield "jpeg with much exif, on its side", saved(picture(), "JPEG", exif=exif)
    yield "jpeg with a broken profile", saved(picture(), "JPEG", icc_profile=b"\0" * 4000)
    yield "webp", saved(picture(), "WEBP")


def all_files() -> list[tuple[str, bytes, bool]]:
    """Names, contents, and whether the file must be taken."""
    refused = [(name, content, False) for name, content in (*bombs(), *broken())]
    return refused + [(name, content, True) for name, content in odd()]


def clean(folder: Path) -> bool:
    """Whether all pictures below a folder are PNGs without anything but pixels."""
    for path in folder.rglob("*.png"):
        content = path.read_bytes()
        if content[:8] != b"\x89PNG\r\n\x1a\n" or b"script" in content:
            return False
        with Image.open(path) as opened:
            if opened.getexif() or set(opened.info) - {"transparency"}:
                return False
    return True
