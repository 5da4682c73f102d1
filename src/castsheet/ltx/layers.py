"""What the denoiser's blocks are made of: modulation by segment, gated attention, feed-forward, timesteps.

Legend: B batch, T tokens, L context tokens, C or D channels, S segments, H heads, R rows of a modulation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import accumulate, pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from castsheet.ltx import rope as rotary
from castsheet.ltx.bias import TokenBias
from castsheet.ltx.rope import Rope
from castsheet.ltx.sequence import Attend


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


Kernel = Callable[[Tensor, Tensor, Tensor], Tensor]  # (q_BHTD, k_BHLD, v_BHLD) -> out_BHTD


class RMSNorm(nn.RMSNorm):
    """RMS norm with weights, in the input's dtype: of mixed dtypes torch has no fused kernel."""

    def forward(self, x_BTC: Tensor) -> Tensor:
        weight = self.weight.to(x_BTC.dtype)
        return F.rms_norm(x_BTC, self.normalized_shape, weight, self.eps).to(x_BTC.dtype)


class Attention(nn.Module):
    """Multi-head attention with RMS-normed queries and keys and one gate a head.

    The gate is 2 sigmoid(linear(query input)). With `values_only` (a perturbed block of spatio-temporal
    guidance) the attended values are replaced by each token's own; gate and output projection stay.
    """

    def __init__(self, query_dim: int, context_dim: int, heads: int, head_dim: int, eps: float) -> None:
        super().__init__()
        inner = heads * head_dim
        self.heads = heads
        self.q_norm = RMSNorm(inner, eps=eps)
        self.k_norm = RMSNorm(inner, eps=eps)
        self.to_q = nn.Linear(query_dim, inner)
        self.to_k = nn.Linear(context_dim, inner)
        self.to_v = nn.Linear(context_dim, inner)
        self.to_out = nn.ModuleList([nn.Linear(inner, query_dim)])
        self.to_gate_logits = nn.Linear(query_dim, heads)
        self.kernel: Kernel | None = None  # instead of torch's, where no bias is given
        self.joint: nn.Module | None = None  # all projections of one input in one product; see ltx/fast.py

    def forward(
        self,
        x_BTC: Tensor,
        context_BLD: Tensor,
        rope: Rope | None = None,
        key_rope: Rope | None = None,
        bias_TL: Tensor | TokenBias | None = None,
        values_only: bool = False,
        over: Callable[[Tensor, Tensor, Tensor, Attend], Tensor] | None = None,
    ) -> Tensor:
        """`over` runs the attention itself where rows lie in several processes; see ltx/sequence.py."""
        if values_only:
            v_BTC = self.to_v(context_BLD[:, : x_BTC.shape[1]])
            out_BTHD = v_BTC.unflatten(-1, (self.heads, -1))
        else:
            q_BTC, k_BLC, v_BLC = self._project(x_BTC, context_BLD)
            v_BHLD = self._split(v_BLC)
            q_BHTD = self._split(self.q_norm(q_BTC))
            k_BHLD = self._split(self.k_norm(k_BLC))
            if rope is not None:
                q_BHTD = rotary.apply(q_BHTD, rope)
                k_BHLD = rotary.apply(k_BHLD, key_rope or rope)
            attend: Kernel = partial(_attend, bias_TL=bias_TL)
            if self.kernel is not None and bias_TL is None:
                attend = self.kernel
            qkv = (q_BHTD, k_BHLD, v_BHLD)
            out_BTHD = (attend(*qkv) if over is None else over(*qkv, attend)).transpose(1, 2)
        gate_BTH = 2.0 * torch.sigmoid(self.to_gate_logits(x_BTC))
        return self.to_out[0]((out_BTHD * gate_BTH[..., None]).flatten(2))

    def _project(self, x_BTC: Tensor, context_BLD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, before norm and RoPE."""
        if self.joint is None:
            return self.to_q(x_BTC), self.to_k(context_BLD), self.to_v(context_BLD)
        if x_BTC is context_BLD:
            return self.joint(x_BTC).chunk(3, dim=-1)
        k_BLC, v_BLC = self.joint(context_BLD, queries=False).chunk(2, dim=-1)
        return self.to_q(x_BTC), k_BLC, v_BLC

    def _split(self, x_BTC: Tensor) -> Tensor:
        return x_BTC.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def _attend(q_BHTD: Tensor, k_BHLD: Tensor, v_BHLD: Tensor, bias_TL: Tensor | TokenBias | None) -> Tensor:
    if isinstance(bias_TL, TokenBias):
        return bias_TL.attend(q_BHTD, k_BHLD, v_BHLD)
    bias = None if bias_TL is None else bias_TL.to(v_BHLD.dtype)
    return F.scaled_dot_product_attention(q_BHTD, k_BHLD, v_BHLD, attn_mask=bias)


class GELUProjection(nn.Module):
    """The first half of the feed-forward layer; a module of its own for the official name `net.0.proj`."""

    def __init__(self, dim: int, inner: int) -> None:
        super().__init__()
        self.proj = nn.Linear(dim, inner)
        # The layer and GELU at once; see ltx/fast.py.
        self.kernel: Callable[[nn.Module, Tensor], Tensor] | None = None

    def forward(self, x_BTC: Tensor) -> Tensor:
        if self.kernel is not None:
            return self.kernel(self.proj, x_BTC)
        return F.gelu(self.proj(x_BTC), approximate="tanh")


class FeedForward(nn.Module):
    """Linear, tanh GELU, linear, four times as wide inside. `net.1` is a dropout in the official layout."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.net = nn.Sequential(GELUProjection(dim, 4 * dim), nn.Identity(), nn.Linear(4 * dim, dim))

    def forward(self, x_BTC: Tensor) -> Tensor:
        return self.net(x_BTC)


class TimestepEmbedder(nn.Module):
    """Sinusoids of a timestep (128 cosines, then 128 sines) through a two-layer MLP."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(256, dim)
        self.linear_2 = nn.Linear(dim, dim)

    def forward(self, t_BS: Tensor, dtype: torch.dtype) -> Tensor:
        index_N = torch.arange(128, dtype=torch.float32, device=t_BS.device)
        frequency_N = torch.exp(-math.log(10000.0) / 128 * index_N)
        angle_BSN = t_BS.float()[..., None] * frequency_N
        waves_BSN = torch.cat((angle_BSN.cos(), angle_BSN.sin()), dim=-1).to(dtype)
        return self.linear_2(F.silu(self.linear_1(waves_BSN)))


class AdaLNSingle(nn.Module):
    """`rows` modulation vectors for each timestep, shared by all blocks (PixArt-alpha, arXiv:2310.00426)."""

    def __init__(self, dim: int, rows: int) -> None:
        super().__init__()
        self.rows = rows
        self.emb = nn.ModuleDict({"timestep_embedder": TimestepEmbedder(dim)})
        self.linear = nn.Linear(dim, rows * dim)

    def forward(self, t_BS: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Timesteps (B, S), already multiplied -> rows (B, S, R, C) and the embedding (B, S, C)."""
        embedded_BSC = self.emb["timestep_embedder"](t_BS, dtype)
        return self.linear(F.silu(embedded_BSC)).unflatten(-1, (self.rows, -1)), embedded_BSC
