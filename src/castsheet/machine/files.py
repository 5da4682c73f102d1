"""Files that are whole or absent: atomic writes, hashes, optional imports."""

from __future__ import annotations

import hashlib
import importlib
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from castsheet.errors import DependencyError
from castsheet.machine.causes import broken_package
from castsheet.machine.replace import replacing


def write_atomic(path: Path, write: Callable[[Path], object]) -> Path:
    """Let `write` fill a file of this name in a folder aside, then rename it into place.

    A write that stops half-way (full disk, Ctrl-C, a kill, a crash of the encoder) leaves the old file, or
    none.

    Raises:
        OutputError: the operating system refused (no space, no permission, no such folder), or a folder, a
            pipe or a device has this name.
    """
    path = Path(path)
    with replacing(path.parent, path) as change:
        write(change.new(path.name))
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


def sign(text: str) -> bytes:
    """A text that people may edit, below a comment that tells its hash: unedited, it is known as ours."""
    return f"{_signature(text.encode())}\n{text}".encode()


def signed(path: Path) -> bool:
    """Whether a file was written with `sign` and has not been edited since."""
    try:
        first, _, rest = path.read_bytes().partition(b"\n")
    except OSError:
        return False
    return first == _signature(rest).encode()


def _signature(content: bytes) -> str:
    return f"# castsheet {hashlib.sha256(content).hexdigest()[:16]}"


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file's bytes. The file is read in pieces: a checkpoint has 46 GB."""
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def require(module: str, extra: str) -> ModuleType:
    """Import an optional package.

    Raises:
        DependencyError: the package is not installed, or fails while it is imported; the message says which,
            and names the command that helps.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if not f"{module}.".startswith(f"{error.name}."):
            raise broken_package(module.partition(".")[0], error) from error
        raise DependencyError(
            f"this needs the package {module!r}, which is not installed",
            remedy=f'pip install "castsheet[{extra}]"',
        ) from error
    except Exception as error:
        # A library that is missing, another ABI, no memory: whatever a package's own code raises.
        raise broken_package(module.partition(".")[0], error) from error
