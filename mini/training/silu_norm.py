"""SiLU of a pixel norm as one GPU kernel, forward and backward: in eager torch the two read memory ten times.

Compiling the whole codec does the same but takes over two minutes on every new machine.
"""
# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

_NORMS = ("norm1", "norm2", "norm_out")  # in diffusers' codec each is followed by
_ACTIVATIONS = ("nonlinearity", "conv_act")  # one of these, which are all SiLU
HELD = 8192  # numbers that a program holds


@contextmanager
def joined(model: nn.Module) -> Iterator[None]:
    """Inside, a codec's norms apply the SiLU that follows them, in one kernel."""
    before = [(one, name, part) for one in model.modules() for name, part in one.named_children()]
    replaced = [(one, name, part) for one, name, part in before if name in (*_NORMS, *_ACTIVATIONS)]
    for one, name, part in replaced:
        setattr(one, name, SiluNorm(_eps(part)) if name in _NORMS else nn.Identity())
    try:
        yield
    finally:
        for one, name, part in replaced:
            setattr(one, name, part)


def _eps(norm: nn.Module) -> float:
    eps = norm.eps
    assert isinstance(eps, float)
    return eps


class SiluNorm(nn.Module):
    """silu(x / sqrt(mean(x^2 over channels) + eps)) of (B,C,...)."""

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        joint: Tensor = _SiluNorm.apply(x, self.eps)
        return joint


class _SiluNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> Tensor:
        x = x.contiguous()
        ctx.save_for_backward(x)
        ctx.eps = eps
        return _run(x, x, eps, backward=False)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return _run(x, gradients[0].to(x.dtype).contiguous(), ctx.eps, backward=True), None


def _run(x: Tensor, given: Tensor, eps: float, *, backward: bool) -> Tensor:
    from mini.training.silu_norm_kernels import silu_norm

    out = torch.empty_like(x)
    batch, channels = x.shape[:2]
    spots = x[0, 0].numel()
    padded = 1 << (channels - 1).bit_length()
    block = max(16, HELD // padded)
    sizes = {"CHANNELS": channels, "PADDED": padded, "BLOCK": block}
    silu_norm[(-(-spots // block), batch)](x, given, out, spots, eps, **sizes, BACKWARD=backward, num_warps=8)
    return out
