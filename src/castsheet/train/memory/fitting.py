"""How many samples a process takes at once, so that a step fits the memory that is free.

A step's gradient is a sum over its samples. Taking fewer at once, in more rounds, changes the memory and the
rounding of the sum, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from castsheet.errors import SettingsError
from castsheet.machine.hardware import GIB, ram_free_bytes

_ROOM = 0.85  # of the free memory: other programs live too


@dataclass(frozen=True)
class Fit:
    """Samples at once, and the most bytes that a step is expected to need."""

    rows: int
    expected_bytes: int


def free_bytes(device: torch.device, processes: int) -> int | None:
    """Memory that this process can take: a GPU's own, or its share of the host's; None if nobody tells."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free = ram_free_bytes()
    return None if free is None else free // processes


def fit(batch: int, expected: Callable[[int], int], free: int | None) -> Fit:
    """The largest part of a batch that fits; the whole batch if nobody tells what is free.

    Args:
        batch: samples that the settings ask for.
        expected: bytes that a step needs with so many samples at once.
    """
    parts = [rows for rows in range(batch, 0, -1) if batch % rows == 0]
    for rows in parts:
        needed = expected(rows)
        if free is None or needed <= _ROOM * free:
            return Fit(rows, needed)
    return Fit(1, expected(1))


def require_room(fitted: Fit, free: int | None, remedy: str) -> None:
    """Refuse a step that does not fit the host's memory: the system would kill the run without a word.

    Raises:
        SettingsError: it does not fit.
    """
    if free is not None and fitted.expected_bytes > free:
        raise SettingsError(
            f"a step needs about {fitted.expected_bytes / GIB:.1f} GiB of memory, {free / GIB:.1f} are free",
            remedy=remedy,
        )
