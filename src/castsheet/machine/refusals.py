"""What the operating system refuses, in words, each cause with its own remedy."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from castsheet.errors import OutputError

_REMEDIES = {
    errno.ENOSPC: "free space on this disk, or choose a folder on another one, then run again",
    errno.EDQUOT: "free space in your quota, or choose a folder on another disk, then run again",
    errno.EFBIG: "raise the limit of file sizes (ulimit -f), then run again",
    errno.EACCES: "choose a folder that you may write into, or change its permissions",
    errno.EPERM: "choose a folder that you may write into, or change its permissions",
    errno.EROFS: "choose a folder on a disk that can be written to",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EISDIR: "choose another name: a folder is there",
    errno.ENOTDIR: "choose another folder: a part of this path is a file",
    errno.EEXIST: "choose another folder: a part of this path is a file",
    errno.ELOOP: "choose another folder: symbolic links lead in a circle here",
    errno.EMFILE: "raise the limit of open files (ulimit -n), then run again",
    errno.ENFILE: "close other programs: the machine's open files have run out",
    errno.EILSEQ: "choose a name that this disk can store",
    errno.ENOENT: "see that nobody removes the folder meanwhile, then run again",
    errno.ESTALE: "see that the network disk is mounted, then run again",
    errno.EIO: "check the disk: it failed to write",
}


def cannot_write(path: Path | str, error: OSError) -> OutputError:
    """The error for a path that could not be written, with what helps against its cause."""
    # Libraries that write by themselves tell the cause in words alone.
    told = error.errno or next((code for code in _REMEDIES if os.strerror(code) in str(error)), 0)
    remedy = _REMEDIES.get(told, "mend this, or choose another folder, then run again")
    return OutputError(f"cannot write {path}: {error.strerror or error}", remedy=remedy)
