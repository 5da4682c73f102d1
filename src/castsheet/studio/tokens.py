"""The token, the one-time token of the first page, and sessions.

The token lies in FOLDER/.studio/token, readable by its owner only, and goes into the header
`Authorization: Bearer`. The one-time token is in the address that the terminal shows; the first request
with it gets a session's cookie. Of sessions and tokens the queue's file has hashes only.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Mapping
from pathlib import Path

from castsheet.studio.people import OWNER, People, Who, digest
from castsheet.studio.store import Store

SESSION_S = 30 * 24 * 3600.0


class Tokens:
    """Tells who may ask."""

    def __init__(self, store: Store, file: Path, port: int) -> None:
        self._store, self.people = store, People(store)
        self._token = _read_token(file)
        self._launch: str | None = secrets.token_urlsafe(24)
        # Browsers send cookies to every port of a host: the name keeps two studios apart.
        self.cookie = f"castsheet_{port}_{hashlib.sha256(self._token.encode()).hexdigest()[:8]}"

    @property
    def launch(self) -> str | None:
        """The one-time token; None once it was used."""
        return self._launch

    def bearer(self, header: str) -> Who | None:
        """Whose token an Authorization header carries."""
        kind, _, given = header.partition(" ")
        return self._whose(given) if kind.lower() == "bearer" else None

    def _whose(self, given: str) -> Who | None:
        return OWNER if _same(given, self._token) else self.people.of_token(given)

    def exchange(self, given: str) -> str | None:
        """A new session's secret for the one-time token, which is then used up, or for somebody's token."""
        who: Who | None = OWNER
        if self._launch is not None and _same(given, self._launch):
            self._launch = None
        else:
            who = self._whose(given)
        if who is None:
            return None
        secret = secrets.token_urlsafe(32)
        with self._store.change() as sql:
            sql.execute("DELETE FROM sessions WHERE created < ?", (time.time() - SESSION_S,))
            sql.execute(
                "INSERT INTO sessions (digest, created, person) VALUES (?, ?, ?)",
                (digest(secret), time.time(), "" if who == OWNER else who.name),
            )
        return secret

    def session(self, cookies: Mapping[str, str]) -> Who | None:
        """Whose session's cookie is among the cookies."""
        secret = cookies.get(self.cookie)
        if not secret:
            return None
        found = self._store.rows(
            "SELECT person FROM sessions WHERE digest = ? AND created > ?",
            digest(secret),
            time.time() - SESSION_S,
        )
        return self.people.of_name(found[0]["person"]) if found else None

    def end(self, cookies: Mapping[str, str]) -> None:
        """Forget a session."""
        with self._store.change() as sql:
            sql.execute("DELETE FROM sessions WHERE digest = ?", (digest(cookies.get(self.cookie, "")),))


def _read_token(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        token = secrets.token_urlsafe(32)
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as opened:
            opened.write(f"{token}\n")
        return token


def _same(given: str, known: str) -> bool:
    return hmac.compare_digest(given.encode(), known.encode())
