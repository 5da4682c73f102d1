"""What a tree of Python files imports, and how long it is, read by ast: nothing is run."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tools.house.order import FRONT_DOOR, Floors

PACKAGE = "castsheet"
CODE = ("src", "mini", "tests", "benchmarks", "tools")
"""Folders whose files and functions are measured."""


@dataclass(frozen=True)
class Import:
    """One imported module.

    Attributes:
        of: The importing file, relative to the tree.
        line: Its line.
        target: Dotted name of what is imported, as deep as the statement says: `castsheet.ltx.keys.is_audio`.
        at_import: Whether it runs when the file is imported: outside functions and type-checking blocks.
    """

    of: Path
    line: int
    target: str
    at_import: bool

    def __str__(self) -> str:
        return f"{self.of}:{self.line} imports {self.target}"


@dataclass(frozen=True)
class Long:
    """A file or function with its length in lines."""

    of: Path
    name: str
    lines: int

    def __str__(self) -> str:
        return f"{self.of} {self.name} has {self.lines} lines".replace("  ", " ")


class Tree:
    """A checkout of the repository.

    Args:
        root: Its top folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.package = root / "src" / PACKAGE

    @cached_property
    def files(self) -> dict[Path, ast.Module]:
        """All Python files of `CODE`, parsed, by their path relative to the root."""
        found = sorted(path for top in CODE for path in (self.root / top).rglob("*.py"))
        return {path.relative_to(self.root): ast.parse(path.read_text(encoding="utf-8")) for path in found}

    @cached_property
    def imports(self) -> list[Import]:
        """Imports of the package's own files, in the order of files and lines."""
        inside = Path("src", PACKAGE)
        ours = [path for path in self.files if path.is_relative_to(inside)]
        return [one for path in ours for one in _imports(path, self.files[path])]

    def lines(self, path: Path) -> int:
        """Lines of a file, relative to the root."""
        return len((self.root / path).read_text(encoding="utf-8").splitlines())

    def installed_lines(self) -> int:
        """Lines of Python that the wheel installs: those of the package's folder."""
        return sum(self.lines(path) for path in self.files if path.is_relative_to(Path("src", PACKAGE)))

    def long_files(self, limit: int) -> list[Long]:
        """Files of more lines than `limit`, the longest first."""
        sizes = [Long(path, "", self.lines(path)) for path in self.files]
        return sorted((one for one in sizes if one.lines > limit), key=lambda one: -one.lines)

    def long_functions(self, limit: int) -> list[Long]:
        """Functions of more lines than `limit`, the longest first; decorators do not count."""
        functions = [
            Long(path, node.name, (node.end_lineno or node.lineno) - node.lineno + 1)
            for path, tree in self.files.items()
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        ]
        return sorted((one for one in functions if one.lines > limit), key=lambda one: -one.lines)

    def modules_at_root(self) -> list[str]:
        """Modules directly in the package, without its front door."""
        return sorted(path.stem for path in self.package.glob("*.py") if path.stem != FRONT_DOOR)

    def rooms(self, within: str = "") -> list[str]:
        """Rooms of the package, or of one of its rooms: folders with code, and modules.

        Args:
            within: A room of the package (`ltx`); empty for the package itself.
        """
        base = self.package / within
        folders = {path.relative_to(base).parts[0] for path in base.rglob("*.py")}
        return sorted(name.removesuffix(".py") for name in folders if not (within and name == "__init__.py"))

    def arrows(self, within: str = "") -> dict[tuple[str, str], list[Import]]:
        """Imports between rooms by (importing room, imported room).

        The package's version may be read by everybody and is no arrow: `from castsheet import __version__`.

        Args:
            within: A room of the package (`ltx`); empty for the package itself.
        """
        rooms = set(self.rooms(within))
        base = Path("src", PACKAGE, within)
        prefix = [PACKAGE, within] if within else [PACKAGE]
        found: dict[tuple[str, str], list[Import]] = defaultdict(list)
        for one in self.imports:
            target = one.target.split(".")
            if not one.of.is_relative_to(base) or target[: len(prefix)] != prefix:
                continue
            of = one.of.relative_to(base).parts[0].removesuffix(".py")
            name = target[len(prefix)] if len(target) > len(prefix) else FRONT_DOOR
            to = name if name in rooms else FRONT_DOOR
            if of != to and name != "__version__":
                found[of, to].append(one)
        return dict(sorted(found.items()))


def _imports(path: Path, tree: ast.Module) -> Iterator[Import]:
    """Imports of one file; `from a import b` counts as `a.b`."""
    at_import = set(_run_when_imported(tree))
    for node in ast.walk(tree):
        targets: list[str] = []
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            folder = path.parent.parts[1:]  # without "src"
            parents = folder[: len(folder) - node.level + 1] if node.level else ()
            source = ".".join([*parents, *([node.module] if node.module else [])])
            targets = [f"{source}.{alias.name}" for alias in node.names]
        else:
            continue
        for target in targets:
            yield Import(path, node.lineno, target, node in at_import)


def _run_when_imported(node: ast.AST) -> Iterator[ast.AST]:
    """Nodes outside functions and outside `if TYPE_CHECKING:`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from _run_when_imported(child)


def circles(arrows: dict[tuple[str, str], list[Import]]) -> list[tuple[str, ...]]:
    """Groups of rooms that reach each other along arrows."""
    below: dict[str, set[str]] = defaultdict(set)
    for of, to in arrows:
        below[of].add(to)
    reached = {room: _reached(room, below) for room in list(below)}
    groups = {
        tuple(sorted(other for other in reached if other in reached[room] and room in reached[other]))
        for room in reached
        if room in reached[room]
    }
    return sorted(groups)


def _reached(start: str, below: dict[str, set[str]]) -> set[str]:
    """Rooms that a walk along arrows from `start` enters."""
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        for room in below.get(waiting.pop(), set()) - seen:
            seen.add(room)
            waiting.append(room)
    return seen


def upward(arrows: dict[tuple[str, str], list[Import]], floors: Floors) -> list[Import]:
    """Imports of a room that is not on a lower floor than the importing room.

    Raises:
        KeyError: A room is on no floor.
    """
    floor = {room: height for height, rooms in enumerate(floors) for room in rooms}
    return [one for (of, to), all_of_them in arrows.items() if floor[to] >= floor[of] for one in all_of_them]
