"""The people of a small team: their tokens and roles, and who changed what. For owners only."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from castsheet.studio.asked import PersonAsked, PersonName
from castsheet.studio.state import Here

router = APIRouter(tags=["people"])


@router.get("/people")
def list_people(studio: Here) -> dict[str, Any]:
    """Everybody who has a token of their own, with the role."""
    return {"people": studio.tokens.people.listed()}


@router.post("/people", status_code=201)
def add(asked: PersonAsked, studio: Here) -> dict[str, Any]:
    """A token for somebody. It is told this once: the studio keeps its hash only."""
    token = studio.tokens.people.add(asked.name, asked.role)
    return {"name": asked.name, "role": asked.role, "token": token}


@router.delete("/people/{name}", status_code=204)
def remove(name: PersonName, studio: Here) -> Response:
    """Take somebody's token and sessions away."""
    studio.tokens.people.remove(name)
    return Response(status_code=204)


@router.get("/log")
def log(studio: Here, limit: Annotated[int, Query(ge=1, le=1000)] = 200) -> dict[str, Any]:
    """Who changed what, the latest first."""
    return {"log": studio.tokens.people.log(limit)}
