"""Caching over steps: what changes least from step to step is reused. Approximate.

`RowCache`: the rows of a clean reference. A reference stays at timestep 0, so its hidden states change
between steps only by what they read of the clip. Every `every` steps they are computed, and the cache keeps
the rows that entered each block. The other steps compute only the clip's rows, and the cached rows serve as
keys and values beside them. At the trained bucket a step with cached rows is about half the work. The cache
holds one tensor of reference rows for each block and pass: at full size 44 MB, or 2.1 GB a pass.

`ResidualCache`: what the blocks after the first add to a pass ("Timestep Embedding Tells: It's Time to
Cache for Video Diffusion Model", arXiv:2411.19108, by the rule of diffusers' FirstBlockCache). diffusers'
hooks wrap blocks that one pass runs through in turn; here all passes of a step share a block before the
next block.

Legend: B batch, T tokens, R reference tokens, C channels.
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


class ResidualCache:
    """What the blocks after the first added to each pass, in the last step that computed them all.

    With h the tokens before the first block, h1 those after it and r = h1 - h, a step ends at

        h1 + (what the other blocks added in the last computed step)

    if the mean of |r - r'| is at most `threshold` times the mean of |r'|, where r' is that step's r. The
    first pass decides for all. Tokens after a clean reference's begin do not count: only the target's
    velocity is wanted.

    Attributes:
        reused: whether the newest step did so.
    """

    def __init__(self, threshold: float) -> None:
        if not threshold > 0:
            raise ValueError(f"a threshold of {threshold}: without a cache every step is exact")
        self.threshold, self.reused = threshold, False
        self._step = 0
        self._first: Tensor | None = None  # r'
        self._added: list[tuple[Tensor, ...]] = []

    def begin(self, step: int) -> None:
        """Begin a step, counted from 0; a smaller number than before begins a new run."""
        if step < self._step or step == 0:
            self._first, self._added = None, []
        self._step = step

    def decide(self, first_BTC: Tensor, passes: int) -> bool:
        """Whether this step ends with what is kept. If not, its own sums must be kept.

        Args:
            first_BTC: r of the first pass. passes: of the step; more than were kept are computed.
        """
        kept = self._first
        near = kept is not None and passes <= len(self._added) and kept.shape == first_BTC.shape
        if near and kept is not None:
            moved, size = (first_BTC - kept).abs().mean(), kept.abs().mean()
            near = float(moved) <= self.threshold * float(size)
        self.reused = near
        if not near:
            self._first = first_BTC
        return near

    def keep(self, added: list[tuple[Tensor, ...]]) -> None:
        """What the blocks after the first have added: for each pass, the video's and perhaps the audio's."""
        self._added = added

    def added(self, number: int) -> tuple[Tensor, ...]:
        """What was kept of a pass."""
        return self._added[number]
