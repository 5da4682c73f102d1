"""Training in any number of processes as one: sums over all, and a base shared out between cards.

Only gradients and one small vector of losses travel. The sum of gradients starts layer by layer while the
backward pass still runs.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch.distributed as dist
from torch import Tensor, nn

from castsheet.processes import World


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
    """Sums gradients over processes during the backward pass.

    Switch `on` before the last backward pass of a step; `finish` waits until every gradient is the sum.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], size: int) -> None:
        self.on = False
        self._pending: list[dist.Work] = []
        if size > 1:
            for parameter in parameters:
                parameter.register_post_accumulate_grad_hook(self._start)

    def _start(self, parameter: Tensor) -> None:
        if self.on and parameter.grad is not None:
            work = dist.all_reduce(parameter.grad, async_op=True)
            self._pending.append(work)

    def finish(self) -> None:
        """Wait for the sums that are under way."""
        for work in self._pending:
            work.wait()
        self._pending.clear()
        self.on = False


def same_start(tensors: Sequence[Tensor], size: int) -> None:
    """Give every process the first one's values."""
    if size > 1:
        for tensor in tensors:
            dist.broadcast(tensor.data, 0)


def shard(transformer: nn.Module, trained: Sequence[nn.Parameter], where: World) -> None:
    """Share the frozen blocks out over the processes (FSDP2); what is trained stays whole on each.

    A block is gathered when it runs and let go afterwards. Adapters are small and their gradients are summed
    by `GradientSum`, as without sharding.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(where.device.type, (where.size,))
    for block in transformer.get_submodule("transformer_blocks").children():
        fully_shard(block, mesh=mesh, ignored_params=set(trained))
