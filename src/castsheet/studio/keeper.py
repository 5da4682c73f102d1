"""Keeps worker processes alive, one for each GPU, and tells the queue when one has died."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from castsheet.studio.folder import Folder
from castsheet.studio.queue import Queue

LOOK_S = 0.2
PATIENCE_S = 10.0  # a cancel that takes longer ends the worker
_SLOWEST_S = 30.0
_STEADY_S = 60.0  # a worker that lived so long was no crash at its start


class Keeper:
    """Starts a worker, watches it, and starts the next one when it has died."""

    def __init__(
        self, folder: Folder, queue: Queue, model: str, loading: Mapping[str, Any], number: int = 0
    ) -> None:
        """Args: number: of the worker, from 0; it picks its GPU by it."""
        self._folder, self._queue, self._model, self._loading = folder, queue, model, dict(loading)
        self._number = number
        self._ending = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner, self._failures = "", 0
        self._thread = threading.Thread(target=self._watch, name="keeper", daemon=True)

    @property
    def pid(self) -> int | None:
        """The present worker's process id."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start a worker."""
        self._thread.start()

    def stop(self, patience: float = PATIENCE_S) -> None:
        """Ask the worker to give its job back and to end; wait for it."""
        self._ending.set()
        self._thread.join()
        process = self._process
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._queue.lost(self._owner, "the studio was stopped")

    def _watch(self) -> None:
        begun = 0.0
        while not self._ending.wait(LOOK_S):
            process = self._process
            if process is None:
                self._process = self._begin()
                begun = time.monotonic()
                continue
            code = process.poll()
            if code is None:
                self._end_if_deaf(process)
                self._queue.expire()
                continue
            self._process = None
            self._queue.lost(self._owner, _why(code))
            self._failures = 1 if time.monotonic() - begun > _STEADY_S else self._failures + 1
            self._ending.wait(min(0.1 * 2**self._failures, _SLOWEST_S))

    def _begin(self) -> subprocess.Popen[bytes]:
        self._owner = f"worker-{secrets.token_hex(6)}"
        told = json.dumps(self._loading, default=str)
        arguments = [str(self._folder.root), self._owner, self._model, told, str(self._number)]
        with (self._folder.private / "worker.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "castsheet.studio.worker", *arguments],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**self._places(), **os.environ, "PYTHONUNBUFFERED": "1"},
                start_new_session=True,  # Ctrl-C is for the studio, which then asks the worker to end
            )

    def _places(self) -> dict[str, str]:
        """Where torch keeps compiled code, unless the user says so: nothing is written beside the folder."""
        return {"TORCHINDUCTOR_CACHE_DIR": str(self._folder.private / "compiled")}

    def _end_if_deaf(self, process: subprocess.Popen[bytes]) -> None:
        if self._queue.deaf(PATIENCE_S, self._owner):
            process.kill()


def gpus() -> int:
    """How many NVIDIA cards this process may use, told without torch; 0 where none is seen."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is not None:
        return len([one for one in allowed.split(",") if one.strip() not in ("", "-1")])
    cards = Path("/proc/driver/nvidia/gpus")
    return len(list(cards.iterdir())) if cards.is_dir() else 0


def _why(code: int) -> str:
    if code < 0:
        return f"its worker was ended by {signal.Signals(-code).name}"
    return f"its worker ended with code {code}"
