"""Takes made by Ray workers from the studio's own queue; one of the workers is killed on the way.

    python -m tools.studio.ray_workers

All takes must be done, and have the bytes of a take that the studio's own worker made.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from pathlib import Path

from castsheet.studio.client import Client
from tests.studio.conftest import opened, stock
from tests.studio.running import Running
from tools.studio.kills import PATIENCE_S, TAKE, until

TAKES = 4


def hands() -> list[int]:
    """The processes of Ray's workers that take jobs."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().startswith(b"ray::Hand"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def takes(client: Client, sheet: str, count: int) -> list[str]:
    """Ask for takes that are all the same; the jobs' ids."""
    body = {"sheet": sheet, "action": "hero waves", "seed": 4, "settings": TAKE}
    return [str(client.post("/jobs", body)["jobs"][0]["id"]) for _ in range(count)]


def hashes(client: Client, jobs: list[str]) -> list[str]:
    """How the jobs ended: the hash of each take's video, or its state."""
    ended = client.wait(jobs, PATIENCE_S)
    return [
        str(client.get(f"/takes/{job['id']}")["video"]["sha256"]) if job["state"] == "done" else job["state"]
        for job in ended
    ]


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        for studio in opened(Path(name)):
            sheet, folder = stock(studio), studio.folder.root
        with Running(folder):
            client = Client.open(folder)
            (good,) = hashes(client, takes(client, sheet, 1))
        with Running(folder, "--ray-address", "local", "--workers", "2"):
            client = Client.open(folder)
            jobs = takes(client, sheet, TAKES)
            until(lambda: client.get(f"/jobs/{jobs[0]}")["step"] >= 1 or None)
            there = hands()
            os.kill(there[0], signal.SIGKILL)
            found = hashes(client, jobs)
            lost = sum(client.get(f"/jobs/{job}")["losses"] for job in jobs)
    same = sum(one == good for one in found)
    told = f"{same} of {TAKES} takes have the bytes of the studio's own worker"
    sys.stdout.write(f"{told}; {len(there)} Ray workers, one killed, {lost} jobs given back\n")
    return 0 if same == TAKES else 1


if __name__ == "__main__":
    sys.exit(main())
