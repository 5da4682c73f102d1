"""Expansion: nodes that a node asks for."""

from __future__ import annotations

from typing import Any


class GraphBuilder:
    def __init__(self) -> None:
        self.nodes: dict[str, Any] = {}

    def node(self, kind: str, **inputs: Any) -> Any:
        id = f"inner.{len(self.nodes)}"
        self.nodes[id] = {"class_type": kind, "inputs": inputs}
        return type("Made", (), {"out": staticmethod(lambda slot: [id, slot])})

    def finalize(self) -> dict[str, Any]:
        return self.nodes
