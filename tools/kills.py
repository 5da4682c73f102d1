"""Kill every command that writes before and after its steps on the file system: `python -m tools.kills`.

For each kill: the set of results is looked at as the next run in the same place finds it, the command is run
    again, and what it makes is compared with a run that nobody killed. `docs/reliability.md` holds the
    counts.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch

# Children are forked with all this in memory.
import castsheet.authoring.fix
import castsheet.authoring.library
import castsheet.cli
import castsheet.jobs.shots
import castsheet.lint.report
import castsheet.sheet.preview
import castsheet.train.data.encode
import castsheet.train.trainer  # noqa: F401
from tests.doubles.killed import Ended, moments, run
from tests.doubles.killed_disks import BLOCK, run_on_disk, used
from tests.doubles.killed_work import (
    COMMANDS,
    PAIRS,
    Command,
    Pair,
    Prepared,
    build,
    faults,
    pair_faults,
    prepare,
)

KINDS = ("lost", "replaced", "half-written", "left", "missing", "other bytes", "rerun", "hang")
SIGNALLED = (*KINDS, "exit", "traceback")


def main() -> None:
    """Read the command line, kill, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=int, default=10_000, help="moments of a command, evenly spread")
    parser.add_argument(
        "--random", type=int, default=0, help="further kills of each command, at random times"
    )
    parser.add_argument(
        "--pairs", type=int, default=0, help="and so many pairs of processes at once, each kind"
    )
    parser.add_argument(
        "--signals", type=int, default=0, help="SIGINT and SIGTERM in turns, so many times each command"
    )
    parser.add_argument(
        "--disks",
        type=int,
        default=0,
        help="each command on so many disks that fill up on the way, and on one that may only be read; "
        "needs the right to mount (root, or `unshare --user --map-root-user --mount`)",
    )
    parser.add_argument("--only", nargs="*", default=[], help="names of commands")
    parser.add_argument("--json", type=Path, help="write the counts here too")
    given = parser.parse_args()
    torch.set_num_threads(1)
    table = []
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        good = build(place / "good")
        chosen = [one for one in (*COMMANDS, *PAIRS) if not given.only or one.name in given.only]
        for one in chosen:
            if isinstance(one, Command) and given.signals:
                row = signalled(one, good, place, given.signals)
            elif isinstance(one, Command) and given.disks:
                row = on_disks(one, good, place, given.disks)
            elif isinstance(one, Command) and given.most:
                row = campaign(one, good, place, given.most, given.random)
            elif isinstance(one, Pair) and given.pairs:
                row = at_once(one, good, place, given.pairs)
            else:
                continue
            table.append(row)
            sys.stdout.write(f"{row}\n")
            sys.stdout.flush()
            if given.json:
                given.json.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


def at_once(pair: Pair, good: Path, place: Path, count: int) -> dict[str, object]:
    """Run a pair of commands at once, `count` times; what was found, counted."""
    found: Counter[str] = Counter()
    for number in range(1, count + 1):
        for fault in pair_faults(pair, good, place / "pair"):
            found[fault.partition(":")[0]] += 1
            sys.stdout.write(f"  {pair.name}, pair {number}: {fault}\n")
    return {"pair": pair.name, "pairs": count} | {k: found[k] for k in KINDS}


def signalled(command: Command, good: Path, place: Path, count: int) -> dict[str, object]:
    """Send SIGINT and SIGTERM in turns to one command, at random times; the faults, counted."""
    folder = place / command.name.replace(" ", "_")
    folder.mkdir()
    prepared = prepare(command, good, folder)
    draw = random.Random(command.name)
    found: Counter[str] = Counter()
    for number in range(count):
        kill = (signal.SIGINT, signal.SIGTERM)[number % 2]
        delay = draw.uniform(0.005, prepared.seconds)
        send = partial(run, command.words, delay=delay, kill=kill)
        # The state after a signal is one that a kill may leave too: of three, one is run again.
        for fault in faults(prepared, folder / "work", send, clean=(128 + kill,), rerun=number % 3 == 0):
            found[fault.partition(":")[0]] += 1
            sys.stdout.write(f"  {command.name}, {kill.name} after {delay:.3f} s: {fault}\n")
    return {"command": command.name, "signals": count} | {k: found[k] for k in SIGNALLED}


def on_disks(command: Command, good: Path, place: Path, count: int) -> dict[str, object]:
    """Run one command on disks that have from no room to all the room but one block; the faults, counted."""
    folder = place / command.name.replace(" ", "_")
    folder.mkdir()
    prepared = prepare(command, good, folder)
    needed = max(used(prepared.after / "out") - used(prepared.before / "out"), BLOCK)
    found: Counter[str] = Counter()
    for free in (None, *(needed * number // count for number in range(count))):
        send = partial(run_on_disk, command.words, free=free)
        for fault in faults(prepared, folder / "work", send, clean=(2,)):
            found[fault.partition(":")[0]] += 1
            sys.stdout.write(f"  {command.name}, {free} bytes free: {fault}\n")
    return {"command": command.name, "disks": count + 1} | {k: found[k] for k in SIGNALLED}


def campaign(command: Command, good: Path, place: Path, most: int, extra: int) -> dict[str, object]:
    """Kill one command at up to `most` of its moments, and `extra` times at random; the faults, counted."""
    folder = place / command.name.replace(" ", "_")
    folder.mkdir()
    prepared = prepare(command, good, folder)
    found: Counter[str] = Counter()
    count, start = 0, time.monotonic()
    for kill in (*_at_steps(prepared, most), *_at_random(prepared, extra)):
        count += 1
        for fault in faults(prepared, folder / "work", kill):
            found[fault.partition(":")[0]] += 1
            sys.stdout.write(f"  {command.name}, kill {count}: {fault}\n")
    seconds = round(time.monotonic() - start)
    steps = len(prepared.steps)
    return {"command": command.name, "steps": steps, "kills": count, "s": seconds} | {
        k: found[k] for k in KINDS
    }


def _at_steps(prepared: Prepared, most: int) -> Iterator[Callable[[Path], Ended]]:
    chosen = moments(prepared.steps)
    for at, after in chosen[:: -(-len(chosen) // most)]:
        yield partial(run, prepared.command.words, at=at, after=after)


def _at_random(prepared: Prepared, count: int) -> Iterator[Callable[[Path], Ended]]:
    draw = random.Random(prepared.command.name)
    for _ in range(count):
        delay = draw.uniform(0.01, prepared.seconds)
        yield partial(run, prepared.command.words, delay=delay)


if __name__ == "__main__":
    main()
