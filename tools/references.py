"""Do the names in our prose exist? `python -m tools.references` lists those that do not.

It reads modules and pages, and checks names in backticks, files such as docs/judge.md, modules after `python
-m`, and links between pages with their anchors. Code is read by ast: nothing is imported.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

CODE = ("src/castsheet", "mini", "tools", "benchmarks")
FILES = ("py", "md", "json", "jsonl", "csv", "txt", "yaml", "png", "jpg", "mp4", "html", "npz", "safetensors")
"""Endings that make a dotted word a file."""

_NAME = re.compile(r"`([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)(?:\([^`]*\))?`")
_FILE = re.compile(r"(?<![\w./{}*-])((?!out/)[\w/-]*\w\.(?:py|md)\b)")
_COMMAND = re.compile(r"python -m ((?:mini|benchmarks|tools|castsheet)(?:\.\w+)*)")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```.*?^```", re.M | re.S)


class References:
    """What a checkout defines, and what its prose names.

    Args:
        root: Its top folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        files = [path for top in (*CODE, "docs", "examples", "tests") for path in (root / top).rglob("*.*")]
        self.files = sorted(path for path in (*root.glob("*.md"), *files) if path.suffix in (".py", ".md"))

    def broken(self) -> list[str]:
        """Every name that leads nowhere, as `file:line: name`."""
        found: dict[str, None] = {}
        for path in self.files:
            if not path.is_relative_to(self.root / "tests"):
                text = path.read_text(encoding="utf-8")
                for match in self._broken(path, text):
                    line = text.count("\n", 0, match.start()) + 1
                    found[f"{path.relative_to(self.root)}:{line}: {match[1]}"] = None
        return list(found)

    def _broken(self, path: Path, text: str) -> Iterator[re.Match[str]]:
        page = path.suffix == ".md"
        prose = _FENCE.sub(lambda block: re.sub(r"\S", " ", block[0]), text) if page else text
        yield from (match for match in _NAME.finditer(prose) if not self._is_known(match[1], page))
        yield from (match for match in _FILE.finditer(text) if not self._is_file(match[1]))
        yield from (match for match in _COMMAND.finditer(text) if not self._runs(match[1]))
        yield from (match for match in _LINK.finditer(prose) if page and not _leads(path, match[1]))

    def _is_known(self, name: str, page: bool) -> bool:
        """Whether the code has a name: a single word anywhere, a dotted one at the end of a full path.

        A page may tick a single word of any kind. A dotted name counts if it starts with a module or class of
        ours. Case is ignored: `sheet.panels` is an attribute of the class `Sheet`.
        """
        first, *rest = name.lower().split(".")
        if not rest:
            return page or name in self._words
        if rest[-1] in FILES or not any(f".{first}." in f"{full}." for full in self._names):
            return True
        return any(full.endswith(f".{name.lower()}") for full in self._names)

    def _is_file(self, name: str) -> bool:
        return any(path.as_posix().endswith(f"/{name}") for path in self.files)

    def _runs(self, module: str) -> bool:
        path = module.replace(".", "/")
        return self._is_file(f"{path}.py") or self._is_file(f"{path}/__main__.py")

    @cached_property
    def _code(self) -> dict[str, ast.Module]:
        """Parsed modules by their dotted names."""
        tops = tuple(self.root / top for top in CODE)
        paths = [path for path in self.files if path.suffix == ".py" and any(map(path.is_relative_to, tops))]
        names = [".".join(path.relative_to(self.root).with_suffix("").parts) for path in paths]
        return {
            name.removeprefix("src.").removesuffix(".__init__"): ast.parse(path.read_text(encoding="utf-8"))
            for name, path in zip(names, paths, strict=True)
        }

    @cached_property
    def _names(self) -> set[str]:
        """Full paths of modules, their names, their classes' attributes: in lower case, after a dot."""
        inside = {f"{module}.{name}" for module, tree in self._code.items() for name in _defined(tree)}
        return {f".{name.lower()}" for name in (*self._code, *inside)}

    @cached_property
    def _words(self) -> set[str]:
        """All words of the code: names, parts of paths, and words of strings that are not docstrings."""
        found = {word for module in self._code for word in module.split(".")}
        for tree in self._code.values():
            prose = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
            for node in set(ast.walk(tree)) - prose:
                held = [getattr(node, key, None) for key in ("id", "attr", "arg", "name", "module", "value")]
                found.update(*(re.findall(r"\w+", text) for text in held if isinstance(text, str)))
        return found


def _defined(node: ast.Module | ast.ClassDef) -> Iterator[str]:
    """Names that a module or class defines, and those of its classes: `Sheet`, `Sheet.panels`."""
    for child in node.body:
        if isinstance(child, ast.FunctionDef | ast.ClassDef):
            yield child.name
        if isinstance(child, ast.ClassDef):
            yield from (f"{child.name}.{name}" for name in _defined(child))
        targets = child.targets if isinstance(child, ast.Assign) else [getattr(child, "target", None)]
        yield from (one.id for one in targets if isinstance(one, ast.Name))
    if isinstance(node, ast.ClassDef):
        fields = (one for one in ast.walk(node) if isinstance(one, ast.Attribute))
        yield from (one.attr for one in fields if ast.unparse(one.value) == "self")


def _leads(page: Path, link: str) -> bool:
    """Whether a link of a page leads to a file, and its anchor to a heading; addresses are not looked up."""
    target, _, anchor = link.partition("#")
    path = page.parent / target if target else page
    return "://" in link or (path.exists() and (not anchor or anchor in _anchors(path)))


def _anchors(page: Path) -> set[str]:
    """The anchors that code hosts make of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", page.read_text(encoding="utf-8")), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


if __name__ == "__main__":
    sys.exit("\n".join(References(Path(__file__).parents[1]).broken()) or 0)
