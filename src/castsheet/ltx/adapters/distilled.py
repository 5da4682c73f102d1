"""What a distilled adapter says of itself in its file. No torch.

A distilled adapter has learned what guidance, or many small steps, would add. Run like any other adapter it
would add that twice. Therefore its file holds the settings to run it with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from castsheet.errors import AdapterError, shown
from castsheet.machine.text import TextReader

DISTILLED = "castsheet_distilled"  # the metadata's key
_REMEDY = "correct the file's metadata, or train the adapter anew"


@dataclass(frozen=True)
class Distilled:
    """How a distilled adapter wants to be run, and what that replaces.

    Attributes:
        settings: of its runs, over its model's own; see `castsheet.settings.Settings`.
        replaces: the teacher's guidance and steps.
        beside: adapters that the teacher had, by file name, with their strengths.
        preset: that the teacher's settings came from; None is its model's own.
    """

    settings: Mapping[str, Any]
    replaces: Mapping[str, Any]
    beside: Mapping[str, Any]
    preset: str | None = None

    @classmethod
    def read(cls, text: str, path: Path) -> Distilled:
        """Read the metadata of the adapter at `path`.

        Raises:
            AdapterError: it is not what `castsheet train` writes.
        """
        found = TextReader(AdapterError, _REMEDY).parse_json(text, f"{path}, {DISTILLED}")
        found = found if isinstance(found, dict) else {}
        settings, replaces, beside = (found.get(name) for name in ("settings", "replaces", "with"))
        if not (isinstance(settings, dict) and isinstance(replaces, dict) and isinstance(beside, dict)):
            raise AdapterError(f"{path}: {DISTILLED} is {shown(text)}", remedy=_REMEDY)
        preset = found.get("preset")
        if not isinstance(preset, str | None):
            raise AdapterError(f"{path}: {DISTILLED}: preset is {shown(preset)}", remedy=_REMEDY)
        return cls(settings, replaces, beside, preset)
