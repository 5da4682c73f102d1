"""The queue: jobs in one table, leases that a lost worker leaves behind, and a fence around every result.

A worker claims a job for a time and renews the claim while it works. The number of the claim (`attempt`)
is its fence: whatever a worker writes is refused once the job was claimed again, cancelled or set aside.
So a worker that slept through its lease publishes nothing over its successor.

A job that loses its worker for the third time is set aside: the job itself may be what kills workers.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import Any

from castsheet.errors import shown
from castsheet.studio.folder import new_id
from castsheet.studio.job import Job, Lost, public
from castsheet.studio.moves import ENDED, LEASED, MOVES, State
from castsheet.studio.problems import Conflict, Missing
from castsheet.studio.store import Store

LOSSES_MAX = 3
LEASE_S = 30.0
KEPT_EVENTS = 5_000
_ONE = "SELECT * FROM jobs WHERE id = ?"


class Queue:
    """Jobs, events and notes of one studio; any thread and any process may use it."""

    def __init__(self, store: Store, now: Callable[[], float] = time.time) -> None:
        self.store, self._now = store, now

    # What the page does.

    def add(
        self,
        kind: str,
        asked: Sequence[tuple[str, dict[str, Any]]],
        *,
        key: str | None = None,
        by: str = "",
    ) -> list[Job]:
        """Put jobs at the end of the queue.

        Args:
            asked: a label and a request each.
            key: names this call: the same call again adds nothing and returns the same jobs.
            by: who asks.

        Raises:
            Conflict: the key was used for something else.
        """
        body = json.dumps([kind, list(asked)], sort_keys=True)
        with self.store.change() as sql:
            if key is not None:
                known = sql.execute("SELECT body, jobs FROM posts WHERE key = ?", (key,)).fetchone()
                if known is not None and known["body"] != body:
                    raise Conflict(
                        f"the idempotency key {shown(key)} was used for another request",
                        remedy="use a new key for a new request",
                    )
                if known is not None:
                    return [Job.of(_row(sql, one)) for one in json.loads(known["jobs"])]
            (last,) = sql.execute("SELECT coalesce(max(position), 0) FROM jobs").fetchone()
            added = []
            for number, (label, request) in enumerate(asked, 1):
                now = self._now()
                name = new_id(int(now * 1000))
                sql.execute(
                    "INSERT INTO jobs (id, kind, state, position, label, request, created, asked_by)"
                    " VALUES (?, ?, 'queued', ?, ?, ?, ?, ?)",
                    (name, kind, last + number, label, json.dumps(request), now, by),
                )
                added.append(_told(sql, name))
            if key is not None:
                names = json.dumps([job.id for job in added])
                sql.execute("INSERT INTO posts (key, body, jobs) VALUES (?, ?, ?)", (key, body, names))
        return added

    def job(self, name: str) -> Job:
        """One job.

        Raises:
            Missing: there is none of this id.
        """
        found = self.store.rows(_ONE, name)
        if not found:
            raise Missing("there is no job of this id", remedy="list the jobs again")
        return Job.of(found[0])

    def jobs(self, states: Sequence[State] = (), *, limit: int = 1000, after: str | None = None) -> list[Job]:
        """Jobs that wait or run in the order of the queue, then those that ended, the latest first.

        Args:
            after: the id of the last job of the page before.
        """
        where = f" WHERE state IN ({','.join('?' * len(states))})" if states else ""
        order = (
            " ORDER BY state IN ('running', 'cancelling') DESC, state = 'queued' DESC,"
            " CASE WHEN state = 'queued' THEN position ELSE -coalesce(ended, started) END, id"
        )
        found = self.store.rows(f"SELECT * FROM jobs{where}{order}", *states)
        names = [row["id"] for row in found]
        start = names.index(after) + 1 if after in names else 0
        return [Job.of(row) for row in found[start : start + limit]]

    def cancel(self, name: str) -> Job:
        """Cancel a job that waits, or ask its worker to stop at the next step.

        Raises:
            Missing, Conflict: there is no such job, or it has ended.
        """
        with self.store.change() as sql:
            row = _row(sql, name)
            to: State = "cancelled" if row["state"] == "queued" else "cancelling"
            _move(sql, row, to, **{"ended" if to == "cancelled" else "asked_off": self._now()})
            return _told(sql, name)

    def cancel_pending(self) -> int:
        """Cancel all jobs that wait; those that run go on."""
        with self.store.change() as sql:
            waiting = sql.execute("SELECT * FROM jobs WHERE state = 'queued'").fetchall()
            for row in waiting:
                _move(sql, row, "cancelled", ended=self._now())
                _told(sql, row["id"])
        return len(waiting)

    def retry(self, name: str) -> Job:
        """Put a job that failed, was cancelled or was set aside at the end of the queue again.

        Raises:
            Missing, Conflict: there is no such job, or it is in another state.
        """
        with self.store.change() as sql:
            (last,) = sql.execute("SELECT coalesce(max(position), 0) FROM jobs").fetchone()
            fresh = {"position": last + 1, "losses": 0, "error": None, "message": "", "step": 0}
            _move(sql, _row(sql, name), "queued", ended=None, started=None, **fresh)
            return _told(sql, name)

    def place(self, name: str, at: int) -> Job:
        """Move a waiting job to a place among those that wait, from 0.

        Raises:
            Missing, Conflict: there is no such job, or it does not wait.
        """
        with self.store.change() as sql:
            row = _row(sql, name)
            if row["state"] != "queued":
                raise Conflict(f"the job is {row['state']}", remedy="only waiting jobs can be moved")
            waiting = sql.execute(
                "SELECT id, position FROM jobs WHERE state = 'queued' ORDER BY position"
            ).fetchall()
            places = [one["position"] for one in waiting]
            names = [one["id"] for one in waiting if one["id"] != name]
            names.insert(max(0, min(at, len(names))), name)
            for one, position in zip(names, places, strict=True):
                sql.execute("UPDATE jobs SET position = ? WHERE id = ?", (position, one))
            _event(sql, "order", "", {"waiting": names, "positions": places})
        return self.job(name)

    def pause(self, paused: bool) -> None:
        """Hold the queue: what runs goes on, nothing new is begun."""
        self.keep("paused", paused)

    @property
    def paused(self) -> bool:
        """Whether the queue is held."""
        return bool(self.store.note("paused"))

    def keep(self, name: str, value: Any) -> None:
        """Keep a value under a name, and tell who listens."""
        with self.store.change() as sql:
            sql.execute(
                "INSERT INTO notes (name, value) VALUES (?, ?)"
                " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                (name, json.dumps(value)),
            )
            _event(sql, "note", name, {"value": value})

    def events(self, since: int, limit: int = 500) -> list[tuple[int, str, str]] | None:
        """Events after a number: number, topic, data as JSON. None when some of them are gone already."""
        rows = self.store.rows("SELECT * FROM events WHERE id > ? ORDER BY id LIMIT ?", since, limit)
        if rows and rows[0]["id"] > since + 1:
            return None
        if not rows and since > self.last_event():
            return None
        return [(row["id"], row["topic"], row["data"]) for row in rows]

    def last_event(self) -> int:
        """The number of the latest event."""
        (row,) = self.store.rows("SELECT coalesce(max(id), 0) AS last FROM events")
        return int(row["last"])

    # What a worker does.

    def claim(self, owner: str) -> Job | None:
        """The next job, if the queue is not held; it is the owner's until the lease ends."""
        now = self._now()
        with self.store.change() as sql:
            if json.loads(_note(sql, "paused")):
                return None
            row = sql.execute(
                "SELECT * FROM jobs WHERE state = 'queued' ORDER BY position LIMIT 1"
            ).fetchone()
            if row is None:
                return None
            _move(
                sql,
                row,
                "running",
                attempt=row["attempt"] + 1,
                owner=owner,
                lease_until=now + LEASE_S,
                started=now,
                step=0,
                message="",
            )
            return _told(sql, row["id"])

    def renew(self, job: Job) -> bool:
        """Keep a claim for another lease; whether the work is to stop.

        Raises:
            Lost: the claim is over.
        """
        with self.store.change() as sql:
            row = _claimed(sql, job)
            sql.execute("UPDATE jobs SET lease_until = ? WHERE id = ?", (self._now() + LEASE_S, job.id))
            return bool(row["state"] == "cancelling")

    def tell(self, job: Job, step: int, steps: int, message: str, *, preview: bool = False) -> bool:
        """Report progress and keep the claim; whether the work is to stop.

        Raises:
            Lost: the claim is over.
        """
        with self.store.change() as sql:
            row = _claimed(sql, job)
            sql.execute(
                "UPDATE jobs SET step = ?, steps = ?, message = ?, previews = previews + ?, lease_until = ?"
                " WHERE id = ?",
                (step, steps, message, int(preview), self._now() + LEASE_S, job.id),
            )
            _told(sql, job.id)
            return bool(row["state"] == "cancelling")

    def publish(self, job: Job, put: Callable[[], dict[str, Any]]) -> Job:
        """End a job well. `put` moves the result into place and tells it, inside the fence.

        Raises:
            Lost: the claim is over; `put` was not called.
        """
        with self.store.change() as sql:
            row = _claimed(sql, job)
            result = put()
            _move(sql, row, "done", result=json.dumps(result), **self._end())
            return _told(sql, job.id)

    def fail(self, job: Job, what: str, remedy: str) -> Job:
        """End a job that cannot be made.

        Raises:
            Lost: the claim is over.
        """
        with self.store.change() as sql:
            row = _claimed(sql, job)
            error = json.dumps({"what": what, "remedy": remedy})
            _move(sql, row, "failed", error=error, **self._end())
            return _told(sql, job.id)

    def stopped(self, job: Job) -> Job:
        """End a job that was cancelled while it ran, or give back one whose worker ends in good order.

        Raises:
            Lost: the claim is over.
        """
        with self.store.change() as sql:
            row = _claimed(sql, job)
            if row["state"] == "cancelling":
                _move(sql, row, "cancelled", **self._end())
            else:
                _move(sql, row, "queued", owner=None, lease_until=None, started=None, step=0)
            return _told(sql, job.id)

    # What the keeper of workers does.

    def lost(self, owner: str | None, why: str) -> list[Job]:
        """A worker has died: its jobs wait again, or are set aside, or count as cancelled.

        Args:
            owner: whose jobs; None for everybody's.
        """
        return self._give_up("owner = ? OR ?", (owner, owner is None), why)

    def deaf(self, patience: float, owner: str) -> bool:
        """Whether a cancel was asked of a worker so many seconds ago, and the worker still goes on."""
        asked = "SELECT id FROM jobs WHERE state = 'cancelling' AND asked_off < ? AND owner = ?"
        return bool(self.store.rows(asked, self._now() - patience, owner))

    def expire(self) -> list[Job]:
        """Give up claims whose lease has ended."""
        return self._give_up("lease_until < ?", (self._now(),), "its worker was not heard of any more")

    def _give_up(self, where: str, values: tuple[Any, ...], why: str) -> list[Job]:
        given = []
        with self.store.change() as sql:
            held = f"SELECT * FROM jobs WHERE state IN {LEASED} AND ({where})"
            for row in sql.execute(held, values).fetchall():
                free = {"owner": None, "lease_until": None}
                losses = row["losses"] + 1
                if row["state"] == "cancelling":
                    _move(sql, row, "cancelled", **self._end())
                elif losses >= LOSSES_MAX:
                    told = {
                        "what": f"{row['label']}: {losses} workers died on this job; the last: {why}",
                        "remedy": "look into .studio/worker.log; ask for a smaller clip, then retry it",
                    }
                    _move(sql, row, "quarantined", losses=losses, error=json.dumps(told), **self._end())
                else:
                    _move(sql, row, "queued", losses=losses, message=f"again, because {why}", step=0, **free)
                given.append(_told(sql, row["id"]))
        return given

    def _end(self) -> dict[str, Any]:
        return {"ended": self._now(), "owner": None, "lease_until": None}


def _row(sql: sqlite3.Connection, name: str) -> sqlite3.Row:
    row: sqlite3.Row | None = sql.execute(_ONE, (name,)).fetchone()
    if row is None:
        raise Missing("there is no job of this id", remedy="list the jobs again")
    return row


def _claimed(sql: sqlite3.Connection, job: Job) -> sqlite3.Row:
    """The row of a job whose claim still holds."""
    row: sqlite3.Row | None = sql.execute(_ONE, (job.id,)).fetchone()
    if row is None or row["attempt"] != job.attempt or row["state"] not in LEASED:
        raise Lost
    return row


def _move(sql: sqlite3.Connection, row: sqlite3.Row, to: State, **fields: Any) -> None:
    """The one place where a state changes."""
    if to not in MOVES[row["state"]]:
        remedy = "it has ended; retry it" if row["state"] in ENDED else "wait for it, or cancel it"
        raise Conflict(f"the job is {row['state']} and cannot become {to}", remedy=remedy)
    names = ["state", *fields]
    sql.execute(
        f"UPDATE jobs SET {', '.join(f'{name} = ?' for name in names)} WHERE id = ?",
        (to, *fields.values(), row["id"]),
    )


def _told(sql: sqlite3.Connection, name: str) -> Job:
    """The job as it is now; an event tells it to who listens."""
    job = Job.of(_row(sql, name))
    _event(sql, "job", name, public(job))
    return job


def _event(sql: sqlite3.Connection, topic: str, subject: str, data: dict[str, Any]) -> None:
    number = sql.execute(
        "INSERT INTO events (topic, subject, data) VALUES (?, ?, ?)", (topic, subject, json.dumps(data))
    ).lastrowid
    if number is not None and number % 500 == 0:
        sql.execute("DELETE FROM events WHERE id <= ?", (number - KEPT_EVENTS,))


def _note(sql: sqlite3.Connection, name: str) -> str:
    row = sql.execute("SELECT value FROM notes WHERE name = ?", (name,)).fetchone()
    return "null" if row is None else str(row["value"])
