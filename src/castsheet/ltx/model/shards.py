"""One sequence over several processes: each process computes its own rows, and attention for its own heads.

Everything but self-attention works on each row by itself. Before attention an all-to-all gives every process
all tokens of its share of the heads; after it a second all-to-all gives the rows back ("DeepSpeed Ulysses",
arXiv:2309.14509). Attention therefore computes the same sums as in one process, with any bias. Every segment
is divided evenly, because the last block leaves out whole segments and all processes should save alike.
Neither rows nor heads need to divide without remainder.

A block sends four times its rows' width: at the trained bucket 88 MB in two processes, 39 MB in eight. Text
and audio are short: every process computes all of them.

Legend: B batch, H heads, h of them here, T tokens of the whole sequence, R of them here, A audio tokens,
D channels of a head.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate

import torch
import torch.distributed as dist
from torch import Tensor

from castsheet.ltx.model.rope import Rope

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Shards:
    """How a sequence is divided over the processes of a group.

    Attributes:
        counts: rows of each segment in each process. rank: this process in the group.
        group: the processes; None is all of them.
    """

    counts: tuple[tuple[int, ...], ...]
    rank: int
    group: dist.ProcessGroup | None = None

    @classmethod
    def of(
        cls, segments: tuple[int, ...], rank: int, size: int, group: dist.ProcessGroup | None = None
    ) -> Shards:
        """Every segment divided as evenly as whole rows allow.

        Raises:
            ValueError: a segment has fewer rows than there are processes.
        """
        if min(segments) < size:
            raise ValueError(
                f"a segment of {min(segments)} tokens cannot be shared out over {size} processes"
            )
        return cls(tuple(even(count, size) for count in segments), rank, group)

    @property
    def segments(self) -> tuple[int, ...]:
        """How many rows of each segment this process has."""
        return tuple(parts[self.rank] for parts in self.counts)

    def take(self, x: Tensor, dim: int) -> Tensor:
        """This process's rows of a whole sequence."""
        return torch.cat([x.narrow(dim, start, count) for start, count in self._places()], dim=dim)

    def take_rope(self, rope: Rope) -> Rope:
        """The rotations of these rows."""
        return Rope(self.take(rope.cos_HTD, 1), self.take(rope.sin_HTD, 1))

    def put(self, rows: Tensor, whole: Tensor, dim: int) -> None:
        """Write this process's rows (or those of its first segments) to their places in a whole sequence."""
        begin = 0
        for start, count in self._places():
            if begin < rows.shape[dim]:
                whole.narrow(dim, start, count).copy_(rows.narrow(dim, begin, count))
            begin += count

    def here(self, rows: int) -> int:
        """How many of the whole sequence's first `rows` rows this process has.

        Raises:
            ValueError: the rows end within a segment.
        """
        ends = list(accumulate(sum(parts) for parts in self.counts))
        if rows not in ends:
            raise ValueError(f"only whole segments can be kept: {rows} is none of {ends}")
        return sum(self.segments[: ends.index(rows) + 1])

    def among(self, rows: int) -> int:
        """How many of this process's rows are among the whole sequence's first `rows`: its leading ones."""
        return sum(max(0, min(start + count, rows) - start) for start, count in self._places())

    def whole(self, rows: int) -> int:
        """The inverse of `here`."""
        return sum(sum(parts) for parts in self._segments_of(rows))

    def attend(self, q_BHRD: Tensor, k_BHRD: Tensor, v_BHRD: Tensor, attend: Attend) -> Tensor:
        """Attention of this process's rows (or its first segments) to the whole sequence: (B,H,R,D)."""
        q_BhTD, k_BhTD, v_BhTD = self._to_heads(q_BHRD), self._to_heads(k_BHRD), self._to_heads(v_BHRD)
        return self._to_rows(attend(q_BhTD, k_BhTD, v_BhTD), q_BHRD.shape[1], q_BHRD.shape[2])

    def attend_to(self, q_BHAD: Tensor, k_BHRD: Tensor, v_BHRD: Tensor, attend: Attend) -> Tensor:
        """Attention to the whole sequence of another stream, which every process has whole: (B,H,A,D)."""
        heads = even(q_BHAD.shape[1], self._size)
        q_BhAD = q_BHAD.split(heads, dim=1)[self.rank]
        out_BhAD = attend(q_BhAD, self._to_heads(k_BHRD), self._to_heads(v_BHRD))
        batch, _, tokens, width = q_BHAD.shape
        sent = out_BhAD.transpose(0, 1).flatten()
        flat = self._exchange(
            sent.repeat(self._size),
            [sent.numel()] * self._size,
            [count * batch * tokens * width for count in heads],
        )
        return flat.view(q_BHAD.shape[1], batch, tokens, width).transpose(0, 1)

    @property
    def _size(self) -> int:
        return len(self.counts[0])

    def _places(self) -> list[tuple[int, int]]:
        """(start in the whole sequence, count) of this process's part of each segment."""
        starts = accumulate((sum(parts) for parts in self.counts), initial=0)
        return [
            (start + sum(parts[: self.rank]), parts[self.rank])
            for start, parts in zip(starts, self.counts, strict=False)
        ]

    def _segments_of(self, rows: int) -> tuple[tuple[int, ...], ...]:
        """The counts of the leading segments that make up this process's first `rows` rows."""
        ends = list(accumulate(self.segments))
        return self.counts[: ends.index(rows) + 1]

    def _to_heads(self, x_BHRD: Tensor) -> Tensor:
        """All heads of these rows -> this process's heads of all rows, in the whole sequence's order."""
        batch, heads, rows, width = x_BHRD.shape
        shares, segments = even(heads, self._size), self._segments_of(rows)
        per_process = [[parts[process] for parts in segments] for process in range(self._size)]
        mine = shares[self.rank] * batch * width
        got = [mine * sum(counts) for counts in per_process]
        flat = self._exchange(
            x_BHRD.transpose(0, 1).flatten(), [share * batch * rows * width for share in shares], got
        )
        pieces = [
            part.view(shares[self.rank], batch, -1, width).split(counts, dim=2)
            for part, counts in zip(flat.split(got), per_process, strict=True)
        ]
        ordered = [own[number] for number in range(len(segments)) for own in pieces]
        return torch.cat(ordered, dim=2).transpose(0, 1)

    def _to_rows(self, x_BhTD: Tensor, heads: int, rows: int) -> Tensor:
        """The inverse of `_to_heads`."""
        batch, _, _, width = x_BhTD.shape
        segments = self._segments_of(rows)
        pieces = x_BhTD.transpose(0, 1).split([count for parts in segments for count in parts], dim=2)
        sent = [torch.cat(pieces[process :: self._size], dim=2).flatten() for process in range(self._size)]
        got = [share * batch * rows * width for share in even(heads, self._size)]
        flat = self._exchange(torch.cat(sent), [part.numel() for part in sent], got)
        return flat.view(heads, batch, rows, width).transpose(0, 1)

    def _exchange(self, flat: Tensor, sent: list[int], got: list[int]) -> Tensor:
        """Send each process its part, and receive one part from each."""
        room = flat.new_empty(sum(got))
        dist.all_to_all_single(room, flat, got, sent, group=self.group)
        return room


def even(count: int, parts: int) -> tuple[int, ...]:
    """`count` as a sum of `parts` whole numbers that differ by at most one, the larger ones first."""
    return tuple(count // parts + (part < count % parts) for part in range(parts))
