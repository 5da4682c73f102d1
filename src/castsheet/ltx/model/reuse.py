"""Step caching by what changes least: a clean reference's rows, kept over neighbouring steps. Approximate.

A reference stays at timestep 0, so its hidden states change between steps only by what they read of the clip.
Every `every` steps they are computed, and what entered each block is kept; in the steps between, the clip's
rows run alone and find the kept rows as keys and values. At the trained bucket such a step is about half the
work. It costs one tensor of the reference's rows a block and pass: 44 MB, 2.1 GB a pass at full size.

Legend: B batch, R reference tokens, C channels.
"""

from __future__ import annotations

from torch import Tensor


class KeptRows:
    """The reference's rows before each block, by pass and block; 1 for `every` keeps nothing and is exact."""

    def __init__(self, every: int) -> None:
        if every < 1:
            raise ValueError(f"rows are computed at least every step, not every {every}")
        self.every, self.step = every, 0
        self.rows_BRC: dict[tuple[int, int], Tensor] = {}

    @property
    def fresh(self) -> bool:
        """Whether this step computes the rows."""
        return self.step % self.every == 0

    @property
    def keeps(self) -> bool:
        """Whether a later step will read this step's rows."""
        return self.fresh and self.every > 1

    def advance(self) -> None:
        """Go on to the next step."""
        self.step += 1
