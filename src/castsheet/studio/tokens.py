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

from castsheet.studio.store import Store

SESSION_S = 30 * 24 * 3600.0


class Tokens:
    """Tells who may ask."""

    def __init__(self, store: Store, file: Path, port: int) -> None:
        self._store = store
        self._token = _read_token(file)
        self._launch: str | None = secrets.token_urlsafe(24)
        # Browsers send cookies to every port of a host: the name keeps two studios apart.
        self.cookie = f"castsheet_{port}_{hashlib.sha256(self._token.encode()).hexdigest()[:8]}"

    @property
    def launch(self) -> str | None:
        """The one-time token; None once it was used."""
        return self._launch

    def bearer(self, header: str) -> bool:
        """Whether an Authorization header carries the token."""
        kind, _, given = header.partition(" ")
        return kind.lower() == "bearer" and _same(given, self._token)

    def exchange(self, given: str) -> str | None:
        """A new session's secret for the one-time token, which is then used up, or for the token."""
        if self._launch is not None and _same(given, self._launch):
            self._launch = None
        elif not _same(given, self._token):
            return None
        secret = secrets.token_urlsafe(32)
        with self._store.change() as sql:
            sql.execute("DELETE FROM sessions WHERE created < ?", (time.time() - SESSION_S,))
            sql.execute(
                "INSERT INTO sessions (digest, created) VALUES (?, ?)", (_digest(secret), time.time())
            )
        return secret

    def session(self, cookies: Mapping[str, str]) -> bool:
        """Whether a session's cookie is among the cookies."""
        secret = cookies.get(self.cookie)
        if not secret:
            return False
        found = self._store.rows(
            "SELECT 1 FROM sessions WHERE digest = ? AND created > ?",
            _digest(secret),
            time.time() - SESSION_S,
        )
        return bool(found)

    def end(self, cookies: Mapping[str, str]) -> None:
        """Forget a session."""
        with self._store.change() as sql:
            sql.execute("DELETE FROM sessions WHERE digest = ?", (_digest(cookies.get(self.cookie, "")),))


def _read_token(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        token = secrets.token_urlsafe(32)
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as opened:
            opened.write(f"{token}\n")
        return token


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _same(given: str, known: str) -> bool:
    return hmac.compare_digest(given.encode(), known.encode())
