"""Class 3: one lock a resource, which dies with its holder; the second process waits, or is refused."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from castsheet.errors import OutputError
from castsheet.machine.locks import give_back, locked, take


def holder(path: Path) -> int:
    """A process that holds the lock until it is killed."""
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        take(path)
        os.write(writes, b".")
        signal.pause()
        os._exit(0)
    os.read(reads, 1)
    os.close(reads)
    os.close(writes)
    return child


def gone(child: int) -> None:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def test_a_lock_dies_with_its_holder(tmp_path: Path) -> None:
    """Red: after a crash a folder is locked for ever, or a lock does not keep others out."""
    path = tmp_path / "lock"
    child = holder(path)
    assert take(path) is None
    gone(child)
    handle = take(path)
    assert handle is not None
    give_back(path, handle)
    assert list(tmp_path.iterdir()) == []


def test_the_second_is_refused_or_waits_and_is_told_of_whom(tmp_path: Path) -> None:
    """Red: the second process hangs without a word, or both go on."""
    path, said = tmp_path / "lock", list[str]()
    child = holder(path)
    with pytest.raises(OutputError, match=f"in use by process {child} on "), locked(path, "the run", None):
        pass

    def say(line: str) -> None:
        said.append(line)
        gone(child)

    with locked(path, "the folder shots", say):
        assert len(said) == 1
        assert f"the folder shots is in use by process {child} on " in said[0]
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_was_taken_away_is_taken_again(tmp_path: Path) -> None:
    """Red: whoever waited holds a file that is gone, and a third process gets in beside it."""
    path = tmp_path / "lock"
    first = take(path)
    assert first is not None
    path.unlink()
    second = take(path)
    assert second is not None
    assert os.fstat(second).st_ino == path.stat().st_ino
    give_back(path, second)
    os.close(first)


def test_a_closed_folder_is_told(tmp_path: Path) -> None:
    """Red: a lock in a folder that cannot be written ends in a traceback."""
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write"), locked(tmp_path / "file" / "lock", "it", None):
        pass
