"""The queue: takes asked for, listed, moved, cancelled and retried; and the stream of events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import FileResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool

from castsheet.elements import Scene
from castsheet.errors import PromptError
from castsheet.jobs.inputs import stated
from castsheet.machine.files import sha256
from castsheet.prompt import parse
from castsheet.studio.asked import JobChange, JobId, TakesAsked
from castsheet.studio.bell import Bell
from castsheet.studio.job import public
from castsheet.studio.moves import State
from castsheet.studio.problems import Missing
from castsheet.studio.queue import Queue
from castsheet.studio.state import Asker, Here, Studio

router = APIRouter(tags=["queue"])
HEARTBEAT_S = 15.0
Key = Annotated[str | None, Header(alias="Idempotency-Key", max_length=200)]


@router.post("/jobs", status_code=201)
def ask(asked: TakesAsked, studio: Here, who: Asker, key: Key = None) -> dict[str, Any]:
    """Ask for takes. What scene and preset say is settled now: a later edit of the scene changes no job."""
    requests = settled(studio, asked)
    return {"jobs": [public(job) for job in studio.queue.add("take", requests, key=key, by=who.name)]}


@router.get("/jobs")
def list_jobs(
    studio: Here,
    state: Annotated[list[State] | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 1000,
    after: JobId | None = None,
) -> dict[str, Any]:
    """Jobs: those that run, that wait, and that ended. A stream goes on from `last_event`."""
    last = studio.queue.last_event()  # before the jobs: a stream from here misses nothing
    jobs = studio.queue.jobs(state or (), limit=limit, after=after)
    return {"jobs": [public(job) for job in jobs], "paused": studio.queue.paused, "last_event": last}


@router.get("/jobs/{job}")
def one(job: JobId, studio: Here) -> dict[str, Any]:
    """One job."""
    return public(studio.queue.job(job))


@router.patch("/jobs/{job}")
def move(job: JobId, change: JobChange, studio: Here) -> dict[str, Any]:
    """Move a waiting job to another place."""
    return public(studio.queue.place(job, change.place))


@router.post("/jobs/{job}/cancel")
def cancel(job: JobId, studio: Here) -> dict[str, Any]:
    """Cancel a job that waits, or stop one that runs at its next step."""
    return public(studio.queue.cancel(job))


@router.post("/jobs/{job}/retry")
def retry(job: JobId, studio: Here) -> dict[str, Any]:
    """Queue a job again that failed, was cancelled or was set aside."""
    return public(studio.queue.retry(job))


@router.get("/jobs/{job}/preview", response_class=FileResponse)
def preview(job: JobId, studio: Here) -> FileResponse:
    """The latest picture of a job that runs."""
    path = studio.folder.preview(studio.queue.job(job).id)
    if not path.is_file():
        raise Missing("there is no picture of this job now", remedy="wait for its next step")
    return FileResponse(path, media_type="image/webp")


@router.post("/queue/pause")
def pause(studio: Here) -> dict[str, bool]:
    """Hold the queue: what runs goes on, nothing new begins."""
    studio.queue.pause(True)
    return {"paused": True}


@router.post("/queue/resume")
def resume(studio: Here) -> dict[str, bool]:
    """Let the queue go on."""
    studio.queue.pause(False)
    return {"paused": False}


@router.post("/queue/cancel-pending")
def cancel_pending(studio: Here) -> dict[str, int]:
    """Cancel all jobs that wait; those that run go on."""
    return {"cancelled": studio.queue.cancel_pending()}


@router.get("/events", response_class=StreamingResponse)
async def events(
    request: Request,
    studio: Here,
    since: Annotated[int, Query(ge=0, le=2**53)] = 0,
    last: Annotated[str | None, Header(alias="Last-Event-ID", max_length=20)] = None,
) -> StreamingResponse:
    """Server-sent events after a number. After a cut the browser goes on where it stopped."""
    start = int(last) if last is not None and last.isascii() and last.isdigit() else since
    return StreamingResponse(
        stream(studio.queue, start, request, studio.bell), media_type="text/event-stream"
    )


async def stream(
    queue: Queue, since: int, request: Request | None = None, bell: Bell | None = None
) -> AsyncIterator[str]:
    """Events as they come. Where some are gone already, `reset` tells the page to read everything anew."""
    bell = Bell(queue) if bell is None else bell
    yield "retry: 1000\n\n"
    while request is None or not await request.is_disconnected():
        found = await run_in_threadpool(queue.events, since)
        if found is None:
            since = await run_in_threadpool(queue.last_event)
            yield f"id: {since}\nevent: reset\ndata: {{}}\n\n"
            continue
        for number, topic, data in found:
            if request is not None and await request.is_disconnected():
                return
            since = number
            yield f"id: {number}\nevent: {topic}\ndata: {data}\n\n"
        if not found and not await bell.after(since, HEARTBEAT_S):
            yield ": here\n\n"


def settled(studio: Studio, asked: TakesAsked) -> list[tuple[str, dict[str, Any]]]:
    """A label and a request for every take, checked as far as that needs no model.

    Raises:
        SettingsError, PromptError, SceneError: something is wrong with what is asked.
        Missing: the sheet or the scene is not there.
    """
    studio.folder.sheet(asked.sheet)
    if asked.first_frame is not None:
        studio.folder.frame(asked.first_frame)
    preset: str | None = None
    seed, settings = 0, dict[str, Any]()
    action = asked.action
    if asked.scene is not None:
        path: Path = studio.folder.scene(asked.scene)
        scene = Scene.load(path)
        preset, seed, settings = stated(path, scene)
        action = action or scene.action
    preset = asked.preset if asked.preset is not None else preset
    seed = asked.seed if asked.seed is not None else seed
    studio.refuse(preset, asked.settings, settings)
    settings = {**settings, **asked.settings}
    if asked.prompt is not None:
        parse(asked.prompt)
    elif not action.strip():
        raise PromptError("nothing says what happens in the clip", remedy="write what happens")
    words = {"action": action} if asked.prompt is None else {"prompt": asked.prompt}
    request = {"sheet": asked.sheet, "scene": asked.scene, "preset": preset, "settings": settings, **words}
    request |= {} if asked.first_frame is None else {"first_frame": asked.first_frame}
    request |= adapter_of(studio, asked.adapter)
    label = (asked.prompt or action).strip().splitlines()[-1][:80]
    return [
        (f"{label} (seed {seed + number})", {**request, "seed": seed + number, "force": asked.force})
        for number in range(asked.takes)
    ]


def adapter_of(studio: Studio, run: str | None) -> dict[str, str]:
    """How a job's request names a run's adapter: with its hash. Training it anew changes no job.

    Raises:
        Missing: there is no such run, or it has not finished.
    """
    return {} if run is None else {"adapter": run, "adapter_sha256": sha256(studio.folder.adapter(run))}
