"""Files that are whole or absent: atomic writes, hashes, optional imports."""

from __future__ import annotations

import hashlib
import importlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from castsheet.errors import DependencyError, OutputError


def write_atomic(path: Path, write: Callable[[Path], object]) -> Path:
    """Let `write` fill a temporary file beside `path`, then rename it into place.

    A write that stops half-way (full disk, Ctrl-C, a crash of the encoder) leaves the old file, or none.

    Raises:
        OutputError: the operating system refused (no space, no permission, no such folder).
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The suffix is kept because encoders choose their container by it.
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        write(temporary)
        # mkstemp makes private files; a result gets the permissions of any other new file.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        os.replace(temporary, path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(
            f"cannot write {path}: {reason}",
            remedy="free disk space or choose another folder, then run again",
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
    return path


def write_text(path: Path, text: str) -> Path:
    """Write a text file whole or not at all: UTF-8, line ends as they are in `text`.

    Raises:
        OutputError: the operating system refused.
    """
    return write_atomic(path, lambda temporary: temporary.write_bytes(text.encode()))


def cache_folder() -> Path:
    """Where results are kept between runs: CASTSHEET_CACHE, else `castsheet` in the user's cache folder."""
    if named := os.environ.get("CASTSHEET_CACHE"):
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return (Path(base) if base else Path.home() / ".cache") / "castsheet"


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file's bytes. The file is read in pieces: a checkpoint has 46 GB."""
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def require(module: str, extra: str) -> ModuleType:
    """Import an optional package.

    Raises:
        DependencyError: the package is not installed; the message names the install command.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise DependencyError(
            f"this needs the package {module!r}, which is not installed",
            remedy=f'pip install "castsheet[{extra}]"',
        ) from error
