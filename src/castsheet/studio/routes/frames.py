"""First frames: pictures that a clip starts with, sent in or taken from a take."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from PIL import Image
from starlette.concurrency import run_in_threadpool

from castsheet.machine.files import sha256, write_atomic
from castsheet.media.pictures import load_image
from castsheet.studio.answers import png
from castsheet.studio.asked import FrameAsked, FrameId, JobId
from castsheet.studio.problems import Missing
from castsheet.studio.state import Here, Studio
from castsheet.studio.uploads import cleaned, save

router = APIRouter(tags=["frames"])


@router.get("/frames")
def list_frames(studio: Here) -> dict[str, Any]:
    """The ids of all first frames, the latest first."""
    found = sorted(studio.folder.frames.glob("*.png"), key=lambda path: -path.stat().st_mtime)
    return {"frames": [path.stem for path in found]}


@router.post("/frames", status_code=201)
async def add(request: Request, studio: Here) -> dict[str, str]:
    """Keep a picture, sent as the body, as a first frame."""
    with tempfile.TemporaryDirectory(prefix="castsheet-upload-") as place:
        sent, clean = Path(place) / "sent", Path(place) / "clean.png"
        await save(request, sent)

        def kept() -> dict[str, str]:
            with studio.heavy:
                cleaned(sent, clean)
            return _keep(studio, load_image(clean).convert("RGB"))

        return await run_in_threadpool(kept)


@router.post("/takes/{take}/frames", status_code=201)
def of_take(take: JobId, asked: FrameAsked, studio: Here) -> dict[str, str]:
    """Keep a frame of a take, by default the last one, as a first frame: the next shot goes on from it."""
    from castsheet.media.video import read_video  # its libraries would slow the start of the web process

    path = studio.folder.take(take) / "take.mp4"
    with studio.heavy:
        frames, _ = read_video(path)
    if asked.frame >= len(frames):
        raise Missing(f"the take has {len(frames)} frames", remedy="give a smaller number")
    return _keep(studio, Image.fromarray(frames[asked.frame]))


@router.get("/frames/{frame}/image", response_class=Response)
def image(frame: FrameId, studio: Here, request: Request) -> Response:
    """The picture."""
    return png(request, load_image(studio.folder.frame(frame)).convert("RGB"))


def _keep(studio: Studio, picture: Image.Image) -> dict[str, str]:
    with tempfile.TemporaryDirectory(prefix="castsheet-frame-") as place:
        ready = Path(place) / "frame.png"
        picture.save(ready, format="PNG")
        name = sha256(ready)[:16]
        content = ready.read_bytes()
    write_atomic(studio.folder.frames / f"{name}.png", lambda path: path.write_bytes(content))
    return {"id": name}
