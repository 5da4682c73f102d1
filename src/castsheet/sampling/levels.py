"""Noise levels as plain numbers: what a setting may say of a schedule. No torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from castsheet.errors import SettingsError, shown

ScheduleKind = Literal["official", "target", "diffusers"]

MAX_STEPS = 1000

# The distilled model's own levels, used unchanged: they are shifted already.
DISTILLED = (1.0, 0.99375, 0.9875, 0.98125, 0.975, 0.909375, 0.725, 0.421875, 0.0)
# Of the stage after an enlargement: the last of the same levels, as in the official two-stage pipelines.
REFINING = DISTILLED[5:]


def check_levels(levels: Sequence[float]) -> None:
    """Raise SettingsError unless the levels fall strictly from at most 1 to exactly 0."""
    remedy = "list falling noise levels such as 1.0, 0.9, 0.5, 0.0 (the first at most 1, the last 0)"
    if not 2 <= len(levels) <= MAX_STEPS + 1:
        raise SettingsError(f"a list of {len(levels)} sigmas", remedy=remedy)
    if not all(abs(level) < math.inf for level in levels):
        raise SettingsError(f"sigmas with values that are not numbers: {shown(tuple(levels))}", remedy=remedy)
    if levels[0] > 1 or levels[-1] != 0:
        raise SettingsError(f"sigmas from {shown(levels[0])} to {shown(levels[-1])}", remedy=remedy)
    for index, (high, low) in enumerate(pairwise(levels)):
        if low >= high:
            raise SettingsError(
                f"sigma {index + 1} ({shown(low)}) is not below sigma {index} ({shown(high)})", remedy=remedy
            )
