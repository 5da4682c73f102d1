"""Outputs, tried before the work: may they be written, can they be, and is there room for them?

A run replaces what Castsheet wrote earlier, and nothing else: no input of the same run, and no file of
somebody else's, unless the user says overwrite. A pipe, a device or a folder is never replaced.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from castsheet.errors import OutputError
from castsheet.machine.files import write_atomic
from castsheet.machine.refusals import cannot_write
from castsheet.machine.replace import aside, refuse_odd, settle

MIB = 1 << 20


def nobody(_path: Path) -> bool:
    """For files that tell nothing of who wrote them: whatever is there is somebody's."""
    return False


@dataclass(frozen=True)
class Output:
    """A file that is going to be written.

    Args:
        path: its path.
        ours: tells whether the file that is there now was written by Castsheet.
    """

    path: Path
    ours: Callable[[Path], bool] = nobody


def try_outputs(
    outputs: Sequence[Output], *, inputs: Iterable[Path | None] = (), overwrite: bool = False
) -> None:
    """Refuse, before the work, what must not be written or cannot be.

    Args:
        inputs: the files that the run reads.
        overwrite: the user wants files replaced, whoever wrote them.

    Raises:
        OutputError: an output would replace an input, another output, or a file that Castsheet did not write;
            or its name cannot be written.
    """
    paths = [output.path for output in outputs]
    for path in paths:
        _refuse_name(path)
    for folder in {path.parent for path in paths}:
        settle(folder)
    _try_names(paths)
    read = {place: path for path in inputs if path is not None for place in _places(path)}
    written: dict[object, Path] = {}
    for output in outputs:
        path = output.path
        for place in _places(path):
            if place in written:
                raise OutputError(
                    f"{path} and {written[place]} are one file, and two results", remedy="name another file"
                )
            written[place] = path
            if place in read and not overwrite:
                raise OutputError(f"{path} is an input of this run", remedy=_remedy())
        if path.exists() and not overwrite and not output.ours(path):
            known = "" if output.ours is nobody else ", and Castsheet did not write it"
            raise OutputError(f"{path} exists already{known}", remedy=_remedy())


def write_output(output: Output, write: Callable[[Path], object], *, overwrite: bool = False) -> Path:
    """Write one file, whole or not at all, where `try_outputs` lets it.

    Args:
        write: fills the file that it is given; see `write_atomic`.

    Raises:
        OutputError: a file that Castsheet did not write is there, or the operating system refused.
    """
    try_outputs([output], overwrite=overwrite)
    return write_atomic(output.path, write)


def require_space(folder: Path, wanted: int) -> None:
    """Refuse, before the work, a disk that has less space than the results are going to take.

    Args:
        wanted: an estimate, in bytes.

    Raises:
        OutputError: there is less.
    """
    free = shutil.disk_usage(_nearest(folder)).free
    if free < wanted:
        raise OutputError(
            f"{folder} has {free / MIB:.0f} MiB free, and the results take about {wanted / MIB:.0f} MiB",
            remedy="free space on this disk, or choose a folder on another one",
        )


def _refuse_name(path: Path) -> None:
    """Refuse a name that is no text, and one that a folder, a pipe or a device has."""
    try:
        str(path).encode()
        refuse_odd(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    except ValueError as error:  # a NUL, or bytes that are no UTF-8
        raise OutputError(
            f"cannot write {str(path)!r}: the name is no text", remedy="choose a name of letters and digits"
        ) from error


def _try_names(paths: Sequence[Path]) -> None:
    """Make empty files of these names in a folder aside, in the nearest folder that is there."""
    for folder, names in _by_nearest(paths).items():
        with aside(folder) as place:
            for name, path in names.items():
                try:
                    (place / name).parent.mkdir(parents=True, exist_ok=True)
                    (place / name).touch()
                except OSError as error:
                    raise cannot_write(path, error) from error


def _by_nearest(paths: Sequence[Path]) -> Mapping[Path, Mapping[Path, Path]]:
    """The paths below the nearest folder that is there, by that folder."""
    found: dict[Path, dict[Path, Path]] = {}
    for path in paths:
        nearest = _nearest(path.parent)
        below = path.absolute().relative_to(nearest) if path.parent != nearest else Path(path.name)
        found.setdefault(nearest, {})[Path(*(part for part in below.parts if part != ".."))] = path
    return found


def _nearest(folder: Path) -> Path:
    """The folder, if it is there, or else the nearest one above it."""
    return next(one for one in (folder, *folder.absolute().parents) if os.path.exists(one))  # noqa: PTH110


def _places(path: Path) -> list[object]:
    """What tells that two paths are one file: its place, and where it exists, what the disk calls it."""
    places: list[object] = [os.path.realpath(path)]
    with suppress(OSError, ValueError):
        status = path.stat()
        places.append((status.st_dev, status.st_ino))
    return places


def _remedy() -> str:
    return "name another file, or add --overwrite (Python: overwrite=True)"
