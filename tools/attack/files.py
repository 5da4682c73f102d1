"""Paths, special files, pictures, videos, and outputs that are inputs."""

from __future__ import annotations

import io
import os
import struct
import zlib
from functools import partial
from pathlib import Path

import av
import numpy as np
from PIL import Image

from tests.doubles.hostile import picture
from tools.attack.case import Case, Do, nothing
from tools.attack.texts import GENERATE, SHEET, SHOTS, TRAIN, WAVES, scene, text

ENCODE = ("encode", "table.csv", "-o", "out/set", "--model", "tiny", "--size", "64x32", "--frames", "9")
ADD = ("elements", "add", "hero", "--quality", "plain", "--view", "front", "--library", "out/lib")
JUDGE = ("judge", "a.mp4", "--sheet", "sheet.png")
USED = ("sheet", "used.yaml", "-o", "out/s.png", "--cut", "none")
LINT = ("lint", "white.png", "--no-look")


def link(name: str, to: str = "/dev/zero") -> Do:
    """Put a symbolic link in a file's place."""

    def change(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(to)

    return change


def fifo(name: str) -> Do:
    """Put a pipe in a file's place."""

    def change(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)

    return change


def listed(name: str) -> Do:
    """Let the library list another picture."""

    def change(folder: Path) -> None:
        path = folder / "lib/hero/default/element.yaml"
        told = path.read_text()
        old = next(line.split("- ")[1] for line in told.splitlines() if line.startswith("  - front-"))
        path.write_text(told.replace(old, name))

    return change


def _linked(folder: Path) -> None:
    (folder / "lib/hero/default").rename(folder / "elsewhere")
    (folder / "lib/hero/default").symlink_to("../../elsewhere")


def bundle(old: str, new: str) -> Do:
    """Change a text in the model's bundle.json."""

    def change(folder: Path) -> None:
        path = folder / "tiny/bundle.json"
        path.write_text(path.read_text().replace(old, new))

    return change


def context(folder: Path) -> None:
    """Let a training sample name a context outside of its folder."""
    from safetensors.torch import load_file, save_file

    from castsheet.ltx.header import read_header

    path = folder / "data/samples/clip0.safetensors"
    (folder / "x.safetensors").write_bytes((folder / "data/contexts/a.safetensors").read_bytes())
    save_file(load_file(path), path, {**read_header(path).metadata, "context": "../../x.safetensors"})


_LONG = "x" * 300
_CODES = (0, 1)
PATHS = [
    Case("path", "sheet of /dev/zero", SHEET, link("scene.yaml")),
    Case("path", "shots from /dev/zero", SHOTS, link("shots.yaml")),
    Case("path", "train from /dev/zero", TRAIN, link("run.yaml")),
    Case("path", "encode from /dev/zero", ENCODE, link("table.csv")),
    Case("path", "elements add /dev/zero", (*ADD, "/dev/zero")),
    Case("path", "sheet of a FIFO", SHEET, fifo("scene.yaml")),
    Case("path", "shots from a FIFO", SHOTS, fifo("shots.yaml")),
    Case("path", "train from a FIFO", TRAIN, fifo("run.yaml")),
    Case("path", "encode from a FIFO", ENCODE, fifo("table.csv")),
    Case("path", "elements add a FIFO", (*ADD, "p.png"), fifo("p.png")),
    Case("path", "judge a FIFO", JUDGE, fifo("a.mp4")),
    Case("path", "inspect a FIFO", ("inspect", "p.safetensors"), fifo("p.safetensors")),
    Case("path", "adapter a FIFO", (*GENERATE, *WAVES, "--adapter", "p.safetensors"), fifo("p.safetensors")),
    Case("path", "element.yaml of a library is a FIFO", USED, fifo("lib/hero/default/element.yaml")),
    Case("path", "library lists a picture that is gone", USED, listed("gone.png")),
    Case("path", "library lists ../../../../etc/passwd", USED, listed("../../../../etc/passwd")),
    Case("path", "library lists a folder as picture", USED, listed(".")),
    Case("path", "library lists /dev/zero as picture", USED, listed("/dev/zero")),
    Case("path", "library lists a NUL name", USED, listed('"a\\0b.png"')),
    Case("path", "library lists a name of 5000 letters", USED, listed("a" * 5000)),
    Case(
        "path",
        "remove a symlinked look",
        ("elements", "remove", "hero", "--library", "lib"),
        _linked,
        codes=(0, 2),
    ),
    Case("path", "generate into a name with a surrogate", (*GENERATE, *WAVES, "-o", "out/a\udcff.mp4")),
    Case("path", "sheet into a name with a surrogate", (*SHEET, "-o", "out/a\udcff.png")),
    Case("path", "generate into a name with 252 letters", (*GENERATE, *WAVES, "-o", f"out/{'x' * 248}.mp4")),
    Case("path", "generate into a name with 300 letters", (*GENERATE, *WAVES, "-o", f"out/{_LONG}.mp4")),
    Case(
        "path",
        "elements scene into a name of 300 letters",
        ("elements", "scene", f"out/{_LONG}.yaml", "hero", "--library", "lib"),
    ),
    Case("path", "lint --fix into 300 letters", (*LINT, "--fix", f"out/{_LONG}.png")),
    Case("path", "lint --report into a surrogate", (*LINT, "--report", "out/a\udcff.html")),
    Case("path", "lint a source of 5000 letters", ("lint", "x" * 5000)),
    Case("path", "model of 300 letters", (*GENERATE, *WAVES, "--model", _LONG)),
    Case(
        "path",
        "bundle.json names a file outside by ../",
        (*GENERATE, *WAVES),
        bundle('"tiny.safetensors"', '"../tiny.safetensors"'),
    ),
    Case(
        "path",
        "bundle.json long checkpoint name",
        (*GENERATE, *WAVES),
        bundle('"tiny.safetensors"', f'"{_LONG}"'),
    ),
    Case("path", "training sample's context is ../../x", TRAIN, context),
]


def _deep_png(folder: Path) -> None:
    """16-bit grey, 13,300 x 13,300."""
    side = 13_300

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    pack = zlib.compressobj(1)
    rows = b"".join(pack.compress(bytes(1 + 2 * side)) for _ in range(side)) + pack.flush()
    header = struct.pack(">IIBBBBB", side, side, 16, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    (folder / "face.png").write_bytes(b"\x89PNG\r\n\x1a\n" + parts)


def _tall_tiff(folder: Path) -> None:
    held = io.BytesIO()
    picture(384, 400).save(held, "TIFF")
    content = bytearray(held.getvalue())
    at = struct.unpack_from("<I", content, 4)[0]
    for number in range(struct.unpack_from("<H", content, at)[0]):
        place = at + 2 + 12 * number
        if struct.unpack_from("<H", content, place)[0] in (257, 278):
            struct.pack_into("<HHII", content, place, struct.unpack_from("<H", content, place)[0], 4, 1, 4000)
    (folder / "face.png").write_bytes(content)


def _dds(folder: Path, kind: bytes, more: bytes = b"") -> None:
    head = struct.pack(
        "<4sIIIIIII44xIIIIIIIIIIIIII",
        b"DDS ",
        124,
        0x1007,
        64,
        64,
        0,
        0,
        0,
        32,
        4,
        int.from_bytes(kind, "little"),
        0,
        0,
        0,
        0,
        0,
        0x1000,
        0,
        0,
        0,
        0,
        0,
    )
    (folder / "face.png").write_bytes(head + more + bytes(4096))


def _blp(folder: Path, magic: bytes) -> None:
    (folder / "face.png").write_bytes(magic + struct.pack("<iBBBBII", 9, 9, 9, 9, 9, 64, 64) + bytes(4096))


def _broken_folder(folder: Path, *, pipe: bool) -> None:
    (folder / "many").mkdir()
    picture(384, 400, 1).save(folder / "many/face.png")
    if pipe:
        os.mkfifo(folder / "many/a.png")
    else:
        (folder / "many/z.png").write_bytes((folder / "face.png").read_bytes()[:300])


def _large(folder: Path) -> None:
    Image.new("RGB", (13_300, 13_300)).save(folder / "large.png", compress_level=1)


PICTURES = [
    Case("image", "PNG 16-bit grey 13,300 x 13,300", SHEET, _deep_png, codes=(0, 2)),
    Case("image", "TIFF that claims 384 x 4000", SHEET, _tall_tiff),
    Case("image", "DDS of an unknown pixel format", SHEET, partial(_dds, kind=b"ZZZZ")),
    Case(
        "image",
        "DDS DX10 unknown",
        SHEET,
        partial(_dds, kind=b"DX10", more=struct.pack("<IIIII", 250, 3, 0, 1, 0)),
    ),
    Case("image", "BLP of an unknown encoding", SHEET, partial(_blp, magic=b"BLP2")),
    Case("image", "BLP1 unknown", SHEET, partial(_blp, magic=b"BLP1")),
    Case(
        "image",
        "--first-frame 177 MP",
        (*GENERATE, *WAVES, "--first-frame", "large.png"),
        _large,
        codes=(0, 2),
    ),
    Case("image", "elements add text as jpg", (*ADD, "face.png", "t.jpg"), text("t.jpg", "no picture")),
    Case(
        "image",
        "elements add folder with broken picture",
        (*ADD, "many"),
        partial(_broken_folder, pipe=False),
        codes=(0,),
        says="left out many/z.png",
    ),
    Case(
        "image",
        "elements add folder with a FIFO named a.png",
        (*ADD, "many"),
        partial(_broken_folder, pipe=True),
        codes=(0,),
        says="left out many/a.png",
    ),
    Case("image", "elements add --importance nan", (*ADD, "face.png", "--importance", "nan")),
    Case("image", "elements add --importance 1e400", (*ADD, "face.png", "--importance", "1e400")),
    Case(
        "image", "elements add --description with a surrogate", (*ADD, "face.png", "--description", "a\udcff")
    ),
]


def _changing(folder: Path, form: str) -> None:
    """A film whose size changes midway."""
    noise = np.random.default_rng(0).integers(0, 255, (2, 12, 64, 96, 3), dtype=np.uint8)
    parts = []
    for frames in (noise[0], noise[1][:, :32, :64]):
        held = io.BytesIO()
        with av.open(held, "w", format=form) as container:
            stream = container.add_stream("libx264", rate=24)
            stream.height, stream.width = frames.shape[1:3]
            stream.pix_fmt = "yuv420p"
            for one in frames:
                container.mux(
                    stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(one), format="rgb24"))
                )
            container.mux(stream.encode(None))
        parts.append(held.getvalue())
    (folder / "a.mp4").write_bytes(b"".join(parts))


def _vast(folder: Path) -> None:
    """200 black frames of 4096x2304: 5.6 GB decoded."""
    with av.open(str(folder / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = 4096, 2304, "yuv420p"
        stream.options = {"preset": "ultrafast"}
        black = av.VideoFrame.from_ndarray(np.zeros((2304, 4096, 3), np.uint8), format="rgb24").reformat(
            format="yuv420p"
        )
        for number in range(200):
            black.pts = number
            container.mux(stream.encode(black))
        container.mux(stream.encode(None))


def _odd_name(folder: Path) -> None:
    (folder / "a\udcff.mp4").write_bytes((folder / "a.mp4").read_bytes())


_ODD = ("judge", "a\udcff.mp4", "--sheet", "sheet.png", "--no-faces")
VIDEOS = [
    *(
        Case(
            "video",
            f"{words[0]}: size changes midway ({form})",
            words,
            partial(_changing, form=form),
            codes=(2,) if words is JUDGE else (0, 2),
        )  # encode decodes only the frames that it needs
        for form in ("mpegts", "h264")
        for words in (JUDGE, ENCODE)
    ),
    Case("video", "judge: black frames of 4096x2304", JUDGE, _vast),
    Case("video", "encode: black frames of 4096x2304", ENCODE, _vast, codes=(0, 2)),
    Case("video", "judge concat:a|b", ("judge", "concat:a.mp4|b.mp4", "--sheet", "sheet.png")),
    Case("video", "judge --html is the clip", (*JUDGE, "--html", "a.mp4")),
    Case("video", "judge --html is the sheet", (*JUDGE, "--html", "sheet.png")),
    Case("video", "judge clip name with surrogate", _ODD, _odd_name, codes=_CODES),
    Case("video", "judge --json with surrogate", (*_ODD, "--json"), _odd_name, codes=_CODES),
    Case(
        "video", "judge --html with surrogate clip", (*_ODD, "--html", "out/j.html"), _odd_name, codes=_CODES
    ),
]


def _scene_of(name: str) -> Do:
    def change(folder: Path) -> None:
        (folder / name).write_bytes((folder / "face.png").read_bytes())
        scene("face.png", name)(folder)

    return change


def _in_json(folder: Path) -> None:
    import json

    import yaml

    (folder / "scene.json").write_text(json.dumps(yaml.safe_load((folder / "scene.yaml").read_text())))


def _first(folder: Path) -> None:
    picture(64, 32, 7).save(folder / "a.contact.png")


_BARE = ("generate", "scene.yaml", "--model", "tiny", "--device", "cpu", "--force")
OVERWRITES = [
    Case("overwrite", "sheet over an input picture", (*SHEET, "-o", "face.png")),
    Case(
        "overwrite",
        "sheet whose manifest is another input",
        ("sheet", "scene.yaml", "-o", "w.png", "--cut", "none"),
        text("w.json", '{"nodes": []}'),
    ),
    Case(
        "overwrite",
        "sheet beside somebody's JSON",
        ("sheet", "scene.json", "-o", "scene.png", "--cut", "none"),
        _in_json,
    ),
    Case(
        "overwrite",
        "generate's sheet over an input picture",
        (*_BARE, "-o", "a2.mp4"),
        _scene_of("a2.sheet.png"),
    ),
    Case(
        "overwrite",
        "generate over the first frame",
        (*GENERATE, *WAVES, "-o", "a.mp4", "--first-frame", "a.contact.png"),
        _first,
    ),
    Case(
        "overwrite",
        "lint --report over the scene",
        ("lint", "scene.yaml", "--no-look", "--report", "scene.yaml"),
    ),
    Case("overwrite", "sheet --preview over a picture", (*SHEET, "--preview", "face.png")),
    Case(
        "overwrite",
        "scene shots into the folder of a sheet.png",
        (*_BARE, "--shots", "shots.yaml", "-o", "."),
        nothing,
    ),
    Case(
        "overwrite",
        "a shot called data",
        (*_BARE, "--shots", "shots.yaml", "-o", "."),
        text("shots.yaml", "shots: [{id: data, action: waves}]\n"),
    ),
    Case("overwrite", "judge --html into a fifo", (*JUDGE, "--html", "p.html"), fifo("p.html")),
    Case("overwrite", "judge --html into a device", (*JUDGE, "--html", "n"), link("n", "/dev/null")),
]
CASES = [*PATHS, *PICTURES, *VIDEOS, *OVERWRITES]
