"""What runs along the wires between our nodes. No torch, no ComfyUI."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from castsheet.elements import Element
from castsheet.errors import CastsheetError, SettingsError
from castsheet.ltx.adapters.mode import ReferenceMode
from castsheet.machine.json_text import JsonMistake, parse_json
from castsheet.sheet.manifest import Sheet

CELL = 32  # pixels that a latent cell of ComfyUI's LTX-2 models spans
TEMPORAL = 8  # frames that a latent frame holds, after the first


class NodeError(Exception):
    """A `CastsheetError` in one line, as ComfyUI's error box shows it."""

    def __init__(self, error: CastsheetError) -> None:
        super().__init__(f"{error.what}. Fix: {error.remedy}")


@dataclass(frozen=True)
class Cast:
    """CASTSHEET_ELEMENT: one element or a chain of them, pictures as files.

    Attributes:
        strengths: of elements by id; an element that is not named has 1.
    """

    elements: tuple[Element, ...]
    strengths: Mapping[str, float] = field(default_factory=dict)

    def __add__(self, other: Cast) -> Cast:
        return Cast((*self.elements, *other.elements), {**self.strengths, **other.strengths})


@dataclass(frozen=True)
class Board:
    """CASTSHEET_SHEET: a sheet and the clip that it is for.

    Attributes:
        length: frames of the clip. fps: frames a second.
        reference: how the sheet is shown to the model.
        prompt, negative: texts for the text encoder.
    """

    sheet: Sheet
    width: int
    height: int
    length: int
    fps: float
    reference: ReferenceMode
    prompt: str
    negative: str
    strengths: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Guided:
    """CASTSHEET_GUIDE: how many latent frames are the clip's; what follows them is guides'."""

    clip_frames: int


def clip_length(latent_frames: int) -> int:
    """Frames of a clip of so many latent frames."""
    return (latent_frames - 1) * TEMPORAL + 1


def verdict_of(text: str | None, name: str) -> dict[str, Any]:
    """A take's verdict; empty where it was not judged.

    Args:
        name: of the input that it came through.

    Raises:
        SettingsError: it is no verdict.
    """
    try:
        read = parse_json(text) if text else {}
    except JsonMistake:
        read = None
    if not isinstance(read, dict):
        raise SettingsError(f"{name} is no verdict", remedy="wire the verdict output of a Castsheet Judge")
    return read
