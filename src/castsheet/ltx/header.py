"""Safetensors files: reads what a header says without reading tensors, and writes files."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from castsheet.errors import CheckpointError

# The format's own limit. A larger length means a wrong or hostile file.
_LONGEST_HEADER = 100_000_000
_PICKLE_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle")
_BITS = {
    "F64": 64,
    "F32": 32,
    "F16": 16,
    "BF16": 16,
    "I64": 64,
    "I32": 32,
    "I16": 16,
    "I8": 8,
    "U8": 8,
    "BOOL": 8,
}
_BITS |= {"U64": 64, "U32": 32, "U16": 16, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "C64": 64, "F4": 4}
_AGAIN = "download the file again and compare its size with the source's"


@dataclass(frozen=True)
class Entry:
    """One tensor of a file, described by the header: file, stored name, dtype, shape."""

    file: Path
    stored: str
    shape: tuple[int, ...]
    dtype: str  # the format's name: BF16, F32, F8_E4M3, ...

    @property
    def count(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class Header:
    """Metadata strings and tensor entries of one file, under the names they are stored by."""

    path: Path
    metadata: dict[str, str]
    entries: dict[str, Entry]


def read_header(path: Path | str) -> Header:
    """Read and check a safetensors header.

    Raises:
        CheckpointError: the file is absent, empty, truncated, a pickle, or not safetensors at all.
    """
    path = Path(path)
    if path.suffix.lower() in _PICKLE_SUFFIXES:
        raise _pickle(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as handle:
            prefix = handle.read(8)
            _refuse_other_formats(path, prefix)
            (length,) = struct.unpack("<Q", prefix)
            if length > _LONGEST_HEADER or length + 8 > size:
                raise CheckpointError(
                    f"{path} is truncated or not safetensors: header of {length} bytes, file of {size}",
                    remedy=_AGAIN,
                )
            raw = handle.read(length)
    except OSError as error:
        raise CheckpointError(
            f"cannot read {path}: {error.strerror or error}", remedy="check the path and its permissions"
        ) from error
    return _parse(path, raw, size - 8 - length)


def _parse(path: Path, raw: bytes, data_size: int) -> Header:
    try:
        content = json.loads(raw)
        metadata = content.pop("__metadata__", None) or {}
        entries: dict[str, Entry] = {}
        end = 0
        for name, info in content.items():
            shape, (start, stop) = tuple(int(side) for side in info["shape"]), info["data_offsets"]
            entries[name] = Entry(path, name, shape, str(info["dtype"]))
            if (stop - start) * 8 != math.prod(shape) * _BITS[info["dtype"]]:
                raise ValueError(f"{name} has {stop - start} bytes, which its shape contradicts")
            end = max(end, stop)
        metadata = {str(key): str(value) for key, value in metadata.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path} has a damaged safetensors header: {error}", remedy=_AGAIN) from error
    if end != data_size:
        state = "truncated" if end > data_size else "followed by bytes that no tensor owns"
        raise CheckpointError(
            f"{path} is {state}: tensors end at {end}, data has {data_size} bytes", remedy=_AGAIN
        )
    return Header(path, metadata, entries)


def _refuse_other_formats(path: Path, prefix: bytes) -> None:
    if not prefix:
        raise CheckpointError(f"{path} is empty (0 bytes)", remedy=_AGAIN)
    # Zip archives (torch.save since 1.6) and bare pickles of protocol 2 to 5.
    if prefix.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")):
        raise _pickle(path)
    if prefix.startswith(b"GGUF"):
        raise CheckpointError(
            f"{path} is a GGUF file, which is not supported",
            remedy="use the safetensors file of the same model",
        )
    if len(prefix) < 8:
        raise CheckpointError(f"{path} is truncated: it has {len(prefix)} bytes", remedy=_AGAIN)


def _pickle(path: Path) -> CheckpointError:
    return CheckpointError(
        f"{path} is a pickle file, which can run code when it is opened; Castsheet never opens one",
        remedy="use the .safetensors file of the same model",
    )


def save_tensors(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file inside `write_atomic`; a failed write raises OSError, as for any file.

    The same content gives the same bytes. The library writes metadata in a random order, so the header is
    sorted afterwards.
    """
    try:
        save_file(tensors, path, metadata=metadata)
    except SafetensorError as error:
        raise OSError(str(error)) from error
    if metadata and len(metadata) > 1:
        _order_header(path)


def _order_header(path: Path) -> None:
    """Rewrite a file's header with its metadata sorted; its length stays the same."""
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        notes = header.pop("__metadata__")
        ordered = {"__metadata__": dict(sorted(notes.items())), **header}
        text = json.dumps(ordered, separators=(",", ":"), ensure_ascii=False).encode()
        if len(text) > length:
            raise OSError(f"{path}: its header cannot be put in order")
        file.seek(8)
        file.write(text.ljust(length))


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from disk.

    Raises:
        CheckpointError: unreadable, not JSON, or not an object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}", remedy=_AGAIN) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} is not a JSON object", remedy=_AGAIN)
    return content
