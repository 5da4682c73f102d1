"""A library's files: which of them are ours, how pictures are put in, and how a look is taken out."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from PIL import Image

from castsheet.elements import VIEWS
from castsheet.errors import OutputError, SceneError
from castsheet.machine.files import sha256
from castsheet.machine.marks import Kind
from castsheet.machine.replace import Change
from castsheet.sheet.look.matting import mask_beside, mask_path

LIST = "element.yaml"  # a look's file: the element, and what is known of its pictures
LIBRARY = Kind("elements", lambda folder: any(folder.glob(f"*/*/{LIST}")))

# A picture's name tells its view and its bytes; the mask beside it has the same stem.
_OURS = re.compile(rf"({'|'.join(map(re.escape, VIEWS))})-[0-9a-f]{{8}}(-\d+)?(\.mask)?\.\w+")


def is_ours(name: str) -> bool:
    """Whether a file of a look's folder is the library's own, by its name."""
    return name == LIST or _OURS.fullmatch(name) is not None


def put_picture(change: Change, root: Path, target: Path, source: Path | Image.Image) -> str:
    """Store a picture, and the mask drawn for it by hand where there is one; returns the picture's hash.

    Args:
        change: of the library at `root`.
        target: where the picture goes, below `root`.

    Raises:
        OutputError: a file that is not ours has this name.
    """
    new = change.new(target.relative_to(root).as_posix())
    if isinstance(source, Image.Image):
        source.save(new, format="PNG")
    else:
        shutil.copyfile(source, new)
        mask = mask_beside(source)
        if mask is not None:
            beside = mask_path(target)
            shutil.copyfile(mask, change.new(beside.relative_to(root).as_posix()))
            _refuse_other(beside, mask)
    _refuse_other(target, new)
    return sha256(new)


def own_parts(root: Path, look: Path) -> list[str]:
    """What of a look's folder is the library's own: the folder, or, where other files are in it, its files.

    Returns:
        Paths relative to the library at `root`.

    Raises:
        SceneError: the look is a symbolic link, so its files belong to another place.
    """
    if look.resolve() != root.resolve() / look.relative_to(root):
        raise SceneError(
            f"{look} is a symbolic link", remedy="remove the link itself: its files lie elsewhere"
        )
    files = [path.name for path in look.iterdir()]
    own = [name for name in files if is_ours(name)]
    place = look.relative_to(root).as_posix()
    return [place] if own == files else [f"{place}/{one}" for one in own]


def _refuse_other(target: Path, new: Path) -> None:
    if target.is_file() and sha256(target) != sha256(new):
        raise OutputError(f"{target} is there, with other bytes", remedy="move it out of the library")
