"""Who may do what in a small team: named tokens, roles, and a record of every change.

Whoever has the studio's own token is the owner. `castsheet studio FOLDER --add-token anna --role maker`
makes a token for somebody else; the queue's file keeps its hash only. There are no passwords and no
addresses: for more, put a proxy in front.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from dataclasses import dataclass
from typing import Any, Literal, get_args

from castsheet.errors import SettingsError, shown
from castsheet.studio.problems import Conflict, Missing
from castsheet.studio.store import Store

Role = Literal["viewer", "maker", "owner"]
ROLES: tuple[Role, ...] = get_args(Role)
PERSON = r"[a-z][a-z0-9-]{0,31}"
KEPT = 10_000

SAFE = frozenset(("GET", "HEAD"))
LEAVE = ("DELETE", "/api/v1/session")
OWNERS = ("/api/v1/people", "/api/v1/log")
"""What only owners may see or change: these addresses and all below them."""


@dataclass(frozen=True)
class Who:
    """Who asks."""

    name: str
    role: Role

    def may(self, method: str, path: str) -> bool:
        """Whether the role allows a request."""
        if self.role != "owner" and any(path == one or path.startswith(f"{one}/") for one in OWNERS):
            return False
        return self.role != "viewer" or method in SAFE or (method, path) == LEAVE


OWNER = Who("owner", "owner")


class People:
    """The named tokens of one studio, and the record of changes."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, name: str, role: str) -> str:
        """A new person's token. It is told this once.

        Raises:
            SettingsError: not a usable name or role.
            Conflict: there is somebody of this name.
        """
        if not re.fullmatch(PERSON, name) or name == OWNER.name:
            raise SettingsError(
                f"{shown(name)} cannot name a person",
                remedy="use a small letter, then letters, digits and -",
            )
        if role not in ROLES:
            raise SettingsError(f"there is no role {shown(role)}", remedy=f"use one of {', '.join(ROLES)}")
        token = secrets.token_urlsafe(32)
        with self._store.change() as sql:
            if sql.execute("SELECT 1 FROM people WHERE name = ?", (name,)).fetchone():
                raise Conflict(f"there is a token of {name} already", remedy="remove it first")
            sql.execute(
                "INSERT INTO people (name, role, digest, created) VALUES (?, ?, ?, ?)",
                (name, role, digest(token), time.time()),
            )
        return token

    def remove(self, name: str) -> None:
        """Take a person's token and sessions away.

        Raises:
            Missing: there is nobody of this name.
        """
        with self._store.change() as sql:
            if sql.execute("DELETE FROM people WHERE name = ?", (name,)).rowcount == 0:
                raise Missing("there is nobody of this name", remedy="list the people again")
            sql.execute("DELETE FROM sessions WHERE person = ?", (name,))

    def listed(self) -> list[dict[str, Any]]:
        """Everybody but the owner: name, role and when the token was made."""
        rows = self._store.rows("SELECT name, role, created FROM people ORDER BY name")
        return [dict(row) for row in rows]

    def of_token(self, token: str) -> Who | None:
        """Whose token it is."""
        return self._found("digest", digest(token))

    def of_name(self, name: str) -> Who | None:
        """The person of a session; an empty name is the owner."""
        return OWNER if not name else self._found("name", name)

    def _found(self, column: Literal["digest", "name"], value: str) -> Who | None:
        found = self._store.rows(f"SELECT name, role FROM people WHERE {column} = ?", value)
        return Who(found[0]["name"], found[0]["role"]) if found else None

    def note(self, who: Who, method: str, path: str, status: int) -> None:
        """Record that somebody changed something, or was refused to."""
        with self._store.change() as sql:
            number = sql.execute(
                "INSERT INTO log (at, person, method, path, status) VALUES (?, ?, ?, ?, ?)",
                (time.time(), who.name, method, path[:300], status),
            ).lastrowid
            if number is not None and number % 500 == 0:
                sql.execute("DELETE FROM log WHERE id <= ?", (number - KEPT,))

    def log(self, limit: int) -> list[dict[str, Any]]:
        """The latest changes, the last one first."""
        return [dict(row) for row in self._store.rows("SELECT * FROM log ORDER BY id DESC LIMIT ?", limit)]


def digest(secret: str) -> str:
    """What the queue's file keeps of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()
