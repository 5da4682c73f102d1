"""A ComfyUI workflow as nodes and links, from the editor's file or from the API's; subgraphs taken apart.

The editor keeps a node's values in a list without names. Newer files name them beside it; for others the
order is known here, for the nodes that the checks read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

MUTED, BYPASSED = 2, 4  # modes of the editor's nodes
_CONTROLS = ("fixed", "increment", "decrement", "randomize")
_ENTRY, _EXIT = -10, -20  # ids of a subgraph's own ends
_SLOTS = 10_000  # more than any node has; a table of all of them stays small
_DEPTH = 50  # subgraphs in each other, or bypassed nodes in a row: more than anybody draws
_PLACED = 10_000  # subgraphs in all: a few that hold each other many times would fill the memory

WIDGETS: dict[str, tuple[str, ...]] = {
    "CFGGuider": ("cfg",),
    "CLIPTextEncode": ("text",),
    "CastsheetGuide": ("reference", "strength", "strengths"),
    "CastsheetSheet": ("width", "height", "length", "fps", "action", "reference", "cut", "prompt_format"),
    "CheckpointLoaderSimple": ("ckpt_name",),
    "ComfyMathExpression": ("expression",),
    "CreateVideo": ("fps",),
    "EmptyImage": ("width", "height", "batch_size", "color"),
    "EmptyLTXVLatentVideo": ("width", "height", "length", "batch_size"),
    "ImageScale": ("upscale_method", "width", "height", "crop"),
    "KSampler": ("seed", "control", "steps", "cfg", "sampler_name", "scheduler", "denoise"),
    "LTXAddVideoICLoRAGuide": ("frame_idx", "strength", "latent_downscale_factor", "crop"),
    "LTXICLoRALoaderModelOnly": ("lora_name", "strength_model"),
    "LTXVAddGuide": ("frame_idx", "strength"),
    "LTXVConditioning": ("frame_rate",),
    "LTXVEmptyLatentAudio": ("frames_number", "frame_rate", "batch_size"),
    "LTXVImgToVideoInplace": ("strength", "bypass"),
    "LTXVScheduler": ("steps",),
    "LoraLoader": ("lora_name", "strength_model", "strength_clip"),
    "LoraLoaderModelOnly": ("lora_name", "strength_model"),
    "ManualSigmas": ("sigmas",),
    "PrimitiveBoolean": ("value",),
    "PrimitiveFloat": ("value",),
    "PrimitiveInt": ("value", "control"),
    "RepeatImageBatch": ("amount",),
    "ResizeAndPadImage": ("target_width", "target_height", "padding_color", "interpolation"),
    "UNETLoader": ("unet_name", "weight_dtype"),
    "UnetLoaderGGUF": ("unet_name",),
}
"""Names of the values that older files of the editor list, for the nodes that the checks read."""


class Link(NamedTuple):
    """An input's other end: a node's output slot."""

    node: str
    slot: int


@dataclass(frozen=True)
class Node:
    """A node: `kind` is its class; inputs are values or links, by name."""

    id: str
    kind: str
    inputs: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"node {self.id} ({self.kind})"

    @property
    def links(self) -> list[Link]:
        """The inputs that are links."""
        return [value for value in self.inputs.values() if isinstance(value, Link)]


Graph = Mapping[str, Node]


def read_graph(raw: Mapping[str, Any]) -> dict[str, Node]:
    """The nodes of a workflow by id; what is malformed is left out.

    Muted nodes are gone, bypassed ones hand their input of the same type on. A node inside a subgraph has the
    id that the API gives it: `129:115`.
    """
    if "nodes" not in raw:
        return _from_api(raw)
    definitions = raw.get("definitions")
    listed = definitions.get("subgraphs", ()) if isinstance(definitions, Mapping) else ()
    subgraphs = {one.get("id"): one for one in _entries(listed) if _is_id(one.get("id"))}
    found: dict[str, Node] = {}
    _Editor(subgraphs, found).read(raw, "", [])
    return found


def upstream(graph: Graph, start: str) -> Iterator[Node]:
    """Every node that feeds `start`, nearest first; each once."""
    waiting, seen = [start], {start}
    while waiting:
        for link in graph[waiting.pop(0)].links:
            if link.node not in seen and link.node in graph:
                seen.add(link.node)
                waiting.append(link.node)
                yield graph[link.node]


def _from_api(raw: Mapping[str, Any]) -> dict[str, Node]:
    found = {}
    for id, node in raw.items():
        if not isinstance(node, Mapping):
            continue
        inputs = node.get("inputs")
        named = inputs.items() if isinstance(inputs, Mapping) else ()
        read = {name: _api_value(value) for name, value in named}
        found[str(id)] = Node(str(id), str(node.get("class_type", "")), read)
    return found


def _api_value(value: Any) -> Any:
    is_link = isinstance(value, list) and len(value) == 2 and type(value[1]) is int
    return Link(str(value[0]), value[1]) if is_link else value


class _Wire(NamedTuple):
    """A link of the editor: from a node's output slot to a node's input slot."""

    source: int
    slot: int
    target: int
    target_slot: int


class _Editor:
    """Reads an editor's graph and the subgraphs in it into one flat table.

    Attributes:
        opened: kinds of the subgraphs that are being read, from the outermost on; a kind that stands there
            holds itself, and is left out.
        passing: the bypassed nodes that are being gone round; one that stands there feeds itself.
    """

    def __init__(self, subgraphs: Mapping[Any, Mapping[str, Any]], found: dict[str, Node]) -> None:
        self.subgraphs, self.found, self.placed = subgraphs, found, 0
        self.opened: list[Any] = []
        self.passing: list[str] = []

    def open(self, kind: Any, prefix: str, entries: Sequence[Any]) -> list[Link | None]:
        """Read a subgraph in its place; nothing of one that holds itself, or of too many."""
        if kind in self.opened or len(self.opened) >= _DEPTH or self.placed >= _PLACED:
            return []
        self.placed += 1
        self.opened.append(kind)
        exits = self.read(self.subgraphs[kind], prefix, entries)
        self.opened.pop()
        return exits

    def read(self, raw: Mapping[str, Any], prefix: str, entries: Sequence[Any]) -> list[Link | None]:
        """Add a level's nodes; returns where a subgraph's outputs come from.

        Args:
            entries: what is wired into a subgraph's inputs: links, or None.
        """
        nodes = {one["id"]: one for one in _entries(raw.get("nodes")) if _is_id(one.get("id"))}
        wires = [wire for one in _list(raw, "links") if (wire := _wire(one)) is not None]
        level = _Level(self, prefix, nodes, wires, entries)
        for id in nodes:
            level.place(id)
        exits = sorted((wire.target_slot, wire) for wire in wires if wire.target == _EXIT)
        out: list[Link | None] = [None] * (exits[-1][0] + 1 if exits else 0)
        for slot, wire in exits:
            out[slot] = level.source(wire)
        return out


@dataclass
class _Level:
    """One level of an editor's file: the top, or a subgraph in one place."""

    editor: _Editor
    prefix: str
    nodes: Mapping[Any, Mapping[str, Any]]
    wires: Sequence[_Wire]
    entries: Sequence[Any]
    exits: dict[Any, list[Link | None]] = field(default_factory=dict)

    def place(self, id: Any) -> None:
        """Put a node, or all of a subgraph, into the table; each once."""
        node, name = self.nodes[id], f"{self.prefix}{id}"
        if node.get("mode") in (MUTED, BYPASSED) or id in self.exits or name in self.editor.found:
            return
        kind = node.get("type")
        if _is_id(kind) and kind in self.editor.subgraphs:
            self.exits[id] = []  # a subgraph that holds itself ends here
            entries = [self.into(id, slot) for slot in range(len(_list(node, "inputs")))]
            self.exits[id] = self.editor.open(kind, f"{name}:", entries)
            return
        inputs = _values(node)
        for slot, one in enumerate(_list(node, "inputs")):
            link = self.into(id, slot)
            if link is not None and isinstance(one, Mapping):
                inputs[str(one.get("name"))] = link
        if not _list(node, "inputs"):  # hand-written files may leave the sockets out
            sources = (self.source(wire) for wire in self.wires if wire.target == id)
            inputs |= {f"input {slot}": link for slot, link in enumerate(sources) if link is not None}
        self.editor.found[name] = Node(name, str(kind), inputs)

    def into(self, id: Any, slot: int) -> Link | None:
        """What is wired into an input slot."""
        wire = next((one for one in self.wires if (one.target, one.target_slot) == (id, slot)), None)
        return None if wire is None else self.source(wire)

    def source(self, wire: _Wire) -> Link | None:
        """Where a wire begins, through subgraphs and bypassed nodes."""
        if wire.source == _ENTRY:
            return self.entries[wire.slot] if wire.slot < len(self.entries) else None
        node = self.nodes.get(wire.source)
        if node is None or node.get("mode") == MUTED:
            return None
        if node.get("mode") == BYPASSED:
            return self._around(node, wire)
        kind = node.get("type")
        if _is_id(kind) and kind in self.editor.subgraphs:
            self.place(wire.source)
            exits = self.exits.get(wire.source, [])
            return exits[wire.slot] if wire.slot < len(exits) else None
        return Link(f"{self.prefix}{wire.source}", wire.slot)

    def _around(self, node: Mapping[str, Any], wire: _Wire) -> Link | None:
        """What feeds a bypassed node's first wired input of the output's type."""
        name = f"{self.prefix}{node['id']}"
        if name in self.editor.passing or len(self.editor.passing) >= _DEPTH:
            return None
        self.editor.passing.append(name)
        link = self._handed_on(node, wire)
        self.editor.passing.pop()
        return link

    def _handed_on(self, node: Mapping[str, Any], wire: _Wire) -> Link | None:
        outputs = _list(node, "outputs")
        output = outputs[wire.slot] if wire.slot < len(outputs) else None
        wanted = output.get("type") if isinstance(output, Mapping) else None
        for slot, one in enumerate(_list(node, "inputs")):
            fits = isinstance(one, Mapping) and (
                one.get("type") == wanted or "*" in (one.get("type"), wanted)
            )
            if fits and (link := self.into(node["id"], slot)) is not None:
                return link
        return None


def _list(raw: Mapping[str, Any], key: str) -> list[Any]:
    value = raw.get(key)
    return value if isinstance(value, list) else []


def _entries(value: Any) -> list[Mapping[str, Any]]:
    """The objects of a list."""
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def _is_id(value: Any) -> bool:
    """Whether a value can name a node or a kind of nodes: any other may be no key of a table."""
    return isinstance(value, str) or type(value) is int


def _wire(raw: Any) -> _Wire | None:
    """A link as a list [id, from, slot, to, slot, type], or as an object in a subgraph; else None."""
    ends: Sequence[Any] = ()
    if isinstance(raw, list) and len(raw) >= 5:
        ends = raw[1:5]
    elif isinstance(raw, Mapping):
        ends = [raw.get(key) for key in ("origin_id", "origin_slot", "target_id", "target_slot")]
    named = len(ends) == 4 and _is_id(ends[0]) and _is_id(ends[2])
    slots = named and all(type(slot) is int and 0 <= slot < _SLOTS for slot in (ends[1], ends[3]))
    return _Wire(*ends) if slots else None


def _values(node: Mapping[str, Any]) -> dict[str, Any]:
    """A node's own values by name, as far as their names are known."""
    values = node.get("widgets_values")
    if isinstance(values, Mapping):
        return dict(values)
    if not isinstance(values, list):
        return {}
    sockets = [one for one in _list(node, "inputs") if isinstance(one, Mapping)]
    own = [str(one["widget"].get("name")) for one in sockets if isinstance(one.get("widget"), Mapping)]
    plain = [value for at, value in enumerate(values) if not _is_control(values, at)]
    if own and len(own) in (len(plain), len(plain) - 1):  # an upload button's value may follow
        return dict(zip(own, plain, strict=False))
    return dict(zip(WIDGETS.get(str(node.get("type")), ()), values, strict=False))


def _is_control(values: Sequence[Any], at: int) -> bool:
    """Whether a value says what becomes of the seed before it after a run."""
    return at > 0 and values[at] in _CONTROLS and type(values[at - 1]) is int
