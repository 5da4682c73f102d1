"""How well `castsheet pairs` spreads over processes: `python -m mini.films.spread FILMS.csv OUT`.

A busy machine says nothing by the clock, so this counts for each worker how long it ran, and how often it was
seen running or waiting for a processor or the disk, and not for work (`/proc`, Linux). Had each worker a
processor of its own, a step would take as long as they run, divided by their number and by the share of the
time in which they had something to do. The efficiency of more workers is the time of the first number of them
over theirs, by worker.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from castsheet.pairs.records import PairsError
from mini.script import finish

PAUSE = 0.1  # seconds from one look at the processes to the next
SPAWNED = b"spawn_main"  # in the command line of a worker


@dataclass(frozen=True)
class Spread:
    """What the workers of a run did: seconds by the clock and of running, and the share of the time in which
    one had something to do."""

    workers: int
    clock: float
    ran: float
    busy: float

    @property
    def alone(self) -> float:
        """Seconds that the run would take with a processor for each worker."""
        return self.ran / (self.workers * self.busy)


def watched(command: list[str], workers: int) -> Spread:
    """Run a command, and count what its workers do.

    Raises:
        PairsError: the command failed.
    """
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    ran: dict[int, float] = {}
    looks = busy = 0
    while process.poll() is None:
        looks += workers
        for pid in _children(process.pid):
            seen = _seen(pid)
            if seen is not None:
                ran[pid], busy = seen[0], busy + seen[1]
        time.sleep(PAUSE)
    if process.returncode:
        raise PairsError(f"{' '.join(command)} ended with {process.returncode}", remedy="run it alone")
    clock = time.monotonic() - start
    return Spread(workers, clock, sum(ran.values()), busy / max(1, looks))


def _children(parent: int) -> list[int]:
    """The workers of a process."""
    found = []
    for task in Path(f"/proc/{parent}/task").glob("*/children"):
        try:
            pids = [int(pid) for pid in task.read_text().split()]
            found += [pid for pid in pids if SPAWNED in Path(f"/proc/{pid}/cmdline").read_bytes()]
        except OSError:  # it has just ended
            continue
    return found


def _seen(pid: int) -> tuple[float, bool] | None:
    """Seconds that a process ran so far, and whether one of its threads runs or waits for a processor or the
    disk; None if it has just ended."""
    try:
        ran = sum(int(one) for one in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13])
        states = [
            (task / "stat").read_text().rpartition(")")[2].split()[0]
            for task in Path(f"/proc/{pid}/task").iterdir()
        ]
    except OSError:
        return None
    return ran / os.sysconf("SC_CLK_TCK"), any(state in "RD" for state in states)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("table", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--size", default="384x224", help="of the clips")
    parser.add_argument(
        "--find", action="store_true", help="find only; make ends with an error without a pair"
    )
    options = parser.parse_args()
    tool = [sys.executable, "-m", "castsheet.cli", "pairs"]
    steps: dict[str, list[Spread]] = {"find": [], "make": []}
    for count in options.workers:
        work, data = options.out / f"work-{count}", options.out / f"data-{count}"
        number = ["--workers", str(count)]
        find = [*tool, "find", str(options.table), "-o", str(work), "--size", options.size, *number]
        make = [*tool, "make", str(work), "-o", str(data), "--variants", "1", "--no-judge", *number]
        for name, command in (("find", find), ("make", make))[: 1 if options.find else 2]:
            one = watched(command, count)
            steps[name].append(one)
            print(
                f"{name}, {count} workers: {one.clock:.1f} s by the clock, ran {one.ran:.1f} s, "
                f"busy {one.busy:.1%}, {one.alone:.1f} s with processors of their own",
                flush=True,
            )
    for name, found in steps.items():
        for one in found[1:]:
            share = found[0].alone * found[0].workers / (one.alone * one.workers)
            print(f"{name}: efficiency of {one.workers} workers {share:.3f}")


if __name__ == "__main__":
    finish(main)
