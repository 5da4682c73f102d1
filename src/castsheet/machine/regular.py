"""Files that are opened for reading: regular ones only, of a bounded size; or the reason why not.

A pipe or a terminal waits for a writer that may never come, and `/dev/zero` has no end: a file is looked at
before it is opened, and once more when it is open.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from castsheet.errors import CastsheetError, FileError

Refusal = type[CastsheetError]

MIB = 1 << 20

_REASONS: dict[int, tuple[str, str]] = {
    errno.ENOENT: ("it does not exist", "check the path; a relative one starts at the current folder"),
    errno.ENOTDIR: ("a part of its path is a file, not a folder", "check the path"),
    errno.EACCES: ("you may not read it", "give yourself the right to read it and its folder (chmod u+rX)"),
    errno.EPERM: ("you may not read it", "give yourself the right to read it and its folder (chmod u+rX)"),
    errno.EISDIR: ("it is a folder", "give the path of a file"),
    errno.ENAMETOOLONG: ("its name is too long", "use a name of fewer than 255 bytes"),
    errno.ELOOP: ("its links lead in a circle", "give the path of the file itself"),
    errno.EMFILE: ("too many files are open", "raise the limit (ulimit -n 1024), then run again"),
    errno.ENFILE: ("too many files are open", "close other programs, then run again"),
    errno.EIO: ("the disk cannot read it", "check the disk; copy the file from its source again"),
    errno.ENOMEM: ("there is too little memory", "close other programs, then run again"),
    errno.ESTALE: ("it was changed on the server", "run again"),
    errno.ETIMEDOUT: ("the server that holds it does not answer", "check the network drive, then run again"),
}
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP)
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


def why_unread(error: OSError | ValueError) -> tuple[str, str]:
    """Why a file could not be read, and what to do about it."""
    if not isinstance(error, OSError):  # an embedded NUL, or letters that no file system can hold
        return "its name holds characters that no file's name can have", "correct the path"
    known = _REASONS.get(error.errno or 0)
    return known or (error.strerror or str(error), "check the file and the disk that it is on")


def file_mode(path: Path | str) -> int:
    """The file's type and permission bits, 0 when there is none or its name is impossible.

    Raises:
        FileError: it may not be looked at, or the disk does not answer.
    """
    try:
        return Path(path).stat().st_mode
    except ValueError:
        return 0
    except OSError as error:
        if error.errno in _ABSENT:
            return 0
        raise _unread(path, FileError, error) from error


def is_file(path: Path | str) -> bool:
    """Whether a regular file is there; `FileError` as `file_mode`."""
    return stat.S_ISREG(file_mode(path))


def is_folder(path: Path | str) -> bool:
    """Whether a folder is there; `FileError` as `file_mode`."""
    return stat.S_ISDIR(file_mode(path))


def require_regular(path: Path | str, refuse: Refusal) -> os.stat_result:
    """What the system says of a file that a library will open by its name.

    Raises:
        CastsheetError, as `refuse`: there is none, it may not be looked at, or it is no regular file.
    """
    try:
        status = Path(path).stat()
    except (OSError, ValueError) as error:
        raise _unread(path, refuse, error) from error
    _require_file(path, status.st_mode, refuse)
    return status


def open_regular(path: Path | str, refuse: Refusal) -> BinaryIO:
    """A regular file, open for reading; never waits for a pipe's other end.

    Raises:
        CastsheetError, as `refuse`: see `require_regular`.
    """
    require_regular(path, refuse)
    try:
        # The file may have become a pipe since: such an open returns at once, and the second look refuses it.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError) as error:
        raise _unread(path, refuse, error) from error
    handle = os.fdopen(descriptor, "rb")
    try:
        _require_file(path, os.fstat(descriptor).st_mode, refuse)
    except BaseException:
        handle.close()
        raise
    return handle


def read_regular(path: Path | str, refuse: Refusal, *, limit: int) -> bytes:
    """A regular file's bytes, if it has at most `limit` of them.

    Raises:
        CastsheetError, as `refuse`: see `require_regular`; or it is larger.
    """
    with open_regular(path, refuse) as handle:
        try:
            content = handle.read(limit + 1)
        except OSError as error:
            raise _unread(path, refuse, error) from error
    if len(content) > limit:
        size = f"{limit // MIB} MiB" if limit >= MIB else f"{limit} bytes"
        raise refuse(f"{path} is larger than {size}", remedy="check that it is the file that you meant")
    return content


def _require_file(path: Path | str, mode: int, refuse: Refusal) -> None:
    if not stat.S_ISREG(mode):
        kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "no regular file")
        raise refuse(f"{path} is {kind}, not a file", remedy="give the path of a file on a disk")


def _unread(path: Path | str, refuse: Refusal, error: OSError | ValueError) -> CastsheetError:
    what, remedy = why_unread(error)
    return refuse(f"{path} cannot be read: {what}", remedy=remedy)
