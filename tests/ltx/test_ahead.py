"""Tensors that are read ahead are those of the file, in order; what goes wrong on the way is told."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from castsheet.errors import CheckpointError, TextEncoderError
from castsheet.ltx import ahead
from castsheet.ltx.ahead import TYPES, arriving, pays
from castsheet.ltx.files import reading
from castsheet.ltx.header import Entry, read_header


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Every type that is read ahead, a scalar, an empty tensor, and more tensors than fit at once."""
    torch.manual_seed(3)
    held = {name: (100 * torch.rand(5, 7)).to(kind) for name, kind in TYPES.items()}
    held |= {"scalar": torch.tensor(2.5), "empty": torch.empty(0, 4)}
    held |= {f"many.{n}": torch.randn(64, 33) for n in range(40)}
    save_file(held, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def entries_of(file: Path) -> list[Entry]:
    return list(read_header(file).entries.values())


@pytest.mark.parametrize("room", [1, 20_000, ahead.AHEAD])
def test_tensors_arrive_in_order_and_to_the_bit(
    file: Path, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Red: a model is filled with another tensor's numbers, or with half of them, where a GPU is."""
    monkeypatch.setattr(ahead, "AHEAD", room)
    wanted, stored = list(reversed(entries_of(file))), load_file(file)
    found = list(arriving(wanted, "cpu", CheckpointError, ""))
    assert len(found) == len(stored)
    for entry, tensor in zip(wanted, found, strict=True):
        expected = stored[entry.stored]
        assert tensor.dtype == expected.dtype
        assert tensor.shape == expected.shape
        assert torch.equal(tensor.flatten().view(torch.uint8), expected.flatten().view(torch.uint8))


def test_a_checkpoint_reads_alike_both_ways(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Red: with a GPU another model is read than without, or fp8 weights lose their scales."""
    entries = read_header(file).entries
    names = [name for name in entries if name not in ("F8_E4M3", "F8_E5M2", "I8", "U8", "BOOL")]
    plain = list(reading.read(entries, names, "cpu"))
    monkeypatch.setattr(reading, "pays", lambda *_: True)
    again = list(reading.read(entries, names, "cpu"))
    assert [one[0] for one in plain] == [one[0] for one in again]
    assert all(torch.equal(one[1], other[1]) for one, other in zip(plain, again, strict=True))


def test_a_file_that_became_shorter_is_refused(file: Path) -> None:
    """Red: a download that was cut after its header was read fills the model with what lay in memory."""
    entries = entries_of(file)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) - 5000])
    with pytest.raises(TextEncoderError, match="it ends after") as refused:
        list(arriving(entries, "cpu", TextEncoderError, "download it again"))
    assert refused.value.remedy == "download it again"
    file.unlink()
    with pytest.raises(CheckpointError, match="does not exist"):
        list(arriving(entries, "cpu", CheckpointError, ""))


def test_who_stops_early_leaves_no_reader(file: Path) -> None:
    """Red: after a refused checkpoint threads go on reading tens of gigabytes."""
    found = arriving(entries_of(file), "cpu", CheckpointError, "")
    next(found)
    found.close()
    assert not [one for one in threading.enumerate() if one.name.startswith("castsheet-read")]


def test_it_pays_on_a_gpu_alone(file: Path) -> None:
    """Red: a CPU copies what it could map, or a type that nobody knows ends in a traceback."""
    entries = entries_of(file)
    assert pays(entries, "cuda")
    assert pays(entries, "cuda:1")
    assert not pays(entries, "cpu")
    assert not pays([*entries, Entry(file, "x", (2,), "C64", 8, 16)], "cuda")
