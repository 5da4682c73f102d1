"""Training in any number of processes as one: sums over processes, and a base divided over cards.

Only gradients and one small vector of losses are sent. The gradients' sums start block by block while the
backward pass still runs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from functools import partial
from weakref import ReferenceType, ref

import torch.distributed as dist
from torch import Tensor, nn

from castsheet.machine.processes import World
from castsheet.train.memory.bucket import Bucket
from castsheet.train.memory.host import Leaving


class GradientSum:
    """Sums gradients over processes during the backward pass, each bucket as soon as it is complete.

    Switch `on` before the last backward pass of a step; `finish` waits until every gradient is the sum.

    Args:
        leaving: moves a bucket's gradients to host memory once they are complete or summed; `Bucket.open`
            fetches them.

    Attributes:
        active: False leaves every process its own gradients, to measure what the sums cost.
    """

    def __init__(
        self, trained: Sequence[Bucket | nn.Parameter], size: int, leaving: Leaving | None = None
    ) -> None:
        self.on, self.active = False, True
        self._size, self._leaving = size, leaving
        self._pending = deque[tuple[Bucket | nn.Parameter, dist.Work | None]]()
        if size == 1 and leaving is None:
            return
        for one in trained:
            parts = one.parts if isinstance(one, Bucket) else [one]
            counter = _Counter(len(parts))
            for part in parts:
                # The parameter holds the hook, so the hook must not hold it: no collector would free both.
                part.register_post_accumulate_grad_hook(partial(self._arrived, ref(one), counter))

    def _arrived(self, watched: ReferenceType[Bucket | nn.Parameter], counter: _Counter, _: Tensor) -> None:
        one = watched()
        if one is None or not counter.complete():
            return
        work = None
        if self.on and self.active and self._size > 1:
            gradient = one.gradient if isinstance(one, Bucket) else one.grad
            work = dist.all_reduce(gradient, async_op=True)
        self._pending.append((one, work))
        # A sum runs beside the next block's backward pass; its result may leave only when it is done.
        while self._leaving is not None and len(self._pending) > 1:
            self._settle()

    def _settle(self) -> None:
        one, work = self._pending.popleft()
        if work is not None:
            work.wait()
        if self._leaving is not None and isinstance(one, Bucket):
            one.rest(self._leaving)

    def finish(self) -> None:
        """Wait for the sums that are under way."""
        while self._pending:
            self._settle()
        if self._leaving is not None:
            self._leaving.let_go()
        self.on = False


class _Counter:
    """Counts to a number and starts again."""

    def __init__(self, number: int) -> None:
        self.number, self.count = number, 0

    def complete(self) -> bool:
        self.count = (self.count + 1) % self.number
        return self.count == 0


def same_start(tensors: Sequence[Tensor], size: int) -> None:
    """Give every process the first one's values."""
    if size > 1:
        for tensor in tensors:
            dist.broadcast(tensor.data, 0)


def divide(
    transformer: nn.Module, trained: Sequence[nn.Parameter], where: World, *, on_host: bool = False
) -> None:
    """Divide the frozen blocks over the processes (FSDP2); every process has the whole adapter.

    A block is gathered when it runs and freed afterwards; the next one is fetched meanwhile. The model comes
    to the device block by block: in host memory it may be larger than a card. `GradientSum` sums the
    adapter's gradients, as without dividing.

    Args:
        on_host: a process's part of the blocks stays in its host memory until the block runs; one process,
            as a group of one, then streams the whole base.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import CPUOffloadPolicy, OffloadPolicy, fully_shard

    mesh = init_device_mesh(where.device.type, (where.size,))
    for name, child in transformer.named_children():
        if name != "transformer_blocks":
            child.to(where.device)
    for own in transformer.parameters(recurse=False):
        own.data = own.data.to(where.device)
    for block in transformer.get_submodule("transformer_blocks").children():
        policy = CPUOffloadPolicy(pin_memory=where.device.type == "cuda") if on_host else OffloadPolicy()
        fully_shard(block, mesh=mesh, offload_policy=policy, ignored_params=set(trained))
