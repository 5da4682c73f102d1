"""Files and folders that change together: after a kill at any moment the set is the old one or the new one.

New content is written into a folder aside, `.castsheet-XXXXXXXX`, in the folder that the content is for. Then
a journal is put beside the content. The journal decides: from there on the set is the new one. Then each part
is renamed into place, and the folder aside is removed.

The folder aside holds a lock, which dies with its process. Whoever next writes into the same folder, or reads
a sheet from it, finds the lock free. If there is a journal, the swap is finished; if there is none, the new
content is removed.

    FOLDER/.castsheet-1b6fe0d3/lock        held while its process lives
                               journal     JSON: names to put into place, names to take away
                               new/        what is put into place, under its own names
                               old/        what was taken away
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from castsheet.errors import OutputError
from castsheet.machine.locks import give_back, locked, take
from castsheet.machine.refusals import cannot_write
from castsheet.machine.stopping import deferred

PREFIX = ".castsheet-"
_SWAP = f"{PREFIX}swap.lock"
# What disks say that keep no such promise.
_CANNOT_SYNC = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF)
_JOURNAL, _LOCK, _NEW, _OLD = "journal", "lock", "new", "old"


class Change:
    """What one block of `replacing` puts into a folder and takes away from it."""

    def __init__(self, folder: Path, aside: Path) -> None:
        self._folder, self._aside = folder, aside
        self._put: list[str] = []
        self._drop: list[str] = []

    def new(self, name: str) -> Path:
        """Where to write the new content of FOLDER/`name`, a file or a folder.

        Args:
            name: a relative path with forward slashes.
        """
        path = self._aside / _NEW / name
        path.parent.mkdir(parents=True, exist_ok=True)
        self._put.append(name)
        return path

    def drop(self, name: str) -> None:
        """Take FOLDER/`name`, a file or a folder, away at the end."""
        self._drop.append(name)

    def commit(self) -> None:
        """Put everything into place.

        Raises:
            OSError: the operating system refused; what was there stays.
            OutputError: a folder, a pipe or a device is where a file should go.
        """
        for name in self._put:
            refuse_odd(self._folder / name, folder=(self._aside / _NEW / name).is_dir())
            to_disk(self._aside / _NEW / name)
        if len(self._put) == 1 and not self._drop and not (self._folder / self._put[0]).is_dir():
            # One rename needs no journal.
            _move(self._aside / _NEW / self._put[0], self._folder / self._put[0])
        else:
            with locked(self._folder / _SWAP, str(self._folder), lambda _: None):
                self._exchange()
        for folder in {(self._folder / name).parent for name in self._put}:
            _store(folder)

    def _exchange(self) -> None:
        draft = self._aside / f"{_JOURNAL}.draft"
        draft.write_text(json.dumps({"put": self._put, "drop": self._drop}), encoding="utf-8")
        _store(draft)
        os.replace(draft, self._aside / _JOURNAL)
        try:
            with deferred():
                _swap(self._aside)
        except KeyboardInterrupt:  # where no edge defers it
            if (self._aside / _JOURNAL).exists():
                _swap(self._aside)
            raise


def to_disk(path: Path) -> None:
    """Wait until a file, or a folder with all that is in it, is on the disk: a power cut must not empty it.

    Without this a disk may know of a file's new name before it has the file's content. A server that refuses
    the content (its quota, say) often tells so only here.

    Raises:
        OSError: the disk refused.
    """
    if path.is_dir():
        for below in path.rglob("*"):
            _store(below)
    _store(path)


def _store(path: Path) -> None:
    if os.name == "nt" and path.is_dir():  # Windows opens no folders
        return
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise
    finally:
        os.close(handle)


@contextmanager
def replacing(folder: Path, told: Path | None = None) -> Iterator[Change]:
    """Files and folders below `folder` that are replaced as a set when the block ends, or not at all.

    Args:
        told: what a refusal names as not written; by default the folder.

    Raises:
        OutputError: the operating system refused; what was there stays.
    """
    with _told(told or folder):
        folder.mkdir(parents=True, exist_ok=True)
    with aside(folder) as place, _told(told or folder):
        change = Change(folder, place)
        yield change
        change.commit()


@contextmanager
def aside(folder: Path) -> Iterator[Path]:
    """A new folder inside `folder` for as long as the block lasts; what dead processes left there is settled.

    Raises:
        OutputError: the operating system refused.
    """
    begun: tuple[Path, int] | None = None
    try:
        with _told(folder):
            settle(folder)
            with deferred():
                begun = _begin(folder)
        yield begun[0]
    finally:
        if begun is not None:
            with deferred():
                _end(*begun)


def _end(path: Path, handle: int) -> None:
    if not (path / _JOURNAL).exists():  # else the next process finishes the swap
        _remove(path)
    give_back(path / _LOCK, handle)
    with suppress(OSError):
        path.rmdir()


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for as long as the block lasts, where the system keeps temporary files; see `aside`."""
    with aside(Path(tempfile.gettempdir())) as path:
        folder = path / _NEW
        folder.mkdir()
        yield folder


def settle(folder: Path) -> bool:
    """Finish or undo what processes that are dead left in `folder`; those that live are left alone.

    A swap in progress is waited for: it takes milliseconds. What this user must not change stays.

    Returns:
        Whether there was anything of that kind.
    """
    try:
        found = [folder / name for name in os.listdir(folder) if name.startswith(PREFIX)]  # noqa: PTH208
    except OSError:
        return False
    for path in found:
        if _of_another(path):
            continue
        if path.is_dir():
            _settle(path)
        else:
            _settle_lock(path)
    return bool(found)


def _begin(folder: Path) -> tuple[Path, int]:
    """A new folder aside, and its lock."""
    while True:
        path = folder / f"{PREFIX}{secrets.token_hex(4)}"
        path.mkdir()
        try:
            handle = take(path / _LOCK)
        except FileNotFoundError:  # swept, in the instant before it had a lock
            continue
        except OSError:
            path.rmdir()
            raise
        if handle is not None:
            return path, handle


def refuse_odd(path: Path, *, folder: bool = False) -> None:
    """Refuse to put a file where something else than a file is, or a folder where no folder is.

    Raises:
        OutputError: a folder, a pipe, a socket or a device is there.
        OSError: the operating system does not tell.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    if stat.S_ISDIR(mode) and not folder:
        raise OutputError(f"cannot write {path}: it is a folder", remedy="choose another file name")
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)) or (folder and stat.S_ISREG(mode)):
        kind = "a file" if stat.S_ISREG(mode) else "a pipe or a device"
        raise OutputError(f"cannot write {path}: it is {kind}", remedy="choose another name")


def _of_another(path: Path) -> bool:
    """Whether it belongs to another user, whose journal must not move this user's files."""
    try:
        return hasattr(os, "getuid") and path.stat().st_uid != os.getuid()
    except OSError:
        return True


def _settle_lock(path: Path) -> None:
    """Remove a lock's file that a kill left."""
    with suppress(OSError):
        if (handle := take(path)) is not None:
            give_back(path, handle)


def _settle(path: Path) -> None:
    with suppress(OSError, ValueError):
        handle = take(path / _LOCK, wait=(path / _JOURNAL).exists())
        if handle is None:
            return
        try:
            if (path / _JOURNAL).exists():
                _swap(path)
            _remove(path)
        finally:
            give_back(path / _LOCK, handle)
        path.rmdir()


def _swap(aside: Path) -> None:
    """Do what the journal says; what was done before a kill is not done again."""
    journal = json.loads((aside / _JOURNAL).read_text(encoding="utf-8"))
    folder, old = aside.parent, aside / _OLD
    old.mkdir(exist_ok=True)
    for number, name in enumerate(journal["put"]):
        new, target = aside / _NEW / _inside(name), folder / _inside(name)
        if not new.exists():
            continue
        if target.is_dir():
            os.replace(target, old / f"put-{number}")
        _move(new, target)
    for number, name in enumerate(journal["drop"]):
        gone, target = old / f"drop-{number}", folder / _inside(name)
        if not gone.exists() and target.exists():
            os.replace(target, gone)
    (aside / _JOURNAL).unlink()


def _inside(name: str) -> str:
    if name.startswith("/") or ".." in PurePosixPath(name).parts:
        raise ValueError(f"{name} leads out of the folder")
    return name


def _move(new: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(new, target)


def _remove(aside: Path) -> None:
    """All but the lock, which goes last: until then no other process takes this folder for a dead one's."""
    for path in aside.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != _LOCK:
            path.unlink(missing_ok=True)


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise cannot_write(folder, error) from error
