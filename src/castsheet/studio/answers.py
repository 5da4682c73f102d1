"""Pictures as answers: PNG or JPEG bytes with an ETag of their content."""

from __future__ import annotations

import hashlib
import io

from fastapi import Request, Response
from PIL import Image


def png(request: Request, picture: Image.Image, *, side: int | None = None) -> Response:
    """A picture as PNG, at most `side` px long; 304 where the browser has it."""
    if side is not None and max(picture.size) > side:
        picture = picture.copy()
        picture.thumbnail((side, side))
    held = io.BytesIO()
    picture.save(held, format="PNG", compress_level=2)
    content = held.getvalue()
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {"etag": etag, "cache-control": "private, no-cache"}
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type="image/png", headers=headers)
