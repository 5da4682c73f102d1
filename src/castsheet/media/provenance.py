"""What made a clip: versions, machine, model files, inputs, as values that JSON can hold.

Versions are read from the installed packages' metadata: importing torch, diffusers and transformers to ask
them would cost seconds a sidecar.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
import math
import platform
import struct
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from castsheet import __version__
from castsheet.machine.files import sha256

PACKAGES = ("torch", "diffusers", "transformers", "safetensors", "av", "numpy", "pillow")

# Hashing a 46 GB checkpoint takes longer than making a clip with mini. A file's size and its safetensors
# header (the config, and every tensor's name, shape and offset) already tell releases apart.
WHOLE_FILE_LIMIT = 1 << 28
_HEADER_LIMIT = 1 << 27
_DEEPEST = 100


@cache
def versions() -> Mapping[str, str]:
    """Versions of castsheet, Python and the packages that numbers depend on, without those not installed."""
    found = {"castsheet": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return MappingProxyType(found)


def machine() -> dict[str, str]:
    """Operating system and processor architecture; no host name, no user name."""
    return {"system": platform.system(), "release": platform.release(), "machine": platform.machine()}


def file_record(path: Path) -> dict[str, Any]:
    """Name, size and fingerprint of an input file.

    Files up to 256 MiB get `sha256`; larger safetensors files get `header_sha256` (see `WHOLE_FILE_LIMIT`).

    Raises:
        OSError: the file cannot be read.
    """
    path = Path(path)
    size = path.stat().st_size
    record: dict[str, Any] = {"name": path.name, "bytes": size}
    if size <= WHOLE_FILE_LIMIT:
        record["sha256"] = sha256(path)
    else:
        record["header_sha256"] = _header_sha256(path)
    return record


def pixels_sha256(pixels: np.ndarray) -> str:
    """Hash of the pixel values and their shape, independent of any file format."""
    digest = hashlib.sha256(repr((pixels.shape, pixels.dtype.str)).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def now() -> str:
    """The present moment, UTC, ISO 8601 to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def plain(value: Any, depth: int = 0) -> Any:
    """The nearest value that strict JSON can hold; a sidecar must never fail after an hour of sampling.

    Dataclasses and mappings become objects, sequences and sets lists, NaN and infinity null, the rest text.
    What is no text in UTF-8 is written out, and what lies deeper than 100 values, or holds itself, is left
    out.
    """
    if depth > _DEEPEST:
        return None
    if isinstance(value, str) and not isinstance(value, enum.Enum):
        return value.encode(errors="backslashreplace").decode()
    if value is None or (isinstance(value, bool | int) and not isinstance(value, enum.Enum)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, np.generic):
        return plain(value.item(), depth + 1)
    if isinstance(value, np.ndarray):
        return plain(value.tolist(), depth + 1)
    if isinstance(value, enum.Enum):
        return plain(value.value, depth + 1)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: plain(getattr(value, field.name), depth + 1) for field in dataclasses.fields(value)
        }
    if isinstance(value, Mapping):
        return {plain(str(key)): plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted((plain(item, depth + 1) for item in value), key=str)
    if isinstance(value, list | tuple):
        return [plain(item, depth + 1) for item in value]
    return plain(str(value))


def dump(value: Any) -> str:
    """`plain(value)` as readable JSON text ending in a newline."""
    return json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _header_sha256(path: Path) -> str:
    with path.open("rb") as handle:
        prefix = handle.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
        header = handle.read(min(length, _HEADER_LIMIT))
    return hashlib.sha256(prefix + header).hexdigest()
