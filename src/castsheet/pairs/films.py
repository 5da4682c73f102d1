"""The table of films: what each one is, whose it is, and whether it may be used.

Columns: path (relative to the table), title, licence, credit, url, people, and optionally allow_training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from castsheet.errors import ImageError
from castsheet.machine.files import sha256
from castsheet.machine.regular import MIB, is_file
from castsheet.machine.text import TextReader
from castsheet.media.film import Probe, key_frames, probe
from castsheet.pairs.records import Film, PairsError, Reject

COLUMNS = ("path", "title", "licence", "credit", "url", "people")
PEOPLE = ("consent", "synthetic", "none")
# Licences that let anybody make and share adaptations; who needs another one says so in allow_training.
FREE = ("CC0-1.0", "CC-BY-3.0", "CC-BY-4.0", "CC-BY-SA-3.0", "CC-BY-SA-4.0", "PDM-1.0", "MIT", "Apache-2.0")
SLOWEST = 20.0
LOOKS, FEWEST = 24, 2  # frames in which bars are looked for, and in how many a picture must be lit
BLACK, LIT = 26.0, 24.0  # levels: a bar is darker; a frame that is dark all over has a lower mean
BAR, UNEVEN = 0.02, 0.02  # of the side: thinner bars are cropped away by no one; sides differ by no more
_TABLES = TextReader(
    PairsError,
    f"give a .csv table with the columns {', '.join(COLUMNS)}; docs/pairs.md shows one",
    limit=16 * MIB,
)


@dataclass(frozen=True)
class Source:
    """A row of the table."""

    path: Path
    title: str
    licence: str
    credit: str
    url: str
    people: str
    allowed: bool


def read_films(table: Path) -> list[Source]:
    """The rows of a table of films.

    Raises:
        PairsError: it cannot be read, lacks a column or a title, or two films have one title.
    """
    found: dict[str, Source] = {}
    for line, row in _TABLES.table(table):
        source = _source(row, f"{table} line {line}", table.parent)
        if source.title in found:
            raise PairsError(
                f"{table} line {line}: a second film is called {source.title}",
                remedy="give every film a title of its own; parts of one film make one title each",
            )
        found[source.title] = source
    if not found:
        raise PairsError(f"{table} has no rows", remedy=_TABLES.remedy)
    return list(found.values())


def _source(row: Mapping[str, str], where: str, folder: Path) -> Source:
    missing = [name for name in COLUMNS if name not in row]
    if missing:
        raise PairsError(f"{where}: no column {missing[0]}", remedy=_TABLES.remedy)
    values = {name: row[name].strip() for name in COLUMNS}
    for name in ("path", "title"):
        if not values[name]:
            raise PairsError(f"{where}: {name} is empty", remedy=_TABLES.remedy)
    if values["people"] not in ("", *PEOPLE):
        raise PairsError(
            f"{where}: people is {values['people']!r}",
            remedy=f"write {', '.join(PEOPLE)}: real people have agreed, nobody is real, or nobody is seen",
        )
    path = Path(values.pop("path"))
    allowed = row.get("allow_training", "").strip().lower() in ("yes", "true", "1")
    return Source(folder / path, **values, allowed=allowed)


def opened(source: Source, size: tuple[int, int]) -> Film | Reject:
    """A film that can be used for clips of a size, or why it cannot.

    Args:
        size: width and height in px of the clips; no film is enlarged.
    """
    if source.licence not in FREE and not source.allowed:
        told = source.licence or "empty"
        return Reject(source.title, "R00", f"licence {told}", f"{', '.join(FREE)}, or allow_training")
    if not source.people:
        return Reject(source.title, "R00", "people is empty", ", ".join(PEOPLE))
    if not is_file(source.path):
        return Reject(source.title, "R01", f"there is no file {source.path.name}")
    try:
        seen = probe(source.path)
    except ImageError as error:
        return Reject(source.title, "R01", error.what)
    bars = bars_of(source.path, seen)
    width, height = seen.width - 2 * bars[0], seen.height - 2 * bars[1]
    if width < size[0] or height < size[1]:
        told = f"{width}x{height}" + (" without its bars" if any(bars) else "")
        return Reject(source.title, "R02", told, f"{size[0]}x{size[1]}")
    if seen.fps < SLOWEST:
        return Reject(source.title, "R03", f"{seen.fps:.2f}", f"{SLOWEST:g}")
    return Film(
        path=str(source.path.resolve()),
        title=source.title,
        licence=source.licence,
        credit=source.credit,
        url=source.url,
        people=source.people,
        sha256=sha256(source.path),
        size=(width, height),
        fps=round(seen.fps, 4),
        bars=bars,
    )


def bars_of(path: Path, seen: Probe) -> tuple[int, int]:
    """px of black at the left and the right, and above and below, that frame the picture all through a film.

    Frames that are dark all over say nothing; without a few others no bar is sure.
    """
    least: list[NDArray[np.int64]] = []
    for frame in key_frames(path, seen.seconds, LOOKS):
        luma = frame.astype(np.float32).mean(axis=2)
        if luma.mean() >= LIT:
            least.append(np.array([side for axis in (1, 0) for side in _dark_sides(luma, axis)]))
    if len(least) < FEWEST:
        return 0, 0
    left, right, top, bottom = np.min(least, axis=0)
    found = []
    for (one, other), whole in (((left, right), seen.width), ((top, bottom), seen.height)):
        even = max(one, other) - min(one, other) <= UNEVEN * whole
        # One px more: compression lets the picture bleed into the bar's last row.
        found.append(int(max(one, other) + 2) // 2 * 2 if even and min(one, other) >= BAR * whole else 0)
    return found[0], found[1]


def _dark_sides(luma_HW: NDArray[np.float32], axis: int) -> tuple[int, int]:
    """How many columns (axis 1) or rows (axis 0) are black from either side."""
    lines = np.percentile(luma_HW, 99, axis=1 - axis) > BLACK
    lit = np.flatnonzero(lines)
    return (int(lit[0]), len(lines) - 1 - int(lit[-1])) if len(lit) else (0, 0)
