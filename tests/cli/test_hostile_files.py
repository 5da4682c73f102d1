"""Damaged, foreign or dangerous files: a message with a remedy, no traceback, no pickle opened."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path

import pytest

from castsheet.errors import CheckpointError
from castsheet.ltx.files.checkpoint import Checkpoint
from tests.doubles.model_doubles import write_toy


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy(tmp_path_factory.mktemp("toy") / "toy.safetensors")


def header(content: bytes, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(content)) + content + data


HOSTILE = {
    "empty": b"",
    "three bytes": b"abc",
    "text": b"hello, this is not a model at all",
    "header longer than the file": struct.pack("<Q", 1 << 40) + b"{}",
    "header not JSON": header(b"{"),
    "header a list": header(b"[]"),
    "deep nesting": header(b"[" * 100_000),
    "no offsets": header(b'{"a": {"dtype": "F32", "shape": [1]}}'),
    "unknown dtype": header(b'{"a": {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}}', b"0000"),
    "shape contradicts size": header(
        b'{"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 4]}}', b"0000"
    ),
    "data missing": header(b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}', b"00"),
    "data left over": header(b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}', b"00000000"),
    "pickle": pickle.dumps({"a": 1}, protocol=2),
    "zip": b"PK\x03\x04 archive/data.pkl and so on",
    "gguf": b"GGUF\x03\x00\x00\x00 and so on",
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_files_end_in_a_message(tmp_path: Path, content: bytes):
    """Red: a wrong or damaged file ends in a traceback, or is unpickled."""
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as error:
        Checkpoint.open(path)
    assert error.value.remedy


def test_truncated_file_is_refused(tmp_path: Path, toy: Path):
    """Red: a broken download is used as far as it goes."""
    content = toy.read_bytes()
    for length in (100, len(content) // 2, len(content) - 1):
        path = tmp_path / "cut.safetensors"
        path.write_bytes(content[:length])
        with pytest.raises(CheckpointError, match="truncated"):
            Checkpoint.open(path)


@pytest.mark.parametrize("suffix", [".pt", ".bin", ".ckpt", ".PTH"])
def test_pickles_are_refused_by_their_name(tmp_path: Path, suffix: str, toy: Path):
    """Red: a pickle is opened when its first bytes look harmless."""
    path = tmp_path / f"model{suffix}"
    path.write_bytes(toy.read_bytes())
    with pytest.raises(CheckpointError, match="pickle"):
        Checkpoint.open(path)


def test_paths_without_a_model_are_refused(tmp_path: Path, toy: Path):
    """Red: a mistyped path or a wrong folder ends in a traceback."""
    with pytest.raises(CheckpointError, match="cannot be read"):
        Checkpoint.open(tmp_path / "nothing.safetensors")
    with pytest.raises(CheckpointError, match="without a model"):
        Checkpoint.open(tmp_path)
    assert Checkpoint.open(toy.parent).entries.keys() == Checkpoint.open(toy).entries.keys()
