"""Takes: finished clips with what made them and what the judge says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import FileResponse

from castsheet.errors import CastsheetError
from castsheet.machine.files import write_text
from castsheet.machine.regular import is_file
from castsheet.machine.text import TextReader
from castsheet.media.provenance import now
from castsheet.studio.asked import JobId, StarChange
from castsheet.studio.folder import Folder
from castsheet.studio.job import public
from castsheet.studio.problems import Missing
from castsheet.studio.state import Asker, Here, Studio

router = APIRouter(tags=["takes"])
RECORD = "take.json"
_STAR = "star"
_FILES = TextReader(CastsheetError, "delete the take's folder and make the take again", limit=64 << 20)
_FOREVER = "private, max-age=31536000, immutable"
_OURS = "private, no-cache"


@router.get("/takes")
def list_takes(
    studio: Here,
    element: Annotated[str | None, Query(max_length=64)] = None,
    sheet: Annotated[str | None, Query(max_length=16)] = None,
    state: Annotated[str | None, Query(max_length=20)] = None,
    preset: Annotated[str | None, Query(max_length=60)] = None,
    starred: bool = False,
) -> dict[str, Any]:
    """Takes, the latest first, as far as they fit the filters."""
    here = _hashes(studio)
    names = [name for name in reversed(studio.folder.take_ids()) if _whole(studio.folder, name)]
    found = [told(studio, name, here) for name in names]
    kept = [
        one
        for one in found
        if (element is None or element in one["elements"])
        and (sheet is None or one["sheet"] == sheet)
        and (state is None or one["state"] == state)
        and (preset is None or one["preset"] == preset)
        and (one["star"] or not starred)
    ]
    return {"takes": kept}


@router.get("/takes/{take}")
def one(take: JobId, studio: Here) -> dict[str, Any]:
    """One take: what was asked, what the judge says, and whether a source picture has changed since."""
    return told(studio, take)


@router.get("/takes/{take}/video", response_class=FileResponse)
def video(take: JobId, studio: Here) -> FileResponse:
    """The clip. Ranges are served; the ETag is the hash of the file."""
    return _file(studio, take, "take.mp4", "video/mp4", told(studio, take)["video"]["sha256"])


@router.get("/takes/{take}/contact", response_class=FileResponse)
def contact(take: JobId, studio: Here) -> FileResponse:
    """The contact sheet: the sheet beside frames."""
    return _file(studio, take, "take.contact.png", "image/png")


@router.get("/takes/{take}/sidecar")
def sidecar(take: JobId, studio: Here) -> dict[str, Any]:
    """What made the clip: settings, hashes, versions. Without the places of files."""
    return _without_paths(studio, _FILES.json(studio.folder.take(take) / "take.clip.json"))


@router.get("/takes/{take}/judgement")
def judgement(take: JobId, studio: Here) -> dict[str, Any]:
    """All that the judge measured, as `castsheet judge --json` prints it."""
    return _without_paths(studio, _FILES.json(studio.folder.take(take) / "judgement.json"))


@router.put("/takes/{take}/star")
def star(take: JobId, change: StarChange, studio: Here) -> dict[str, Any]:
    """Give a take a star, or take it back."""
    path = studio.folder.take(take) / _STAR
    if change.star:
        write_text(path, f"{now()}\n")
    else:
        path.unlink(missing_ok=True)
    return told(studio, take)


@router.post("/takes/{take}/again", status_code=201)
def again(take: JobId, studio: Here, who: Asker) -> dict[str, Any]:
    """Make exactly this take once more, from the same sheet and settings."""
    record = _record(studio.folder, take)
    studio.folder.sheet(record["request"]["sheet"])
    jobs = studio.queue.add("take", [(record["label"], record["request"])], by=who.name)
    return {"jobs": [public(job) for job in jobs]}


def told(studio: Studio, take: str, here: dict[str, set[str]] | None = None) -> dict[str, Any]:
    """A take as the API tells it.

    Args:
        here: the hashes of the library's pictures, by element, if they are known already.
    """
    folder = studio.folder.take(take)
    record = _record(studio.folder, take)
    return {
        **_without_paths(studio, record),
        "id": take,
        "star": is_file(folder / _STAR),
        "stale": _stale(studio, record, _hashes(studio) if here is None else here),
    }


def _stale(studio: Studio, record: dict[str, Any], here: dict[str, set[str]]) -> list[str]:
    """Elements of which a picture on the take's sheet is no longer what it was, or is no longer there."""
    try:
        manifest = _FILES.json(studio.folder.sheet(record["sheet"]).with_suffix(".json"))
    except CastsheetError:
        return []
    changed: dict[str, None] = {}
    for panel in manifest.get("panels", []):
        for source in panel.get("sources", []):
            known = here.get(panel["element"])
            if known is not None and source["sha256"] not in known:
                changed[panel["element"]] = None
    return list(changed)


def _hashes(studio: Studio) -> dict[str, set[str]]:
    """The hashes of the pictures that the library has now, by element."""
    found: dict[str, set[str]] = {}
    for name, looks in studio.library.names().items():
        for look in looks:
            try:
                entry = studio.library.load(name, look)
            except CastsheetError:
                continue
            found.setdefault(name, set()).update(kept.sha256 for kept in entry.pictures)
    return found


def _record(folder: Folder, take: str) -> dict[str, Any]:
    if not _whole(folder, take):
        raise Missing("this take is not whole", remedy="make it again")
    record: dict[str, Any] = _FILES.json_object(folder.take(take) / RECORD)
    return record


def _whole(folder: Folder, take: str) -> bool:
    return is_file(folder.takes / take / RECORD)


def _file(studio: Studio, take: str, name: str, kind: str, digest: str | None = None) -> FileResponse:
    path: Path = studio.folder.take(take) / name
    if not is_file(path):
        raise Missing("this file of the take is not there", remedy="make the take again")
    headers = {"cache-control": _FOREVER if digest else _OURS}
    if digest:
        headers["etag"] = f'"{digest}"'
    return FileResponse(path, media_type=kind, headers=headers)


def _without_paths(studio: Studio, value: Any) -> Any:
    """A value of a file without the place of the studio's folder in its texts."""
    if isinstance(value, str):
        return studio.folder.told(value)
    if isinstance(value, list):
        return [_without_paths(studio, one) for one in value]
    if isinstance(value, dict):
        return {key: _without_paths(studio, one) for key, one in value.items()}
    return value
