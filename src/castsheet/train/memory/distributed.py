"""Training in any number of processes as one: sums over all, and a base shared out between cards.

Only gradients and one small vector of losses travel. The sum of gradients starts layer by layer while the
backward pass still runs.
"""

from __future__ import annotations

import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from weakref import ReferenceType, ref

import torch.distributed as dist
from torch import Tensor, nn

from castsheet.machine.processes import World
from castsheet.train.memory.bucket import Bucket
from castsheet.train.memory.host import Leaving


@contextmanager
def terminated() -> Iterator[Callable[[], bool]]:
    """SIGTERM is noted instead of obeyed: the step in hand ends, then a checkpoint is written."""
    noted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield noted.is_set
        return
    before = signal.signal(signal.SIGTERM, lambda *_: noted.set())
    try:
        yield noted.is_set
    finally:
        signal.signal(signal.SIGTERM, before)


class GradientSum:
    """Sums gradients over processes during the backward pass, a bucket as soon as all of it is there.

    Switch `on` before the last backward pass of a step; `finish` waits until every gradient is the sum.

    Args:
        leaving: moves buckets' gradients to host memory when they are there, or summed; `Bucket.open`
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
                # A parameter that holds its hook must not be held by it: no collector sees that circle.
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
        # A sum runs beside the backward pass of the block before; only then may its result leave.
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
    """Counts to a number again and again."""

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


def shard(transformer: nn.Module, trained: Sequence[nn.Parameter], where: World) -> None:
    """Share the frozen blocks out over the processes (FSDP2); what is trained stays whole on each.

    A block is gathered when it runs and let go afterwards. It comes to the device block by block, so that a
    model in host memory may be larger than a card. Adapters are small and their gradients are summed by
    `GradientSum`, as without sharding.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(where.device.type, (where.size,))
    for name, child in transformer.named_children():
        if name != "transformer_blocks":
            child.to(where.device)
    for own in transformer.parameters(recurse=False):
        own.data = own.data.to(where.device)
    for block in transformer.get_submodule("transformer_blocks").children():
        fully_shard(block, mesh=mesh, ignored_params=set(trained))
