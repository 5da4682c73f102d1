"""Kill `castsheet pairs` while it works: `python -m mini.films.kills FILMS.csv WORK --kills 20`.

First `find` and `make` run undisturbed, in one process. Then they run on two processes of which one is killed
at random moments, and then with the leading process killed again and again and started anew. If a command
ends before enough kills have struck, what it made is thrown away and it begins anew. What is left must be,
byte for byte, what the undisturbed run left.

A unit that ends three processes is quarantined, by rule: while one has ended two, no worker is killed.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from castsheet.pairs.ledger import DEATHS
from mini.script import finish

PROGRAM = "import sys; from castsheet.cli import program; sys.exit(program())"
FIRST, LAST = 1.0, 8.0
"""Seconds from one kill to the next, at least and at most: the imports of a process take some of them."""


@dataclass(frozen=True)
class Runs:
    """The two commands on a folder, and how often they are struck.

    Args:
        folder: holds `work` and `data`. slow: how many times as long the pauses between kills are.
    """

    table: Path
    folder: Path
    size: str
    slow: float
    draw: random.Random

    @property
    def commands(self) -> tuple[list[str], list[str]]:
        """The words of `find` and `make`."""
        work, data = str(self.folder / "work"), str(self.folder / "data")
        find = ["find", str(self.table), "-o", work, "--size", self.size]
        return find, ["make", work, "-o", data, "--no-judge", "--placeless"]

    def start(self, command: list[str], workers: int) -> subprocess.Popen[bytes]:
        """A command, with a process group of its own."""
        words = [sys.executable, "-c", PROGRAM, "pairs", *command, "--workers", str(workers)]
        quiet = subprocess.DEVNULL
        return subprocess.Popen(words, stdout=quiet, stderr=quiet, start_new_session=True)

    def pause(self, longest: float) -> float:
        """Seconds until the next kill."""
        return self.slow * self.draw.uniform(FIRST, longest)


def children(pid: int) -> list[int]:
    """Processes that a process started and that work for it, the newest last."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text().rpartition(")")[2].split()
            words = (entry / "cmdline").read_bytes()
        except OSError:  # it ended a moment ago
            continue
        if int(stat[1]) == pid and b"spawn_main" in words:
            found.append(int(entry.name))
    return sorted(found)


def endangered(folder: Path) -> bool:
    """Whether the next death would quarantine a unit."""
    results = folder / "work" / "results"
    for path in results.glob("deaths/[!.]*"):
        words = path.read_text().split()
        if words and int(words[0]) >= DEATHS - 1 and not list(results.glob(f"*/{path.name}.json")):
            return True
    return False


def kill_workers(runs: Runs, command: list[str], kills: int) -> int:
    """How many workers were killed until a command had done its work."""
    struck = 0
    while True:
        process = runs.start(command, 2)
        while process.poll() is None:
            time.sleep(runs.pause(LAST))
            alive = children(process.pid)
            if struck < kills and alive and not endangered(runs.folder):
                os.kill(runs.draw.choice(alive), signal.SIGKILL)
                struck += 1
        if process.returncode == 0:
            return struck


def kill_drivers(runs: Runs, command: list[str], kills: int) -> int:
    """How many leading processes were killed, their workers with them, until a command had done its work."""
    struck = 0
    while True:
        process = runs.start(command, 2)
        try:
            process.wait(timeout=runs.pause(2 * LAST) if struck < kills else None)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            struck += 1
            continue
        if process.returncode == 0:
            return struck


Strike = Callable[[Runs, list[str], int], int]


def campaign(runs: Runs, strike: Strike, kills: int, good: dict[str, bytes]) -> str:
    """What is to be told of a campaign, and which files differ."""
    struck = [0, 0]
    times = 0
    other: set[str] = set()
    while min(struck) < kills:
        shutil.rmtree(runs.folder, ignore_errors=True)
        times += 1
        for number, command in enumerate(runs.commands):
            struck[number] += strike(runs, command, kills - struck[number])
        left = contents(runs.folder)
        other |= {one for one in {*good, *left} if good.get(one) != left.get(one)}
    told = f"{struck[0]} kills in find, {struck[1]} in make, gone through {times} times"
    return "\n".join([f"{told}: {len(other)} of {len(good)} files differ", *sorted(other)])


def contents(work: Path) -> dict[str, bytes]:
    """All that a run leaves, by name, without locks, marks and the count of deaths."""
    return {
        str(path.relative_to(work)): path.read_bytes()
        for path in sorted(work.rglob("*"))
        if path.is_file() and not path.name.startswith(".") and path.parent.name != "deaths"
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("table", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--size", default="384x224")
    parser.add_argument("--kills", type=int, default=20, help="in each command, of each kind")
    parser.add_argument("--kind", choices=("workers", "drivers"), action="append", help="both by default")
    parser.add_argument("--slow", type=float, default=1.0, help="pauses are so many times as long")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    begin = time.monotonic()
    plain = Runs(options.table, options.work / "undisturbed", options.size, options.slow, draw)
    if any(plain.start(command, 1).wait() != 0 for command in plain.commands):
        sys.exit("the run that nobody disturbed failed")
    good = contents(plain.folder)
    print(f"undisturbed: {len(good)} files, {time.monotonic() - begin:.0f} s", flush=True)
    strikes: dict[str, Strike] = {"workers": kill_workers, "drivers": kill_drivers}
    for name in options.kind or strikes:
        runs = Runs(options.table, options.work / name, options.size, options.slow, draw)
        print(f"{name}: {campaign(runs, strikes[name], options.kills, good)}", flush=True)


if __name__ == "__main__":
    finish(main)
