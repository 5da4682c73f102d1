"""Scenes and the sheets that are composed from them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from castsheet.errors import CastsheetError
from castsheet.media.pictures import load_image
from castsheet.sheet.manifest import Sheet
from castsheet.studio.answers import png
from castsheet.studio.asked import Name, SceneChange, SheetId
from castsheet.studio.composing import composed, mended, scene_told, sheet_told, written
from castsheet.studio.state import Here
from castsheet.studio.versions import Versioned, version

router = APIRouter(tags=["scenes"])


@router.get("/scenes")
def list_scenes(studio: Here) -> dict[str, Any]:
    """Every scene; of a damaged one, what is wrong with it."""
    found: list[dict[str, Any]] = []
    for name in studio.folder.scene_names():
        try:
            found.append(scene_told(name, studio.folder.scene(name)))
        except CastsheetError as error:
            trouble = {"what": studio.folder.told(error.what), "remedy": studio.folder.told(error.remedy)}
            found.append({"id": name, "trouble": trouble})
    return {"scenes": found}


@router.get("/scenes/{name}")
def one(name: Name, studio: Here, response: Response) -> dict[str, Any]:
    """One scene; the ETag names its version."""
    path = studio.folder.scene(name)
    response.headers["etag"] = version(path)
    return scene_told(name, path)


@router.put("/scenes/{name}")
def write(name: Name, asked: SceneChange, studio: Here, change: Versioned) -> dict[str, Any]:
    """Write a scene: the version that If-Match names, or with `If-None-Match: *` a new one."""
    path = studio.folder.new_scene(name)
    with change.of(path, f"scene {name}: a change"):
        written(path, asked)
    return scene_told(name, path)


@router.delete("/scenes/{name}", status_code=204)
def remove(name: Name, studio: Here, change: Versioned) -> Response:
    """Delete a scene's file. Its sheets and takes stay."""
    return change.removes(studio.folder.scene(name), f"scene {name}: removed")


@router.post("/scenes/{name}/sheet")
def compose(name: Name, studio: Here) -> dict[str, Any]:
    """Compose the scene's sheet: its panels, what the checks find, and the score of the layout."""
    scene = scene_told(name, studio.folder.scene(name))
    return sheet_told(studio, composed(studio, name), scene["action"])


@router.get("/sheets/{sheet}")
def sheet(
    sheet: SheetId, studio: Here, action: Annotated[str, Query(max_length=4000)] = ""
) -> dict[str, Any]:
    """A sheet with its findings; with an action the prompt is checked as well."""
    return sheet_told(studio, sheet, action)


@router.post("/sheets/{sheet}/mend")
def mend(sheet: SheetId, studio: Here) -> dict[str, Any]:
    """Mend a sheet as far as its own pixels allow: a new sheet, and what was done."""
    name, done = mended(studio, sheet)
    return {**sheet_told(studio, name), "done": list(done)}


@router.get("/sheets/{sheet}/image", response_class=Response)
def image(sheet: SheetId, studio: Here, request: Request) -> Response:
    """The sheet's picture."""
    return png(request, load_image(studio.folder.sheet(sheet)).convert("RGB"))


@router.get("/sheets/{sheet}/seen", response_class=Response)
def seen(sheet: SheetId, studio: Here, request: Request) -> Response:
    """The sheet as the model sees it, at the model's size."""
    model = studio.known()
    picture = Sheet.load(studio.folder.sheet(sheet)).conditioning_image(model["width"], model["height"])
    return png(request, picture)
