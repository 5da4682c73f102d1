"""Who makes the shots: this process, or Ray workers that may be lost.

A maker turns a shot into the content of its files. Content travels back to the one process that writes
them, so that workers need no disk in common with it, and a lost worker loses only the shot in its hands,
which another one then makes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from castsheet.errors import CastsheetError, DependencyError
from castsheet.jobs.folder import Files
from castsheet.jobs.shotlist import Shot
from castsheet.machine.files import require

Maker = Callable[[Shot], Files]
OpenMaker = Callable[[], Maker]  # loads the model; runs once in each process; must be picklable for Ray
Made = tuple[Shot, Files | CastsheetError]

LOST_MAX = 3  # a shot during which so many workers were lost is given up: it may be what kills them


class WorkerLost(CastsheetError):
    """A shot could not be made, because the workers that had it in hand were lost one after another."""


def cluster(address: str | None, workers: int, device: str) -> Cluster:
    """Workers for a device: one GPU each, unless the device is the CPU or there is no GPU here."""
    import torch

    on_cpu = device == "cpu" or (device == "auto" and address is None and not torch.cuda.is_available())
    return Cluster(address, workers, cpus=1, gpus=0 if on_cpu else 1)


def here(open_maker: OpenMaker, shots: Sequence[Shot]) -> Iterator[Made]:
    """Make shots in this process, in order. An error of one shot is handed on and does not stop the rest."""
    make = open_maker()
    for shot in shots:
        yield shot, _attempt(make, shot)


@dataclass(frozen=True)
class Cluster:
    """Where Ray runs.

    Attributes:
        address: of a running cluster ("auto" finds one); None starts one on this machine.
        workers: how many makers, each with its own copy of the model.
        cpus, gpus: what each is given, in Ray's own units.
    """

    address: str | None = None
    workers: int = 2
    cpus: float = 1
    gpus: float = 0


def on_ray(open_maker: OpenMaker, shots: Sequence[Shot], cluster: Cluster) -> Iterator[Made]:
    """Make shots on Ray workers; they come in the order in which they are finished.

    Raises:
        DependencyError: Ray is not installed, its cluster cannot be reached, or workers cannot start there.
    """
    ray: Any = require("ray", "ray")
    started = not ray.is_initialized()
    if started:
        try:
            needed = None if cluster.address else max(1, round(cluster.workers * cluster.cpus))
            ray.init(address=cluster.address, num_cpus=needed, include_dashboard=False, log_to_driver=False)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise DependencyError(
                f"no Ray cluster at {cluster.address or 'this machine'}: {error}",
                remedy="start one with `ray start --head`, or leave the address out",
            ) from error
    try:
        yield from _spread(ray, open_maker, shots, cluster)
    finally:
        if started:
            ray.shutdown()


def _spread(ray: Any, open_maker: OpenMaker, shots: Sequence[Shot], cluster: Cluster) -> Iterator[Made]:
    """Hand every free worker the next shot; put the shot of a lost worker back in the queue's front."""
    remote = ray.remote(num_cpus=cluster.cpus, num_gpus=cluster.gpus, max_restarts=0)(_Worker)
    queue, lost = list(shots), dict.fromkeys((shot.id for shot in shots), 0)
    busy: dict[Any, tuple[Any, Shot]] = {}
    free = [remote.remote(open_maker) for _ in range(min(cluster.workers, len(shots)))]
    _greet(ray, free)
    while queue or busy:
        while queue and free:
            worker, shot = free.pop(), queue.pop(0)
            busy[worker.make.remote(shot)] = worker, shot
        (done,), _ = ray.wait(list(busy), num_returns=1)
        worker, shot = busy.pop(done)
        try:
            result = ray.get(done)
        except ray.exceptions.RayActorError:
            free.append(remote.remote(open_maker))
            lost[shot.id] += 1
            if lost[shot.id] < LOST_MAX:
                queue.insert(0, shot)
            else:
                yield (
                    shot,
                    WorkerLost(
                        f"shot {shot.id}: {LOST_MAX} workers were lost while they made it",
                        remedy="look into Ray's logs (memory, most likely), or make it in one process",
                    ),
                )
            continue
        free.append(worker)
        yield shot, result
    for worker in free:
        ray.kill(worker)


def _greet(ray: Any, workers: Sequence[Any]) -> None:
    """Wait until every worker stands; one that cannot even start is no lost worker."""
    try:
        ray.get([worker.ready.remote() for worker in workers])
    except ray.exceptions.RayActorError as error:
        reason = next((line for line in reversed(str(error).splitlines()) if "Error" in line), str(error))
        raise DependencyError(
            f"Ray's workers cannot start: {reason.strip()}",
            remedy="install the same castsheet, with its extras, wherever workers run",
        ) from error


class _Worker:
    """Lives in a Ray process; the model is opened with its first shot, so that its errors are the shot's."""

    def __init__(self, open_maker: OpenMaker) -> None:
        self._open = open_maker
        self._make: Maker | None = None

    def ready(self) -> None:
        """Answers once the process has imported what it needs."""

    def make(self, shot: Shot) -> Files | CastsheetError:
        try:
            self._make = self._make or self._open()
        except CastsheetError as error:
            return error
        return _attempt(self._make, shot)


def _attempt(make: Maker, shot: Shot) -> Files | CastsheetError:
    try:
        return make(shot)
    except CastsheetError as error:
        return error
