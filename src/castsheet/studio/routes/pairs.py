"""Results of `castsheet pairs make`: accepted pairs, and what was left out, by rule."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse

from castsheet.errors import CastsheetError
from castsheet.machine.regular import MIB, is_file
from castsheet.machine.text import TextReader
from castsheet.media.pictures import load_image
from castsheet.studio.answers import png
from castsheet.studio.asked import Name, PairId
from castsheet.studio.problems import Missing
from castsheet.studio.state import Here, Studio

router = APIRouter(tags=["pairs"])
_TABLES = TextReader(CastsheetError, "make the pairs again: castsheet pairs make", limit=256 * MIB)
_REJECTS = 40  # of one rule


@router.get("/pairs")
def list_results(studio: Here) -> dict[str, Any]:
    """Every result of pairs with its counts; of a damaged one, what is wrong with it."""
    found: list[dict[str, Any]] = []
    for name in studio.folder.pairs_names():
        try:
            summary = _TABLES.json_object(studio.folder.pairs_of(name) / "summary.json")
            found.append({"id": name, "summary": summary})
        except CastsheetError as error:
            trouble = {"what": studio.folder.told(error.what), "remedy": studio.folder.told(error.remedy)}
            found.append({"id": name, "trouble": trouble})
    return {"results": found}


@router.get("/pairs/{name}")
def one(
    name: Name,
    studio: Here,
    start: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
    limit: Annotated[int, Query(ge=1, le=200)] = 24,
    part: Annotated[str | None, Query(max_length=20)] = None,
) -> dict[str, Any]:
    """A page of the accepted pairs, and the units that were left out, by rule."""
    place = studio.folder.pairs_of(name)
    rows = [row for row in _rows(studio, name) if part is None or row["split"] == part]
    rejects: dict[str, dict[str, Any]] = {}
    for _, row in _TABLES.table(place / "rejects.csv") if is_file(place / "rejects.csv") else ():
        rule = rejects.setdefault(row["rule"], {"rule": row["rule"], "meaning": row["meaning"], "count": 0})
        rule["count"] += 1
        units = rule.setdefault("units", [])
        if len(units) < _REJECTS:
            units.append({key: studio.folder.told(row[key]) for key in ("unit", "value", "limit")})
    return {
        "id": name,
        "summary": _TABLES.json_object(place / "summary.json"),
        "count": len(rows),
        "pairs": rows[start : start + limit],
        "rejects": sorted(rejects.values(), key=lambda rule: str(rule["rule"])),
    }


@router.get("/pairs/{name}/{pair}/clip", response_class=FileResponse)
def clip(name: Name, pair: PairId, studio: Here) -> FileResponse:
    """A pair's clip. Ranges are served."""
    _there(studio, name, pair)
    path = studio.folder.pairs_of(name) / "clips" / f"{pair}.mp4"
    if not is_file(path):
        raise Missing("the clip is not there", remedy="make the pairs again")
    return FileResponse(path, media_type="video/mp4", headers={"cache-control": "private, no-cache"})


@router.get("/pairs/{name}/{pair}/sheet", response_class=Response)
def sheet(name: Name, pair: PairId, studio: Here, request: Request) -> Response:
    """A pair's sheet."""
    _there(studio, name, pair)
    path = studio.folder.pairs_of(name) / "sheets" / f"{pair}.png"
    return png(request, load_image(path).convert("RGB"))


def _rows(studio: Studio, name: str) -> list[dict[str, Any]]:
    """The accepted pairs: an id each in place of files."""
    found = []
    for _, row in _TABLES.json_lines(studio.folder.pairs_of(name) / "pairs.jsonl"):
        kept = {key: row.get(key) for key in ("caption", "split", "title", "licence", "credit", "people")}
        found.append({"id": str(row.get("video", "")).rpartition("/")[2].removesuffix(".mp4"), **kept})
    return found


def _there(studio: Studio, name: str, pair: str) -> None:
    if not any(row["id"] == pair for row in _rows(studio, name)):
        raise Missing("there is no pair of this id", remedy="list the pairs again")
