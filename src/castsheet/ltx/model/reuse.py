"""Step caching by what changes least: the rows of a clean reference, reused over several steps. Approximate.

A reference stays at timestep 0, so its hidden states change between steps only by what they read of the clip.
Every `every` steps they are computed, and the cache keeps what entered each block. In the other steps only
the clip's rows are computed; the cached rows are keys and values beside them. At the trained bucket a step
with cached rows is about half the work. The cache holds one tensor of the reference's rows a block and pass:
44 MB, 2.1 GB a pass at full size.

Legend: B batch, R reference tokens, C channels.
"""

from __future__ import annotations

from torch import Tensor


class RowCache:
    """The reference's rows before each block, by pass and block; 1 for `every` caches nothing and is exact.

    Steps are counted, not calls: a sampler that calls the model several times in one step computes the rows
    anew in every call of that step, and the last call's rows are what later steps read.
    """

    def __init__(self, every: int) -> None:
        if every < 1:
            raise ValueError(f"rows are computed at least every step, not every {every}")
        self.every, self.step, self.fresh = every, 0, True
        self.rows_BRC: dict[tuple[int, int], Tensor] = {}

    def begin(self, step: int) -> None:
        """Say which step the next passes belong to, from 0. A smaller number than before begins a new run.

        After it `fresh` tells whether this step computes the rows.
        """
        self.fresh = step % self.every == 0 or step < self.step or not self.rows_BRC
        self.step = step

    @property
    def stores(self) -> bool:
        """Whether later steps will read this step's rows."""
        return self.fresh and self.every > 1
