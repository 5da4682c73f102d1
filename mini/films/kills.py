"""Kill `castsheet pairs find` while it works: `python -m mini.films.kills FILMS.csv WORK --kills 20`.

First a run that nobody disturbs, in one process. Then a run on two processes of which one is killed at random
moments, and then one whose leading process is killed again and again and started anew, each until so many
kills have struck. What both leave must be, byte for byte, what the first one left.
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
from pathlib import Path

from mini.script import finish

PROGRAM = "import sys; from castsheet.cli import program; sys.exit(program())"
FIRST, LAST = 1.0, 8.0
"""Seconds from one kill to the next, at least and at most: the imports of a process take some of them."""


def start(table: Path, work: Path, size: str, workers: int) -> subprocess.Popen[bytes]:
    """`castsheet pairs find`, with a process group of its own."""
    words = [sys.executable, "-c", PROGRAM, "pairs", "find", str(table), "-o", str(work)]
    words += ["--size", size, "--workers", str(workers)]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(words, stdout=quiet, stderr=quiet, start_new_session=True)


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


def kill_workers(table: Path, work: Path, size: str, kills: int, draw: random.Random) -> tuple[int, int]:
    """How many workers were killed, and how many runs it took until all was found."""
    struck = runs = 0
    while True:
        runs += 1
        process = start(table, work, size, 2)
        while process.poll() is None:
            time.sleep(draw.uniform(FIRST, LAST))
            alive = children(process.pid)
            if struck < kills and alive:
                os.kill(draw.choice(alive), signal.SIGKILL)
                struck += 1
        if process.returncode == 0:
            return struck, runs


def kill_drivers(table: Path, work: Path, size: str, kills: int, draw: random.Random) -> tuple[int, int]:
    """How many leading processes were killed, their workers with them, and how many runs it took."""
    struck = runs = 0
    while True:
        runs += 1
        process = start(table, work, size, 2)
        try:
            process.wait(timeout=draw.uniform(FIRST, 2 * LAST) if struck < kills else None)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            struck += 1
            continue
        if process.returncode == 0:
            return struck, runs


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
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    plain = options.work / "undisturbed"
    begin = time.monotonic()
    if start(options.table, plain, options.size, 1).wait() != 0:
        sys.exit("the run that nobody disturbed failed")
    good = contents(plain)
    print(f"undisturbed: {len(good)} files, {time.monotonic() - begin:.0f} s", flush=True)
    for name, strike in (("workers", kill_workers), ("drivers", kill_drivers)):
        work = options.work / name
        shutil.rmtree(work, ignore_errors=True)
        struck, runs = strike(options.table, work, options.size, options.kills, draw)
        left = contents(work)
        other = [one for one in {*good, *left} if good.get(one) != left.get(one)]
        print(f"{name}: {struck} killed in {runs} runs, {len(other)} of {len(good)} files differ", flush=True)
        print(*sorted(other), sep="\n", end="\n" if other else "")


if __name__ == "__main__":
    finish(main)
