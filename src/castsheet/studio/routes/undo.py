"""Taking back the latest change of the cast, of a scene or of a list."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from castsheet.studio.asked import UndoAsked
from castsheet.studio.state import Asker, Here

router = APIRouter(tags=["undo"])


@router.get("/undo")
def last(studio: Here, who: Asker) -> dict[str, Any]:
    """The asker's latest change that can be taken back, or null."""
    return {"undo": studio.undo.last(who.name)}


@router.post("/undo")
def take_back(asked: UndoAsked, studio: Here, who: Asker) -> dict[str, Any]:
    """Take back the change that was told last. Its files are then as they were before it."""
    studio.undo.take_back(asked.id, who.name)
    return {"undo": studio.undo.last(who.name)}
