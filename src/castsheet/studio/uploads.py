"""Bodies of requests that are pictures: written to a file as they come, then read in a limited child."""

from __future__ import annotations

from pathlib import Path

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from castsheet.errors import ImageError
from castsheet.studio.reencode import reencode


async def save(request: Request, target: Path) -> None:
    """Write a request's body to a file; the guard has limited its size."""
    with target.open("wb") as file:
        async for part in request.stream():
            await run_in_threadpool(file.write, part)


def cleaned(sent: Path, clean: Path) -> None:
    """Write the picture of a body as PNG: pixels only.

    Raises:
        ImageError: it is empty, no picture, or too large.
    """
    if sent.stat().st_size == 0:
        raise ImageError("the picture is empty", remedy="send a PNG or JPEG picture")
    reencode(sent, clean)
