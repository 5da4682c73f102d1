"""Several processes on one host: those that `torchrun` starts, and workers that this process starts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from castsheet.errors import SettingsError


@dataclass(frozen=True)
class World:
    """This process among all that torchrun started."""

    rank: int
    size: int
    device: torch.device

    @property
    def main(self) -> bool:
        """Whether this is the process that writes files and messages."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def wait(self) -> None:
        """Wait until all processes have called this."""
        if self.size > 1:
            dist.barrier()


def started() -> int:
    """How many processes torchrun has started, this one included."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def _group_of_one(device: torch.device) -> Iterator[None]:
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()


@contextmanager
def world(device: torch.device, *, group: bool = False) -> Iterator[World]:
    """The processes that `torchrun` started, or this one alone.

    Args:
        group: form a group also if this process is alone, for what divides a model over a group's members.

    Raises:
        SettingsError: torchrun's variables are incomplete.
    """
    if "RANK" not in os.environ:
        with _group_of_one(device) if group and not dist.is_initialized() else nullcontext():
            yield World(0, 1, device)
        return
    try:
        rank, size, local = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    except (KeyError, ValueError) as error:
        raise SettingsError(
            f"RANK is set, but {error}", remedy="start several processes with torchrun"
        ) from error
    if device.type == "cuda":
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    if dist.is_initialized():  # a command of several parts keeps its processes from one part to the next
        yield World(rank, size, device)
        return
    # The others wait while one process draws sample pictures.
    waits = timedelta(hours=1)
    if device.type == "cuda":
        dist.init_process_group("nccl", timeout=waits, device_id=device)
    else:
        dist.init_process_group("gloo", timeout=waits)
    try:
        yield World(rank, size, device)
    finally:
        dist.destroy_process_group()
