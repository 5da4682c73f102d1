"""A workflow as it is thought of: named nodes, values, wires by output names; and both files made of it.

ComfyUI's own description of its nodes (/object_info) tells types, order of inputs, and which are widgets.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NOTES = Path(__file__).parent / "notes"
Info = dict[str, Any]
Json = dict[str, Any]
_WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
_SPACE = uuid.UUID("c0ffee00-0000-4000-8000-000000000000")  # equal drafts give equal files
_ROW, _HEAD, _TEXT, _GAP = 26, 60, 90, 60  # px: a slot or widget, a title, a text field, air
ENTRY, EXIT = -10, -20  # a subgraph's own ends, as the editor numbers them


@dataclass(frozen=True)
class Wire:
    """Another node's output, by name."""

    node: str
    output: str


@dataclass
class Box:
    """A node: its class, its inputs (values or wires), and where it stands."""

    kind: str
    inputs: dict[str, Any]
    at: tuple[int, int]
    title: str | None = None
    width: int = 300


@dataclass
class Draft:
    """A workflow.

    Attributes:
        notes: texts beside the graph: (markdown, x, y, width, height).
        inside: nodes that stand inside one subgraph; empty for none.
        subgraph: the subgraph's title and place.
    """

    boxes: dict[str, Box] = field(default_factory=dict)
    notes: list[tuple[str, int, int, int, int]] = field(default_factory=list)
    inside: list[str] = field(default_factory=list)
    subgraph: tuple[str, int, int] | None = None

    def add(self, name: str, kind: str, at: tuple[int, int], /, **inputs: Any) -> None:
        """Add a node; a text "node.output" with a known node's name is a wire."""
        read = {key: self._wire(value) for key, value in inputs.items() if not key.startswith("_")}
        self.boxes[name] = Box(kind, read, at, inputs.get("_title"), inputs.get("_width", 300))

    def note(self, name: str, at: tuple[int, int], size: tuple[int, int]) -> None:
        """Add a text from the folder `notes`."""
        text = (NOTES / f"{name}.md").read_text(encoding="utf-8").strip()
        self.notes.append((text, *at, *size))

    def _wire(self, value: Any) -> Any:
        node, dot, output = value.rpartition(".") if isinstance(value, str) else ("", "", "")
        return Wire(node, output) if dot and node in self.boxes else value


def inputs_of(info: Info, kind: str) -> list[tuple[str, str, Json, bool]]:
    """A class's inputs in order: name, type, what else is told, whether it is a widget."""
    found = []
    for group in ("required", "optional"):
        for name, (told_type, *more) in info[kind]["input"].get(group, {}).items():
            told = more[0] if more else {}
            type = told_type if isinstance(told_type, str) else "COMBO"
            found.append((name, type, told, type in _WIDGETS and not told.get("forceInput")))
    return found


def outputs_of(info: Info, kind: str) -> list[tuple[str, str]]:
    """A class's outputs in order: name and type."""
    return list(zip(info[kind]["output_name"], info[kind]["output"], strict=True))


def slot_of(info: Info, draft: Draft, wire: Wire) -> int:
    """Which output of its node a wire begins at."""
    return [name for name, _ in outputs_of(info, draft.boxes[wire.node].kind)].index(wire.output)


def ids(draft: Draft) -> dict[str, int]:
    """Numbers of the nodes, in order."""
    return {name: number for number, name in enumerate(draft.boxes, 1)}


def api(draft: Draft, info: Info) -> Json:
    """The API's format; a node inside the subgraph has its number behind the subgraph's."""
    numbers, made = ids(draft), {}
    group = len(numbers) + 1

    def id_of(name: str) -> str:
        return f"{group}:{numbers[name]}" if name in draft.inside else str(numbers[name])

    for name, box in draft.boxes.items():
        inputs: Json = {}
        for key, _, told, widget in inputs_of(info, box.kind):
            value = box.inputs.get(key, told.get("default") if widget else None)
            if isinstance(value, Wire):
                inputs[key] = [id_of(value.node), slot_of(info, draft, value)]
            elif value is not None:
                inputs[key] = value
        made[id_of(name)] = {"class_type": box.kind, "inputs": inputs}
    return made


class Level:
    """Nodes and links of one level of the editor's file: the top, or the subgraph."""

    def __init__(self, draft: Draft, info: Info, names: list[str]) -> None:
        self.draft, self.info, self.names = draft, info, names
        self.numbers = ids(draft)
        self.links: list[tuple[int, int, int, int, int, str]] = []

    def link(self, origin: int, slot: int, target: int, target_slot: int, type: str) -> int:
        """A link; its number."""
        number = len(self.links) + 1
        self.links.append((number, origin, slot, target, target_slot, type))
        return number

    def slots(self, kind: str) -> list[tuple[str, str, Json, bool]]:
        """Inputs in the editor's order: sockets, then widgets."""
        return sorted(inputs_of(self.info, kind), key=lambda one: one[3])

    def node(self, name: str, links: dict[str, int]) -> Json:
        """A node of the file; `links` are the numbers of the links into its inputs."""
        box = self.draft.boxes[name]
        inputs = []
        for key, type, _, widget in self.slots(box.kind):
            socket: Json = {"name": key, "type": type, "link": links.get(key)}
            if widget:
                socket["widget"] = {"name": key}
            elif key in self.info[box.kind]["input"].get("optional", {}):
                socket["shape"] = 7
            inputs.append(socket)
        number = self.numbers[name]
        outputs = [
            {"name": out, "type": type, "links": [one[0] for one in self.links if one[1:3] == (number, slot)]}
            for slot, (out, type) in enumerate(outputs_of(self.info, box.kind))
        ]
        made = {
            "id": number,
            "type": box.kind,
            "pos": list(box.at),
            "size": [box.width, height_of(self.info, box)],
            "flags": {},
            "order": number - 1,
            "mode": 0,
            "inputs": inputs,
            "outputs": outputs,
            "properties": {"Node name for S&R": box.kind},
            "widgets_values": values_of(self.info, box),
        }
        return made | ({"title": box.title} if box.title else {})


def values_of(info: Info, box: Box) -> list[Any]:
    """Values of a node's widgets as the editor lists them; a wired one keeps its default."""
    values: list[Any] = []
    for key, _, told, widget in inputs_of(info, box.kind):
        if not widget:
            continue
        value = box.inputs.get(key)
        values.append(told.get("default") if value is None or isinstance(value, Wire) else value)
        if told.get("control_after_generate"):
            values.append("fixed")
        if told.get("image_upload"):
            values.append("image")
    return values


def height_of(info: Info, box: Box) -> int:
    """Height of a node in px, as the editor draws it."""
    every = inputs_of(info, box.kind)
    texts = sum(bool(told.get("multiline")) for *_, told, widget in every if widget)
    sockets = max(sum(not widget for *_, widget in every), len(info[box.kind]["output"]))
    picture = 210 if box.kind in ("LoadImage", "SaveVideo", "PreviewAny") else 0
    return _HEAD + _ROW * (sockets + sum(widget for *_, widget in every)) + _TEXT * texts + picture


def settle(draft: Draft, info: Info) -> None:
    """Push nodes of one column apart, so that none covers another."""
    columns: dict[tuple[int, bool], list[Box]] = {}
    for name, box in draft.boxes.items():
        columns.setdefault((box.at[0], name in draft.inside), []).append(box)
    for boxes in columns.values():
        below: int | None = None
        for box in sorted(boxes, key=lambda one: one.at[1]):
            x, y = box.at
            box.at = x, y if below is None else max(y, below)
            below = box.at[1] + height_of(info, box) + _GAP


def editor(draft: Draft, info: Info) -> Json:
    """The editor's format."""
    settle(draft, info)
    outside = [name for name in draft.boxes if name not in draft.inside]
    top = Level(draft, info, outside)
    group = len(draft.boxes) + 1
    wired: dict[str, dict[str, int]] = {name: {} for name in outside}
    doors = _doors(draft, info)
    for name in outside:
        box = draft.boxes[name]
        for slot, (key, type, _, _) in enumerate(top.slots(box.kind)):
            wire = box.inputs.get(key)
            if isinstance(wire, Wire):
                inner = wire.node in draft.inside
                origin = group if inner else top.numbers[wire.node]
                out = doors[1].index(wire) if inner else slot_of(info, draft, wire)
                wired[name][key] = top.link(origin, out, top.numbers[name], slot, type)
    nodes, definitions = [], {}
    if draft.subgraph:
        entries = [
            top.link(
                top.numbers[wire.node], slot_of(info, draft, wire), group, slot, _type(info, draft, wire)
            )
            for slot, wire in enumerate(doors[0])
        ]
        made = _subgraph(draft, info, doors)
        definitions = {"definitions": {"subgraphs": [made]}}
        nodes.append(_instance(draft, info, top, made, doors, entries))
    nodes = [top.node(name, wired[name]) for name in outside] + nodes
    nodes += [_note(group + 1 + at, note) for at, note in enumerate(draft.notes)]
    return {
        "id": str(uuid.uuid5(_SPACE, repr(sorted(draft.boxes)))),
        "revision": 0,
        "last_node_id": group + len(draft.notes),
        "last_link_id": len(top.links),
        "nodes": nodes,
        "links": [list(one) for one in top.links],
        "groups": [],
        "config": {},
        "extra": {"ds": {"scale": 0.7, "offset": [60, 60]}},
        "version": 0.4,
        **definitions,
    }


def _type(info: Info, draft: Draft, wire: Wire) -> str:
    return dict(outputs_of(info, draft.boxes[wire.node].kind))[wire.output]


def _doors(draft: Draft, info: Info) -> tuple[list[Wire], list[Wire]]:
    """Wires into the subgraph and out of it, each once, in order."""
    into: dict[Wire, None] = {}
    out: dict[Wire, None] = {}
    for name, box in draft.boxes.items():
        for key, *_ in inputs_of(info, box.kind):
            wire = box.inputs.get(key)
            if isinstance(wire, Wire) and (wire.node in draft.inside) != (name in draft.inside):
                (into if name in draft.inside else out)[wire] = None
    return list(into), list(out)


def _subgraph(draft: Draft, info: Info, doors: tuple[list[Wire], list[Wire]]) -> Json:
    level = Level(draft, info, draft.inside)
    wired: dict[str, dict[str, int]] = {name: {} for name in draft.inside}
    entries: list[list[int]] = [[] for _ in doors[0]]
    for name in draft.inside:
        box = draft.boxes[name]
        for slot, (key, type, _, _) in enumerate(level.slots(box.kind)):
            wire = box.inputs.get(key)
            if not isinstance(wire, Wire):
                continue
            if wire in doors[0]:
                at = doors[0].index(wire)
                wired[name][key] = level.link(ENTRY, at, level.numbers[name], slot, type)
                entries[at].append(wired[name][key])
            else:
                origin = level.numbers[wire.node], slot_of(info, draft, wire)
                wired[name][key] = level.link(*origin, level.numbers[name], slot, type)
    exits = [
        level.link(level.numbers[wire.node], slot_of(info, draft, wire), EXIT, slot, _type(info, draft, wire))
        for slot, wire in enumerate(doors[1])
    ]
    assert draft.subgraph is not None
    title = draft.subgraph[0]
    keys = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
    left = min(draft.boxes[name].at[0] for name in draft.inside)
    right = max(draft.boxes[name].at[0] + draft.boxes[name].width for name in draft.inside)

    def door(kind: str, at: int, wire: Wire, links: list[int]) -> Json:
        x = left - 160 if kind == "in" else right + 60
        id = str(uuid.uuid5(_SPACE, f"{title} {kind} {at}"))
        return {
            "id": id,
            "name": wire.output,
            "type": _type(info, draft, wire),
            "linkIds": links,
            "pos": [x, 20 * at],
        }

    return {
        "id": str(uuid.uuid5(_SPACE, title)),
        "version": 1,
        "state": {"lastGroupId": 0, "lastNodeId": 99, "lastLinkId": len(level.links), "lastRerouteId": 0},
        "revision": 0,
        "config": {},
        "name": title,
        "inputNode": {"id": ENTRY, "bounding": [left - 200, 0, 140, 20 * len(doors[0]) + 40]},
        "outputNode": {"id": EXIT, "bounding": [right + 60, 0, 140, 20 * len(doors[1]) + 40]},
        "inputs": [door("in", at, wire, entries[at]) for at, wire in enumerate(doors[0])],
        "outputs": [door("out", at, wire, [exits[at]]) for at, wire in enumerate(doors[1])],
        "widgets": [],
        "nodes": [level.node(name, wired[name]) for name in draft.inside],
        "groups": [],
        "links": [dict(zip(keys, one, strict=True)) for one in level.links],
        "extra": {},
    }


def _instance(
    draft: Draft, info: Info, top: Level, made: Json, doors: tuple[list[Wire], list[Wire]], entries: list[int]
) -> Json:
    """The subgraph's own node."""
    assert draft.subgraph is not None
    title, x, y = draft.subgraph
    number = len(draft.boxes) + 1
    return {
        "id": number,
        "type": made["id"],
        "pos": [x, y],
        "size": [300, _HEAD + _ROW * max(len(doors[0]), len(doors[1]))],
        "flags": {},
        "order": number - 1,
        "mode": 0,
        "inputs": [
            {"name": wire.output, "type": _type(info, draft, wire), "link": entries[at]}
            for at, wire in enumerate(doors[0])
        ],
        "outputs": [
            {
                "name": wire.output,
                "type": _type(info, draft, wire),
                "links": [one[0] for one in top.links if one[1:3] == (number, at)],
            }
            for at, wire in enumerate(doors[1])
        ],
        "properties": {},
        "widgets_values": [],
        "title": title,
    }


def _note(number: int, note: tuple[str, int, int, int, int]) -> Json:
    text, x, y, width, height = note
    return {
        "id": number,
        "type": "MarkdownNote",
        "pos": [x, y],
        "size": [width, height],
        "flags": {},
        "order": number - 1,
        "mode": 0,
        "inputs": [],
        "outputs": [],
        "properties": {},
        "widgets_values": [text],
        "color": "#432",
        "bgcolor": "#653",
    }
