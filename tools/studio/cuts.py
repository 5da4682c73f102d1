"""Cut the connections of the page in a real Chromium at random moments; it must show what the server has.

    python -m tools.studio.cuts [--times 200]

Between browser and server stands a door that aborts every open connection when it is told, in the middle of
an event as well, and lets nobody in for a while after. Meanwhile jobs are added, moved, claimed, ended, lost
and cancelled, and the queue is held and let go. Now and then the events that the page would go on from are
deleted. After each cut all that the page knows of the queue, and what it lists as waiting, must become what
the server has.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

from castsheet.studio.job import public
from castsheet.studio.queue import Queue
from castsheet.studio.state import Studio
from tests.studio.conftest import opened
from tests.studio.running import CHROMIUM
from tools.studio.fuzz import served

PATIENCE_S = 180.0
_STATE = """async () => {
  const { jobs, system } = await import("/page/lib.js");
  const heads = [...document.querySelectorAll("h2")];
  const list = heads.find((one) => one.textContent === "Waiting")?.nextElementSibling;
  const waiting = [...(list?.querySelectorAll("strong") || [])].map((one) => one.textContent);
  return { jobs: [...jobs.value.values()], paused: system.value?.paused, waiting };
}"""


class Door:
    """Passes bytes on between its port and another, until its connections are cut."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._open: set[asyncio.StreamWriter] = set()
        self._shut, self._to = False, 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def begin(self, to: int) -> None:
        """Pass on to a port from now on."""
        self._to = to
        self._thread.start()

    def cut(self, seconds: float) -> None:
        """Abort everything, and let nobody in for so many seconds."""

        def now() -> None:
            for one in self._open:
                one.transport.abort()

        self._shut = True  # here, not in the loop: it would come after the end of a cut without a pause
        self._loop.call_soon_threadsafe(now)
        time.sleep(seconds)
        self._shut = False

    def end(self) -> None:
        """Pass nothing on any more."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._listener.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(asyncio.start_server(self._pass, sock=self._listener))
        self._loop.run_forever()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._shut:
            writer.transport.abort()
            return
        there, back = await asyncio.open_connection("127.0.0.1", self._to)
        self._open |= {writer, back}
        await asyncio.gather(self._copy(reader, back), self._copy(there, writer))
        self._open -= {writer, back}

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        writer.close()


def change(queue: Queue, dice: random.Random, number: int) -> None:
    """One thing that happens to the queue."""
    waiting, all_ = queue.jobs(("queued",)), queue.jobs()
    held = queue.jobs(("running", "cancelling"))
    what = dice.choice(("add", "move", "claim", "cancel", "retry", "tell", "end", "lose", "hold"))
    if what == "add" and len(waiting) < 12:
        queue.add("take", [(f"take {number}", {"seed": number})])
    elif what == "move" and len(waiting) > 1:
        queue.place(dice.choice(waiting).id, dice.randrange(len(waiting)))
    elif what == "claim" and len(held) < 2:
        queue.claim(f"worker {len(held)}")
    elif what == "cancel" and (live := [job for job in all_ if job.state in ("queued", "running")]):
        queue.cancel(dice.choice(live).id)
    elif what == "retry" and (over := [job for job in all_ if job.state in ("failed", "cancelled")]):
        queue.retry(dice.choice(over).id)
    elif what == "tell" and held:
        queue.tell(dice.choice(held), number, 2 * number, "sampling")
    elif what == "end" and held:
        queue.publish(dice.choice(held), lambda: {"take": "x"}) if number % 2 else queue.fail(
            held[0], "x", "y"
        )
    elif what == "lose":
        queue.lost(None, "a test")
    elif what == "hold":
        queue.pause(not queue.paused)


@contextmanager
def busy(queue: Queue, number: int) -> Iterator[None]:
    """Things happen to the queue for as long as the block lasts."""
    ended, dice = threading.Event(), random.Random(number)

    def work() -> None:
        for step in itertools.count(number):
            if ended.wait(dice.uniform(0, 0.04)):
                return
            change(queue, dice, step)

    thread = threading.Thread(target=work)
    thread.start()
    yield
    ended.set()
    thread.join()


def differs(page: Page, queue: Queue) -> str:
    """What the page shows otherwise than the server has it, in the time that it may take; or nothing."""
    there: dict[str, Any] = {job.id: json.loads(json.dumps(public(job))) for job in queue.jobs()}
    waits = [job.label for job in queue.jobs(("queued",))]
    end, told = time.monotonic() + PATIENCE_S, ""
    while time.monotonic() < end:
        found = page.evaluate(_STATE)
        shown = {job["id"]: job for job in found["jobs"]}
        strange = [name for name in there | shown if there.get(name) != shown.get(name)]
        told = (
            f"{len(strange)} jobs, such as {there.get(strange[0])} as {shown.get(strange[0])}"
            if strange
            else ""
        )
        told = told or ("" if found["paused"] == queue.paused else f"held: {found['paused']}")
        told = told or ("" if found["waiting"] == waits else f"{found['waiting']} for {waits}")
        if not told:
            return ""
        time.sleep(0.05)
    return told


@contextmanager
def watched(studio: Studio) -> Iterator[tuple[Page, Door]]:
    """The page of the queue in Chromium, behind a door."""
    door = Door()
    token = (studio.folder.private / "token").read_text().strip()
    with served(studio, door.port) as (address, _), sync_playwright() as play:
        door.begin(int(address.rsplit(":", 1)[1]))
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{door.port}/?token={token}")
        page.goto(f"http://127.0.0.1:{door.port}/#/queue")
        yield page, door
        browser.close()
        door.end()


def cuts(folder: Path, times: int, seed: int = 7) -> list[str]:
    """Cut so many times; what the page then showed wrong."""
    dice, wrong = random.Random(seed), []
    for studio in opened(folder):
        queue = studio.queue
        with watched(studio) as (page, door):
            for number in range(times):
                with busy(queue, 1000 * number):
                    time.sleep(dice.uniform(0, 0.5))
                    door.cut(dice.choice((0.0, 0.0, dice.uniform(0, 1.5))))
                    time.sleep(dice.uniform(0, 0.3))
                if dice.random() < 0.1:  # a page that slept for days
                    with queue.store.change() as sql:
                        sql.execute("DELETE FROM events WHERE id < ?", (queue.last_event(),))
                if told := differs(page, queue):
                    wrong.append(f"after cut {number + 1}: {told}")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        wrong = cuts(Path(name), given.times, given.seed)
    told = f"{given.times} cuts in {time.monotonic() - begun:.0f} s: {len(wrong)} times another state"
    sys.stdout.write("\n".join([*wrong, told]) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
