"""Who makes the shots: this process, or Ray workers that may be lost.

A maker turns a job (a shot with everything settled) into the content of its files. Workers send the content
to one process that writes the files, so they need no common disk. If a worker is lost, another worker makes
its shot again, and only that one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from castsheet.errors import CastsheetError, DependencyError
from castsheet.jobs.folder import Files
from castsheet.machine.files import require


class Job(Protocol):
    """What a maker makes."""

    @property
    def id(self) -> str: ...


J = TypeVar("J", bound=Job)
Maker = Callable[[J], Files]
OpenMaker = Callable[[], Maker[J]]  # loads the model; runs once in each process; must be picklable for Ray
Pack = Callable[[J], J]  # completes a job right before it travels
After = Callable[[J], str | None]  # the id of the job whose files this one needs
Made = tuple[J, Files | CastsheetError]

LOST_MAX = 3  # after so many lost workers their shot is given up: the shot itself may kill them


class WorkerLost(CastsheetError):
    """A shot could not be made: the workers that worked on it were lost one after another."""


def spread_over(address: str | None, workers: int | None, device: str) -> Callable[..., Iterator[Any]] | None:
    """`on_ray` for a device: one GPU a worker, unless the device is the CPU or there is no GPU here.

    Returns:
        None if neither an address nor a number of workers is given: this process makes the shots.
    """
    if address is None and workers is None:
        return None
    import torch

    on_cpu = device == "cpu" or (device == "auto" and address is None and not torch.cuda.is_available())
    return functools.partial(on_ray, cluster=Cluster(address, workers or 2, cpus=1, gpus=0 if on_cpu else 1))


def here(open_maker: OpenMaker[J], jobs: Sequence[J]) -> Iterator[Made[J]]:
    """Make shots in this process, in order. An error in one shot is returned and does not stop the others."""
    make = open_maker()
    for job in jobs:
        yield job, _attempt(make, job)


@dataclass(frozen=True)
class Cluster:
    """Where Ray runs.

    Attributes:
        address: of a running cluster ("auto" finds one); None starts one on this machine.
        workers: how many makers, each with its own copy of the model.
        cpus, gpus: what each maker gets, in Ray's own units.
    """

    address: str | None = None
    workers: int = 2
    cpus: float = 1
    gpus: float = 0


def as_it_is(job: J) -> J:
    """The job itself: nothing is missing from it."""
    return job


def of_its_own(job: J) -> None:  # noqa: ARG001 - an `After`
    """No other job: this one needs nobody's files."""
    return


def on_ray(
    open_maker: OpenMaker[J],
    jobs: Sequence[J],
    cluster: Cluster,
    pack: Pack[J] = as_it_is,
    after: After[J] = of_its_own,
) -> Iterator[Made[J]]:
    """Make shots on Ray workers; yields them in the order in which they are finished.

    Args:
        pack: completes a job right before it is sent: only a few jobs' large parts are in memory at once. An
            error of the user's in it is that job's result.
        after: which job of the list must be finished, and its result taken, before this one is packed.

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
        yield from _spread(ray, open_maker, jobs, cluster, pack, after)
    finally:
        if started:
            ray.shutdown()


def _spread(
    ray: Any,
    open_maker: OpenMaker[J],
    jobs: Sequence[J],
    cluster: Cluster,
    pack: Pack[J],
    after: After[J],
) -> Iterator[Made[J]]:
    """Hand every free worker the next job that can be begun; the job of a lost worker goes back to the front
    of the queue."""
    remote = ray.remote(num_cpus=cluster.cpus, num_gpus=cluster.gpus, max_restarts=0)(_Worker)
    queue, lost = list(jobs), dict.fromkeys((job.id for job in jobs), 0)
    busy: dict[Any, tuple[Any, J]] = {}
    free = [remote.remote(open_maker) for _ in range(min(cluster.workers, len(jobs)))]
    _greet(ray, free)
    while queue or busy:
        while free and (job := _next(queue, [one for _, one in busy.values()], after)) is not None:
            queue.remove(job)
            try:
                packed = pack(job)
            except CastsheetError as error:
                yield job, error
                continue
            worker = free.pop()
            busy[worker.make.remote(packed)] = worker, job
        if not busy:
            continue
        (done,), _ = ray.wait(list(busy), num_returns=1)
        worker, job = busy.pop(done)
        try:
            result = ray.get(done)
        except ray.exceptions.RayActorError:
            free.append(remote.remote(open_maker))
            lost[job.id] += 1
            if lost[job.id] < LOST_MAX:
                queue.insert(0, job)
            else:
                yield (
                    job,
                    WorkerLost(
                        f"shot {job.id}: {LOST_MAX} workers were lost while they made it",
                        remedy="look into Ray's logs (memory, most likely), or make it in one process",
                    ),
                )
            continue
        free.append(worker)
        yield job, result
    for worker in free:
        ray.kill(worker)


def _next(queue: Sequence[J], busy: Sequence[J], after: After[J]) -> J | None:
    """The first job whose predecessor is neither waiting nor being made."""
    open_jobs = {job.id for job in (*queue, *busy)}
    return next((job for job in queue if after(job) not in open_jobs), None)


def _greet(ray: Any, workers: Sequence[Any]) -> None:
    """Wait until every worker is ready. A worker that cannot start is an error, not a lost worker."""
    try:
        ray.get([worker.ready.remote() for worker in workers])
    except ray.exceptions.RayActorError as error:
        reason = next((line for line in reversed(str(error).splitlines()) if "Error" in line), str(error))
        raise DependencyError(
            f"Ray's workers cannot start: {reason.strip()}",
            remedy="install the same castsheet, with its extras, wherever workers run",
        ) from error


class _Worker(Generic[J]):
    """Lives in a Ray process. It opens the model with its first shot: an error then belongs to that shot."""

    def __init__(self, open_maker: OpenMaker[J]) -> None:
        self._open = open_maker
        self._make: Maker[J] | None = None

    def ready(self) -> None:
        """Answers once the process has imported what it needs."""

    def make(self, job: J) -> Files | CastsheetError:
        try:
            self._make = self._make or self._open()
        except CastsheetError as error:
            return error
        return _attempt(self._make, job)


def _attempt(make: Maker[J], job: J) -> Files | CastsheetError:
    try:
        return make(job)
    except CastsheetError as error:
        return error
