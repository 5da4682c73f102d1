"""The training loop that mini's stages share, on one process or several."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from castsheet.machine.processes import World
from castsheet.train.memory.distributed import GradientSum, same_start
from mini.training.muon import Muon

AGREE_EVERY = 40  # steps between looks at the first process's clock: each one waits for the device
KEEP_EVERY = 120.0  # seconds between two results in between

Log = Callable[[str], None]


def mixed(device: str | torch.device) -> AbstractContextManager[object]:
    """bf16 on a GPU. A CPU stays in fp32: its bf16 convolutions take a hundred times as long."""
    kind = torch.device(device).type
    return nullcontext() if kind in ("cpu", "meta") else torch.autocast(kind, torch.bfloat16)


@dataclass(frozen=True)
class Budget:
    """When a stage ends: after `steps`, or `seconds` if they come first. The rate decays towards that end.

    With 0 steps nothing is trained.

    Attributes:
        share: from where to where in the rate's decay this run goes; a later run goes on from there.
        hold: how much of the run passes before the decay begins.
    """

    steps: int
    seconds: float = math.inf
    share: tuple[float, float] = (0.0, 1.0)
    hold: float = 0.0

    def decay(self, done: float, floor: float) -> float:
        """A cosine from 1 to `floor`, `done` of the way through this run's share."""
        begin, end = self.share
        done = max(0.0, done - self.hold) / (1 - self.hold)
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * (begin + (end - begin) * done)))

    def progress(self, step: int, elapsed: float) -> float:
        """How much of the stage is done, in [0, 1]."""
        return min(1.0, max(step / self.steps if self.steps else 1.0, elapsed / self.seconds))


class Average:
    """Exponential moving average of weights, which is what gets stored."""

    def __init__(self, parameters: list[nn.Parameter], decay: float = 0.999) -> None:
        self.parameters, self.decay = parameters, decay
        self.shadow = [p.detach().clone() for p in parameters]
        self._due = KEEP_EVERY

    @torch.no_grad()
    def update(self, step: int) -> None:
        keep = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.shadow, [p.detach() for p in self.parameters], 1 - keep)

    @torch.no_grad()
    def store(self) -> None:
        """Put the averages into the parameters."""
        for parameter, shadow in zip(self.parameters, self.shadow, strict=True):
            parameter.copy_(shadow)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Inside, the parameters are the averages."""
        before = [p.detach().clone() for p in self.parameters]
        self.store()
        try:
            yield
        finally:
            with torch.no_grad():
                torch._foreach_copy_([p.detach() for p in self.parameters], before)

    def kept(self, keep: Callable[[], None], elapsed: float) -> None:
        """Call `keep` while the parameters are the averages, if it is time."""
        if elapsed >= self._due:
            self._due = elapsed + KEEP_EVERY
            with self.shown():
                keep()


def optimise(
    modules: Sequence[nn.Module],
    loss_of: Callable[[int], Tensor],
    budget: Budget,
    *,
    rate: float,
    log: Log,
    name: str,
    muon: bool,
    where: World,
    floor: float = 0.02,
    replayed: bool = False,
    keep: Callable[[], None] | None = None,
    compiled: Callable[[], None] | None = None,
) -> None:
    """Train: 2.5 % warm-up (200 steps at most), cosine decay to `floor`, gradient norm clipped at 1.

    Leaves averaged weights.

    Args:
        loss_of: the loss of a step on this process's share of the batch.
        muon: Muon for matrices, else AdamW for all.
        where: this process among all; gradients are averaged over them.
        replayed: `loss_of` leaves the gradients too, and keeps their memory.
        keep: called on the first process now and then, while the weights are the averages.
        compiled: called after the first two steps, which compile, before the clock begins.

    Raises:
        FloatingPointError: the loss is no longer finite.
    """
    kept = [p for module in modules for p in module.parameters() if p.requires_grad]
    optimiser: torch.optim.Optimizer
    optimiser = (
        Muon(modules, rate) if muon else torch.optim.AdamW(kept, rate, betas=(0.9, 0.98), weight_decay=0.01)
    )
    same_start(kept, where.size)
    descend = _Descent(optimiser, kept, where, replayed)
    average, window, begun, elapsed, step = Average(kept), list[Tensor](), time.monotonic(), 0.0, 0
    while (done := budget.progress(step, elapsed)) < 1:
        warm = min(1.0, (step + 1) / max(1, min(200, budget.steps // 40)))
        for group in optimiser.param_groups:
            group["lr"] = rate * warm * budget.decay(done, floor)
        loss = descend(loss_of, step)
        average.update(step)
        window.append(loss.detach())
        step += 1
        if step == 2:
            if compiled is not None:
                compiled()
            begun = time.monotonic()  # compiling is not held against the stage
        if step % AGREE_EVERY == 0:
            clock = torch.tensor([time.monotonic() - begun if where.main else 0.0], device=where.device)
            elapsed = where.sum(clock).item()
            if keep is not None and where.main:
                average.kept(keep, elapsed)
        if len(window) == 100:
            log(f"{name} step {step} loss {_mean(window, name, step):.4f}")
    average.store()
    log(f"{name} done after {step} steps")


def _mean(window: list[Tensor], name: str, step: int) -> float:
    """The mean of the losses, which are forgotten then."""
    mean = torch.stack(window).mean().item()
    window.clear()
    if not math.isfinite(mean):
        raise FloatingPointError(f"{name}: the loss is {mean} at step {step}")
    return mean


class _Descent:
    """A step: the loss, its gradients averaged over all processes and clipped, and the optimiser's update."""

    def __init__(
        self, optimiser: torch.optim.Optimizer, kept: list[nn.Parameter], where: World, replayed: bool
    ) -> None:
        self.optimiser, self.kept, self.where = optimiser, kept, where
        self.summed = None if replayed else GradientSum(kept, where.size)

    def __call__(self, loss_of: Callable[[int], Tensor], step: int) -> Tensor:
        loss = loss_of(step)
        if self.summed is None:
            average_gradients(self.kept, self.where)
        else:
            self.summed.on = True
            (loss / self.where.size).backward()
            self.summed.finish()
        torch.nn.utils.clip_grad_norm_(self.kept, 1.0)
        self.optimiser.step()
        if self.summed is not None:
            self.optimiser.zero_grad(set_to_none=True)
        return loss


@torch.no_grad()
def average_gradients(parameters: Sequence[nn.Parameter], where: World) -> None:
    """Average gradients over all processes, in place and as one message."""
    if where.size == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = where.sum(torch.cat([one.flatten() for one in gradients])).div_(where.size)
    pieces = flat.split([one.numel() for one in gradients])
    shaped = [piece.view_as(one) for piece, one in zip(pieces, gradients, strict=True)]
    torch._foreach_copy_(gradients, shaped)
