"""How well `castsheet pairs` spreads over processes: `python -m mini.films.spread FILMS.csv OUT`.

A busy machine says nothing by the clock, so this counts for each worker how long it ran, how long it waited
for a processor, and how long it had nothing to do (`/proc`, Linux). Had each worker a processor of its own,
a step would take as long as they run, divided by their number and by the share of the time in which they had
something to do. The efficiency of more workers is the time of the first number of them over theirs, by
worker.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from castsheet.pairs.records import PairsError
from mini.script import finish

PAUSE = 0.1  # seconds from one look at the processes to the next
SPAWNED = b"spawn_main"  # in the command line of a worker
NANO = 1e-9


@dataclass(frozen=True)
class Spread:
    """What the workers of a run did, in seconds: by the clock, running, and waiting for a processor."""

    workers: int
    clock: float
    ran: float
    waited: float

    @property
    def busy(self) -> float:
        """The share of the time in which a worker had something to do."""
        return (self.ran + self.waited) / (self.workers * self.clock)

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
    told: dict[int, tuple[float, float]] = {}
    while process.poll() is None:
        told |= {pid: times for pid in _children(process.pid) if (times := _times(pid)) is not None}
        time.sleep(PAUSE)
    if process.returncode:
        raise PairsError(f"{' '.join(command)} ended with {process.returncode}", remedy="run it alone")
    clock = time.monotonic() - start
    return Spread(workers, clock, sum(one[0] for one in told.values()), sum(one[1] for one in told.values()))


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


def _times(pid: int) -> tuple[float, float] | None:
    """Seconds in which a process ran, and in which it waited for a processor."""
    ran = waited = 0.0
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            fields = (task / "schedstat").read_text().split()
            ran, waited = ran + int(fields[0]) * NANO, waited + int(fields[1]) * NANO
    except OSError:
        return None
    return ran, waited


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("table", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--size", default="384x224", help="of the clips")
    options = parser.parse_args()
    tool = [sys.executable, "-m", "castsheet.cli", "pairs"]
    steps: dict[str, list[Spread]] = {"find": [], "make": []}
    for count in options.workers:
        work, data = options.out / f"work-{count}", options.out / f"data-{count}"
        number = ["--workers", str(count)]
        find = [*tool, "find", str(options.table), "-o", str(work), "--size", options.size, *number]
        make = [*tool, "make", str(work), "-o", str(data), "--variants", "1", "--no-judge", *number]
        for name, command in (("find", find), ("make", make)):
            one = watched(command, count)
            steps[name].append(one)
            print(
                f"{name}, {count} workers: {one.clock:.1f} s by the clock, ran {one.ran:.1f} s, waited "
                f"{one.waited:.1f} s, busy {one.busy:.1%}, {one.alone:.1f} s with processors of their own",
                flush=True,
            )
    for name, (first, *others) in steps.items():
        for one in others:
            share = first.alone * first.workers / (one.alone * one.workers)
            print(f"{name}: efficiency of {one.workers} workers {share:.3f}")


if __name__ == "__main__":
    finish(main)
