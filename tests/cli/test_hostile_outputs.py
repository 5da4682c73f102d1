"""Everything wrong that a user can hand in, through the real command line: sizes and places of outputs.

Whatever it is: exit code 2, a message with a remedy, no traceback, and no file left in the output folder.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.doubles.hostile import Run, Work, expect_refusal, good, half, picture, run, work


@contextmanager
def limited(kind: int, most: int) -> Iterator[None]:
    """Keep this process to a limit of the operating system's."""
    before = resource.getrlimit(kind)
    resource.setrlimit(kind, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(kind, before)


@contextmanager
def little_memory(more: int = 2 << 30) -> Iterator[None]:
    """An allocation that is out of all proportion fails, instead of taking the machine's memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    with limited(resource.RLIMIT_AS, pages * resource.getpagesize() + more):
        yield


SHEET_OPTIONS: dict[str, tuple[list[str], str]] = {
    "size without a cross": (["--output", "768"], "768x448"),
    "size 0x0": (["--output", "0x0"], "0"),
    "size off the grid": (["--output", "100x100"], "32"),
    "grid 0": (["--grid", "0"], "grid"),
    "scale 0": (["--scale", "0"], "scale"),
    "scale 1000": (["--scale", "1000"], "768000"),
    "size 960000x560000": (["--output", "960000x560000"], "960000|1920000"),
    "a gutter as wide as the sheet": (["--gutter", "2000"], "gutter"),
    "a negative gutter": (["--gutter", "-4"], "gutter"),
    "an output that is no PNG": (["-o", "sheet.jpg"], r"\.png"),
}


@pytest.mark.parametrize(("extra", "says"), SHEET_OPTIONS.values(), ids=SHEET_OPTIONS.keys())
def test_options_of_a_sheet(run: Run, work: Work, extra: list[str], says: str) -> None:
    """Red: composing crashes, or fills the memory."""
    with little_memory():
        expect_refusal(run, work, ["sheet", work.scene, "-o", work.out / "s.png", *extra], says)


# --- outputs


@contextmanager
def full_disk(free: int) -> Iterator[None]:
    """No file may grow past `free` bytes: writes fail midway, as on a full disk."""
    with limited(resource.RLIMIT_FSIZE, free):
        yield


@pytest.mark.parametrize("free", [0, 3000])
def test_a_full_disk_leaves_nothing(run: Run, work: Work, free: int) -> None:
    """Red: a full disk leaves half a sheet or half a clip that looks finished."""
    with full_disk(free):
        expect_refusal(run, work, ["sheet", work.scene, "-o", work.out / "s.png"], "cannot write")
        expect_refusal(run, work, work.generate("--cache-dir", work.out / "cache"), "cannot write")


def test_a_full_disk_keeps_the_old_sheet(run: Run, work: Work) -> None:
    """Red: composing again on a full disk destroys the sheet that was there."""
    assert run(["sheet", work.scene, "-o", work.sheet]).code == 0
    before = work.sheet.read_bytes()
    picture(384, 400, 7).save(work.folder / "face.png")
    with full_disk(3000):
        expect_refusal(run, work, ["sheet", work.scene, "-o", work.sheet], "cannot write")
    assert work.sheet.read_bytes() == before
    assert run(["lint", work.sheet]).code != 2


def test_a_file_where_a_folder_should_be(run: Run, work: Work) -> None:
    """Red: an output that cannot be made gives a traceback, after minutes of sampling."""
    work.write("taken", b"mine")
    for arguments in (
        ["sheet", work.scene, "-o", work.folder / "taken" / "s.png"],
        [*work.generate(), "-o", work.folder / "taken" / "clip.mp4"],
        ["sheet", work.scene, "-o", "/proc/castsheet/s.png"],
    ):
        expect_refusal(run, work, arguments, "cannot write")
    assert (work.folder / "taken").read_bytes() == b"mine"


def test_a_folder_where_the_file_should_be(run: Run, work: Work) -> None:
    """Red: a folder of the output's name gives a traceback, or is replaced."""
    (work.folder / "taken.png").mkdir()
    expect_refusal(run, work, ["sheet", work.scene, "-o", work.folder / "taken.png"], "cannot write")
    (work.folder / "taken.mp4").mkdir()
    expect_refusal(run, work, [*work.generate(), "-o", work.folder / "taken.mp4"], "cannot write")
    assert not list((work.folder / "taken.png").iterdir())
