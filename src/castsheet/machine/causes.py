"""Errors of Python, its libraries and the system that are no fault of this program, as `CastsheetError`s."""

from __future__ import annotations

import errno
import re
import sys
from collections.abc import Iterator
from types import TracebackType

from castsheet.errors import (
    CastsheetError,
    DependencyError,
    FileError,
    ImageError,
    MemoryLimitError,
    NestingError,
    OutputError,
)
from castsheet.machine.refusals import cannot_write
from castsheet.machine.regular import why_unread

_LESS = "ask for less at once: a smaller size, fewer frames, a smaller batch; or close other programs"
# What allocators say that raise a RuntimeError: torch's on the host and on cards, cuBLAS, cuDNN, NCCL, C++.
_NO_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "unable to allocate",
    "failed to allocate",
    "std::bad_alloc",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "cudaErrorMemoryAllocation",
)
_CARD = re.compile(r"\b(cuda|cublas|cudnn|hip|mps|nccl)", re.IGNORECASE)
_TO_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)
_MACHINE = (errno.EIO, errno.EMFILE, errno.ENFILE, errno.ESTALE, errno.ETIMEDOUT, errno.ENAMETOOLONG)


def known_cause(error: BaseException) -> CastsheetError | None:
    """The error that tells a user what happened; None if it can only be a fault of this program."""
    for one in _chain(error):
        if isinstance(one, CastsheetError):
            return _disguised(one) or one
        for ask in (memory_error, _nesting, failed_import, _system):
            if (told := ask(one)) is not None:
                return told
    return None


def _disguised(error: CastsheetError) -> CastsheetError | None:
    """What really happened where a reader took a machine without memory or files for a damaged file."""
    if isinstance(error, MemoryLimitError | ImageError):  # these tell sizes, which helps more
        return None
    for one in list(_chain(error))[1:]:
        if (told := memory_error(one)) is not None:
            return told
        if isinstance(one, OSError) and one.errno in (errno.EMFILE, errno.ENFILE):
            return _system(one)
    return None


def memory_error(error: BaseException, remedy: str = _LESS) -> MemoryLimitError | None:
    """The error for memory that ran out, of the host or of a card; None if that is not what happened."""
    said = str(error)
    low = said.lower()
    if not isinstance(error, MemoryError):
        is_system = isinstance(error, OSError)
        if is_system and getattr(error, "errno", None) != errno.ENOMEM:
            return None
        # torch.OutOfMemoryError is a RuntimeError, and says so in these words.
        if not is_system and not (
            isinstance(error, RuntimeError) and any(word.lower() in low for word in _NO_MEMORY)
        ):
            return None
    on_card = _CARD.search(said) is not None and "defaultcpuallocator" not in low
    where = "the GPU's memory ran out" if on_card else "the machine's memory ran out"
    first = said.splitlines()[0] if said else ""
    return MemoryLimitError(f"{where}: {first[:200]}" if first else where, remedy=remedy)


def failed_import(error: BaseException) -> DependencyError | None:
    """The error for a package that is missing, or is there and fails while it is imported."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        package = error.name.partition(".")[0]
        if package == "castsheet":
            return None
        if package == error.name or package not in sys.modules:
            return DependencyError(
                f"the package {package!r} is not installed",
                remedy=f"pip install {_distribution(package)}",
            )
    failing = _imported(error.__traceback__)
    if failing is None and isinstance(error, ImportError) and error.name:
        failing = error.name.partition(".")[0]
    return None if failing in (None, "castsheet") else broken_package(str(failing), error)


def broken_package(package: str, error: BaseException) -> DependencyError:
    """The error for a package that is there, and fails while it is imported."""
    memory = memory_error(error)
    cause = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}" if memory is None else memory.what
    lacks = error.name if isinstance(error, ModuleNotFoundError) and error.name else ""
    if memory is not None:
        remedy = memory.remedy
    elif lacks and lacks.partition(".")[0] != package:
        remedy = f"pip install {_distribution(lacks.partition('.')[0])}"
    else:
        remedy = f"pip install --force-reinstall {_distribution(package)}"
    return DependencyError(
        f"the package {package!r} is installed, and fails while it is imported: {cause}",
        remedy=f'{remedy}; then python -c "import {package}" shows whether it works',
    )


def _nesting(error: BaseException) -> NestingError | None:
    if not isinstance(error, RecursionError):
        return None
    return NestingError(
        "something in the input is nested too deeply",
        remedy="look for values within values within values; if there are none, run again with --debug "
        "and report what it shows",
    )


def _system(error: BaseException) -> CastsheetError | None:
    """What the operating system refused; None for what it says of this program's own mistakes."""
    if not isinstance(error, OSError) or error.errno is None:
        return None if "can't start new thread" not in str(error) else _no_thread()
    path = error.filename2 or error.filename
    name = path if isinstance(path, str) else path.decode(errors="replace") if path else ""
    if error.errno in _TO_WRITE:
        return cannot_write(name or "a file", error)
    if not name and error.errno not in _MACHINE:
        return None
    if not name:
        what, remedy = why_unread(error)
        return FileError(f"the system refused to open a file: {what}", remedy=remedy)
    what, remedy = why_unread(error)
    return FileError(f"{name} cannot be used: {what}", remedy=remedy)


def _no_thread() -> OutputError:
    return OutputError(
        "the system lets this user start no further thread or process",
        remedy="raise the limit (ulimit -u), or close other programs",
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and the errors that it was raised from."""
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__


def _imported(trace: TracebackType | None) -> str | None:
    """The package of others whose import was under way when an error was raised."""
    while trace is not None:
        frame = trace.tb_frame
        if frame.f_code.co_name == "<module>":
            package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
            if package not in ("castsheet", "__main__", ""):
                return package
        trace = trace.tb_next
    return None


def _distribution(package: str) -> str:
    """What to install for a package, as pip names it."""
    from importlib.metadata import packages_distributions

    try:
        return next(iter(packages_distributions().get(package, ())), package.replace("_", "-"))
    except Exception:  # noqa: BLE001  (any installed package's damaged metadata; the name will do)
        return package.replace("_", "-")
