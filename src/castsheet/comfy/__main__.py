"""`python -m castsheet.comfy FOLDER`: put the node pack, and pictures for its templates, into a ComfyUI."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from castsheet.comfy import PACK
from castsheet.elements import Scene
from castsheet.embedded import DEMO_SCENE
from castsheet.errors import OutputError
from castsheet.machine.edge import DEBUG, at_edge
from castsheet.machine.refusals import cannot_write
from castsheet.sheet.compose import compose

NAME = "castsheet"
_USAGE = "usage: python -m castsheet.comfy FOLDER\nFOLDER is ComfyUI's, not the one above it\n"


def install(comfyui: Path) -> Path:
    """Copy the pack into ComfyUI's `custom_nodes`, in place of an earlier copy. Returns the folder.

    Raises:
        OutputError: the folder is no ComfyUI, or the disk refused.
    """
    nodes = comfyui / "custom_nodes"
    if not nodes.is_dir():
        raise OutputError(
            f"{comfyui} has no folder custom_nodes", remedy="name ComfyUI's own folder, not the one above it"
        )
    target = nodes / NAME
    if target.exists() and not _ours(target):
        raise OutputError(f"{target} is there and is not this pack", remedy="move it away, then run again")
    try:
        shutil.copytree(
            PACK, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "*.pyc")
        )
        _pictures(comfyui / "input")
    except OSError as error:
        raise cannot_write(target, error) from error
    return target


def _pictures(folder: Path) -> None:
    """The demo's pictures and their sheet, by the names that the templates use."""
    folder.mkdir(exist_ok=True)
    for picture in DEMO_SCENE.parent.glob("*.png"):
        shutil.copy(picture, folder / f"{NAME}-{picture.name}")
    compose(Scene.load(DEMO_SCENE)).save(folder / f"{NAME}-sheet.png")


def _ours(folder: Path) -> bool:
    """Whether a folder is an earlier copy of the pack."""
    shim = folder / "__init__.py"
    return shim.is_file() and "castsheet.comfy" in shim.read_text(encoding="utf-8", errors="replace")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Entry point; the folder of ComfyUI is the only argument, beside `--debug`."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    at_edge(lambda: _install([one for one in given if one != DEBUG]), given)


def _install(given: Sequence[str]) -> int:
    if len(given) != 1 or given[0].startswith("-"):
        asked = given in (["-h"], ["--help"])
        (sys.stdout if asked else sys.stderr).write(_USAGE)
        return 0 if asked else 2
    target = install(Path(given[0]))
    sys.stdout.write(f"installed {target}; start ComfyUI again\n")
    return 0


if __name__ == "__main__":
    main()
