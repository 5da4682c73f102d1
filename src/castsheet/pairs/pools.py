"""Where the work is done: in processes of this machine, or on a Ray cluster.

Both give the same results: the work is a pure function, and only the process that asked writes files. On a
cluster every machine needs the films and the work folder under the same paths, and the same castsheet.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import get_context
from typing import Any

from castsheet.errors import DependencyError
from castsheet.machine.files import require
from castsheet.pairs.ledger import Made, Pool, Task


def pool_of(workers: int, address: str | None = None) -> Pool | None:
    """Where to work.

    Args:
        workers: processes; 0 is this process.
        address: of a running Ray cluster ("auto" finds one), "local" for one that is started here; None works
            without Ray.
    """
    if address is not None:
        return partial(on_ray, workers=max(1, workers), address=None if address == "local" else address)
    return partial(in_processes, workers=workers) if workers else None


def in_processes(tasks: Sequence[Task], workers: int) -> Iterator[tuple[Task, Made | None]]:
    """Results of tasks in several processes; None for those that were in work when one of them died."""
    waiting = list(reversed(tasks))
    while waiting:
        lost: list[Task] = []
        with ProcessPoolExecutor(min(workers, len(waiting)), get_context("spawn")) as pool:
            running: dict[Future[Made], Task] = {}
            finished: list[tuple[Task, Future[Made]]] = []
            while (waiting and not lost) or running:
                while waiting and not lost and len(running) < workers:
                    task = waiting.pop()
                    try:
                        running[pool.submit(task.work, *task.arguments)] = task
                    except BrokenProcessPool:  # a process died while it had nothing to do, or a moment ago
                        lost.append(task)
                # Whoever asks writes results down; no process waits for that.
                yield from _results(finished, lost)
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                finished = [(running.pop(future), future) for future in done]
            yield from _results(finished, lost)
        for task in lost:
            yield task, None


def _results(finished: list[tuple[Task, Future[Made]]], lost: list[Task]) -> Iterator[tuple[Task, Made]]:
    """What finished tasks gave; those whose process died join `lost`. The list is empty afterwards."""
    while finished:
        task, future = finished.pop(0)
        try:
            made = future.result()
        except BrokenProcessPool:
            lost.append(task)
        else:
            yield task, made


def on_ray(tasks: Sequence[Task], workers: int, address: str | None) -> Iterator[tuple[Task, Made | None]]:
    """Results of tasks on a cluster; None for those whose own process died.

    Raises:
        DependencyError: Ray is not installed, or there is no cluster at the address.
    """
    if not tasks:
        return
    ray: Any = require("ray", "ray")
    if not ray.is_initialized():  # it stays until this process ends: a stage follows a stage
        try:
            cpus = None if address else workers
            ray.init(address=address, num_cpus=cpus, include_dashboard=False, log_to_driver=False)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise DependencyError(
                f"no Ray cluster at {address or 'this machine'}: {error}",
                remedy="start one with `ray start --head`, or leave the address out",
            ) from error
    yield from _spread(ray, tasks, workers)


def _spread(ray: Any, tasks: Sequence[Task], workers: int) -> Iterator[tuple[Task, Made | None]]:
    """Keep `workers` tasks in work, so that results do not pile up before they are written."""
    waiting = list(reversed(tasks))
    running: dict[Any, Task] = {}
    while waiting or running:
        while waiting and len(running) < workers:
            task = waiting.pop()
            remote = ray.remote(num_cpus=1, max_retries=0)(task.work)
            running[remote.remote(*task.arguments)] = task
        (done,), _ = ray.wait(list(running), num_returns=1)
        task = running.pop(done)
        try:
            made = ray.get(done)
        except ray.exceptions.RayTaskError as error:
            raise error.as_instanceof_cause() from error
        except ray.exceptions.RayError:
            made = None
        yield task, made
