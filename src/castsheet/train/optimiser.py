"""AdamW in full precision or with 8-bit moments, and its state as plain tensors and numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from castsheet.errors import CheckpointError
from castsheet.machine.files import require
from castsheet.train.config import OptimiserConfig

MUCH = 1 << 28  # bytes


def make_optimiser(parameters: Sequence[nn.Parameter], config: OptimiserConfig) -> Optimizer:
    """The optimiser asked for, at learning rate 0: the schedule sets it before every step.

    Raises:
        DependencyError: 8-bit moments were asked for and torchao is not installed; names the command.
    """
    settings: dict[str, Any] = {
        "betas": config.betas,
        "eps": config.eps,
        "weight_decay": config.weight_decay,
    }
    if config.name == "adamw8bit":
        # The rate is a tensor: a changing number would make torchao compile its update again.
        return require("torchao.optim", "train").AdamW8bit(parameters, lr=torch.tensor(0.0), **settings)
    return torch.optim.AdamW(parameters, lr=0.0, fused=parameters[0].is_cuda, **settings)


def moments_note(config: OptimiserConfig, count: int) -> str:
    """What plain AdamW's moments cost, where that is much; else nothing."""
    held = moment_bytes(config, count)
    if config.name != "adamw" or held < MUCH:
        return ""
    return f"; adamw keeps {held / 2**30:.1f} GiB of moments of that, adamw8bit a quarter"


def moment_bytes(config: OptimiserConfig, count: int) -> int:
    """Bytes of both moments of this many numbers; in 8 bits, 256 numbers share an fp32 scale."""
    return 8 * count if config.name == "adamw" else 2 * count + 2 * 4 * count // 256


def set_rate(optimiser: Optimizer, rate: float) -> None:
    """Set the learning rate of the next step."""
    for group in optimiser.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def optimiser_state(optimiser: Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(tensors, numbers) by parameter number and name; quantised moments as their inner tensors."""
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, Any] = {}
    for number, parameter in enumerate(_parameters(optimiser)):
        for name, value in optimiser.state.get(parameter, {}).items():
            key = f"{number}.{name}"
            if not isinstance(value, Tensor):
                numbers[key] = value
            else:
                tensors.update({f"{key}{inner}": part for inner, part in _inner(value)})
    return tensors, numbers


@torch.no_grad()
def load_optimiser_state(optimiser: Optimizer, tensors: dict[str, Tensor], numbers: dict[str, Any]) -> None:
    """Inverse of `optimiser_state`.

    Raises:
        CheckpointError: the state belongs to another optimiser or to other parameters.
    """
    _make_state(optimiser)
    wanted, counts = optimiser_state(optimiser)
    different = [
        key
        for key in wanted.keys() | tensors.keys()
        if key not in wanted or key not in tensors or wanted[key].shape != tensors[key].shape
    ]
    if different or counts.keys() != numbers.keys():
        raise CheckpointError(
            f"the saved optimiser state does not fit: {', '.join(sorted(different)[:5])}",
            remedy="resume with the optimiser and adapter that the run was started with",
        )
    for key, tensor in wanted.items():
        tensor.copy_(tensors[key])
    for number, parameter in enumerate(_parameters(optimiser)):
        for name in optimiser.state[parameter]:
            if f"{number}.{name}" in numbers:
                optimiser.state[parameter][name] = numbers[f"{number}.{name}"]


def _make_state(optimiser: Optimizer) -> None:
    """Make the optimiser allocate its state: a step with zero gradients at rate zero changes nothing."""
    set_rate(optimiser, 0.0)
    for parameter in _parameters(optimiser):
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)


def _parameters(optimiser: Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]


def _inner(value: Tensor) -> list[tuple[str, Tensor]]:
    if not is_traceable_wrapper_subclass(value):
        return [("", value)]
    names, _ = value.__tensor_flatten__()
    return [(f".{name}", getattr(value, name)) for name in names]
