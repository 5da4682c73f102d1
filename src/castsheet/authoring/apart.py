"""A ready-made sheet becomes pictures of an element, each under the view that its label tells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from castsheet.authoring.library import Added
from castsheet.authoring.split import split
from castsheet.elements import View
from castsheet.lint.findings import Fault
from castsheet.lint.pixels import Readers
from castsheet.machine.replace import scratch
from castsheet.media.pictures import load_image

Put = Callable[[list[Path], View | None, str], Added]


@dataclass(frozen=True)
class Apart:
    """What became of a sheet.

    Attributes:
        added: what the library took, in one go for each view.
        doubts: labels that contradict their pictures.
        left: how many pictures of a labelled sheet were left out, because no label tells their view: logos.
    """

    added: tuple[Added, ...]
    doubts: tuple[Fault, ...]
    left: int


def apart(sheet: Path, put: Put, readers: Readers, origin: str | None = None) -> Apart:
    """Split a sheet and add its pictures. Where no label tells a view, all are sorted by what they show.

    Args:
        put: adds pictures to an element: paths, their view, their origin.
        origin: recorded as the pictures' origin; by default the sheet's path.

    Raises:
        SheetError: nothing sets off from the sheet's ground.
        ImageError: the sheet cannot be read, or one of its pictures shows several people.
        SceneError: the pictures make no element: details of a character only, for example.
    """
    parts = split(load_image(sheet), reader=readers.text, faces=readers.faces)
    told = sheet.as_posix() if origin is None else origin
    with scratch() as folder:
        # Faces and figures first: details alone are no element yet.
        views = sorted(parts.save(folder).items(), key=lambda one: one[0] == "detail")
        if not views:
            return Apart((put(sorted(folder.glob("*.png")), None, told),), parts.doubts, 0)
        added = tuple(put(list(paths), view, told) for view, paths in views)
    return Apart(added, parts.doubts, sum(part.view is None for part in parts.parts))
