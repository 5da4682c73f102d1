"""Noise levels: which sigmas a run steps through.

The model's schedule is a shifted, stretched line. With u falling from 1 to 1/n in n equal steps,

    s(u)  = e^mu / (e^mu + 1/u - 1)              the shift; mu grows with the token count
    s'(u) = 1 - (1 - s) * 0.9 / (1 - s(1/n))     the stretch; the last nonzero level becomes 0.1

and a final 0. The official pipelines evaluate mu at 4096 tokens for every size of clip. diffusers counts the
target's and the reference's tokens, and thereby spends far more of the steps at high noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import get_args

import torch
from torch import Tensor

from castsheet.errors import SettingsError
from castsheet.sampling.levels import MAX_STEPS, ScheduleKind, check_levels

OFFICIAL_TOKENS = 4096
TERMINAL = 0.1


def shift(tokens: int) -> float:
    """mu for a token count: the line through (1024, 0.95) and (4096, 2.05), extrapolated both ways."""
    return 0.95 + (tokens - 1024) * (2.05 - 0.95) / (4096 - 1024)


def sigmas(steps: int, *, tokens: int = OFFICIAL_TOKENS, terminal: float = TERMINAL) -> Tensor:
    """The model's noise levels, from 1 down to 0.

    Args:
        steps: how many Euler steps are taken, 1 to 1000.
        tokens: the token count that sets the shift; see `schedule_tokens`.
        terminal: the last level above 0, in (0, 1).

    Returns:
        fp32 tensor of steps + 1 strictly falling levels; the first is 1, the last 0.

    Raises:
        SettingsError: `steps`, `tokens` or `terminal` is out of range.
    """
    if not 1 <= steps <= MAX_STEPS:
        raise SettingsError(f"{steps} steps", remedy=f"choose between 1 and {MAX_STEPS} steps")
    if tokens < 1:
        raise SettingsError(
            f"a schedule for {tokens} tokens", remedy="give the clip's token count, 1 or more"
        )
    if not 0 < terminal < 1:
        raise SettingsError(f"a last noise level of {terminal}", remedy="choose one between 0 and 1")
    u = torch.linspace(1, 1 / steps, steps, dtype=torch.float64)
    exp_mu = math.exp(shift(tokens))
    below_one = (1 / u - 1) / (exp_mu + 1 / u - 1)  # 1 - s; the subtraction itself would cancel digits
    if steps > 1:  # with one step there is no level between 1 and 0 to move
        below_one = below_one * (1 - terminal) / below_one[-1]
    return torch.cat([1 - below_one, u.new_zeros(1)]).float()


def schedule_tokens(kind: ScheduleKind, target: int, reference: int) -> int:
    """The token count at which a schedule evaluates mu.

    Args:
        kind: "official" always 4096; "target" the clip's tokens; "diffusers" the clip's and the reference's.
        target: tokens of the clip.
        reference: tokens of the reference.

    Raises:
        SettingsError: the kind is unknown.
    """
    counts = {"official": OFFICIAL_TOKENS, "target": target, "diffusers": target + reference}
    if kind not in counts:
        raise SettingsError(
            f"unknown schedule {kind!r}", remedy=f"choose one of {', '.join(get_args(ScheduleKind))}"
        )
    return counts[kind]


def listed(levels: Sequence[float]) -> Tensor:
    """Given noise levels as an fp32 tensor, unshifted.

    Raises:
        SettingsError: they do not fall strictly from at most 1 to exactly 0.
    """
    check_levels(levels)
    return torch.tensor(levels, dtype=torch.float32)
