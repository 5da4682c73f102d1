"""Pictures and videos from outside: the named formats, whole, of a bounded size; nothing else is tried."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, features

from castsheet.errors import CastsheetError, ImageError
from castsheet.media.pictures import load_image
from castsheet.media.video import read_video

HEIC = Path(__file__).parents[1] / "data" / "drawn.heic"


def drawn(mode: str = "RGB", size: tuple[int, int] = (64, 40)) -> Image.Image:
    """A picture whose last row is neither black nor grey."""
    width, height = size
    y, x = np.mgrid[0:height, 0:width]
    return Image.fromarray(
        np.stack([x * 3 + 20, y * 5 + 30, 255 - x], -1).clip(0, 255).astype(np.uint8)
    ).convert(mode)


def saved(name: str, mode: str = "RGB", **options: object) -> bytearray:
    data = io.BytesIO()
    drawn(mode).save(data, name, **options)
    return bytearray(data.getvalue())


def png(rows: int, *, claimed: int, bits: int = 8, colour: int = 2, width: int = 64) -> bytes:
    """A PNG that claims more rows than it holds, otherwise sound."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    row = b"\0" + b"\x55" * (width * bits * channels // 8)
    head = struct.pack(">IIBBBBB", width, claimed, bits, colour, 0, 0, 0)
    body = zlib.compress(row * rows)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def _taller_jpeg(**options: object) -> bytes:
    data = saved("JPEG", quality=90, **options)
    at = data.index(b"\xff\xc2" if options.get("progressive") else b"\xff\xc0")
    data[at + 5 : at + 7] = struct.pack(">H", 400)
    return bytes(data)


def _taller_tiff() -> bytes:
    data = saved("TIFF")
    at = struct.unpack("<I", data[4:8])[0]
    for entry in range(at + 2, at + 2 + 12 * struct.unpack("<H", data[at : at + 2])[0], 12):
        if struct.unpack("<H", data[entry : entry + 2])[0] == 257:
            data[entry + 8 : entry + 12] = struct.pack("<I", 400)
    return bytes(data)


def _taller_bmp() -> bytes:
    data = saved("BMP")
    data[22:26] = struct.pack("<i", 400)
    return bytes(data)


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 300 300\n%%EndComments\nshowpage\n"
BAD: dict[str, bytes] = {
    "EPS": EPS,
    "EPS with a preview": b"\xc5\xd0\xd3\xc6" + struct.pack("<II", 32, len(EPS)) + bytes(20) + EPS,
    "PDF": b"%PDF-1.4\n",
    "DDS": b"DDS " + struct.pack("<I", 124) + bytes(120),
    "BLP": b"BLP2" + struct.pack("<I", 9) + bytes(200),
    "PPM": b"P6 64 64 255\n" + bytes(64 * 64 * 3),
    "ICO": b"\0\0\1\0\1\0" + bytes(60),
    "PSD": b"8BPS\0\1" + bytes(60),
    "SGI": b"\x01\xda\0\1" + bytes(600),
    "XBM": b"#define a_width 64\n#define a_height 64\nstatic char a_bits[] = {\n0x00};",
    "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "MPO beginning only": bytes(saved("JPEG")[:20]),
    "text": b"a picture",
    "nothing": b"",
    "zeros": bytes(4096),
    "a PNG of rows left out": png(40, claimed=400),
    "a PNG of grey rows left out": png(40, claimed=41, colour=0),
    "a PNG of clear rows left out": png(40, claimed=400, colour=6),
    "a 16-bit PNG of rows left out": png(40, claimed=400, bits=16),
    "a PNG of no pixels": png(0, claimed=64),
    "a taller JPEG": _taller_jpeg(),
    "a taller progressive JPEG": _taller_jpeg(progressive=True),
    "a taller grey JPEG": _taller_jpeg(),
    "half a JPEG, closed": bytes(saved("JPEG")[:700]) + b"\xff\xd9",
    "a taller TIFF": _taller_tiff(),
    "a taller BMP": _taller_bmp(),
    "a wide bomb": png(1, claimed=1, width=1 << 20).replace(
        struct.pack(">I", 1), struct.pack(">I", 1 << 20), 1
    ),
    **{
        f"half a {name}": bytes(saved(name)[: len(saved(name)) // 2])
        for name in ("PNG", "JPEG", "WEBP", "BMP", "TIFF")
    },
    **{
        f"the beginning of a {name}": bytes(saved(name)[:40])
        for name in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
    },
    "a GIF without its pictures": bytes(saved("GIF")[:13]) + b";",
}


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("case", BAD)
def test_what_is_no_picture(case: str, suffix: str, tmp_path: Path):
    """Red: a file of another kind or half a picture is taken, or ends in a traceback."""
    path = tmp_path / f"face{suffix}"
    path.write_bytes(BAD[case])
    with pytest.raises(ImageError) as caught:
        load_image(path)
    assert str(path) in caught.value.what


def test_eps_starts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Red: a phone's "photo" starts Ghostscript."""
    started = tmp_path / "started"
    program = tmp_path / "gs"
    program.write_text(f"#!/bin/sh\ntouch {started}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    subprocess.run(["gs"], check=True)
    assert started.is_file()
    started.unlink()
    (tmp_path / "face.png").write_bytes(EPS)
    with pytest.raises(ImageError, match="known format"):
        load_image(tmp_path / "face.png")
    assert not started.exists()


@pytest.mark.parametrize(
    "save",
    [
        lambda p: p.write_bytes(saved("PNG")),
        lambda p: p.write_bytes(saved("JPEG", progressive=True)),
        lambda p: p.write_bytes(saved("WEBP")),
        lambda p: p.write_bytes(saved("GIF", "P")),
        lambda p: p.write_bytes(saved("BMP")),
        lambda p: p.write_bytes(saved("TIFF", compression="tiff_lzw")),
        lambda p: drawn().save(p, "MPO", save_all=True, append_images=[drawn()]),
        lambda p: Image.new("RGBA", (64, 40)).save(p, "PNG"),
        lambda p: Image.new("RGB", (64, 40)).save(p, "PNG"),
        lambda p: Image.new("L", (64, 40)).save(p, "PNG"),
        lambda p: Image.new("1", (63, 40)).save(p, "PNG"),
        lambda p: Image.new("RGB", (64, 41), (128, 128, 128)).save(p, "JPEG"),
        lambda p: Image.new("RGB", (64, 41), (128, 128, 128)).save(p, "JPEG", progressive=True),
        lambda p: Image.new("L", (640, 41), 128).save(p, "JPEG"),
        lambda p: Image.new("RGB", (640, 41), (128, 128, 128)).save(
            p, "MPO", save_all=True, append_images=[drawn()]
        ),
    ],
)
def test_whole_pictures_stay(save: Callable[[Path], object], tmp_path: Path):
    """Red: a whole picture that ends in black or grey is taken for a cut one."""
    path = tmp_path / "a.png"
    save(path)
    assert load_image(path).height in (40, 41)


def test_phones_write_heic(tmp_path: Path):
    """Red: a photo of a phone is refused, or the package that reads it is not named."""
    path = tmp_path / "IMG_0001.HEIC"
    path.write_bytes(HEIC.read_bytes())
    try:
        import pi_heif
    except ImportError:
        with pytest.raises(CastsheetError, match="pi_heif") as caught:
            load_image(path)
        assert "castsheet[phones]" in caught.value.remedy
    else:
        assert load_image(path).size == (64, 48)


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
def test_phones_write_avif(tmp_path: Path):
    """Red: an AVIF is refused although Pillow reads it, or half of one is taken."""
    path = tmp_path / "a.avif"
    path.write_bytes(saved("AVIF"))
    assert load_image(path).size == (64, 40)
    path.write_bytes(saved("AVIF")[:400])
    with pytest.raises(ImageError):
        load_image(path)


# --- videos


def film(path: Path, codec: str = "libx264", frames: int = 6, size: tuple[int, int] = (64, 48)) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=24)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for number in range(frames):
            pixels = np.full((size[1], size[0], 3), 10 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def _grows(path: Path) -> None:
    """Two streams of one kind after each other, as a broadcast or a screen recording has them."""
    first, second = (film(path.with_name(f"{n}.ts"), "mpeg2video", size=(64 * n, 48 * n)) for n in (1, 2))
    path.write_bytes(first.read_bytes() + second.read_bytes())


def _play_list(path: Path) -> None:
    film(path.with_name("a.ts"), "mpeg2video")
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\na.ts\n#EXT-X-ENDLIST\n")


VIDEOS: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing": (lambda p: p.write_bytes(b""), "cannot read"),
    "text": (lambda p: p.write_text("a film"), "cannot read"),
    "zeros": (lambda p: p.write_bytes(bytes(5000)), "cannot read"),
    "a folder": (lambda p: p.mkdir(), "a folder"),
    "a pipe": (lambda p: os.mkfifo(p), "a pipe"),
    "missing": (Path, "does not exist"),
    "its index is missing": (lambda p: p.write_bytes(film(p).read_bytes()[:1500]), "cannot read"),
    "the beginning": (lambda p: p.write_bytes(film(p).read_bytes()[:100]), "cannot read"),
    "a list of addresses": (_play_list, "cannot read"),
    "a concat script": (lambda p: p.write_text("ffconcat version 1.0\nfile a.ts\n"), "cannot read"),
    "a session description": (lambda p: p.write_text("v=0\nm=video 5000 RTP/AVP 96\n"), "cannot read"),
    "a size that changes": (_grows, "frames change their size from 64x48 to 128x96"),
    "an unknown codec": (
        lambda p: p.write_bytes(film(p).read_bytes().replace(b"avc1", b"zzz1")),
        "codec|cannot",
    ),
    "a picture of text": (lambda p: p.write_text("/dev/zero"), "cannot read"),
}


@pytest.mark.parametrize("case", VIDEOS)
def test_what_is_no_video(case: str, tmp_path: Path):
    """Red: a pipe hangs, a play list is followed, or frames of two sizes end in a traceback."""
    make, says = VIDEOS[case]
    path = tmp_path / "clip.mp4"
    make(path)
    with pytest.raises(ImageError, match=says):
        read_video(path)


@pytest.mark.parametrize(
    "name", ["concat:a.mp4|b.mp4", "http:clip.mp4", "file:clip.mp4", "-i.mp4", "cache:a.mp4", "pipe:0"]
)
def test_names_are_no_addresses(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Red: a name such as `concat:a|b` reaches ffmpeg's protocols; a file of that name cannot be read."""
    monkeypatch.chdir(tmp_path)
    film(Path("a.mp4"))
    with pytest.raises(ImageError, match="does not exist"):
        read_video(name)
    Path("a.mp4").rename(name)
    assert read_video(name)[0].shape == (6, 48, 64, 3)


def test_only_the_frames_that_are_wanted_are_decoded(tmp_path: Path):
    """Red: a long film for training is decoded whole before its first frames are used."""
    frames, rate = read_video(film(tmp_path / "a.mp4", frames=20), most=lambda fps: round(fps / 8))
    assert (len(frames), rate) == (3, 24)


def test_memory_is_bounded_before_it_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Red: a few hundred kilobytes of black frames take all memory."""
    path = film(tmp_path / "a.mp4", frames=20)
    monkeypatch.setattr("castsheet.media.video.MAX_BYTES", 19 * 64 * 48 * 3)
    with pytest.raises(ImageError, match="of memory"):
        read_video(path)
    assert len(read_video(path, most=lambda _: 19)[0]) == 19
