"""Says in one line when mini is asked for what mini cannot know. No torch."""

from __future__ import annotations

import functools

from castsheet.embedded import DEMO_SCENE
from castsheet.machine.files import sha256
from castsheet.sheet.manifest import Sheet

NAME = "mini"


def toy_note(model: str, sheet: Sheet) -> str | None:
    """What to tell whoever makes a clip of this sheet with this model; None if there is nothing to tell.

    Mini knows the rendered people, props and places of its own world. A sheet is known to be of that world if
    all its pictures are the demo's; of any other sheet nothing is known.

    Args:
        model: the model's name.
    """
    if model != NAME or _of_its_world(sheet):
        return None
    return (
        "mini is a toy: it knows only the puppets of its own rendered world, so this clip will not show your"
        " cast. Real clips need the 22B model, LTX-2.3: `castsheet doctor` says how this machine would run"
        " it, `castsheet download --to models/ltx-2.3` fetches it, --model models/ltx-2.3 uses it"
    )


def _of_its_world(sheet: Sheet) -> bool:
    sources = [source.sha256 for panel in sheet.panels for source in panel.sources]
    return bool(sources) and set(sources) <= _demo_pictures()


@functools.cache
def _demo_pictures() -> frozenset[str]:
    return frozenset(sha256(path) for path in DEMO_SCENE.parent.glob("*.png"))
