"""A studio that runs: the real command in a process of its own, with its worker and mini."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PATIENCE_S = 600
SLOW_MS = 180_000  # what a user waits for comes within this, on the slowest machine


class Running:
    """`castsheet studio FOLDER`, started and stopped as a user does."""

    def __init__(self, folder: Path, *more: str, **environment: str) -> None:
        self.folder, self.address = folder, ""
        self._more, self._environment = more, environment
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Running:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        command = [sys.executable, "-m", "castsheet.cli", "studio", str(self.folder)]
        self._process = subprocess.Popen(
            [*command, "--port", "0", "--no-browser", "--device", "cpu", *self._more],
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"} | self._environment,
        )
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if found := re.search(r"studio: (http\S+)", line):
                self.address = found[1]
                return
        raise AssertionError(f"the studio did not start: {self._process.wait()}")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def worker(self) -> int:
        """The worker's process id."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        for child in children or _threads_children(self.pid):
            if b"castsheet.studio.worker" in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
        raise AssertionError("there is no worker")

    def kill(self) -> None:
        """End the web process as a crash does."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        """Ctrl-C."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                raise


def drawn(page: Page) -> None:
    """Wait until a page has drawn what it knows."""
    page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(() => setTimeout(done))))")


def _threads_children(pid: int) -> list[str]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [child for task in tasks for child in (task / "children").read_text().split()]
