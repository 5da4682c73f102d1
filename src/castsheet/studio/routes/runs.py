"""Training: sets made of pairs, runs with their curves and pictures."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Response
from fastapi.responses import FileResponse

from castsheet.errors import CastsheetError
from castsheet.machine.regular import is_file
from castsheet.studio import runs
from castsheet.studio.asked import Name, RunChange, SetAsked
from castsheet.studio.job import public
from castsheet.studio.problems import Missing
from castsheet.studio.state import Asker, Here
from castsheet.studio.versions import Versioned, version

router = APIRouter(tags=["training"])
Step = Annotated[int, Path(ge=0, lt=2**40)]
Number = Annotated[int, Path(ge=0, lt=1000)]


@router.get("/sets")
def list_sets(studio: Here) -> dict[str, Any]:
    """The training sets, with how many samples each has."""
    found = []
    for name in studio.folder.set_names():
        samples = studio.folder.training_set(name) / "samples"
        count = len(list(samples.glob("*.safetensors"))) if samples.is_dir() else None
        found.append({"id": name, "samples": count})
    return {"sets": found}


@router.post("/sets/{name}", status_code=201)
def make_set(name: Name, asked: SetAsked, studio: Here, who: Asker) -> dict[str, Any]:
    """Encode a part of a result of pairs, as `castsheet encode` does, in the queue. Again: it goes on."""
    studio.folder.new_set(name)
    if not is_file(studio.folder.pairs_of(asked.pairs) / f"{asked.part}.csv"):
        raise Missing(f"there is no table {asked.part} in these pairs", remedy="make the pairs again")
    request = {"set": name, "pairs": asked.pairs, "part": asked.part}
    label = f"set {name}: encode {asked.pairs}, {asked.part}"
    return {"jobs": [public(job) for job in studio.queue.add("encode", [(label, request)], by=who.name)]}


@router.get("/runs")
def list_runs(studio: Here) -> dict[str, Any]:
    """Every training run; of a damaged one, what is wrong with it."""
    found: list[dict[str, Any]] = []
    for name in studio.folder.run_names():
        try:
            found.append(runs.told(studio, name))
        except CastsheetError as error:
            found.append({"id": name, "trouble": runs.trouble_of(studio, error)})
    return {"runs": found}


@router.get("/runs/{name}")
def one(name: Name, studio: Here, response: Response) -> dict[str, Any]:
    """One run; the ETag names the version of its file."""
    response.headers["etag"] = version(studio.folder.run(name))
    return runs.told(studio, name)


@router.put("/runs/{name}")
def write(name: Name, asked: RunChange, studio: Here, change: Versioned) -> dict[str, Any]:
    """Write a run's file: the version that If-Match names, or with `If-None-Match: *` a new one."""
    path = studio.folder.new_run(name)
    with change.of(path, f"run {name}: a change"):
        runs.written(studio, path, asked)
    return runs.told(studio, name)


@router.delete("/runs/{name}", status_code=204)
def remove(name: Name, studio: Here, change: Versioned) -> Response:
    """Delete a run's file. What it made stays."""
    return change.removes(studio.folder.run(name), f"run {name}: removed")


@router.post("/runs/{name}/train", status_code=201)
def train(name: Name, studio: Here, who: Asker) -> dict[str, Any]:
    """Train, or go on from the newest checkpoint, in the queue. A cancel writes a checkpoint first."""
    studio.folder.run(name)
    jobs = studio.queue.add("train", [(f"train {name}", {"run": name})], by=who.name)
    return {"jobs": [public(job) for job in jobs]}


@router.get("/runs/{name}/curves")
def curves(name: Name, studio: Here) -> dict[str, Any]:
    """Loss, smoothed loss, held-out loss, learning rate and gradient norm over steps."""
    return runs.curves(studio, name)


@router.get("/runs/{name}/samples/{step}/{number}/image", response_class=FileResponse)
def picture(name: Name, step: Step, number: Number, studio: Here) -> FileResponse:
    """A sample picture: the sheet beside frames of the clip, as the run drew them after a step."""
    path = runs.picture(studio, name, step, number)
    return FileResponse(path, media_type="image/png", headers={"cache-control": "private, no-cache"})


@router.get("/runs/{name}/adapter", response_class=FileResponse)
def adapter(name: Name, studio: Here) -> FileResponse:
    """The finished adapter's file."""
    path = studio.folder.adapter(name)
    return FileResponse(path, media_type="application/octet-stream", filename=f"{name}.safetensors")
