"""The layers of the denoiser's blocks: gated attention, feed-forward, timesteps.

Legend: B batch, T tokens, L context tokens, C or D channels, S segments, H heads, R rows of a modulation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from castsheet.ltx.model.bias import TokenBias
from castsheet.ltx.model.rope import Rope
from castsheet.ltx.model.rows import PLAIN, Form, RMSNorm, RowOps, form_for, split, through
from castsheet.ltx.model.scaled import Quantised
from castsheet.ltx.model.shards import Attend

Kernel = Callable[[Tensor, Tensor, Tensor], Tensor]  # (q_BHTD, k_BHLD, v_BHLD) -> out_BHTD


class Attention(nn.Module):
    """Multi-head attention with RMS-normed queries and keys and one gate a head.

    The gate is 2 sigmoid(linear(query input)). With `values_only` (in a block that spatio-temporal guidance
    perturbs) each token's own value replaces the attended one; gate and output projection stay.
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
        self.ops: RowOps = PLAIN
        self.kernel: Kernel | None = None  # replaces torch's attention if there is no bias
        self.joint: nn.Module | None = None  # all projections of one input in one product; see ltx/speed

    def forward(
        self,
        x_BTC: Tensor | Quantised,
        context_BLD: Tensor | Quantised,
        rope: Rope | None = None,
        key_rope: Rope | None = None,
        bias_TL: Tensor | TokenBias | None = None,
        values_only: bool = False,
        by_heads: Callable[[Tensor, Tensor, Tensor, Attend], Tensor] | None = None,
    ) -> Tensor:
        """Attention of x (B,T,C) to the context (B,L,D): (B,T,C).

        Args:
            rope, key_rope: rotation of queries and of keys; without `key_rope`, `rope` rotates both.
            bias_TL: added to the logits.
            values_only: see the class.
            by_heads: divides the attention's heads over processes; see ltx/model/shards.py.
        """
        if values_only:
            v_BTC = through(self.to_v, context_BLD[:, : x_BTC.shape[1]])
            gate_BTH, out_BTHD = through(self.to_gate_logits, x_BTC), v_BTC.unflatten(-1, (self.heads, -1))
        else:
            q_BTC, gate_BTH, k_BLC, v_BLC = self._project(x_BTC, context_BLD)
            key_rope = key_rope or rope
            q, k = (q_BTC, self.q_norm), (k_BLC, self.k_norm)
            if rope is key_rope and q_BTC.shape == k_BLC.shape:
                q_BHTD, k_BHLD = self.ops.norm_rotate([q, k], rope, self.heads)
            else:
                (q_BHTD,) = self.ops.norm_rotate([q], rope, self.heads)
                (k_BHLD,) = self.ops.norm_rotate([k], key_rope, self.heads)
            attend: Kernel = partial(_attend, bias_TL=bias_TL)
            if self.kernel is not None and bias_TL is None:
                attend = self.kernel
            qkv = (q_BHTD, k_BHLD, split(v_BLC, self.heads))
            out_BTHD = (attend(*qkv) if by_heads is None else by_heads(*qkv, attend)).transpose(1, 2)
        out = self.to_out[0]
        return out(self.ops.gate(out_BTHD, gate_BTH, form_for(out)))

    def query_form(self) -> Form:
        """The form in which this attention wants its query input (and its context, in self-attention)."""
        return form_for(self.to_q, self.to_k, self.to_v, self.to_gate_logits)

    def _project(
        self, x_BTC: Tensor | Quantised, context_BLD: Tensor | Quantised
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Queries, gates' logits, keys and values, before norm and RoPE."""
        if self.joint is not None:
            return self.joint(x_BTC, context_BLD)
        q_BTC, gate_BTH = (through(layer, x_BTC) for layer in (self.to_q, self.to_gate_logits))
        k_BLC, v_BLC = (through(layer, context_BLD) for layer in (self.to_k, self.to_v))
        return q_BTC, gate_BTH, k_BLC, v_BLC


def _attend(q_BHTD: Tensor, k_BHLD: Tensor, v_BHLD: Tensor, bias_TL: Tensor | TokenBias | None) -> Tensor:
    if isinstance(bias_TL, TokenBias):
        return bias_TL.attend(q_BHTD, k_BHLD, v_BHLD)
    bias = None if bias_TL is None else bias_TL.to(v_BHLD.dtype)
    return F.scaled_dot_product_attention(q_BHTD, k_BHLD, v_BHLD, attn_mask=bias)


class FeedForward(nn.Module):
    """Linear, tanh GELU, linear, four times as wide inside.

    In the official layout the first layer is `net.0.proj`, and `net.1` a dropout.
    """

    def __init__(self, dim: int, bias: bool = True) -> None:
        super().__init__()
        self.ops: RowOps = PLAIN
        first = nn.ModuleDict({"proj": nn.Linear(dim, 4 * dim, bias)})
        self.net = nn.ModuleList([first, nn.Identity(), nn.Linear(4 * dim, dim, bias)])

    def forward(self, x_BTC: Tensor | Quantised) -> Tensor:
        last = self.net[2]
        return last(self.ops.gelu(self.first, x_BTC, form_for(last)))

    @property
    def first(self) -> nn.Module:
        """The layer that reads the input."""
        return self.net[0].get_submodule("proj")


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
