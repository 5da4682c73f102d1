"""Small networks that installed packages carry, run by onnxruntime; no package's own code is imported."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

from castsheet.errors import DependencyError
from castsheet.machine.files import require


def packaged(distribution: str, name: str, install: str) -> Path:
    """The file of an installed distribution whose path ends in `name`.

    Args:
        install: what follows `pip install` to get it.

    Raises:
        DependencyError: the distribution is not installed, or its file is gone.
    """
    try:
        files = metadata.files(distribution) or []
    except metadata.PackageNotFoundError as error:
        raise DependencyError(
            f"this needs the package {distribution!r}, which is not installed",
            remedy=f"pip install {install}",
        ) from error
    for file in files:
        path = Path(str(file.locate()))
        if file.as_posix().endswith(name) and path.is_file():
            return path
    raise DependencyError(
        f"the package {distribution!r} lacks its file {name}",
        remedy=f"pip install --force-reinstall {install}",
    )


def session(model: bytes | Path, extra: str, *, threads: int = 0) -> Any:
    """An `onnxruntime.InferenceSession` on the CPU, without its warnings about exported models.

    Args:
        threads: of one run; 0 is one a core. Callers that work on several pictures at a time want 1.

    Raises:
        DependencyError: onnxruntime is not installed.
    """
    runtime = require("onnxruntime", extra)
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    # Spinning threads would take the cores from the threads that prepare the next picture.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    given = model if isinstance(model, bytes) else str(model)
    return runtime.InferenceSession(given, options, providers=["CPUExecutionProvider"])


def refusals(extra: str) -> tuple[type[Exception], ...]:
    """What the runtime raises at a file that is no network, or does not take what it is given."""
    bound = require("onnxruntime.capi.onnxruntime_pybind11_state", extra)
    names = (
        "Fail",
        "InvalidArgument",
        "InvalidGraph",
        "InvalidProtobuf",
        "NotImplemented",
        "RuntimeException",
    )
    return (RuntimeError, ValueError, *(getattr(bound, name) for name in names))
