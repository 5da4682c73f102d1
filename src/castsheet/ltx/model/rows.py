"""What a block does to rows of tokens between its products: norms, modulation, RoPE, gates, GELU.

Here they are plain, for training, for CPUs, and for torch's compiler to fuse; ltx/fused_rows.py has each as
one kernel for a GPU. Where a product in fp8 reads a row next, its `form` says so and the kernel quantises it.

Legend: B batch, T tokens, C channels, S segments, H heads, D channels of a head.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from castsheet.ltx.model import rope as rotary
from castsheet.ltx.model.rope import Rope
from castsheet.ltx.model.scaled import Quantised, ScaledLinear

# What reads the rows next: a plain layer, a scaled one, or one of each.
Form = Literal["wide", "scaled", "both"]
SLOPE, CURVE = (
    2 * math.sqrt(2 / math.pi),
    0.044715,
)  # of GELU's tanh formula: x sigmoid(SLOPE (x + CURVE x^3))


@dataclass(frozen=True)
class Pending:
    """What a block has still to add to its rows: update times gate, with one row of gates a segment."""

    update_BTC: Tensor
    gate_BSC: Tensor


class Rows:
    """The row operations of a block, plain."""

    def enter(
        self,
        x_BTC: Tensor,
        pending: Pending | None,
        shift_BSC: Tensor,
        scale_BSC: Tensor,
        segments: tuple[int, ...],
        eps: float,
        form: Form = "wide",
    ) -> tuple[Tensor, Tensor | Quantised]:
        """(x with what is pending added, its norm modulated)."""
        del form
        x_BTC = self.leave(x_BTC, pending, segments)
        return x_BTC, modulate(rms(x_BTC, eps), shift_BSC, scale_BSC, segments)

    def leave(self, x_BTC: Tensor, pending: Pending | None, segments: tuple[int, ...]) -> Tensor:
        """x with what is pending added."""
        return x_BTC if pending is None else add_gated(x_BTC, pending.update_BTC, pending.gate_BSC, segments)

    def heads(self, given: Sequence[tuple[Tensor, RMSNorm]], rope: Rope | None, heads: int) -> list[Tensor]:
        """Queries, or keys, or both if the same tables turn them: normed and by heads, (B,H,T,D)."""
        normed = [split(norm(x_BTC), heads) for x_BTC, norm in given]
        return normed if rope is None else [rotary.apply(one_BHTD, rope) for one_BHTD in normed]

    def gated(self, x_BTHD: Tensor, logits_BTH: Tensor, form: Form = "wide") -> Tensor | Quantised:
        """Each head times 2 sigmoid of its logit: (B,T,C)."""
        del form
        return (x_BTHD * (2.0 * torch.sigmoid(logits_BTH))[..., None]).flatten(2)

    def gelu(self, layer: nn.Module, x: Tensor | Quantised, form: Form = "wide") -> Tensor | Quantised:
        """GELU, by its tanh formula, of a linear layer; (..., I) -> (..., O)."""
        del form
        return F.gelu(layer(x), approximate="tanh")


PLAIN = Rows()


class RMSNorm(nn.RMSNorm):
    """RMS norm with weights, in the input's dtype: of mixed dtypes torch has no fused kernel."""

    def forward(self, x_BTC: Tensor) -> Tensor:
        weight = self.weight.to(x_BTC.dtype)
        return F.rms_norm(x_BTC, self.normalized_shape, weight, self.eps).to(x_BTC.dtype)


def rms(x_BTC: Tensor, eps: float) -> Tensor:
    """Root-mean-square norm without weights, in the input's dtype even where autocast would widen it."""
    return F.rms_norm(x_BTC, x_BTC.shape[-1:], eps=eps).to(x_BTC.dtype)


def modulate(x_BTC: Tensor, shift_BSC: Tensor, scale_BSC: Tensor, segments: tuple[int, ...]) -> Tensor:
    """x * (1 + scale) + shift, with one row of scale and shift for each segment of tokens."""
    return by_segment(_scale_and_shift, (x_BTC,), (1 + scale_BSC, shift_BSC), segments)


def add_gated(x_BTC: Tensor, update_BTC: Tensor, gate_BSC: Tensor, segments: tuple[int, ...]) -> Tensor:
    """x + gate * update, with one row of gates for each segment of tokens."""
    return by_segment(_add_gated, (x_BTC, update_BTC), (gate_BSC,), segments)


def _scale_and_shift(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return x * scale + shift


def _add_gated(x: Tensor, update: Tensor, gate: Tensor) -> Tensor:
    return x + gate * update


def by_segment(
    combine: Callable[..., Tensor],
    tokens: tuple[Tensor, ...],
    rows: tuple[Tensor, ...],
    segments: tuple[int, ...],
) -> Tensor:
    """combine(*tokens, *rows) of tensors (B,T,C) and, for its tokens, of each segment's rows (B,S,C)."""
    # After a clip of the segments, trailing rows have no tokens left.
    rows = tuple(row_BSC[:, : len(segments)] for row_BSC in rows)
    if rows[0].shape[1] == 1:
        return combine(*tokens, *rows)
    if torch.is_grad_enabled() or not torch.compiler.is_compiling():
        # The backward pass sums a segment's tokens for its row; that of a lookup would scatter them. Without
        # a compiler the rows looked up would be made, as large as the tokens.
        split = (x_BTC.split(segments, dim=1) for x_BTC in tokens)
        parts = zip(*split, *(row_BSC.split(1, dim=1) for row_BSC in rows), strict=True)
        return torch.cat([combine(*part) for part in parts], dim=1)
    # Compiled, nothing is made of this: rows are read where tokens are computed. (Of parts that are joined,
    # norm, modulation and quantising could not be one kernel.)
    token_T = torch.arange(sum(segments), device=rows[0].device)
    segment_T = sum((token_T >= edge).long() for edge in list(accumulate(segments))[:-1])
    return combine(*tokens, *(row_BSC[:, segment_T] for row_BSC in rows))


def clip_segments(segments: tuple[int, ...], keep: int) -> tuple[int, ...]:
    """The segments that the first `keep` tokens fall into, with their counts there."""
    edges = [min(sum(segments[:i]), keep) for i in range(len(segments) + 1)]
    return tuple(end - start for start, end in pairwise(edges) if end > start)


def split(x_BTC: Tensor, heads: int) -> Tensor:
    """(B,H,T,D)."""
    return x_BTC.unflatten(-1, (heads, -1)).transpose(1, 2)


def form_for(*layers: nn.Module) -> Form:
    """The form in which layers read their common input on a GPU with fp8."""
    kinds = {isinstance(layer, ScaledLinear) for layer in layers}
    return "both" if len(kinds) == 2 else "scaled" if True in kinds else "wide"


def through(layer: nn.Module, x: Tensor | Quantised) -> Tensor:
    """A layer of rows in whichever form they are there."""
    if isinstance(x, Tensor) or isinstance(layer, ScaledLinear):
        return layer(x)
    return layer(x.rows())
