"""The states of a job, and every move between them that is legal."""

from __future__ import annotations

from typing import Literal, get_args

State = Literal["queued", "running", "cancelling", "done", "failed", "cancelled", "quarantined"]
STATES: tuple[State, ...] = get_args(State)

MOVES: dict[State, frozenset[State]] = {
    "queued": frozenset(("running", "cancelled")),
    # A worker that ends in good order gives its job back, and so does one that is lost; the third loss
    # sets it aside.
    "running": frozenset(("done", "failed", "cancelling", "queued", "quarantined")),
    # The work may end before the cancel reaches it.
    "cancelling": frozenset(("cancelled", "done", "failed")),
    "failed": frozenset(("queued",)),
    "cancelled": frozenset(("queued",)),
    "quarantined": frozenset(("queued",)),
    "done": frozenset(),
}
LEASED: tuple[State, ...] = ("running", "cancelling")
ENDED: tuple[State, ...] = ("done", "failed", "cancelled", "quarantined")
