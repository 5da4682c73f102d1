"""Many clients at once on loopback, and a queue of a thousand jobs.

    python -m tools.studio.load [--clients 200] [--requests 20] [--rounds 4]

Each client asks in turn for lists, texts and pictures, changes the queue, and listens to the events for a
moment. Printed: statuses, seconds, and the memory of the web process after each round.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

from castsheet.studio.client import Client
from tests.studio.conftest import opened, stock
from tests.studio.running import Running

JOBS = 1_000
LISTENS_S = 0.5
_HEAD = "{method} {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n{more}\r\n"


def memory(pid: int) -> float:
    """MiB that a process holds."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


class Clients:
    """Clients of one studio, each with one connection that is kept."""

    def __init__(self, client: Client, sheet: str) -> None:
        address = urlsplit(client.address)
        self._host, self._port, self._token = address.hostname, address.port, client.token
        self.found: Counter[str] = Counter()
        self.slowest = 0.0
        self._asked = (
            ("GET", "/api/v1/jobs?limit=50"),
            ("GET", "/api/v1/system"),
            ("GET", "/api/v1/elements"),
            ("GET", f"/api/v1/sheets/{sheet}/image"),
            ("GET", "/api/v1/takes"),
            ("GET", "/page/app.js"),
            ("POST", "/api/v1/queue/pause"),
            ("GET", "/api/v1/presets"),
            ("GET", "/api/v1/events"),
        )

    async def one(self, number: int, requests: int) -> None:
        """What one client does."""
        reader, writer = await asyncio.open_connection(self._host, self._port)
        for turn in range(requests):
            method, path = self._asked[(number + turn) % len(self._asked)]
            more = "Content-Length: 0\r\n" if method == "POST" else ""
            head = _HEAD.format(
                method=method, path=path, host=f"{self._host}:{self._port}", token=self._token, more=more
            )
            begun = time.perf_counter()
            writer.write(head.encode())
            await writer.drain()
            answer = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.found[answer.split(" ", 2)[1]] += 1
            self.slowest = max(self.slowest, time.perf_counter() - begun)
            if path.endswith("/events"):
                await asyncio.sleep(LISTENS_S)
                writer.close()
                reader, writer = await asyncio.open_connection(self._host, self._port)
                continue
            fields = dict(line.lower().split(": ", 1) for line in answer.split("\r\n")[1:] if ": " in line)
            await reader.readexactly(int(fields["content-length"]))
        writer.close()

    async def all(self, clients: int, requests: int) -> None:
        """Every client at once."""
        await asyncio.gather(*(self.one(number, requests) for number in range(clients)))


def listed(client: Client, sheet: str) -> tuple[float, float]:
    """Least and median seconds to list `JOBS` jobs."""
    client.post("/queue/pause")
    body = {"sheet": sheet, "action": "hero waves", "takes": 16}
    while len(client.get("/jobs")["jobs"]) < JOBS:
        client.post("/jobs", body)
    times = []
    for _ in range(20):
        begun = time.perf_counter()
        assert len(client.get("/jobs")["jobs"]) == JOBS
        times.append(time.perf_counter() - begun)
    return min(times), sorted(times)[len(times) // 2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--requests", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=4)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        for studio in opened(Path(name)):
            sheet, folder = stock(studio), studio.folder.root
        with Running(folder) as running:
            client = Client.open(folder)
            while client.get("/system")["model"] is None:
                time.sleep(0.2)
            sys.stdout.write(f"before: {memory(running.pid):.1f} MiB\n")
            for number in range(given.rounds):
                clients = Clients(client, sheet)
                begun = time.perf_counter()
                asyncio.run(clients.all(given.clients, given.requests))
                seconds = time.perf_counter() - begun
                told = f"{dict(clients.found)}, {seconds:.1f} s, slowest answer {clients.slowest:.2f} s"
                sys.stdout.write(f"round {number + 1}: {told}, {memory(running.pid):.1f} MiB\n")
                sys.stdout.flush()
            least, median = listed(client, sheet)
            sys.stdout.write(f"{JOBS} jobs listed: least {least:.3f} s, median {median:.3f} s\n")


if __name__ == "__main__":
    main()
