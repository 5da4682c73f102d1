"""A job: a row of the queue, as the web process, the workers and the page see it."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from typing import Any

from castsheet.studio.moves import State


@dataclass(frozen=True)
class Job:
    """A row of the queue.

    Attributes:
        position: jobs that wait run in its order.
        request: what the page asked for, in ids.
    """

    id: str
    kind: str
    state: State
    position: float
    label: str
    request: dict[str, Any]
    attempt: int
    losses: int
    step: int
    steps: int
    message: str
    error: dict[str, Any] | None
    result: dict[str, Any] | None
    previews: int
    created: float
    started: float | None
    ended: float | None
    asked_by: str

    @classmethod
    def of(cls, row: sqlite3.Row) -> Job:
        """A job from its row."""
        plain = {name: row[name] for name in cls.__dataclass_fields__}
        for name in ("request", "error", "result"):
            plain[name] = None if row[name] is None else json.loads(row[name])
        return cls(**plain)


class Lost(Exception):
    """The claim is over: somebody else has the job, or it was set aside."""


def public(job: Job) -> dict[str, Any]:
    """A job as the API and its events tell it."""
    return {name: getattr(job, name) for name in Job.__dataclass_fields__ if name != "attempt"}
