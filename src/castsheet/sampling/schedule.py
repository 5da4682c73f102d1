"""Noise levels: which sigmas a run steps through.

The model's schedule is a shifted, stretched line. With u falling from 1 to 1/n in n equal steps,

    s(u)  = e^mu / (e^mu + 1/u - 1)              the shift; mu grows with the token count
    s'(u) = 1 - (1 - s) * 0.9 / (1 - s(1/n))     the stretch; the last nonzero level becomes 0.1

and a final 0. The official pipelines always evaluate mu at 4096 tokens, whatever the clip's size; diffusers
counts target and reference tokens, which spends far more of the steps at high noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, get_args

import torch
from torch import Tensor

from castsheet.errors import SettingsError

ScheduleKind = Literal["official", "target", "diffusers"]

OFFICIAL_TOKENS = 4096
MAX_STEPS = 1000
TERMINAL = 0.1

# The distilled model's own levels. They are used as they are: shifting them again ruins them.
DISTILLED = (1.0, 0.99375, 0.9875, 0.98125, 0.975, 0.909375, 0.725, 0.421875, 0.0)
DISTILLED_STAGE_2 = (0.909375, 0.725, 0.421875, 0.0)


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
    below_one = (1 / u - 1) / (exp_mu + 1 / u - 1)  # 1 - s, without the cancellation of that difference
    if steps > 1:  # one step has no level between 1 and 0 that could be moved
        below_one = below_one * (1 - terminal) / below_one[-1]
    return torch.cat([1 - below_one, u.new_zeros(1)]).float()


def schedule_tokens(kind: ScheduleKind, target: int, reference: int) -> int:
    """The token count that a schedule kind evaluates mu at.

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


def check_levels(levels: Sequence[float]) -> None:
    """Raise SettingsError unless the levels fall strictly from at most 1 to exactly 0."""
    remedy = "list falling noise levels such as 1.0, 0.9, 0.5, 0.0 (the first at most 1, the last 0)"
    if not 2 <= len(levels) <= MAX_STEPS + 1:
        raise SettingsError(f"a list of {len(levels)} sigmas", remedy=remedy)
    if not all(math.isfinite(level) for level in levels):
        raise SettingsError(f"sigmas with values that are not numbers: {tuple(levels)}", remedy=remedy)
    if levels[0] > 1 or levels[-1] != 0:
        raise SettingsError(f"sigmas from {levels[0]} to {levels[-1]}", remedy=remedy)
    for index, (high, low) in enumerate(pairwise(levels)):
        if low >= high:
            raise SettingsError(
                f"sigma {index + 1} ({low}) is not below sigma {index} ({high})", remedy=remedy
            )


def listed(levels: Sequence[float]) -> Tensor:
    """Given noise levels as an fp32 tensor, unshifted.

    Raises:
        SettingsError: they do not fall strictly from at most 1 to exactly 0.
    """
    check_levels(levels)
    return torch.tensor(levels, dtype=torch.float32)
