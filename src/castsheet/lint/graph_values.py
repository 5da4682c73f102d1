"""Numbers and picture sizes of a ComfyUI graph, followed along its wires as far as they can be known."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

from castsheet.lint.graph import Graph, Link, Node

_DEPTH = 64  # a wire this long goes in a circle
_OPERATORS: dict[type[ast.AST], Callable[..., float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.USub: operator.neg,
}


class Batch(NamedTuple):
    """Width, height and number of pictures; None where not known."""

    width: int | None
    height: int | None
    number: int | None


_UNKNOWN = Batch(None, None, None)


class Values:
    """Asks a graph for values."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def number(self, node: Node, name: str, depth: int = 0) -> float | None:
        """An input's number, or None where it is not known."""
        value = node.inputs.get(name)
        if isinstance(value, Link):
            return self._from(value, depth + 1)
        return value if isinstance(value, int | float) and not isinstance(value, bool) else None

    def whole(self, node: Node, name: str, depth: int = 0) -> int | None:
        """The same, as a whole number."""
        value = self.number(node, name, depth)
        return None if value is None else int(value)

    def text(self, node: Node, name: str) -> str | None:
        """An input's text, where it is the node's own."""
        value = node.inputs.get(name)
        return value if isinstance(value, str) else None

    def pictures(self, node: Node, name: str, depth: int = 0) -> Batch:
        """Size and number of the pictures that come into an input."""
        link = node.inputs.get(name)
        if not isinstance(link, Link) or link.node not in self.graph or depth > _DEPTH:
            return _UNKNOWN
        return self._batch(self.graph[link.node], link.slot, depth + 1)

    def _batch(self, node: Node, slot: int, depth: int) -> Batch:
        def whole(name: str) -> int | None:
            return self.whole(node, name, depth)

        match node.kind:
            case "EmptyImage":
                return Batch(whole("width"), whole("height"), whole("batch_size"))
            case "LoadImage":
                return Batch(None, None, 1)
            case "RepeatImageBatch":
                before, amount = self.pictures(node, "image", depth), whole("amount")
                known = before.number is not None and amount is not None
                return before._replace(number=before.number * amount if known else None)  # type: ignore[operator]
            case "ResizeAndPadImage":
                before = self.pictures(node, "image", depth)
                return Batch(whole("target_width"), whole("target_height"), before.number)
            case "ImageScale":
                before = self.pictures(node, "image", depth)
                return Batch(whole("width"), whole("height"), before.number)
            case "CastsheetSheet":
                # Its second output is one picture, its third is what a guide wants.
                looped = slot == 2 and node.inputs.get("reference") != "still"
                return Batch(whole("width"), whole("height"), whole("length") if looped else 1)
            case _:
                return _UNKNOWN

    def _from(self, link: Link, depth: int) -> float | None:
        """The number that a node gives out at a slot."""
        node = self.graph.get(link.node)
        if node is None or depth > _DEPTH:
            return None
        match node.kind:
            case "PrimitiveInt" | "PrimitiveFloat" | "INTConstant" | "FloatConstant":
                return self.number(node, "value", depth)
            case "GetImageSize":
                return self.pictures(node, "image", depth)[link.slot] if link.slot < 3 else None
            case "ComfyMathExpression":
                return self._computed(node, depth)
            case "CastsheetSheet" if 7 <= link.slot <= 10:
                return self.number(node, ("width", "height", "length", "fps")[link.slot - 7], depth)
            case _:
                return None

    def _computed(self, node: Node, depth: int) -> float | None:
        """An arithmetic expression over a, b, c; None where it is anything else."""
        known = {name: self.number(node, f"values.{name}", depth) for name in "abc"}
        try:
            return _evaluate(ast.parse(str(node.inputs.get("expression")), mode="eval").body, known)
        except (SyntaxError, KeyError, TypeError, ZeroDivisionError, RecursionError, OverflowError):
            return None


def _evaluate(tree: ast.AST, known: dict[str, Any]) -> float:
    match tree:
        case ast.Constant(value=int() | float() as value):
            return value
        case ast.Name(id=name):
            return known[name]
        case ast.BinOp(left=left, op=op, right=right):
            return _OPERATORS[type(op)](_evaluate(left, known), _evaluate(right, known))
        case ast.UnaryOp(op=op, operand=operand):
            return _OPERATORS[type(op)](_evaluate(operand, known))
        case ast.Call(func=ast.Name(id="int" | "round" | "floor"), args=[argument]):
            return int(_evaluate(argument, known))
    raise TypeError(ast.dump(tree))
