"""Several processes on one machine, as torchrun starts them."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist

Task = Callable[[], Any]


@contextmanager
def several_processes(count: int, *tasks: Task) -> Iterator[None]:
    """All processes run the tasks in turn, each task in a process group of its own, while the block runs.

    As torchrun does, this process holds the store where they meet. The system gives its port, so that no
    other test can have taken it.
    """
    stores = [dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False) for _ in tasks]
    ports = [store.port for store in stores]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["castsheet.train.trainer"])  # what all import, once
    children = [context.Process(target=_run, args=(rank, count, ports, tasks)) for rank in range(count)]
    for child in children:
        child.start()
    try:
        yield
    finally:
        for child in children:
            child.join(240)
            child.kill()
    assert [child.exitcode for child in children] == [0] * count


def _run(rank: int, count: int, ports: Sequence[int], tasks: Sequence[Task]) -> None:
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_USE_AGENT_STORE": "True"}
    for port, task in zip(ports, tasks, strict=True):
        os.environ["MASTER_PORT"] = str(port)
        task()
