"""Calls of the library."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from castsheet.clip import Clip
from castsheet.elements import Scene
from castsheet.pipeline import Castsheet
from castsheet.sheet.manifest import ElementNote, Sheet
from tools.attack.case import Case
from tools.attack.texts import WAVES

_FRAMES = np.zeros((9, 32, 64, 3), np.uint8)
_ITSELF: dict[str, Any] = {}
_ITSELF["self"] = _ITSELF


def _sheet(**fields: Any) -> Sheet:
    return Sheet(**{"image": Image.new("RGB", (128, 64)), "output": (64, 32), **fields})


def _described(text: str) -> Sheet:
    return _sheet(elements=(ElementNote(id="hero", kind="character", description=text),))


def _made(folder: Path, **more: Any) -> object:
    sheet = more.pop("sheet", folder / "sheet.png")
    action = more.pop("action", "hero waves")
    return Castsheet.load(folder / "tiny")(Sheet.load(sheet), action, **more)


_CALLS: dict[str, tuple[Callable[[Path], object], tuple[int, ...]]] = {
    # A sidecar never fails after an hour of sampling: what no JSON holds is left out.
    "Clip provenance that holds itself": (
        lambda f: Clip(_FRAMES, 24.0, provenance=_ITSELF).save(f / "out/c.mp4"),
        (0,),
    ),
    "Clip provenance surrogate": (
        lambda f: Clip(_FRAMES, 24.0, provenance={"a": "\ud800"}).save(f / "out/c.mp4"),
        (0,),
    ),
    "Clip save path is ''": (lambda _: Clip(_FRAMES, 24.0).save(""), (2,)),
    "Clip save NUL": (lambda _: Clip(_FRAMES, 24.0).save("a\0.mp4"), (2,)),
    "Sheet.save NUL": (lambda _: _sheet().save("a\0.png"), (2,)),
    "Sheet.load ''": (lambda _: Sheet.load(""), (2,)),
    "Sheet.load '.'": (lambda _: Sheet.load("."), (2,)),
    "Sheet of no size": (lambda f: _sheet(image=Image.new("RGB", (0, 0))).save(f / "out/s.png"), (2,)),
    "Sheet layout with NaN": (lambda f: _sheet(layout={"a": math.nan}).save(f / "out/s.png"), (2,)),
    "Sheet description surrogate save": (lambda f: _described("\ud800").save(f / "out/s.png"), (2,)),
    "Sheet conditioning 0x0": (lambda _: _sheet().conditioning_image(0, 0), (2,)),
    "Sheet conditioning 10^6": (lambda _: _sheet().conditioning_image(10**6, 10**6), (2,)),
    "Castsheet(sheet, action, seed True)": (lambda f: _made(f, seed=True), (2,)),
    "Castsheet(sheet, action, width 10^400)": (lambda f: _made(f, width=10**400), (2,)),
    "Castsheet action surrogate": (lambda f: _made(f, action="", prompt=f"{WAVES[1]} \ud800"), (2,)),
    "Castsheet sheet ''": (lambda f: _made(f, sheet=""), (2,)),
    "Scene.load NUL": (lambda _: Scene.load("a\0.yaml"), (2,)),
}
CASES = [Case("api", name, call=call, codes=codes) for name, (call, codes) in _CALLS.items()]
