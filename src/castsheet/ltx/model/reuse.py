"""Caching over steps: the rows of a clean reference, which change least, are reused. Approximate.

A reference stays at timestep 0, so its hidden states change between steps only by what they read of the clip.
Every `every` steps they are computed, and the cache keeps the rows that entered each block. The other steps
compute only the clip's rows, and the cached rows serve as keys and values beside them. At the trained bucket
a step with cached rows is about half the work. The cache holds one tensor of reference rows for each block
and pass: at full size 44 MB, or 2.1 GB a pass.

Legend: B batch, R reference tokens, C channels.
"""

from __future__ import annotations

from torch import Tensor


class RowCache:
    """The reference's rows before each block, by pass and block. With `every` 1 nothing is cached: exact.

    The cache counts steps, not calls. If a sampler calls the model several times in a step that computes the
    rows, every call computes them, and later steps read the rows of the last call.
    """

    def __init__(self, every: int) -> None:
        if every < 1:
            raise ValueError(f"rows are computed at least every step, not every {every}")
        self.every, self.step, self.fresh = every, 0, True
        self._computed, self._passes = 0, 0  # the step whose rows are kept, and of how many passes
        self.rows_BRC: dict[tuple[int, int], Tensor] = {}

    def begin(self, step: int, passes: int = 1) -> None:
        """Begin a step, counted from 0; a smaller number than before begins a new run.

        Afterwards `fresh` says whether this step computes the rows: it does if the kept ones are `every`
        steps old, or of fewer passes than it makes.
        """
        again = step < self.step or step == self._computed or not self.rows_BRC
        self.fresh = again or step - self._computed >= self.every or passes > self._passes
        self.step = step
        if self.fresh:
            self._computed, self._passes = step, passes

    @property
    def stores(self) -> bool:
        """Whether later steps will read this step's rows."""
        return self.fresh and self.every > 1
