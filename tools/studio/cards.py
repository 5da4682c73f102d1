"""One studio on a machine with GPUs: each has a worker, and it does not matter which worker makes a take.

    python -m tools.studio.cards [--workers 2] [--takes 6]

Shown are the memory that the workers took on each GPU, how many takes each worker made, and whether all takes
have the same bytes. Without `--workers` there is one for each GPU.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import torch

from castsheet.studio.client import Client
from castsheet.studio.store import Store
from tests.studio.conftest import opened, stock
from tests.studio.running import Running
from tools.studio.kills import TAKE, until
from tools.studio.ray_workers import hashes, takes

WORTH_MIB = 50  # a model on a GPU takes more


def used() -> list[float]:
    """MiB in use on each GPU, by whomever."""
    cards = range(torch.cuda.device_count())
    return [(total - free) / 2**20 for free, total in map(torch.cuda.mem_get_info, cards)]


class Owners:
    """Who holds each job, looked at over and over while the jobs run."""

    def __init__(self, queue: Path) -> None:
        self.of: dict[str, str] = {}
        self._store, self._ending = Store(queue), threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Owners:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()
        self._store.close()

    def _watch(self) -> None:
        while not self._ending.is_set():
            held = self._store.rows("SELECT id, owner FROM jobs WHERE owner IS NOT NULL")
            self.of |= {str(job): str(owner) for job, owner in held}
            time.sleep(0.02)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workers", type=int)
    parser.add_argument("--takes", type=int, default=6)
    arguments = parser.parse_args()
    before = used()
    more = ["--device", "auto", *(["--workers", str(arguments.workers)] if arguments.workers else [])]
    with tempfile.TemporaryDirectory() as name:
        for studio in opened(Path(name)):
            sheet, folder = stock(studio), studio.folder.root
            queue = studio.folder.queue
        with Running(folder, *more), Owners(queue) as owners:
            client = Client.open(folder)
            until(lambda: client.get("/system")["model"] or None)
            found = hashes(client, takes(client, sheet, arguments.takes))
            taken = [now - then for now, then in zip(used(), before, strict=True)]
    made = Counter(owners.of.values())
    for number, mib in enumerate(taken):
        sys.stdout.write(f"cuda:{number}: {mib:.0f} MiB more in use\n")
    sys.stdout.write("".join(f"{owner}: {count} takes\n" for owner, count in sorted(made.items())))
    alike = len(set(found)) == 1 and len(found[0]) == 64
    shape = f"{TAKE['frames']} frames, {TAKE['steps']} steps"
    sys.stdout.write(f"{len(found)} takes of {shape}: {'all have the same bytes' if alike else found}\n")
    return 0 if alike and all(mib > WORTH_MIB for mib in taken) else 1


if __name__ == "__main__":
    sys.exit(main())
