"""The cast: elements, their looks and pictures."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from castsheet.authoring.apart import apart
from castsheet.authoring.library import Added, Kept, LibraryEntry, Sorter
from castsheet.authoring.missing import missing
from castsheet.authoring.revise import put_mask, revise
from castsheet.elements import VIEWS, View, look_folder
from castsheet.errors import CastsheetError
from castsheet.jobs.inputs import installed_readers
from castsheet.machine.files import cache_folder
from castsheet.media.pictures import load_image
from castsheet.sheet.box import Kind
from castsheet.studio import cutouts
from castsheet.studio.answers import png
from castsheet.studio.asked import FillAsked, LookChange, LookName, Name, PictureChange, PictureId
from castsheet.studio.job import public
from castsheet.studio.people import Who
from castsheet.studio.problems import Conflict, Missing
from castsheet.studio.state import Asker, Here, Studio
from castsheet.studio.uploads import cleaned, save
from castsheet.studio.versions import Versioned, version

router = APIRouter(tags=["cast"])
_CUTOUTS = "cutouts"
LIST = "element.yaml"
LABEL_MOST = 60


@router.get("/elements")
def list_elements(studio: Here) -> dict[str, Any]:
    """Every look of every element; of a damaged one, what is wrong with it."""
    found: list[dict[str, Any]] = []
    for name, looks in studio.library.names().items():
        for look in looks:
            try:
                found.append(told(studio.library.load(name, look)))
            except CastsheetError as error:
                trouble = {"what": studio.folder.told(error.what), "remedy": studio.folder.told(error.remedy)}
                found.append({"id": name, "look": look, "trouble": trouble})
    return {"elements": found, "views": VIEWS}


@router.get("/elements/{name}/looks/{look}")
def one(name: Name, look: LookName, studio: Here, response: Response) -> dict[str, Any]:
    """One look of an element, with its pictures and the views that are missing."""
    entry = found_look(studio, name, look)
    response.headers["etag"] = version(entry.folder / LIST)
    return told(entry)


@router.patch("/elements/{name}/looks/{look}")
def describe(
    name: Name, look: LookName, asked: LookChange, studio: Here, change: Versioned
) -> dict[str, Any]:
    """Change what is told of a look, in the version that If-Match names."""
    entry = found_look(studio, name, look)
    with change.of(entry.folder / LIST, f"{name}: its description", entry.folder):
        entry = revise(studio.library, name, look, **asked.model_dump())
    return told(entry)


@router.delete("/elements/{name}/looks/{look}", status_code=204)
def remove(name: Name, look: LookName, studio: Here, who: Asker) -> Response:
    """Remove a look; files that somebody put beside it stay."""
    entry = found_look(studio, name, look)
    with studio.undo.kept(f"{name}: removed", entry.folder, who.name):
        studio.library.remove(name, look)
    return Response(status_code=204)


@router.post("/elements/{name}/looks/{look}/pictures", status_code=201)
async def add(
    name: Name,
    look: LookName,
    request: Request,
    studio: Here,
    who: Asker,
    label: Annotated[str, Query(max_length=200)] = "",
    kind: Literal["character", "prop", "location"] | None = None,
    view: View | None = None,
) -> dict[str, Any]:
    """Add a picture, sent as the body, to a look; the element is made where it is not there.

    `label` is the picture's name, which may tell its view; nothing is stored under it. Without `view` the
    picture is sorted by what it shows.
    """
    with tempfile.TemporaryDirectory(prefix="castsheet-upload-") as place:
        sent = Path(place) / "sent"
        await save(request, sent)
        return await run_in_threadpool(_added, studio, who, name, look, sent, label, kind, view)


@router.post("/elements/{name}/looks/{look}/apart", status_code=201)
async def take_apart(
    name: Name,
    look: LookName,
    request: Request,
    studio: Here,
    who: Asker,
    label: Annotated[str, Query(max_length=200)] = "",
    kind: Literal["character", "prop", "location"] | None = None,
) -> dict[str, Any]:
    """Take a ready-made sheet apart, sent as the body, and add its pictures to a look, by their labels.

    Where no label tells a view, or none can be read here, the pictures are sorted by what they show.
    """
    with tempfile.TemporaryDirectory(prefix="castsheet-upload-") as place:
        sent = Path(place) / "sent"
        await save(request, sent)
        return await run_in_threadpool(_apart, studio, who, name, look, sent, label, kind)


@router.patch("/elements/{name}/looks/{look}/pictures/{picture}")
def change_picture(
    name: Name, look: LookName, picture: PictureId, asked: PictureChange, studio: Here, who: Asker
) -> dict[str, Any]:
    """Correct the view of a picture."""
    path, kept = _picture(studio, name, look, picture)
    with studio.undo.kept(f"{name}: the view of a picture", path.parent, who.name):
        return told(revise(studio.library, name, look, views={kept.file: asked.view}))


@router.delete("/elements/{name}/looks/{look}/pictures/{picture}")
def remove_picture(
    name: Name, look: LookName, picture: PictureId, studio: Here, who: Asker
) -> dict[str, Any]:
    """Take a picture out of a look."""
    path, kept = _picture(studio, name, look, picture)
    with studio.undo.kept(f"{name}: a picture taken out", path.parent, who.name):
        return told(revise(studio.library, name, look, without={kept.file}))


@router.get("/elements/{name}/looks/{look}/pictures/{picture}/image", response_class=Response)
def image(
    name: Name,
    look: LookName,
    picture: PictureId,
    studio: Here,
    request: Request,
    side: Annotated[int, Query(ge=32, le=4096)] = 512,
) -> Response:
    """The picture, upright, at most `side` px long."""
    path, _ = _picture(studio, name, look, picture)
    with studio.heavy:
        return png(request, load_image(path), side=side)


@router.get("/elements/{name}/looks/{look}/pictures/{picture}/cutout", response_class=Response)
def cutout(name: Name, look: LookName, picture: PictureId, studio: Here, request: Request) -> Response:
    """The picture as sheets will show it: its subject on transparency."""
    path, _ = _picture(studio, name, look, picture)
    with studio.heavy:
        return png(request, cutouts.shown(path).image, side=cutouts.SIDE)


@router.get("/elements/{name}/looks/{look}/pictures/{picture}/mask", response_class=Response)
def mask(name: Name, look: LookName, picture: PictureId, studio: Here, request: Request) -> Response:
    """The cut-out's mask at the size of the picture: white where the subject is."""
    path, _ = _picture(studio, name, look, picture)
    with studio.heavy:
        return png(request, cutouts.mask_of(path))


@router.put("/elements/{name}/looks/{look}/pictures/{picture}/mask")
async def draw(
    name: Name, look: LookName, picture: PictureId, studio: Here, who: Asker, request: Request
) -> dict[str, Any]:
    """Keep a mask that was drawn or brushed, sent as the body: white where the subject is."""
    with tempfile.TemporaryDirectory(prefix="castsheet-upload-") as place:
        sent, clean = Path(place) / "sent", Path(place) / "clean.png"
        await save(request, sent)

        def kept() -> dict[str, Any]:
            path, known = _picture(studio, name, look, picture)
            cleaned(sent, clean)
            with studio.undo.kept(f"{name}: a brushed mask", path.parent, who.name):
                put_mask(studio.library, name, look, known.file, load_image(clean).convert("L"))
            return told(found_look(studio, name, look))

        return await run_in_threadpool(kept)


@router.post("/elements/{name}/looks/{look}/pictures/{picture}/approve")
def approve(name: Name, look: LookName, picture: PictureId, studio: Here, who: Asker) -> dict[str, Any]:
    """Approve a cut-out: it is kept as the mask beside the picture, and no later version cuts anew."""
    path, kept = _picture(studio, name, look, picture)
    with studio.heavy, studio.undo.kept(f"{name}: a cut-out approved", path.parent, who.name):
        put_mask(studio.library, name, look, kept.file, cutouts.mask_of(path))
    return told(found_look(studio, name, look))


@router.post("/elements/{name}/looks/{look}/fill", status_code=201)
def make_views(name: Name, look: LookName, asked: FillAsked, studio: Here, who: Asker) -> dict[str, Any]:
    """Let the model make the views that a look lacks, as `castsheet elements fill` does, in the queue."""
    entry = found_look(studio, name, look)
    views = asked.views or list(missing(entry.element))
    if not views:
        raise Conflict(f"{name} lacks no view", remedy="name the views to make")
    studio.refuse(None, asked.settings, {})
    request = {"element": name, "look": look, "views": views, "seed": asked.seed, "settings": asked.settings}
    label = f"{name}: make {', '.join(views)}"
    return {"jobs": [public(job) for job in studio.queue.add("fill", [(label, request)], by=who.name)]}


def found_look(studio: Studio, name: str, look: str) -> LibraryEntry:
    """A look that is there.

    Raises:
        Missing: it is not.
    """
    if look not in studio.library.names().get(name, ()):
        raise Missing(f"there is no {name}@{look}", remedy="list the cast again")
    return studio.library.load(name, look)


def told(entry: LibraryEntry) -> dict[str, Any]:
    """A look as the API tells it. Of a picture's origin only the name is told."""
    element = entry.element
    return {
        "id": entry.name,
        "look": entry.look,
        "kind": element.kind,
        "description": element.description,
        "importance": element.importance,
        "human": element.kind != "character" or element.human,
        "missing": list(missing(element)),
        "pictures": [
            {
                "id": kept.sha256[:16],
                "view": kept.view,
                "confidence": kept.confidence,
                "unsure": kept.unsure,
                "reason": kept.reason,
                "label": Path(kept.origin).name,
                "approved": cutouts.approved(entry.folder / kept.file),
                "shown": element.images.get(kept.view, (Path(),))[0].name == kept.file,
            }
            for kept in entry.pictures
        ],
    }


def _picture(studio: Studio, name: str, look: str, picture: str) -> tuple[Path, Kept]:
    entry = found_look(studio, name, look)
    for kept in entry.pictures:
        if kept.sha256.startswith(picture):
            return entry.folder / kept.file, kept
    raise Missing("there is no picture of this id", remedy="list the cast again")


def _added(
    studio: Studio,
    who: Who,
    name: str,
    look: str,
    sent: Path,
    label: str,
    kind: Kind | None,
    view: View | None,
) -> dict[str, Any]:
    clean = sent.with_name(f"{_stem(label)}.png")
    with studio.heavy:
        cleaned(sent, clean)
        with studio.undo.kept(f"{name}: a picture added", _place(studio, name, look), who.name):
            added = studio.library.add(
                name, [clean], _sorter(), kind=kind, look=look, view=view, origin=clean.name
            )
    known = [kept.sha256[:16] for kept in added.new]
    return {**told(added.entry), "added": known, "known": bool(added.known)}


def _apart(
    studio: Studio, who: Who, name: str, look: str, sent: Path, label: str, kind: Kind | None
) -> dict[str, Any]:
    clean = sent.with_name(f"{_stem(label)}.png")
    sorter, readers = _sorter(), installed_readers()

    def put(paths: list[Path], view: View | None, origin: str) -> Added:
        return studio.library.add(name, paths, sorter, kind=kind, look=look, view=view, origin=origin)

    with studio.heavy:
        cleaned(sent, clean)
        with studio.undo.kept(f"{name}: a sheet taken apart", _place(studio, name, look), who.name):
            found = apart(clean, put, readers, clean.name)
    new = [kept.sha256[:16] for one in found.added for kept in one.new]
    doubts = [studio.folder.told(one.message) for one in found.doubts]
    return {**told(found.added[-1].entry), "added": new, "doubts": doubts, "left": found.left}


def _sorter() -> Sorter:
    return Sorter.installed(cache=cache_folder() / _CUTOUTS)


def _place(studio: Studio, name: str, look: str) -> Path:
    return studio.folder.library / look_folder(name, look)


def _stem(label: str) -> str:
    """A picture's name without its ending, which may tell the view; made of letters that are no path's."""
    return re.sub(r"[^\w -]+", "-", Path(label).stem)[:LABEL_MOST].strip(" -") or "picture"
