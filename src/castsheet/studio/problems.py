"""Errors of the API: what was wrong and what to do, as problem+json (RFC 9457) with the field `remedy`."""

from __future__ import annotations

from castsheet.errors import (
    CastsheetError,
    DependencyError,
    FileError,
    LintRefused,
    OutputError,
    SceneError,
)

MEDIA_TYPE = "application/problem+json"


class Missing(CastsheetError):
    """What an id names is not there."""


class Conflict(CastsheetError):
    """The state does not allow it: another name, another move."""


class Stale(CastsheetError):
    """Somebody else changed it since it was read."""


class Unstated(CastsheetError):
    """The request does not say which version it changes."""


class TooLarge(CastsheetError):
    """More bytes than are taken."""


class NotYet(CastsheetError):
    """The model's process has not said yet what the answer depends on."""


_STATUS: tuple[tuple[type[CastsheetError], int], ...] = (
    (Missing, 404),
    (Conflict, 409),
    (Stale, 412),
    (TooLarge, 413),
    (Unstated, 428),
    (NotYet, 503),
    (DependencyError, 501),
    (OutputError, 409),
    (LintRefused, 422),
    (SceneError, 422),
    (FileError, 409),
)
TITLES = {
    400: "the request is not usable",
    401: "no token",
    403: "refused",
    404: "not there",
    405: "not a method of this address",
    409: "in conflict with what is there",
    412: "changed since",
    413: "too large",
    415: "another kind of content",
    421: "another host",
    422: "not usable",
    428: "version not stated",
    500: "a fault of ours",
    501: "not installed",
    503: "not yet",
}


def status_of(error: CastsheetError) -> int:
    """The HTTP status of an error; 422 for whatever the user can mend in the request."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 422)


def problem(status: int, detail: str, remedy: str, **more: object) -> dict[str, object]:
    """The body of an answer that refuses."""
    told = {"type": "about:blank", "title": TITLES.get(status, "refused"), "status": status}
    return {**told, "detail": detail, "remedy": remedy, **more}
