"""The house in numbers: one row a measure, one column a tree."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZipFile

from tools.house.code import Tree, circles, upward
from tools.house.order import HOUSE, INSIDE, Floors

FILE_LIMIT, FUNCTION_LIMIT = 400, 60
"""Lines from which on a file, or a function, is asking to be two ideas."""


def counts(tree: Tree, *, wheel: bool = False) -> dict[str, str]:
    """What the table says about one tree.

    Args:
        tree: The tree.
        wheel: Build the wheel too, which takes half a minute.
    """
    arrows = tree.arrows()
    files, functions = tree.long_files(FILE_LIMIT), tree.long_functions(FUNCTION_LIMIT)
    found = {
        "modules at the root": str(len(tree.modules_at_root())),
        "rooms": str(len(tree.rooms())),
        "lines installed": f"{tree.installed_lines():,}",
        "arrows between rooms": str(len(arrows)),
        "imports along them": str(sum(len(imports) for imports in arrows.values())),
        "circles": str(len(circles(arrows)) + sum(len(circles(tree.arrows(room))) for room in INSIDE)),
        "arrows back up": _back_up(tree),
        f"files over {FILE_LIMIT} lines": str(len(files)),
        f"functions over {FUNCTION_LIMIT} lines": str(len(functions)),
    }
    if wheel:
        found |= built(tree.root)
    return found


def _back_up(tree: Tree) -> str:
    """Imports against the declared order; a tree with rooms of no floor had no such order."""
    if not _declared(tree.rooms(), HOUSE):
        return "no order declared"
    inner = sum(len(upward(tree.arrows(room), floors)) for room, floors in INSIDE.items())
    return str(len(upward(tree.arrows(), HOUSE)) + inner)


def _declared(rooms: Sequence[str], floors: Floors) -> bool:
    return set(rooms) <= {room for floor in floors for room in floor}


def faults(tree: Tree) -> list[str]:
    """What breaks the house's rules, one line each: circles, arrows back up, long files and functions."""
    found = [
        f"circle: {' - '.join(group)}" for within in ("", *INSIDE) for group in circles(tree.arrows(within))
    ]
    for within, floors in {"": HOUSE, **INSIDE}.items():
        if _declared(tree.rooms(within), floors):
            found += [f"back up: {one}" for one in upward(tree.arrows(within), floors)]
        else:
            homeless = set(tree.rooms(within)) - {room for floor in floors for room in floor}
            found += [f"on no floor: {within or 'castsheet'}: {', '.join(sorted(homeless))}"]
    return [*found, *map(str, tree.long_files(FILE_LIMIT)), *map(str, tree.long_functions(FUNCTION_LIMIT))]


def built(root: Path) -> dict[str, str]:
    """Size and number of files of the wheel, built by pip in a temporary folder.

    Raises:
        subprocess.CalledProcessError: The wheel cannot be built; pip has said why.
    """
    with TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--no-deps",
            "--wheel-dir",
            folder,
            str(root),
        ]
        subprocess.run(command, check=True)
        path = next(Path(folder).glob("*.whl"))
        with ZipFile(path) as archive:
            files = len(archive.namelist())
        return {"wheel": f"{path.stat().st_size / 1e6:.1f} MB", "files in the wheel": str(files)}


def extract(root: Path, revision: str, folder: Path) -> Tree:
    """A revision of the repository, unpacked into a folder.

    Raises:
        subprocess.CalledProcessError: Git does not know the revision; it has said so.
    """
    command = ["git", "-C", str(root), "archive", revision]
    archive = subprocess.run(command, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")
    return Tree(folder)


def table(columns: dict[str, dict[str, str]]) -> str:
    """A Markdown table of one or more trees' counts."""
    rows = list(dict.fromkeys(name for counted in columns.values() for name in counted))
    lines = ["| | " + " | ".join(columns) + " |", "|---" + "|---:" * len(columns) + "|"]
    lines += [
        f"| {name} | " + " | ".join(one.get(name, "") for one in columns.values()) + " |" for name in rows
    ]
    return "\n".join(lines)
