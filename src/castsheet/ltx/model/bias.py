"""Strengths of tokens: the logarithm of a strength is added to attention between a reference and the clip.

If reference token i has strength s_i, its logits with every token of the clip, as key and as query, grow by
log s_i. Logits between two references, and between two tokens of the clip, stay. The official attention mask
does the same. If each token has one number w (log s for references, 0 for the clip), the bias is

    bias(q, k) = w_q + w_k   where exactly one of the two belongs to the clip, else 0.

Legend: B batch, H heads, T tokens, Q queries (the first of the T tokens), D channels of a head.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Method = Literal["auto", "dense", "groups"]


@dataclass(frozen=True)
class TokenBias:
    """Strengths of a sequence [clip | references].

    Attributes:
        weights_T: log strength a token; zeros for the clip.
        clip: how many leading tokens are the clip's.
        neutral: tokens of weight 0. levels: the other weights, each with its tokens.
        queries: how many leading tokens are queries; None for all.
        method: "dense" builds the (Q, T) matrix. "groups" runs plain attention over the keys of one level at
            a time and merges the results by their log-sum-exp: the same sum in another order, by the fastest
            kernel. "auto" takes groups on a GPU, else the matrix.
    """

    weights_T: Tensor
    clip: int
    neutral: Tensor
    levels: tuple[tuple[float, Tensor], ...]
    queries: int | None = None
    method: Method = "auto"

    @classmethod
    def of(cls, strengths_T: Tensor, clip: int, method: Method = "auto") -> TokenBias | None:
        """The bias for strengths (T,); None if all are 1, because attention then needs no bias.

        Raises:
            ValueError: a strength is not positive and finite, or a token of the clip has one other than 1.
        """
        strengths_T = strengths_T.float()
        if not (torch.isfinite(strengths_T).all() and (strengths_T > 0).all()):
            raise ValueError("strengths must be finite numbers above 0")
        if not (strengths_T[:clip] == 1).all():
            raise ValueError("only reference tokens have a strength of their own")
        weights_T = strengths_T.log()
        if not weights_T.any():
            return None
        values = sorted(set(weights_T.tolist()) - {0.0})
        levels = tuple((value, (weights_T == value).nonzero()[:, 0]) for value in values)
        return cls(weights_T, clip, (weights_T == 0).nonzero()[:, 0], levels, method=method)

    def __getitem__(self, rows: slice) -> TokenBias:
        """The bias of the first queries only: `bias[:count]`, as of a matrix."""
        if rows.start not in (None, 0) or rows.step not in (None, 1):
            raise ValueError("only the first queries can be kept")
        return replace(self, queries=rows.stop)

    def to(self, device: torch.device | str) -> TokenBias:
        """The same on another device."""
        levels = tuple((value, index.to(device)) for value, index in self.levels)
        weights_T, neutral = self.weights_T.to(device), self.neutral.to(device)
        return replace(self, weights_T=weights_T, neutral=neutral, levels=levels)

    def dense(self) -> Tensor:
        """The matrix (Q, T), fp32."""
        tokens = self.weights_T.shape[0]
        reference_T = torch.arange(tokens, device=self.weights_T.device) >= self.clip
        queries = tokens if self.queries is None else self.queries
        # Within the clip both weights are 0. (`!=` of two conditions says the same, but does not compile.)
        among_QT = reference_T[:queries, None] & reference_T[None, :]
        return (self.weights_T[:queries, None] + self.weights_T[None, :]).masked_fill(among_QT, 0.0)

    def attend(self, q_BHQD: Tensor, k_BHTD: Tensor, v_BHTD: Tensor) -> Tensor:
        """Attention with the bias: (B,H,Q,D)."""
        method = self.method
        if method == "auto":
            method = "groups" if q_BHQD.device.type == "cuda" else "dense"
        if method == "dense":
            bias_QT = self.dense().to(q_BHQD.dtype)
            return F.scaled_dot_product_attention(q_BHQD, k_BHTD, v_BHTD, attn_mask=bias_QT)
        return self._by_groups(q_BHQD, k_BHTD, v_BHTD)

    def _by_groups(self, q_BHQD: Tensor, k_BHTD: Tensor, v_BHTD: Tensor) -> Tensor:
        """Attention group by group; it computes every pair of query and key once, like plain attention."""
        parts = []
        for weight, index in ((0.0, self.neutral), *self.levels):
            out, lse = _with_lse(q_BHQD[:, :, : self.clip], k_BHTD[:, :, index], v_BHTD[:, :, index])
            parts.append((out, lse + weight))
        clip = _merge(parts)
        asking = q_BHQD[:, :, self.clip :]
        if not asking.shape[2]:
            return clip
        weights_Q = self.weights_T[self.clip : self.clip + asking.shape[2]]
        out, lse = _with_lse(asking, k_BHTD[:, :, : self.clip], v_BHTD[:, :, : self.clip])
        among = _with_lse(asking, k_BHTD[:, :, self.clip :], v_BHTD[:, :, self.clip :])
        return torch.cat([clip, _merge([(out, lse + weights_Q), among])], dim=2)


def _with_lse(q_BHQD: Tensor, k_BHTD: Tensor, v_BHTD: Tensor) -> tuple[Tensor, Tensor]:
    """Attention and the natural logarithm of each query's sum of exponentials (B,H,Q) fp32."""
    aten = torch.ops.aten
    if q_BHQD.device.type == "cuda":
        # A direct call of the kernel needs dense tensors; the copies cost little beside the attention.
        q_BHQD, k_BHTD, v_BHTD = (x.contiguous() for x in (q_BHQD, k_BHTD, v_BHTD))
        found = aten._scaled_dot_product_cudnn_attention(q_BHQD, k_BHTD, v_BHTD, None, True)
    else:
        found = aten._scaled_dot_product_flash_attention_for_cpu(q_BHQD, k_BHTD, v_BHTD)
    return found[0], found[1].reshape(q_BHQD.shape[:3]).float()


def _merge(parts: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Attention over all keys from attention over parts of them: weights are softmax over log-sum-exp."""
    share_PBHQ = torch.stack([lse for _, lse in parts]).softmax(dim=0)
    total = parts[0][0] * share_PBHQ[0, ..., None]
    for (out, _), share_BHQ in zip(parts[1:], share_PBHQ[1:], strict=True):
        total = total + out * share_BHQ[..., None]
    return total.to(parts[0][0].dtype)
