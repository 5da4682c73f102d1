"""Commands that are killed before or after their n-th step on the file system, and what they leave.

A step is a call that changes the disk: a file opened to be written, a folder made, a rename, a removal, and
    the calls of libraries that write by themselves. A child of this process, forked with everything imported,
    runs the real entry point and kills itself with SIGKILL at its step; so a kill costs a tenth of a second.
"""

from __future__ import annotations

import builtins
import hashlib
import io
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

PATIENCE = 300  # seconds; a command that takes longer hangs


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code, or minus the signal; None when it was given up. And what it
    said."""

    code: int | None
    said: str


def run(
    arguments: Sequence[str],
    folder: Path,
    *,
    at: int = 0,
    after: bool = False,
    delay: float = 0.0,
    kill: int = signal.SIGKILL,
) -> Ended:
    """Run `castsheet ARGUMENTS` in a child whose working folder is `folder`.

    Args:
        at: the step at which the child kills itself; 0 lets it run to its end.
        after: kill when the step is done, not before it.
        delay: seconds after which the child gets the signal `kill` from outside; 0 leaves that out.
    """
    child, said = begin(arguments, folder, at=at, after=after)
    return end(child, said, delay, kill)


def begin(
    arguments: Sequence[str], folder: Path, *, at: int = 0, after: bool = False, name: str = ""
) -> tuple[int, Path]:
    """Start a child, as `run` does; its process id, and the file that holds what it says."""
    said = folder.parent / f"{folder.name}{name}.said"
    child = os.fork()
    if child == 0:
        _child(arguments, folder, said, at, after)
    return child, said


def end(child: int, said: Path, delay: float = 0.0, kill: int = signal.SIGKILL) -> Ended:
    """Wait for a child; after `delay` seconds, unless that is 0, it gets the signal `kill`."""
    start, killed = time.monotonic(), False
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return Ended(os.waitstatus_to_exitcode(status), said.read_text(errors="replace"))
        passed = time.monotonic() - start
        if delay and not killed and passed > delay:
            os.kill(child, kill)
            killed = True
        if passed > PATIENCE:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return Ended(None, said.read_text(errors="replace"))
        time.sleep(0.002)


def steps(arguments: Sequence[str], folder: Path) -> tuple[list[str], Ended]:
    """The steps that a command takes, by the names of the calls; it is run to its end."""
    counted = folder.parent / f"{folder.name}.steps"
    os.environ["KILLED_COUNT"] = str(counted)
    try:
        ended = run(arguments, folder)
    finally:
        del os.environ["KILLED_COUNT"]
    return counted.read_text().split(), ended


def _child(arguments: Sequence[str], folder: Path, said: Path, at: int, after: bool) -> NoReturn:
    code = 1
    try:
        os.chdir(folder)
        # A signal before the program's first line, and after its last: there is nothing to clean up.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, _: os._exit(128 + number))
        handle = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
        counter = _Counter(at, after)
        from castsheet.cli import main

        try:
            counter.install()
            main(list(arguments))
        except SystemExit as left:
            code = left.code if isinstance(left.code, int) else 0 if left.code is None else 1
        finally:
            counter.remove()
        if target := os.environ.get("KILLED_COUNT"):
            Path(target).write_text(" ".join(counter.names))
    except BaseException:  # noqa: BLE001 (the parent reads it)
        import traceback

        traceback.print_exc()
        code = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


_CHANGES = (
    *("mkdir", "rmdir", "unlink", "remove", "replace", "rename", "link", "symlink"),
    *("truncate", "ftruncate", "chmod"),
)
_TO_WRITE = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class _Counter:
    """Counts the steps of this process, and kills it at one of them."""

    def __init__(self, at: int, after: bool) -> None:
        self.at, self.after = at, after
        self.names: list[str] = []
        self._put_back: list[tuple[Any, str, Any]] = []

    def install(self) -> None:
        import av
        import safetensors.torch as tensors

        for name in _CHANGES:
            self._wrap(os, name, lambda *_, **__: True)
        self._wrap(os, "open", lambda _path, flags=0, *_, **__: bool(flags & _TO_WRITE))
        for module in (io, builtins):
            self._wrap(module, "open", _writes)
        self._wrap(tensors, "serialize_file", lambda *_, **__: True)
        self._wrap(av, "open", lambda _path, mode="r", *_, **__: mode == "w")

    def remove(self) -> None:
        for module, name, original in reversed(self._put_back):
            setattr(module, name, original)

    def _wrap(self, module: Any, name: str, counts: Callable[..., bool]) -> None:
        original = getattr(module, name)
        self._put_back.append((module, name, original))

        def call(*arguments: Any, **named: Any) -> Any:
            if not counts(*arguments, **named) or (arguments and arguments[0] == os.devnull):
                return original(*arguments, **named)
            self.names.append(name)
            here = len(self.names) == self.at
            if here and not self.after:
                os.kill(os.getpid(), signal.SIGKILL)
            result = original(*arguments, **named)
            if here and self.after:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        setattr(module, name, call)


def _writes(_file: object, mode: str = "r", *_: object, **__: object) -> bool:
    return any(letter in mode for letter in "wax+")


def moments(names: Sequence[str]) -> list[tuple[int, bool]]:
    """When to kill: before every step, and after those behind which content is written without a further
    step.

    After any other step the disk is as it is before the next one.
    """
    later = [(at, True) for at, name in enumerate(names, 1) if name in ("open", "serialize_file")]
    return sorted({*((at, False) for at in range(1, len(names) + 1)), *later, (len(names), True)})


def tree(folder: Path) -> dict[str, str]:
    """Every file below a folder by a hash of its bytes; folders too."""
    found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*"))}
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "/"
        for name, path in found.items()
    }


def copy(source: Path, target: Path) -> Path:
    """A fresh copy of a folder, times kept."""
    shutil.rmtree(target, ignore_errors=True)
    return Path(shutil.copytree(source, target))
