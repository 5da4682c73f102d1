"""Token strengths inside torch's FlexAttention: a peer of `TokenBias`, which is faster by groups of keys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from castsheet.ltx.model.bias import TokenBias


@dataclass(frozen=True)
class FlexBias(TokenBias):
    """As `TokenBias`; the bias is computed where the logits are."""

    def attend(self, q_BHQD: Tensor, k_BHTD: Tensor, v_BHTD: Tensor) -> Tensor:
        """Attention with the bias: (B,H,Q,D)."""
        return _flex(q_BHQD.device.type)(q_BHQD, k_BHTD, v_BHTD, score_mod=self._score)

    def _score(self, score: Tensor, _b: Tensor, _h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        among = (q >= self.clip) & (k >= self.clip)
        return score + torch.where(among, 0.0, self.weights_T[q] + self.weights_T[k])


@cache
def _flex(kind: str) -> Callable[..., Any]:
    """FlexAttention; compiled on a GPU, where the plain form would build the whole matrix."""
    from torch.nn.attention.flex_attention import flex_attention

    plain: Callable[..., Any] = flex_attention
    return torch.compile(plain, dynamic=False) if kind == "cuda" else plain
