"""The web application: routes behind the guard, errors as problem+json, and the page's own files."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qs

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from castsheet import __version__
from castsheet.errors import CastsheetError, printable
from castsheet.studio.guard import Guard
from castsheet.studio.problems import MEDIA_TYPE, TITLES, problem, status_of
from castsheet.studio.routes import (
    elements,
    frames,
    jobs,
    pairs,
    people,
    runs,
    scenes,
    shots,
    system,
    takes,
    undo,
)
from castsheet.studio.state import Studio

PAGE = Path(__file__).parent / "page"
API = "/api/v1"
_REFUSALS = (400, 401, 403, 404, 405, 409, 412, 413, 421, 422, 428, 501, 503)
_FORM_MOST = 4096

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def guarded(
    studio: Studio, hosts: frozenset[str], *, page: bool = True, lifespan: Lifespan | None = None
) -> ASGIApp:
    """The application as it is served.

    Args:
        hosts: the allowed values of the header Host.
        page: whether to serve the page beside the API.
    """
    return Guard(application(studio, page=page, lifespan=lifespan), hosts, studio.tokens)


def application(studio: Studio, *, page: bool = True, lifespan: Lifespan | None = None) -> FastAPI:
    """The application without its guard."""
    refusals: dict[int | str, dict[str, Any]] = {
        status: {
            "description": TITLES[status],
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in _REFUSALS
    }
    app = FastAPI(
        title="Castsheet Studio",
        version=__version__,
        openapi_url=f"{API}/openapi.json",
        docs_url=None,
        redoc_url=None,
        responses=refusals,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    app.state.studio = studio
    for part in (system, people, elements, frames, scenes, jobs, takes, shots, runs, pairs, undo):
        app.include_router(part.router, prefix=API)
    _add_errors(app, studio)
    _add_sessions(app, studio, page=page)
    if page:
        app.mount("/page", StaticFiles(directory=PAGE), name="page")
    plain_schema = app.openapi

    def schema() -> dict[str, Any]:
        told = plain_schema()
        told.setdefault("components", {}).setdefault("schemas", {})["Problem"] = _PROBLEM
        return told

    app.openapi = schema  # type: ignore[method-assign]
    return app


def _add_errors(app: FastAPI, studio: Studio) -> None:
    @app.exception_handler(CastsheetError)
    def refused(_request: Request, error: Exception) -> Response:
        assert isinstance(error, CastsheetError)
        what, remedy = studio.folder.told(error.what), studio.folder.told(error.remedy)
        return _answer(status_of(error), what, remedy, rule=type(error).__name__)

    @app.exception_handler(RequestValidationError)
    def unreadable(_request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        what = printable(f"{where}: {first['msg']}")
        return _answer(422, what, "see /api/v1/openapi.json for what is taken", where=printable(where))

    @app.exception_handler(HTTPException)
    def unknown(_request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        answer = _answer(error.status_code, printable(str(error.detail)), "see /api/v1/openapi.json")
        answer.headers.update(error.headers or {})
        return answer


def _add_sessions(app: FastAPI, studio: Studio, *, page: bool) -> None:
    def entered(secret: str) -> Response:
        answer = RedirectResponse("/", status_code=303)
        answer.set_cookie(
            studio.tokens.cookie, secret, max_age=30 * 24 * 3600, httponly=True, samesite="strict", path="/"
        )
        return answer

    @app.get("/", include_in_schema=False)
    def start(request: Request, token: Annotated[str | None, Query(max_length=200)] = None) -> Response:
        if token is not None and (secret := studio.tokens.exchange(token)) is not None:
            return entered(secret)
        known = request.scope.get("state", {}).get("session")
        if not page:
            return JSONResponse({"api": f"{API}/openapi.json", "session": bool(known)})
        return FileResponse(PAGE / ("index.html" if known else "login.html"))

    @app.post("/login", include_in_schema=False)
    async def login(request: Request) -> Response:
        body = (await request.body())[:_FORM_MOST]
        given = parse_qs(body.decode("utf-8", "replace")).get("token", [""])[0]
        secret = studio.tokens.exchange(given.strip())
        if secret is None:
            return _answer(401, "this is not the token", "copy it from .studio/token in the studio's folder")
        return entered(secret)

    @app.delete(f"{API}/session", status_code=204, tags=["system"])
    def leave(request: Request) -> Response:
        """End this browser's session."""
        studio.tokens.end(request.cookies)
        answer = Response(status_code=204)
        answer.delete_cookie(studio.tokens.cookie, path="/")
        return answer


def _answer(status: int, what: str, remedy: str, **more: object) -> JSONResponse:
    return JSONResponse(problem(status, what, remedy, **more), status_code=status, media_type=MEDIA_TYPE)


_PROBLEM = {
    "title": "Problem",
    "type": "object",
    "required": ["type", "title", "status", "detail", "remedy"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "what was wrong, and where"},
        "remedy": {"type": "string", "description": "what to do about it"},
        "rule": {"type": "string"},
        "where": {"type": "string"},
    },
}
