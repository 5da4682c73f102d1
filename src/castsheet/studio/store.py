"""The studio's SQLite file: its tables, and short transactions from any thread of a process."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from castsheet.errors import OutputError
from castsheet.machine.json_text import parse_json

VERSION = 2
_BUSY_S = 30.0
_TABLES = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, state TEXT NOT NULL, position REAL NOT NULL, label TEXT NOT NULL,
    request TEXT NOT NULL, attempt INTEGER NOT NULL DEFAULT 0, losses INTEGER NOT NULL DEFAULT 0,
    owner TEXT, lease_until REAL, step INTEGER NOT NULL DEFAULT 0, steps INTEGER NOT NULL DEFAULT 0,
    message TEXT NOT NULL DEFAULT '', error TEXT, result TEXT, previews INTEGER NOT NULL DEFAULT 0,
    created REAL NOT NULL, started REAL, ended REAL, asked_off REAL, asked_by TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX IF NOT EXISTS waiting ON jobs (state, position);
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, subject TEXT NOT NULL, data TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS posts (key TEXT PRIMARY KEY, body TEXT NOT NULL, jobs TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS sessions (
    digest TEXT PRIMARY KEY, created REAL NOT NULL, person TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE TABLE IF NOT EXISTS people (
    name TEXT PRIMARY KEY, role TEXT NOT NULL, digest TEXT NOT NULL UNIQUE, created REAL NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS log (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, person TEXT NOT NULL, method TEXT NOT NULL,
    path TEXT NOT NULL, status INTEGER NOT NULL
) STRICT;
"""
_FROM_1 = (
    "ALTER TABLE jobs ADD COLUMN asked_by TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE sessions ADD COLUMN person TEXT NOT NULL DEFAULT ''",
)


class Store:
    """A connection that writes and one that reads, so that nobody waits for a disk to read.

    Threads take turns on each; processes take turns on the file.
    """

    def __init__(self, path: Path) -> None:
        self._lock, self._reading = threading.RLock(), threading.RLock()
        try:
            self._connection = _connected(path)
            for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
                self._connection.execute(f"PRAGMA {pragma}")
            with self.change() as sql:
                (found,) = sql.execute("PRAGMA user_version").fetchone()
                if found not in (0, 1, VERSION):
                    raise OutputError(
                        f"{path} is of version {found}, this program writes version {VERSION}",
                        remedy="update castsheet, or delete the file: takes and sheets stay, the queue goes",
                    )
                for line in (*(_FROM_1 if found == 1 else ()), *_TABLES.strip().rstrip(";").split(";")):
                    sql.execute(line)
                sql.execute(f"PRAGMA user_version = {VERSION}")
            # A file in memory has one connection.
            self._reader = self._connection if str(path) == ":memory:" else _connected(path)
        except sqlite3.Error as error:
            raise OutputError(
                f"the queue's file {path} cannot be used: {error}",
                remedy="free space, or move the file away: takes and sheets stay, the queue is lost",
            ) from error

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """A transaction that writes: all of it, or nothing."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def rows(self, question: str, *values: Any) -> list[sqlite3.Row]:
        """The answer to a question that changes nothing."""
        with self._reading:
            return self._reader.execute(question, values).fetchall()

    def note(self, name: str) -> Any:
        """A value that was kept under a name; None where there is none."""
        found = self.rows("SELECT value FROM notes WHERE name = ?", name)
        return parse_json(found[0]["value"]) if found else None

    def close(self) -> None:
        """Let the file go."""
        with self._lock, self._reading:
            self._reader.close()
            self._connection.close()


def _connected(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    return connection
