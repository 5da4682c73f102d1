"""The learning rate as a function of where the run stands, and of nothing else: no state to advance twice."""

from __future__ import annotations

from collections.abc import Sequence

from castsheet.train.config import Ramp


def rate_at(step: float, ramps: Sequence[Ramp]) -> float:
    """Learning rate of the optimiser step `step` (from 0); after the last ramp its end holds.

    A ramp of n steps starts at `start` and would reach `end` at its n-th step, which is the next ramp's
    first; so the published 1.3e-4 falls linearly and is 1.3e-5 from step 6,000 on.
    """
    begin = 0
    for ramp in ramps:
        if step < ramp.until:
            return ramp.start + (ramp.end - ramp.start) * (step - begin) / (ramp.until - begin)
        begin = ramp.until
    return ramps[-1].end


def place(step: int, steps: int, elapsed: float, seconds: float | None) -> float:
    """Where a run stands, in steps: further than `step` if a larger share of its `seconds` is gone.

    So the rate has come to its end when the time is up, and the run is over at `steps` either way.
    """
    return float(step) if seconds is None else max(float(step), steps * elapsed / seconds)
