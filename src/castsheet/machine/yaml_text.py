"""YAML, read strictly: see `castsheet.machine.text`.

The library reads the text twice. Its events come one by one, whatever the text nests, and are counted first:
a text that is too deep or stands for too much is refused before anything is built.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import yaml
from yaml.constructor import ConstructorError
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from castsheet.errors import shown

MAX_DEPTH = 60
MAX_DIGITS = 100
# A list of 100,000 shots with ten fields each fits; letters beyond the 64th count as values too.
MAX_VALUES = 2_000_000

_BASE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MERGE = "tag:yaml.org,2002:merge"
# What the library's own conversions raise on a date of month 13, on `0b_` or on `!!bool x`.
_CONVERSIONS = (ValueError, KeyError, AttributeError, IndexError, TypeError, OverflowError)


class YamlMistake(ValueError):
    """What is wrong in a YAML text, and at what line and column; `remedy` where there is a better one."""

    def __init__(self, what: str, remedy: str | None = None) -> None:
        super().__init__(what)
        self.remedy = remedy


def parse_yaml(text: str) -> Any:
    """The value of a YAML text; None for an empty one.

    Raises:
        YamlMistake: not plain YAML; a key twice; too deep or too much; a value that its kind cannot have.
    """
    try:
        _measure(text)
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _refuse_twice(node)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.reader.ReaderError as error:
        position = len(text[: error.position]) if isinstance(error.position, int) else 0
        line = text.count("\n", 0, position) + 1
        raise YamlMistake(f"not plain YAML at line {line}: {error.reason}") from error
    except yaml.YAMLError as error:
        mark, begun = getattr(error, "problem_mark", None), getattr(error, "context_mark", None)
        problem = str(getattr(error, "problem", None) or "it cannot be parsed")
        if begun is not None and mark is not None and begun.line != mark.line:
            problem += f", {getattr(error, 'context', '')} from {_place(begun)}"
        raise YamlMistake(f"not plain YAML at {_place(mark or begun)}: {problem}") from error
    except UnicodeEncodeError as error:
        raise YamlMistake("not plain YAML: it holds half a character (a lone surrogate)") from error


class _Loader(_BASE):
    """The library's safe loader, whose own conversions may fail only with a place."""

    def construct_object(self, node: Node, deep: bool = False) -> Any:
        number = isinstance(node, ScalarNode) and node.tag.endswith((":int", ":float"))
        if number and len(node.value) > MAX_DIGITS:
            problem = f"a number of {len(node.value)} digits"
            raise ConstructorError(None, None, problem, node.start_mark)
        try:
            value = super().construct_object(node, deep=deep)
        except _CONVERSIONS as error:
            kind = node.tag.rpartition(":")[2]
            problem = f"{shown(node.value)} is no {kind}; put quotes around it if it is a text"
            raise ConstructorError(None, None, problem, node.start_mark) from error
        if isinstance(value, str) and not value.isascii():
            _refuse_surrogates(value, node)
        return value


def _refuse_surrogates(text: str, node: Node) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        problem = "a text holds half a character (a lone surrogate)"
        raise ConstructorError(None, None, problem, node.start_mark) from error


def _measure(text: str) -> None:
    """Refuse a text that nests too deep, or whose aliases stand for too many values or for themselves."""
    total = 0
    sizes: dict[str, int] = {}  # of what an anchor names, aliases within it counted in full
    levels: list[tuple[str | None, int]] = []  # anchor of each open collection, and the total before it
    for event in yaml.parse(text, Loader=_BASE):
        if isinstance(event, yaml.AliasEvent):
            if any(event.anchor == anchor for anchor, _ in levels):
                raise YamlMistake(f"the alias *{event.anchor} at {_place(event.start_mark)} holds itself")
            total += sizes.get(event.anchor or "", 1)
        elif isinstance(event, yaml.CollectionStartEvent):
            levels.append((event.anchor, total))
            total += 1
            if len(levels) > MAX_DEPTH:
                raise YamlMistake(f"more than {MAX_DEPTH} levels deep at {_place(event.start_mark)}")
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = levels.pop()
            if anchor is not None:
                sizes[anchor] = total - before
        elif isinstance(event, yaml.ScalarEvent):
            size = 1 + len(event.value) // 64
            total += size
            if event.anchor is not None:
                sizes[event.anchor] = size
        if total > MAX_VALUES:
            where = _place(event.start_mark)
            raise YamlMistake(
                f"more than {MAX_VALUES:,} values at {where}, aliases counted in full",
                remedy="write the values out, or split the file",
            )


def _refuse_twice(root: Node) -> None:
    """Refuse a mapping with a key twice; of two equal keys the library would drop the first."""
    waiting, known = [root], {id(root)}
    while waiting:
        node = waiting.pop()
        inner: list[Node] = []
        if isinstance(node, MappingNode):
            lines: dict[Hashable, Any] = {}
            for key, value in node.value:
                inner += [key, value]
                if isinstance(key, ScalarNode) and key.tag != _MERGE:
                    first = lines.setdefault((key.tag, key.value), key.start_mark)
                    if first is not key.start_mark:
                        raise YamlMistake(
                            f"the key {shown(key.value)} is given twice:"
                            f" at {_place(first)} and at {_place(key.start_mark)}",
                            remedy="keep one of the two",
                        )
        elif isinstance(node, SequenceNode):
            inner = node.value
        for one in inner:
            if id(one) not in known:
                known.add(id(one))
                waiting.append(one)


def _place(mark: Any) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}" if mark is not None else "an unknown place"
