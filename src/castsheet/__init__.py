"""Castsheet: video that keeps its cast. Each name is imported when it is first used.

    from castsheet import Castsheet, Scene, Sheet

    castsheet = Castsheet.load("mini")
    clip = castsheet(Sheet.load("cast.png"), "hero walks left past the barn", seed=7)
    clip.save("walk.mp4")

A program that only composes sheets never waits for torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from castsheet.clip import Clip
    from castsheet.elements import Scene
    from castsheet.judge.judge import Judge
    from castsheet.pipeline import Castsheet
    from castsheet.sheet.manifest import Sheet

__version__ = "0.1.0"
__all__ = ["Castsheet", "Clip", "Judge", "Scene", "Sheet"]

_HOMES = {
    "Castsheet": "castsheet.pipeline",
    "Clip": "castsheet.clip",
    "Judge": "castsheet.judge.judge",
    "Scene": "castsheet.elements",
    "Sheet": "castsheet.sheet.manifest",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
