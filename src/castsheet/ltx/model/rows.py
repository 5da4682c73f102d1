"""What a block does to rows of tokens between its products: norms, modulation, RoPE, gates, GELU.

`RowOps` are the plain operations: for training, for CPUs, and for torch's compiler to fuse.
ltx/speed/fused_rows.py has each of them as one GPU kernel. `form` tells a kernel whether the next layer is
fp8; if it is, the kernel also writes the quantised rows.

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

# The kinds of layers that read the rows next: plain ones (bf16 or fp32), scaled ones (fp8), or both.
Form = Literal["wide", "scaled", "both"]
# Constants of GELU's tanh formula: x sigmoid(SLOPE (x + CURVE x^3)).
SLOPE, CURVE = 2 * math.sqrt(2 / math.pi), 0.044715


@dataclass(frozen=True)
class Update:
    """What a block adds to a stream: update times gate, with one row of gates for each segment."""

    update_BTC: Tensor
    gate_BSC: Tensor

    def first(self, tokens: int) -> Update:
        """The update of the first `tokens` tokens."""
        return Update(self.update_BTC[:, :tokens], self.gate_BSC)


class RowOps:
    """The row operations of a block in plain PyTorch."""

    def add_norm_modulate(
        self,
        x_BTC: Tensor,
        update: Update | None,
        shift_BSC: Tensor,
        scale_BSC: Tensor,
        segments: tuple[int, ...],
        eps: float,
        form: Form = "wide",
    ) -> tuple[Tensor, Tensor | Quantised]:
        """(x with the update added, its norm modulated)."""
        del form
        x_BTC = self.add(x_BTC, update, segments)
        return x_BTC, modulate(rms(x_BTC, eps), shift_BSC, scale_BSC, segments)

    def add(self, x_BTC: Tensor, update: Update | None, segments: tuple[int, ...]) -> Tensor:
        """x with the update added."""
        return x_BTC if update is None else add_gated(x_BTC, update.update_BTC, update.gate_BSC, segments)

    def norm_rotate(
        self, given: Sequence[tuple[Tensor, RMSNorm]], rope: Rope | None, heads: int
    ) -> list[Tensor]:
        """Queries or keys (or both, if both have one RoPE table): normed, rotated, by heads, (B,H,T,D)."""
        normed = [split(norm(x_BTC), heads) for x_BTC, norm in given]
        return normed if rope is None else [rotary.apply(one_BHTD, rope) for one_BHTD in normed]

    def gate(self, x_BTHD: Tensor, logits_BTH: Tensor, form: Form = "wide") -> Tensor | Quantised:
        """Each head's values times 2 sigmoid(its logit): (B,T,C)."""
        del form
        return (x_BTHD * (2.0 * torch.sigmoid(logits_BTH))[..., None]).flatten(2)

    def gelu(self, layer: nn.Module, x: Tensor | Quantised, form: Form = "wide") -> Tensor | Quantised:
        """GELU (the tanh formula) of a linear layer's output; (..., I) -> (..., O)."""
        del form
        return F.gelu(layer(x), approximate="tanh")


PLAIN = RowOps()


class Residual:
    """A stream x inside a block.

    `add` holds an update back until x is read, so that one kernel can add, normalise and modulate.
    """

    def __init__(self, x_BTC: Tensor, segments: tuple[int, ...], ops: RowOps, eps: float) -> None:
        self.x_BTC, self.segments, self.ops, self.eps = x_BTC, segments, ops, eps
        self.update: Update | None = None

    def add(self, update: Update) -> None:
        """x += update."""
        if self.update is not None:
            self.x_BTC = self.total()
        self.update = update

    def norm_modulate(self, shift_BSC: Tensor, scale_BSC: Tensor, form: Form = "wide") -> Tensor | Quantised:
        """rms(x) * (1 + scale) + shift."""
        self.x_BTC, h_BTC = self.ops.add_norm_modulate(
            self.x_BTC, self.update, shift_BSC, scale_BSC, self.segments, self.eps, form
        )
        self.update = None
        return h_BTC

    def keep(self, targets: int | None) -> None:
        """Keep only the first `targets` tokens; None keeps all."""
        if targets is None or targets >= self.x_BTC.shape[1]:
            return
        self.x_BTC = self.x_BTC[:, :targets]
        self.update = None if self.update is None else self.update.first(targets)
        self.segments = clip_segments(self.segments, targets)

    def total(self) -> Tensor:
        """x with the held-back update added."""
        return self.ops.add(self.x_BTC, self.update, self.segments)


class RMSNorm(nn.RMSNorm):
    """RMS norm with weights, in the input's dtype: torch has no fused kernel for mixed dtypes."""

    def forward(self, x_BTC: Tensor) -> Tensor:
        weight = self.weight.to(x_BTC.dtype)
        return F.rms_norm(x_BTC, self.normalized_shape, weight, self.eps).to(x_BTC.dtype)


def rms(x_BTC: Tensor, eps: float) -> Tensor:
    """Root-mean-square norm without weights, in the input's dtype; autocast alone would widen it."""
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
    """combine(*tokens, *rows) for each segment: its tokens (B,T,C) with its own rows of tensors (B,S,C)."""
    # If the segments were clipped, the last rows have no tokens.
    rows = tuple(row_BSC[:, : len(segments)] for row_BSC in rows)
    if rows[0].shape[1] == 1:
        return combine(*tokens, *rows)
    if torch.is_grad_enabled() or not torch.compiler.is_compiling():
        # The backward pass of this sums a segment's tokens into its row; that of a lookup would scatter them.
        # Without a compiler a lookup would also write rows as large as the tokens.
        split = (x_BTC.split(segments, dim=1) for x_BTC in tokens)
        parts = zip(*split, *(row_BSC.split(1, dim=1) for row_BSC in rows), strict=True)
        return torch.cat([combine(*part) for part in parts], dim=1)
    # The compiler does not write looked-up rows to memory: it reads them where it computes the tokens. If the
    # segments were computed apart and joined, it could not fuse norm, modulation and quantising.
    token_T = torch.arange(sum(segments), device=rows[0].device)
    segment_T = sum((token_T >= edge).long() for edge in list(accumulate(segments))[:-1])
    return combine(*tokens, *(row_BSC[:, segment_T] for row_BSC in rows))


def clip_segments(segments: tuple[int, ...], tokens: int) -> tuple[int, ...]:
    """The segments of the first `tokens` tokens."""
    edges = [min(sum(segments[:i]), tokens) for i in range(len(segments) + 1)]
    return tuple(end - start for start, end in pairwise(edges) if end > start)


def split(x_BTC: Tensor, heads: int) -> Tensor:
    """Rows by heads: (B,H,T,D)."""
    return x_BTC.unflatten(-1, (heads, -1)).transpose(1, 2)


def form_for(*layers: nn.Module) -> Form:
    """The form of the common input of several layers on a GPU with fp8."""
    kinds = {isinstance(layer, ScaledLinear) for layer in layers}
    return "both" if len(kinds) == 2 else "scaled" if True in kinds else "wide"


def through(layer: nn.Module, x: Tensor | Quantised) -> Tensor:
    """A layer's output for an input of either form."""
    if isinstance(x, Tensor) or isinstance(layer, ScaledLinear):
        return layer(x)
    return layer(x.rows())
