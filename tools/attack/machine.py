"""Streams, permissions, file descriptors, file sizes and memory."""

from __future__ import annotations

import ctypes
import os
import resource
import struct
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from tools.attack.case import Case, Do, memory_to_spare
from tools.attack.files import ENCODE, LINT, USED
from tools.attack.tensors import MAKE
from tools.attack.texts import SHEET, SHOTS, TRAIN, text

JUDGE = ("judge", "a.mp4", "--sheet", "sheet.png", "--no-faces")
_OVERRIDE, _SEARCH = 1, 2  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH of Linux


def full_stdout() -> None:
    """Let standard output be a full disk."""
    handle = os.open("/dev/full", os.O_WRONLY)
    os.dup2(handle, 1)
    os.close(handle)


def as_nobody() -> None:
    """Give up root's right to read what its modes forbid."""
    system = ctypes.CDLL(None, use_errno=True)
    header = struct.pack("<Ii", 0x20080522, 0)
    content = ctypes.create_string_buffer(24)
    system.capget(header, content)
    words = list(struct.unpack("<6I", content.raw))
    for place in range(3):
        words[place] &= ~(1 << _OVERRIDE | 1 << _SEARCH)
    if system.capset(header, struct.pack("<6I", *words)):
        raise OSError(ctypes.get_errno(), "capset")


def descriptors(count: int) -> Callable[[], None]:
    """Let the process open so few files."""
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))


def file_size(count: int) -> Callable[[], None]:
    """Let the process write files of so few bytes."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (count, count))


def closed(name: str, mode: int = 0) -> Do:
    """Take all rights to a file or a folder away."""
    return lambda folder: (folder / name).chmod(mode)


def _log(folder: Path) -> None:
    from tests.doubles.killed import run

    run(TRAIN, folder)
    (folder / "out/run/log.jsonl").chmod(0)


def _official(folder: Path) -> None:
    (folder / "data/.precomputed/latents").mkdir(parents=True)
    (folder / "data/.precomputed").chmod(0)


def _token(folder: Path) -> None:
    place = folder / "home/.cache/huggingface"
    place.mkdir(parents=True)
    (place / "token").write_text("x")
    (place / "token").chmod(0)
    (folder / "closed").mkdir()
    (folder / "closed").chmod(0o500)


def _clip_in(folder: Path) -> None:
    (folder / "d").mkdir()
    (folder / "a.mp4").rename(folder / "d/a.mp4")
    text("table.csv", "video,sheet,caption\nd/a.mp4,sheet.png,hero walks\n")(folder)
    (folder / "d").chmod(0)


def _header(folder: Path) -> None:
    """A header of 90 MB."""
    one = b'"%09d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}'
    content = b"{" + b",".join(one % number for number in range(1_500_000)) + b"}"
    (folder / "m.safetensors").write_bytes(struct.pack("<Q", len(content)) + content)


def _vast(folder: Path) -> None:
    Image.new("RGB", (10_000, 10_000), "white").save(folder / "v.png", compress_level=1)


_LARGE = (*MAKE, "--width", "1024", "--height", "1024", "--frames", "121")
_FULL: dict[str, tuple[str, ...]] = {
    "inspect": ("inspect", "tiny/tiny.safetensors"),
    "lint": LINT,
    "lint --json": (*LINT, "--json"),
    "sheet": SHEET,
    "generate": MAKE,
    "judge": JUDGE,
    "judge --json": (*JUDGE, "--json"),
    "doctor": ("doctor", "--models", "models"),
    "elements list": ("elements", "list", "--library", "lib"),
    "train": TRAIN,
    "encode": ENCODE,
    "shots": SHOTS,
    "--help": ("--help",),
    "--version": ("--version",),
}
_NOBODY: dict[str, tuple[tuple[str, ...], Do]] = {
    "picture unreadable": (SHEET, closed("face.png")),
    "library closed, scene use": (USED, closed("lib/hero/default")),
    "library picture unreadable": (
        USED,
        lambda folder: next((folder / "lib/hero/default").glob("*.png")).chmod(0),
    ),
    "model closed": (MAKE, closed("tiny")),
    "text encoder closed": (MAKE, closed("tiny/text_encoder")),
    "tokenizer unreadable": (MAKE, closed("tiny/text_encoder/tokenizer.json")),
    "encode a clip in a closed folder": (ENCODE, _clip_in),
    "train data closed": (TRAIN, _official),
    "a log that is not ours": ((*TRAIN, "--set", "steps=6"), _log),
    "generate, out not searchable": (MAKE, closed("out", 0o600)),
    "lint --fix, out not searchable": ((*LINT, "--fix", "out/f.png"), closed("out", 0o600)),
    "elements scene, out not searchable": (
        ("elements", "scene", "out/a.yaml", "hero", "--library", "lib"),
        closed("out", 0o600),
    ),
    "download into a closed folder": (("download", "--to", "closed/models"), _token),
}
_MEMORY: list[tuple[str, tuple[str, ...], Do, int]] = [
    ("generate 1024x1024x121", _LARGE, lambda _: None, 100),
    ("train", TRAIN, lambda _: None, 100),
    ("encode 2048x2048", (*ENCODE, "--size", "2048x2048"), lambda _: None, 100),
    ("inspect of a 90 MB header", ("inspect", "m.safetensors"), _header, 100),
    (
        "shots 1024x1024",
        (*SHOTS, "--width", "1024", "--height", "1024", "--frames", "121"),
        lambda _: None,
        100,
    ),
    ("train", TRAIN, lambda _: None, 300),
    ("encode 2048x2048", (*ENCODE, "--size", "2048x2048"), lambda _: None, 300),
    ("inspect of a 90 MB header", ("inspect", "m.safetensors"), _header, 300),
    ("encode 2048x2048", (*ENCODE, "--size", "2048x2048"), lambda _: None, 800),
    ("split", ("split", "v.png", "-o", "out/views", "--no-look"), _vast, 800),
    ("lint of a 100 MP sheet", ("lint", "v.png", "--no-look"), _vast, 800),
]
CASES = [
    *(
        Case("fault", f"{name}, stdout is /dev/full", words, inside=full_stdout, finishes=True)
        for name, words in _FULL.items()
    ),
    *(
        Case("fault", f"as nobody: {name}", words, change, inside=as_nobody)
        for name, (words, change) in _NOBODY.items()
    ),
    Case("fault", "sheet with 8 file descriptors", SHEET, inside=descriptors(8), codes=(0, 2)),
    *(
        Case("fault", f"shots, files of at most {size} bytes", SHOTS, inside=file_size(size), mute=size == 0)
        for size in (0, 1000, 5000)
    ),
    *(
        Case(
            "memory",
            f"{name} with {mib} MB to spare",
            words,
            change,
            inside=memory_to_spare(mib),
            codes=(0, 1, 2),
            finishes=True,
        )
        for name, words, change, mib in _MEMORY
    ),
]
