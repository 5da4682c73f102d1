"""Schemas that remember what they were given, and outputs that hold it. No ComfyUI."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any


class Input:
    """An input: its name, its type, and everything else that was said of it."""

    def __init__(self, id: str, *, optional: bool = False, tooltip: str | None = None, **told: Any) -> None:
        self.id, self.optional, self.tooltip, self.told = id, optional, tooltip, told


class Output:
    """An output."""

    def __init__(
        self,
        id: str | None = None,
        *,
        display_name: str | None = None,
        tooltip: str | None = None,
        is_output_list: bool = False,
    ) -> None:
        self.name, self.tooltip, self.is_output_list = display_name or id, tooltip, is_output_list


def Custom(name: str) -> type:
    """A type of wire."""
    made = type(name, (), {})
    made.Input = type("Input", (Input,), {"io_type": name})
    made.Output = type("Output", (Output,), {"io_type": name})
    return made


@dataclass
class Schema:
    """What a node says of itself."""

    node_id: str
    display_name: str
    category: str
    description: str
    inputs: list[Input]
    outputs: list[Output]
    search_aliases: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    is_output_node: bool = False
    enable_expand: bool = False


class NodeOutput:
    """What a node gives out."""

    def __init__(self, *args: Any, ui: Any = None, expand: Any = None) -> None:
        self.args, self.ui, self.expand = args, ui, expand


class ComfyNode:
    """Base of nodes."""

    hidden = SimpleNamespace(prompt=None, extra_pnginfo=None)


class PreviewImage:
    """A picture inside the node."""

    def __init__(self, image: Any, cls: Any = None) -> None:
        self.image = image

    def as_dict(self) -> dict[str, Any]:
        return {"images": [self.image.shape]}


class PreviewText:
    """A text inside the node."""

    def __init__(self, value: str) -> None:
        self.value = value


class ComfyExtension:
    """Base of what the entry point hands over."""


class VideoFromComponents:
    """VIDEO made of frames and sound."""

    def __init__(self, parts: Any) -> None:
        self.parts = parts

    def get_components(self) -> Any:
        return self.parts


_TYPES = "STRING INT FLOAT BOOLEAN COMBO IMAGE MASK LATENT CONDITIONING VAE MODEL AUDIO VIDEO"
io = SimpleNamespace(
    **{name.capitalize(): Custom(name) for name in _TYPES.split()},
    Custom=Custom,
    ComfyNode=ComfyNode,
    Schema=Schema,
    NodeOutput=NodeOutput,
    Hidden=SimpleNamespace(prompt="prompt", extra_pnginfo="extra_pnginfo"),
)
ui = SimpleNamespace(PreviewImage=PreviewImage, PreviewText=PreviewText)
InputImpl = SimpleNamespace(VideoFromComponents=VideoFromComponents)
Types = SimpleNamespace(VideoComponents=SimpleNamespace)
