"""Lists of shots: a table that is the command line's `--shots` file, and what was made of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from fastapi import APIRouter, Response
from fastapi.responses import FileResponse

from castsheet.errors import CastsheetError, OutputError
from castsheet.jobs.folder import FILM, RECORD
from castsheet.jobs.shotlist import load_list, load_shots
from castsheet.machine.files import sha256, write_atomic, write_text
from castsheet.machine.regular import is_file
from castsheet.machine.replace import scratch
from castsheet.machine.text import TextReader
from castsheet.studio.asked import Name, ShotListChange, ShotRow, ShotsAsked
from castsheet.studio.job import public
from castsheet.studio.problems import Missing
from castsheet.studio.routes.jobs import adapter_of
from castsheet.studio.state import Asker, Here, Studio
from castsheet.studio.versions import Versioned, version

router = APIRouter(tags=["shots"])
_RECORDS = TextReader(OutputError, "the shot is made again")


@router.get("/shots")
def list_shots(studio: Here) -> dict[str, Any]:
    """Every list of shots; of a damaged one, what is wrong with it."""
    found: list[dict[str, Any]] = []
    for name in studio.folder.shot_lists():
        try:
            found.append(told(studio, name))
        except CastsheetError as error:
            trouble = {"what": studio.folder.told(error.what), "remedy": studio.folder.told(error.remedy)}
            found.append({"id": name, "trouble": trouble})
    return {"lists": found}


@router.get("/shots/{name}")
def one(name: Name, studio: Here, response: Response) -> dict[str, Any]:
    """One list with what was made of it; the ETag names the list's version."""
    response.headers["etag"] = version(studio.folder.shot_list(name))
    return told(studio, name)


@router.get("/shots/{name}/file", response_class=FileResponse)
def file(name: Name, studio: Here) -> FileResponse:
    """The list as the command line reads it."""
    path = studio.folder.shot_list(name)
    return FileResponse(path, media_type="application/yaml", filename=path.name)


@router.put("/shots/{name}")
def write(name: Name, asked: ShotListChange, studio: Here, change: Versioned) -> dict[str, Any]:
    """Write a list. Fields of a shot that the table does not show stay as the file has them."""
    path = studio.folder.new_shot_list(name)
    with change.of(path, f"list {name}: a change"):
        text = _text(_content(path), asked)
        with scratch() as place:
            write_text(place / path.name, text)
            load_shots(place / path.name)  # refuses what the command line would refuse
        write_atomic(path, lambda target: target.write_bytes(text.encode()))
    return told(studio, name)


@router.delete("/shots/{name}", status_code=204)
def remove(name: Name, studio: Here, change: Versioned) -> Response:
    """Delete a list's file. What was made of it stays."""
    return change.removes(studio.folder.shot_list(name), f"list {name}: removed")


@router.post("/shots/{name}/make", status_code=201)
def make(name: Name, asked: ShotsAsked, studio: Here, who: Asker) -> dict[str, Any]:
    """Make the shots of the list that are not finished, all from one sheet."""
    studio.folder.sheet(asked.sheet)
    count = len(load_shots(studio.folder.shot_list(name)))
    request = {"shots": name, "sheet": asked.sheet, "force": asked.force, **adapter_of(studio, asked.adapter)}
    jobs = studio.queue.add("shots", [(f"shots {name} ({count})", request)], by=who.name)
    return {"jobs": [public(job) for job in jobs]}


@router.get("/shots/{name}/results/{shot}/video", response_class=FileResponse)
def video(name: Name, shot: str, studio: Here) -> FileResponse:
    """The clip of a finished shot."""
    studio.folder.shot_list(name)
    folder = studio.folder.shots / name
    for path in folder.iterdir() if folder.is_dir() else ():
        clip = path / f"{path.name}.mp4"
        if path.name == shot and is_file(clip):
            return FileResponse(clip, media_type="video/mp4", headers={"cache-control": "private, no-cache"})
    raise Missing("there is no such shot", remedy="list the shots again")


@router.get("/shots/{name}/film", response_class=FileResponse)
def film(name: Name, studio: Here) -> FileResponse:
    """All shots of the list in a row."""
    studio.folder.shot_list(name)
    path = studio.folder.shots / name / FILM
    if not is_file(path):
        raise Missing("there is no film of this list", remedy="ask for a film, and make the shots")
    return FileResponse(path, media_type="video/mp4", headers={"cache-control": "private, no-cache"})


def told(studio: Studio, name: str) -> dict[str, Any]:
    """A list as the API tells it.

    Raises:
        SettingsError: the file is no list of shots.
    """
    path = studio.folder.shot_list(name)
    listed, results = load_list(path), studio.folder.shots / name
    film = results / FILM
    return {
        "id": name,
        "takes": _content(path).get("takes"),
        "film": listed.film,
        "joined": sha256(film)[:16] if is_file(film) else None,
        "shots": [
            {
                "id": shot.id,
                "action": shot.action or shot.prompt,
                "seed": shot.seed,
                "takes": shot.takes,
                "continues": shot.continues,
                "result": _result(results / shot.id),
            }
            for shot in listed.shots
        ],
    }


def _result(folder: Path) -> dict[str, Any] | None:
    try:
        record = _RECORDS.json_object(folder / RECORD)
    except CastsheetError:
        return None
    shown = ("action", "seed", "takes", "passed", "score", "verdict", "reason")
    return {key: record.get(key) for key in shown}


def _content(path: Path) -> dict[str, Any]:
    raw = _RECORDS.yaml(path) if path.exists() else None
    return raw if isinstance(raw, dict) else {}


def _text(content: dict[str, Any], asked: ShotListChange) -> str:
    """A list's file: what the table shows, over what the file had."""
    before = _rows(content)
    content = {key: value for key, value in content.items() if key not in ("continues", "takes", "film")}
    content |= {"takes": asked.takes} if asked.takes is not None else {}
    content |= {"film": True} if asked.film else {}
    content["shots"] = [_row(before.get(row.id, {}), row) for row in asked.shots]
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)


def _rows(content: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The rows of the file that is there, by the ids that `load_shots` gives them; one for each seed."""
    found: dict[str, dict[str, Any]] = {}
    listed = content.get("shots")
    for number, item in enumerate(listed if isinstance(listed, list) else [], 1):
        row = {"action": item} if isinstance(item, str) else item
        if isinstance(row, dict):
            row = {"id": f"shot-{number:03}", **row}
            seeds = row.pop("seeds", None)
            if isinstance(seeds, list):
                found |= {f"{row['id']}-{seed}": {**row, "seed": seed} for seed in seeds}
            else:
                found[str(row["id"])] = row
    return found


def _row(before: dict[str, Any], asked: ShotRow) -> dict[str, Any]:
    """A row as the file gets it: what the table shows, over what the file had."""
    row = {key: value for key, value in before.items() if key not in ("seed", "takes", "continues")}
    row["prompt" if "prompt" in before else "action"] = asked.action
    row["id"] = asked.id
    row |= {"seed": asked.seed} if asked.seed is not None else {}
    row |= {"takes": asked.takes} if asked.takes is not None else {}
    row |= {"continues": True} if asked.continues else {}
    return row
