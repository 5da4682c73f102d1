"""Commands on a real disk that is full, fills up on the way, or may only be read.

A small disk in memory is mounted over the folder of results. That needs the right to mount: root, or
    `unshare --user --map-root-user --mount`.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.doubles.killed import Ended, run

BLOCK = 4096  # bytes; a disk in memory gives room by blocks
_ROOM = 64 << 20


def may_mount(folder: Path) -> bool:
    """Whether this process may mount a disk over an empty folder."""
    folder.mkdir(parents=True, exist_ok=True)
    if _mounted(folder):
        _unmount(folder)
        return True
    return False


def used(folder: Path) -> int:
    """Bytes that the files below a folder take, by whole blocks."""
    return sum(-(-one.stat().st_size // BLOCK) * BLOCK for one in folder.rglob("*") if one.is_file())


def run_on_disk(arguments: Sequence[str], folder: Path, *, free: int | None) -> Ended:
    """Run a command whose results go to a disk of their own; what lies there then is moved back.

    Args:
        free: bytes that are free on that disk; None for a disk that may only be read.
    """
    with _disk(folder / "out", free):
        return run(arguments, folder)


@contextmanager
def _disk(place: Path, free: int | None) -> Iterator[None]:
    aside = place.with_name("aside")
    place.rename(aside)
    place.mkdir()
    if not _mounted(place):
        raise OSError("no right to mount a disk")
    try:
        shutil.copytree(aside, place, dirs_exist_ok=True)
        shutil.rmtree(aside)
        results = place.with_name("moved")
        if free is None:
            subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
        else:
            size = used(place) + free + BLOCK
            subprocess.run(["mount", "-o", f"remount,size={size}", str(place)], check=True)
        yield
        shutil.copytree(place, results)
    finally:
        _unmount(place)
    place.rmdir()
    results.rename(place)


def _mounted(place: Path) -> bool:
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={_ROOM}", "none", str(place)], capture_output=True, check=False
    )
    return done.returncode == 0


def _unmount(place: Path) -> None:
    subprocess.run(["umount", str(place)], check=True)
