"""A worker: one process with one model, which takes jobs from the queue until it is asked to end.

    python -m castsheet.studio.worker FOLDER OWNER MODEL LOADING NUMBER

The process that started it holds the other end of its standard input. When that end closes, the worker
gives its job back at the next step and ends: a studio that was killed leaves no worker behind.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from dataclasses import replace
from pathlib import Path

from castsheet.errors import CastsheetError
from castsheet.loading.options import Loading
from castsheet.studio.bench import Bench
from castsheet.studio.desk import Stopped
from castsheet.studio.folder import Folder
from castsheet.studio.job import Job, Lost
from castsheet.studio.queue import LEASE_S, Queue
from castsheet.studio.store import Store

POLL_S = 0.2


class Worker:
    """Takes jobs, one after another."""

    def __init__(self, bench: Bench, queue: Queue, owner: str) -> None:
        self._bench, self._queue, self._owner = bench, queue, owner
        self.ending = threading.Event()
        self._held: Job | None = None

    def run(self) -> None:
        """Work until the event `ending` is set."""
        threading.Thread(target=self._renew, daemon=True).start()
        while not self.ending.is_set():
            job = self._queue.claim(self._owner)
            if job is None:
                self.ending.wait(POLL_S)
                continue
            self._held = job
            try:
                self._bench.work(job, self.ending.is_set)
            except Stopped:
                self._give_back(job)
            except Lost:
                continue
            finally:
                self._held = None

    def _give_back(self, job: Job) -> None:
        try:
            self._queue.stopped(job)
        except Lost:
            return

    def _renew(self) -> None:
        """Keep the claim while the work is silent, as while a model is loaded."""
        while not self.ending.wait(LEASE_S / 5):
            job = self._held
            try:
                if job is not None:
                    self._queue.renew(job)
            except Lost:
                continue

    def open(self, folder: Folder) -> None:
        """Open the model before the first job; the page says what is wrong with it."""
        try:
            self._bench.open()
            self._queue.keep("trouble", None)
        except CastsheetError as error:
            # Each job says it again when it fails for it.
            told = {"what": folder.told(error.what), "remedy": folder.told(error.remedy)}
            self._queue.keep("trouble", told)


def placed(loading: Loading, number: int, cards: int) -> Loading:
    """Where the worker of a number runs: of several GPUs each worker has its own."""
    if loading.device not in ("auto", "cuda") or cards < 2:
        return loading
    return replace(loading, device=f"cuda:{number % cards}")


def main() -> int:
    import torch

    root, owner, model, loading, number = sys.argv[1:6]
    folder = Folder(Path(root))
    queue = Queue(Store(folder.queue))
    bench = Bench(
        folder, queue, model, placed(Loading(**json.loads(loading)), int(number), torch.cuda.device_count())
    )
    worker = Worker(bench, queue, owner)

    def watch() -> None:
        while os.read(0, 4096):
            continue
        worker.ending.set()

    threading.Thread(target=watch, daemon=True).start()
    worker.open(folder)
    worker.run()
    queue.store.close()
    return 0


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # a thread that waits for standard input would end the interpreter with an abort
