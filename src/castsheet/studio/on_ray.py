"""Workers that Ray starts: the same loop on the same queue, in Ray's processes.

The queue's file needs one host, so the workers run on this machine of the cluster. Ray gives each its GPU. An
actor that dies loses its job to the next one, as a process of the keeper does.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from castsheet.errors import DependencyError
from castsheet.machine.files import require
from castsheet.studio.folder import Folder
from castsheet.studio.queue import Queue

LOOK_S = 0.5
PATIENCE_S = 10.0


class Hand:
    """Lives in a Ray process: `run` works until `end` was called beside it."""

    def __init__(self, root: str, owner: str, model: str, loading: Mapping[str, Any]) -> None:
        from castsheet.loading.options import Loading
        from castsheet.studio.bench import Bench
        from castsheet.studio.store import Store
        from castsheet.studio.worker import Worker

        self._folder = Folder(Path(root))
        queue = Queue(Store(self._folder.queue))
        bench = Bench(self._folder, queue, model, Loading(**loading))
        self._worker = Worker(bench, queue, owner)

    def run(self) -> None:
        """Open the model, and take jobs from the queue."""
        self._worker.open(self._folder)
        self._worker.run()

    def end(self) -> None:
        """Give the job back at the next step, and end."""
        self._worker.ending.set()


class RayHands:
    """Keeps a number of Ray workers alive."""

    def __init__(
        self,
        folder: Folder,
        queue: Queue,
        model: str,
        loading: Mapping[str, Any],
        count: int,
        address: str,
    ) -> None:
        self._folder, self._queue, self._count, self._address = folder, queue, count, address
        self._given = (str(folder.root), model, dict(loading))
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="ray", daemon=True)
        self._hands: dict[Any, tuple[Any, str]] = {}
        self._ray: Any = None

    def start(self) -> None:
        """Join the cluster, or start one, and start the workers.

        Raises:
            DependencyError: Ray is not installed, or its cluster cannot be reached.
        """
        self._ray = require("ray", "ray")
        local = self._address == "local"
        try:
            self._ray.init(
                address=None if local else self._address,
                num_cpus=self._count if local else None,
                include_dashboard=False,
                log_to_driver=False,
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise DependencyError(
                f"no Ray cluster at {self._address}: {error}",
                remedy="start one with `ray start --head`, or give --ray-address local",
            ) from error
        for _ in range(self._count):
            self._begin()
        self._thread.start()

    def stop(self) -> None:
        """Ask the workers to give their jobs back, wait for them, and leave the cluster."""
        self._ending.set()
        self._thread.join()
        for hand, _ in self._hands.values():
            hand.end.remote()
        if self._hands:
            self._ray.wait(list(self._hands), num_returns=len(self._hands), timeout=PATIENCE_S)
        for _, owner in self._hands.values():
            self._queue.lost(owner, "the studio was stopped")
        self._ray.shutdown()

    def _begin(self) -> None:
        root, model, loading = self._given
        owner = f"ray-{secrets.token_hex(6)}"
        here = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            self._ray.get_runtime_context().get_node_id(), soft=False
        )
        on_cpu = loading.get("device") == "cpu" or not self._ray.cluster_resources().get("GPU")
        remote = self._ray.remote(
            num_cpus=1,
            num_gpus=0 if on_cpu else 1,
            max_restarts=0,
            max_concurrency=2,
            scheduling_strategy=here,
        )(Hand)
        hand = remote.remote(root, owner, model, loading)
        self._hands[hand.run.remote()] = hand, owner

    def _watch(self) -> None:
        while not self._ending.is_set():
            ended, _ = self._ray.wait(list(self._hands), num_returns=1, timeout=LOOK_S)
            for reference in ended:
                _, owner = self._hands.pop(reference)
                self._queue.lost(owner, "its Ray worker was lost")
                self._begin()
            for hand, owner in list(self._hands.values()):
                if self._queue.deaf(PATIENCE_S, owner):
                    self._ray.kill(hand)
            self._queue.expire()
