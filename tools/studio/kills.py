"""SIGKILL the web process, the worker, or both, at random moments of a take; then cancel takes that run.

    python -m tools.studio.kills [--times 30] [--cancels 10] [--kinds worker web both]

After each kill the studio is started again where it must be. The take must end as done, and its bytes must be
those of a take that nobody disturbed. After each cancel the take must have made one more step at most.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from castsheet.studio.client import Client
from tests.studio.conftest import opened, stock
from tests.studio.running import Running

KINDS = ("worker", "web", "both")
PATIENCE_S = 600.0
TAKE = {"frames": 9, "steps": 6}


class Place:
    """A studio that runs, with the demo's cast, and the take that nobody disturbed."""

    def __init__(self, folder: Path) -> None:
        for studio in opened(folder):
            self.sheet, self.folder = stock(studio), studio.folder.root
        self.running = Running(self.folder)
        self.running.start()
        self.client = Client.open(self.folder)
        until(lambda: self.client.get("/system")["model"] or None)
        self.take()
        begun = time.monotonic()
        self.good = self.take()
        self.seconds = time.monotonic() - begun

    def ask(self, **more: Any) -> str:
        body = {"sheet": self.sheet, "action": "hero waves", "seed": 4, "settings": {**TAKE, **more}}
        return str(self.client.post("/jobs", body)["jobs"][0]["id"])

    def take(self, job: str | None = None) -> str:
        """The hash of a take's video, once it is done."""
        (ended,) = self.client.wait([self.ask() if job is None else job], PATIENCE_S)
        if ended["state"] != "done":
            return f"{ended['state']}: {ended['error']}"
        return str(self.client.get(f"/takes/{ended['id']}")["video"]["sha256"])

    def kill(self, kind: str, delay: float) -> str:
        """Ask for a take, kill after so many seconds, and say how the take ended."""
        job = self.ask()
        time.sleep(delay)
        step = self.client.get(f"/jobs/{job}")["step"]
        try:
            worker = self.running.worker()
        except AssertionError:
            worker = None  # between two workers: the kill finds nobody
        if kind in ("web", "both"):
            self.running.kill()
        if kind in ("worker", "both") and worker is not None:
            try:
                os.kill(worker, signal.SIGKILL)
            except ProcessLookupError:
                worker = None
        if kind in ("web", "both"):
            self.running.start()
            self.client = Client.open(self.folder)
        found = self.take(job)
        sys.stdout.write(f"  {kind} after {delay:.2f} s, step {step}: {found[:40]}\n")
        sys.stdout.flush()
        return "same" if found == self.good else "OTHER"

    def cancel(self, steps: int, at: int) -> tuple[float, int]:
        """Cancel a take after a step; seconds of the answer, and steps that were still made."""
        job = self.ask(steps=steps)
        until(lambda: self.client.get(f"/jobs/{job}")["step"] >= at or None)
        begun = time.monotonic()
        asked = self.client.post(f"/jobs/{job}/cancel")
        seconds = time.monotonic() - begun
        (ended,) = self.client.wait([job], PATIENCE_S)
        assert ended["state"] == "cancelled", ended
        return seconds, ended["step"] - asked["step"]


def until(told: Callable[[], Any]) -> Any:
    """Wait for something."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if (found := told()) is not None:
            return found
        time.sleep(0.02)
    raise AssertionError("it did not come")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=30)
    parser.add_argument("--cancels", type=int, default=10)
    parser.add_argument("--kinds", nargs="*", default=KINDS, choices=KINDS)
    given = parser.parse_args()
    dice = random.Random(7)
    with tempfile.TemporaryDirectory() as name:
        place = Place(Path(name))
        sys.stdout.write(f"undisturbed: {place.good[:16]} in {place.seconds:.2f} s\n")
        for kind in given.kinds:
            found = Counter(place.kill(kind, dice.uniform(0, place.seconds)) for _ in range(given.times))
            sys.stdout.write(f"{kind}: {dict(found)} of {given.times}\n")
            sys.stdout.flush()
        cancels = [place.cancel(30, dice.randint(1, 20)) for _ in range(given.cancels)]
        states = Counter(job["state"] for job in place.client.get("/jobs")["jobs"])
        place.running.stop()
    if cancels:
        slow, late = max(one[0] for one in cancels), max(one[1] for one in cancels)
        sys.stdout.write(f"{len(cancels)} cancels: answered in {slow:.3f} s, {late} steps later at most\n")
    sys.stdout.write(f"jobs: {dict(states)}\n")


if __name__ == "__main__":
    main()
