"""A hostile case: what is done to a folder of good files, what is run there, and how that must end."""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from castsheet.cli import main
from castsheet.machine.edge import at_edge
from tests.doubles.killed import copy, tree

PATIENCE_S = 240.0  # on a busy machine; of what hung before, each took for ever
MOST_BYTES = 4 << 30

Do = Callable[[Path], object]


def nothing(_folder: Path) -> None:
    """Leaves the folder as it is."""


@dataclass(frozen=True)
class Case:
    """A hostile case.

    Attributes:
        words: the command line.
        change: what is done to the folder before.
        call: a call of the library in place of a command line.
        inside: what the process does to itself before: limits, streams.
        codes: the exit codes that are right. 2 needs an error with a remedy, and leaves nothing behind.
        finishes: the work is done, and its files stay, although 2 is the code.
        mute: nothing can be said.
        says: what must stand in what is said.
        check: what is wrong afterwards, if anything is, beside what is always asked.
    """

    group: str
    name: str
    words: tuple[str, ...] = ()
    change: Do = nothing
    call: Do | None = None
    inside: Callable[[], object] = lambda: None
    codes: tuple[int, ...] = (2,)
    finishes: bool = False
    mute: bool = False
    says: str = ""
    check: Callable[[Path], str] = lambda _: ""


def faults(case: Case, good: Path, work: Path) -> tuple[list[str], str]:
    """Everything that is wrong with how a case ends; and what it said."""
    folder = copy(good, work)
    case.change(folder)
    before = _tree(folder)
    code, said, seconds, memory = _ended(case, folder)
    wrong = []
    if code not in case.codes:
        wrong.append(f"exit code {code} after {seconds:.0f} s: {said[-300:]}")
    if "Traceback" in said or "Exception ignored" in said:
        wrong.append(f"traceback: {said[-600:]}")
    if code == 2 and not case.mute and not ("error: " in said and "fix: " in said) and "Usage: " not in said:
        wrong.append(f"no remedy: {said[-300:]}")
    if case.says not in said:
        wrong.append(f"does not say {case.says!r}: {said[-300:]}")
    if memory > MOST_BYTES:
        wrong.append(f"took {memory >> 20} MiB")
    after = _tree(folder)
    goes_on = case.finishes and code == 0  # a training run that goes on replaces its own files
    for name, told in before.items():
        if after.get(name) != told and not (goes_on and name.startswith("out/run")):
            wrong.append(f"{name} was changed")
    if code == 2 and not case.finishes:
        wrong += [
            f"left behind: {name}" for name in sorted(after.keys() - before.keys()) if not _may_stay(name)
        ]
    if not wrong and (told := case.check(folder)):
        wrong.append(told)
    return wrong, f"{code}: {said[max(0, said.find('error: ')) :]}"


def _tree(folder: Path) -> dict[str, str]:
    odd = [path for path in folder.rglob("*") if path.is_fifo()]
    names = {path.relative_to(folder).as_posix(): "odd" for path in odd}
    for path in odd:
        path.unlink()
    found = tree(folder) | names
    for path in odd:
        os.mkfifo(path)
    return found


def _may_stay(name: str) -> bool:
    # Encoded prompts may be used again, and a scene's sheet is whole before the clip is begun.
    return name.startswith(("cache", "out/clip.sheet.", "home")) or name in ("out/shots", "out/run", "a.pt")


def _ended(case: Case, folder: Path) -> tuple[int | None, str, float, int]:
    said = folder.parent / f"{folder.name}.said"
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        _child(case, folder, said)
    while True:
        done, status, used = os.wait4(child, os.WNOHANG)
        passed = time.monotonic() - start
        if done:
            code = os.waitstatus_to_exitcode(status)
            return code, said.read_text(errors="replace"), passed, used.ru_maxrss * 1024
        if passed > PATIENCE_S:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return None, said.read_text(errors="replace"), passed, 0
        time.sleep(0.01)


def _child(case: Case, folder: Path, said: Path) -> NoReturn:
    code = 99
    try:
        os.chdir(folder)
        os.environ["HOME"] = str(folder / "home")
        os.environ["CASTSHEET_CACHE"] = str(folder / "cache")
        handle = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        os.close(handle)
        for number, name in ((1, "stdout"), (2, "stderr")):
            opened = open(number, "w", closefd=False)  # noqa: SIM115
            setattr(sys, name, opened)
            setattr(sys, f"__{name}__", opened)
        case.inside()
        code = _code(case, folder)
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


def _code(case: Case, folder: Path) -> int:
    try:
        if case.call is None:
            main(list(case.words))
        call = case.call
        at_edge(lambda: bool(call(folder)) and None, [])
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else 1


def memory_to_spare(mib: int) -> Callable[[], None]:
    """Let the process take so much more memory than it has."""

    def limit() -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + (mib << 20)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))

    return limit


def each(group: str, cases: Sequence[tuple[str, tuple[str, ...], Do]]) -> list[Case]:
    """Cases that must be refused."""
    return [Case(group, name, words, change) for name, words, change in cases]
