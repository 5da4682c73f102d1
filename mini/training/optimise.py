"""The training loop that mini's stages share, on one process or several."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from castsheet.machine.processes import World
from castsheet.train.memory.distributed import GradientSum, same_start
from mini.training.muon import Muon

AGREE_EVERY = 20  # steps between looks at the first process's clock: each one waits for the device

Log = Callable[[str], None]


def mixed(device: str | torch.device) -> torch.autocast:
    """bf16 on a GPU. A CPU stays in fp32: its bf16 convolutions take a hundred times as long."""
    kind = torch.device(device).type
    return torch.autocast(kind, torch.bfloat16, enabled=kind != "cpu")


@dataclass(frozen=True)
class Budget:
    """When a stage ends: after `steps`, or `seconds` if they come first. The rate decays towards that end.

    With 0 steps nothing is trained.
    """

    steps: int
    seconds: float = math.inf

    def progress(self, step: int, elapsed: float) -> float:
        """How much of the stage is done, in [0, 1]."""
        return min(1.0, max(step / self.steps if self.steps else 1.0, elapsed / self.seconds))


class Average:
    """Exponential moving average of weights, which is what gets stored."""

    def __init__(self, parameters: list[nn.Parameter], decay: float = 0.999) -> None:
        self.parameters, self.decay = parameters, decay
        self.shadow = [p.detach().clone() for p in parameters]

    @torch.no_grad()
    def update(self, step: int) -> None:
        keep = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.shadow, [p.detach() for p in self.parameters], 1 - keep)

    @torch.no_grad()
    def store(self) -> None:
        """Put the averages into the parameters."""
        for parameter, shadow in zip(self.parameters, self.shadow, strict=True):
            parameter.copy_(shadow)


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
) -> None:
    """Train: 2.5 % warm-up, cosine decay to `floor`, gradient norm clipped at 1; leaves averaged weights.

    Args:
        loss_of: the loss of a step on this process's share of the batch.
        muon: Muon for matrices, else AdamW for all.
        where: this process among all; gradients are averaged over them.

    Raises:
        FloatingPointError: the loss is no longer finite.
    """
    kept = [p for module in modules for p in module.parameters() if p.requires_grad]
    optimiser: torch.optim.Optimizer
    optimiser = (
        Muon(modules, rate) if muon else torch.optim.AdamW(kept, rate, betas=(0.9, 0.98), weight_decay=0.01)
    )
    same_start(kept, where.size)
    summed = GradientSum(kept, where.size)
    average, window, begun, elapsed, step = Average(kept), list[Tensor](), time.monotonic(), 0.0, 0
    while (done := budget.progress(step, elapsed)) < 1:
        decay = floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done))
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / max(1, budget.steps // 40)) * decay
        loss = loss_of(step)
        summed.on = True
        (loss / where.size).backward()
        summed.finish()
        torch.nn.utils.clip_grad_norm_(kept, 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        average.update(step)
        window.append(loss.detach())
        step += 1
        if step == 2:
            begun = time.monotonic()  # compiling is not held against the stage
        if step % AGREE_EVERY == 0:
            clock = torch.tensor([time.monotonic() - begun if where.main else 0.0], device=where.device)
            elapsed = where.sum(clock).item()
        if len(window) == 100:
            mean = torch.stack(window).mean().item()
            window.clear()
            log(f"{name} step {step} loss {mean:.4f}")
            if not math.isfinite(mean):
                raise FloatingPointError(f"{name}: the loss is {mean} at step {step}")
    average.store()
    log(f"{name} done after {step} steps")
