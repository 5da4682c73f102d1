"""Locks that die with whoever holds them: one file, locked by the operating system as long as it is open.

The lock is `flock` on a file that is removed when the lock is given back. The system lets a lock go when its
process ends, however it ends. A process that was forked inside keeps the lock until it ends as well.

- Local disks: a lock holds between all processes of the machine.
- NFS: Linux turns `flock` into a lock of the server, so a lock holds between machines. This needs NFS 4, or
  NFS 3 with its lock service. When a machine is lost, the server frees its locks after the lease, as a rule
  after 90 seconds.
- Disks that cannot lock (NFS mounted with the option nolock, some FUSE systems), and Windows: nothing is
  locked. Every single file is still replaced whole.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from castsheet.errors import OutputError
from castsheet.machine.refusals import cannot_write
from castsheet.machine.stopping import deferred

Say = Callable[[str], None]

_CANNOT_LOCK = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextmanager
def locked(path: Path, what: str, say: Say | None) -> Iterator[None]:
    """Hold the lock of a resource for as long as the block lasts.

    Args:
        path: the lock's file, beside the resource; its folder is made when it is not there.
        what: names the resource for people: "the folder shots".
        say: told, once, that another process is waited for. None refuses in place of waiting.

    Raises:
        OutputError: the folder cannot be written, or, where nothing waits, the lock is taken.
    """
    handle: int | None = None
    try:
        try:
            with deferred():
                path.parent.mkdir(parents=True, exist_ok=True)
                handle = take(path)
            if handle is None and say is None:
                raise OutputError(
                    f"{what} is in use by {_holder(path)}",
                    remedy="wait until it ends, or stop it; nothing was changed",
                )
            if handle is None and say is not None:
                say(f"waiting: {what} is in use by {_holder(path)}; Ctrl-C stops waiting")
                handle = take(path, wait=True)
        except OSError as error:
            raise cannot_write(path.parent, error) from error
        yield
    finally:
        if handle is not None:
            with deferred():
                give_back(path, handle)


def take(path: Path, *, wait: bool = False) -> int | None:
    """Lock the file at `path`, which is made when it is not there.

    Returns:
        What `give_back` needs; None when another process holds the lock and `wait` is off.

    Raises:
        OSError: the file cannot be opened for writing.
    """
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if not _flock(handle, wait):
                os.close(handle)
                return None
            # Its holder removes the file before it lets go: whoever waited holds a file that is gone.
            if _is_at(handle, path):
                with suppress(OSError):  # a full disk: the lock holds, and its holder stays unnamed
                    os.ftruncate(handle, 0)
                    os.write(handle, f"process {os.getpid()} on {socket.gethostname()}".encode())
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def give_back(path: Path, handle: int) -> None:
    """Let a lock go."""
    with suppress(OSError):
        path.unlink()
    os.close(handle)


def _flock(handle: int, wait: bool) -> bool:
    if sys.platform == "win32":
        return True
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _CANNOT_LOCK:
            raise
    return True


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _holder(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")[:200] or "another process"
    except OSError:
        return "another process"
