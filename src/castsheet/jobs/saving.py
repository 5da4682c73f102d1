"""A finished clip is never lost: where it may not be written under its name, it is saved under another."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from castsheet.clip import Clip, ClipFiles, clip_files
from castsheet.errors import OutputError
from castsheet.jobs.watcher import Watcher


def save_somewhere(clip: Clip, path: Path, *, overwrite: bool) -> tuple[ClipFiles, OutputError | None]:
    """Save a clip that took long to make; at `path`, or else beside it, or else in another folder.

    Names are tried before the work, so this is for what happens meanwhile: somebody puts a file there, the
    disk fills up, the folder goes away.

    Returns:
        Where it is, and the error that says so if it is not at `path`.

    Raises:
        OutputError: no folder takes it.
    """
    try:
        return clip.save(path, overwrite=overwrite), None
    except OutputError as error:
        for other in _others(path):
            try:
                files = clip.save(other)
            except OutputError:
                continue
            return files, OutputError(
                f"{error.what}; the finished clip is saved as {files.video}",
                remedy="move its three files to where you want them",
            )
        raise


@contextmanager
def told_of(watcher: Watcher) -> Iterator[None]:
    """Inside the block, a file that cannot be written is told, and the work goes on."""
    try:
        yield
    except OutputError as error:
        watcher.said(error.what, "bad")


def _others(path: Path) -> Iterator[Path]:
    for folder in (path.parent, Path(), Path(tempfile.gettempdir())):
        names = (folder / f"{path.stem}.saved-{number}.mp4" for number in count(1))
        # Unlike pathlib's, this question has an answer where a folder may not be searched.
        yield next(
            name
            for name in names
            if not any(os.path.exists(one.path) for one in clip_files(name).outputs)  # noqa: PTH110
        )
