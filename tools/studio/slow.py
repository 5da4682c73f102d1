"""The browser tests as on a slow machine: late answers, a slow processor, a busy one.

    python -m tools.studio.slow [--times 3] [--seed 7] [--delay 1.5] [--throttle 6] [--busy 0] [TESTS ...]

Chromium goes through a proxy that holds back each answer of the API for a random time, at most `--delay`
seconds; the stream of events is held back at its beginning only. `--throttle` makes Chromium's processor so
many times slower. `--busy` lets so many processes burn the machine's processors meanwhile. A test that goes
red found a page that answers before it can, or loses what somebody did: mend the page. Or the test assumes a
speed: let it wait for what a user would see.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import re
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserType, Page

TESTS = (
    "tests/studio/test_page.py",
    "tests/studio/test_keyboard.py",
    "tests/studio/test_late.py",
    "tests/studio/test_live.py",
    "tests/studio/test_origins.py",
)
TOLD = "CASTSHEET_SLOW"
_API = "/api/v1/"


class Late:
    """A forward proxy to this machine's servers, whatever a page calls them; a request a connection."""

    def __init__(self, seed: int, most_s: float) -> None:
        self._dice, self._most_s = random.Random(seed), most_s

    async def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass a request on, and its answer back, late."""
        with suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            asked, *headers = head.decode("latin-1").rstrip().split("\r\n")
            method, target, version = asked.split(" ")
            place = urlsplit(target)
            path = place.path + (f"?{place.query}" if place.query else "")
            kept = [one for one in headers if not re.match("(proxy-)?connection:", one, re.IGNORECASE)]
            lines = [f"{method} {path} {version}", *kept, "Connection: close", "", ""]
            there, back = await asyncio.open_connection("127.0.0.1", place.port)
            back.write("\r\n".join(lines).encode("latin-1"))
            sending = asyncio.create_task(_copy(reader, back))
            with suppress(OSError, asyncio.IncompleteReadError):
                head = await there.readuntil(b"\r\n\r\n")
                await asyncio.sleep(self._dice.uniform(0, self._most_s) if place.path.startswith(_API) else 0)
                writer.write(head)
                await _copy(there, writer)
            sending.cancel()
            back.close()
        writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """All that comes; then nothing more is wanted from the other side either."""
    with suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()


@contextmanager
def late(seed: int, most_s: float) -> Iterator[int]:
    """A proxy that delays; its port."""
    loop, listener = asyncio.new_event_loop(), socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    begun = asyncio.start_server(Late(seed, most_s).pass_on, sock=listener)
    asyncio.run_coroutine_threadsafe(begun, loop).result()
    yield listener.getsockname()[1]
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    listener.close()


@contextmanager
def busy(count: int) -> Iterator[None]:
    """So many processes that do nothing useful, as fast as they can."""
    loads = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for load in loads:
            load.kill()
            load.wait()


@pytest.fixture(scope="session", autouse=True)
def slow_browsers() -> Iterator[None]:
    """Every Chromium of this session goes through the proxy, and every page has a slow processor."""
    seed, most_s, throttle = (float(one) for one in os.environ[TOLD].split())
    launch, new_page = BrowserType.launch, Browser.new_page

    def launched(self: BrowserType, **how: Any) -> Browser:
        args = [*how.pop("args", []), f"--proxy-server=http://127.0.0.1:{port}"]
        return launch(self, **how, args=[*args, "--proxy-bypass-list=<-loopback>"])

    def opened(self: Browser, **how: Any) -> Page:
        page = new_page(self, **how)
        session = page.context.new_cdp_session(page)
        session.send("Emulation.setCPUThrottlingRate", {"rate": throttle})
        return page

    with late(int(seed), most_s) as port, pytest.MonkeyPatch.context() as patch:
        patch.setattr(BrowserType, "launch", launched)
        patch.setattr(Browser, "new_page", opened)
        yield


def once(tests: list[str], seed: int, delay_s: float, throttle: float) -> tuple[str, dict[str, str]]:
    """Run the tests in a pytest of their own, telling each outcome at once: all it printed, and them."""
    command = [sys.executable, "-m", "pytest", "-p", "tools.studio.slow", "-p", "no:cacheprovider"]
    told = os.environ | {TOLD: f"{seed} {delay_s} {throttle}", "PYTHONUNBUFFERED": "1"}
    printed, found = [], {}
    with subprocess.Popen([*command, "-vv", *tests], env=told, stdout=subprocess.PIPE, text=True) as running:
        for line in running.stdout or ():
            printed.append(line)
            if ended := re.match(r"(\S+::\S+) (PASSED|FAILED|ERROR|SKIPPED)", line):
                found[ended[1]] = ended[2]
                sys.stdout.write(f"seed {seed}: {ended[2]} {ended[1]}\n")
                sys.stdout.flush()
    return "".join(printed), found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("tests", nargs="*", default=list(TESTS))
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--delay", type=float, default=1.5)
    parser.add_argument("--throttle", type=float, default=6)
    parser.add_argument("--busy", type=int, default=0)
    given = parser.parse_args()
    told, outcomes = sys.stdout.write, Counter[tuple[str, str]]()
    with busy(given.busy):
        for seed in range(given.seed, given.seed + given.times):
            begun = time.monotonic()
            printed, found = once(given.tests, seed, given.delay, given.throttle)
            outcomes.update(found.items())
            bad = [name for name, outcome in found.items() if outcome != "PASSED"]
            told(f"seed {seed}: {len(found) - len(bad)} of {len(found)}, {time.monotonic() - begun:.0f} s\n")
            if bad or not found:
                told(printed)
            sys.stdout.flush()
    for (name, outcome), count in sorted(outcomes.items()):
        told(f"{outcome} {count} times: {name}\n")
    return 0 if {outcome for _, outcome in outcomes} == {"PASSED"} else 1


if __name__ == "__main__":
    sys.exit(main())
