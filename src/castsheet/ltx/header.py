"""Safetensors files: reads what a header says without reading tensors, and writes files."""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from castsheet.errors import CastsheetError, CheckpointError, shown
from castsheet.machine.json_text import parse_json
from castsheet.machine.regular import MIB, Refusal, open_regular, why_unread
from castsheet.machine.text import TextReader

# The format's own limit. A larger length means a wrong or hostile file.
_LONGEST_HEADER = 100_000_000
_MAX_AXES = 16
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
FLOATS = frozenset(("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"))
"""Types that a model's or an adapter's numbers may have."""
_AGAIN = "download the file again and compare its size with the source's"


@dataclass(frozen=True)
class Entry:
    """One tensor of a file, described by the header: file, stored name, dtype, shape, place."""

    file: Path
    stored: str
    shape: tuple[int, ...]
    dtype: str  # the format's name: BF16, F32, F8_E4M3, ...
    start: int  # of its first byte in the file
    size: int  # in bytes

    @property
    def count(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class Header:
    """Metadata strings and tensor entries of one file, under the names they are stored by."""

    path: Path
    metadata: dict[str, str]
    entries: dict[str, Entry]


def read_header(path: Path | str, refuse: Refusal = CheckpointError, remedy: str = _AGAIN) -> Header:
    """Read and check a safetensors header; what passes here, the loader's own library takes too.

    Args:
        refuse: the error to raise. remedy: what to do about a damaged file.

    Raises:
        CastsheetError, as `refuse`: the file is absent, may not be read, is empty, truncated, a pickle, or
            not safetensors at all; or its header contradicts itself or the file.
    """
    path = Path(path)
    if path.suffix.lower() in _PICKLE_SUFFIXES:
        raise _pickle(path, refuse)
    with open_regular(path, refuse) as handle:
        try:
            size = os.fstat(handle.fileno()).st_size
            prefix = handle.read(8)
            _refuse_other_formats(path, prefix, refuse, remedy)
            (length,) = struct.unpack("<Q", prefix)
            if length > _LONGEST_HEADER or length + 8 > size:
                raise refuse(
                    f"{path} is truncated or not safetensors: header of {length} bytes, file of {size}",
                    remedy=remedy,
                )
            raw = handle.read(length)
        except OSError as error:
            what, mend = why_unread(error)
            raise refuse(f"{path} cannot be read: {what}", remedy=mend) from error
    try:
        return _parse(path, raw, begin=8 + length, data_size=size - 8 - length)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        told = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise refuse(f"{path} has a damaged safetensors header: {told}", remedy=remedy) from error


def _parse(path: Path, raw: bytes, *, begin: int, data_size: int) -> Header:
    """The header's content; ValueError, KeyError, TypeError and AttributeError for what is no header."""
    content = parse_json(raw.decode("utf-8"))
    metadata = content.pop("__metadata__", None) or {}
    for key, text in metadata.items():
        if not isinstance(text, str):
            raise ValueError(f"the metadata {shown(key)} is {shown(text)}, not a text")
    entries: dict[str, Entry] = {}
    places: list[tuple[int, int, str]] = []
    for name, info in content.items():
        entry = _entry(path, name, info, begin)
        entries[name] = entry
        places.append((entry.start - begin, entry.start - begin + entry.size, name))
    end = 0
    for start, stop, name in sorted(places):
        if start != end:
            state = "overlaps the tensor before it" if start < end else "leaves a gap before it"
            raise ValueError(f"{shown(name)} at byte {start} {state}, which ends at {end}")
        end = stop
    if end != data_size:
        state = "the file is truncated" if end > data_size else "bytes follow that no tensor owns"
        raise ValueError(f"{state}: tensors end at {end}, data has {data_size} bytes")
    return Header(path, metadata, entries)


def _entry(path: Path, name: str, info: Mapping[str, Any], begin: int) -> Entry:
    """One tensor; the file's data lie from its byte `begin` on."""
    dtype, sides, offsets = info["dtype"], info["shape"], info["data_offsets"]
    if dtype not in _BITS:
        raise ValueError(f"{shown(name)} is of the unknown type {shown(dtype)}")
    if not (isinstance(sides, list) and len(sides) <= _MAX_AXES and all(map(_is_size, sides))):
        raise ValueError(f"{shown(name)} has the shape {shown(sides)}")
    if not (isinstance(offsets, list) and len(offsets) == 2 and all(map(_is_size, offsets))):
        raise ValueError(f"{shown(name)} has the offsets {shown(offsets)}")
    start, stop = offsets
    if (stop - start) * 8 != math.prod(sides) * _BITS[dtype]:
        raise ValueError(f"{shown(name)} has {stop - start} bytes, which its shape contradicts")
    return Entry(path, name, tuple(sides), dtype, begin + start, stop - start)


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 62


def _refuse_other_formats(path: Path, prefix: bytes, refuse: Refusal, remedy: str) -> None:
    if not prefix:
        raise refuse(f"{path} is empty (0 bytes)", remedy=remedy)
    # Zip archives (torch.save since 1.6) and bare pickles of protocol 2 to 5.
    if prefix.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")):
        raise _pickle(path, refuse)
    if prefix.startswith(b"GGUF"):
        raise refuse(
            f"{path} is a GGUF file, which is not supported",
            remedy="use the safetensors file of the same model",
        )
    if len(prefix) < 8:
        raise refuse(f"{path} is truncated: it has {len(prefix)} bytes", remedy=remedy)


def _pickle(path: Path, refuse: Refusal) -> CastsheetError:
    return refuse(
        f"{path} is a pickle file, which can run code when it is opened; Castsheet never opens one",
        remedy="use the .safetensors file of the same model",
    )


def save_tensors(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file inside `write_atomic`; a failed write raises OSError, as for any file.

    The same content gives the same bytes. The library writes metadata in a random order, so the header is
    sorted afterwards. It also makes files that their owner alone may read; these get a new file's usual mode.
    """
    path.touch()
    usual = path.stat().st_mode
    try:
        save_file(tensors, path, metadata=metadata)
    except SafetensorError as error:
        raise OSError(str(error)) from error
    path.chmod(usual)
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
    return TextReader(CheckpointError, _AGAIN, limit=64 * MIB).json_object(path)
