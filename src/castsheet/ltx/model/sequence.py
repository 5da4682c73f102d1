"""What stays the same about a stream's tokens during a run; passed whole from the denoiser to its blocks."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from castsheet.ltx.model.bias import TokenBias
from castsheet.ltx.model.rope import Rope
from castsheet.ltx.model.rows import clip_segments
from castsheet.ltx.model.shards import Shards


@dataclass(frozen=True)
class Sequence:
    """The tokens of one stream, without their values.

    Attributes:
        segments: token counts that share a timestep, in order.
        rope: tables of the self-attention, one row a token.
        cross_rope: temporal tables of the attentions between the streams; None if the stream is alone.
        bias: added to the self-attention's logits: a matrix (T,T), or one strength for each token.
        marked: how many leading tokens are the clip's first latent frame, which a model with a marker marks;
            0 marks none, None says nothing. Appended tokens are never among them.
        shards: the division of a longer sequence over processes, if these tokens are one process's share.

    Raises:
        ValueError: the segments do not add up to the tokens of the RoPE tables, or one is empty; or more
            tokens are marked than there are.
    """

    segments: tuple[int, ...]
    rope: Rope
    cross_rope: Rope | None = None
    bias: Tensor | TokenBias | None = None
    marked: int | None = None
    shards: Shards | None = None

    def __post_init__(self) -> None:
        if sum(self.segments) != self.tokens or min(self.segments) < 1:
            raise ValueError(f"segments {self.segments} do not divide RoPE tables for {self.tokens} tokens")
        if self.marked is not None and not 0 <= self.marked <= self.tokens:
            raise ValueError(f"{self.marked} marked tokens in a sequence of {self.tokens}")

    @property
    def tokens(self) -> int:
        """How many tokens there are."""
        return self.rope.cos_HTD.shape[1]

    def first(self, targets: int) -> Sequence:
        """The first `targets` tokens as queries of the whole sequence; the bias has only their rows."""
        bias = self.bias
        if bias is not None:
            bias = bias[: targets if self.shards is None else self.shards.whole(targets)]
        segments = clip_segments(self.segments, targets)
        marked = None if self.marked is None else min(self.marked, targets)
        return replace(self, segments=segments, rope=self.rope.first(targets), bias=bias, marked=marked)

    def shard(self, shards: Shards) -> Sequence:
        """This process's tokens, with the bias of the whole sequence.

        Raises:
            ValueError: the bias is a matrix.
        """
        if isinstance(self.bias, Tensor):
            raise ValueError("a sequence with a matrix of biases cannot be shared out; use a TokenBias")
        cross_rope = None if self.cross_rope is None else shards.take_rope(self.cross_rope)
        return replace(
            self,
            segments=shards.segments,
            rope=shards.take_rope(self.rope),
            cross_rope=cross_rope,
            marked=None if self.marked is None else shards.among(self.marked),
            shards=shards,
        )
