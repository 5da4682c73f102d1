"""The learning rate as a function of the run's position alone, without state; and the run's clock."""

from __future__ import annotations

import time
from collections.abc import Sequence

from castsheet.train.config import Ramp


def rate_at(step: float, ramps: Sequence[Ramp]) -> float:
    """Learning rate of the optimiser step `step` (from 0); after the last ramp it stays at the ramp's end.

    A ramp of n steps starts at `start` and would reach `end` at the first step of the next ramp. The
    published 1.3e-4 falls linearly and is 1.3e-5 from step 6,000 on.
    """
    begin = 0
    for ramp in ramps:
        if step < ramp.until:
            return ramp.start + (ramp.end - ramp.start) * (step - begin) / (ramp.until - begin)
        begin = ramp.until
    return ramps[-1].end


def place(step: int, steps: int, elapsed: float, seconds: float | None) -> float:
    """A run's position in steps: further than `step` if a larger share of its `seconds` has passed.

    Therefore the rate reaches its end when the time is up. The run ends at `steps` in any case.
    """
    return float(step) if seconds is None else max(float(step), steps * elapsed / seconds)


class Clock:
    """Counts the seconds of training, without the first two steps after a start, which compile."""

    def __init__(self, before: float) -> None:
        self.before, self.steps, self.begun = before, 0, 0.0

    def tick(self) -> None:
        """A step is done."""
        self.steps += 1
        if self.steps == 2:
            self.begun = time.monotonic()

    def read(self) -> float:
        """Seconds of this run and of the runs before it that it resumes."""
        return self.before + (time.monotonic() - self.begun if self.steps >= 2 else 0.0)
