"""The kernel of `silu_norm`, in Triton: a program holds all channels of some spots. Sums are in fp32."""
# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def silu_norm(
    x_ptr,
    given_ptr,
    out_ptr,
    spots,
    eps,
    CHANNELS: tl.constexpr,
    PADDED: tl.constexpr,
    BLOCK: tl.constexpr,
    BACKWARD: tl.constexpr,
):
    spot = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)[None, :]
    channel = tl.arange(0, PADDED)[:, None]
    ok = (channel < CHANNELS) & (spot < spots)
    at = (tl.program_id(1).to(tl.int64) * CHANNELS + channel) * spots + spot
    x = tl.load(x_ptr + at, mask=ok, other=0.0).to(tl.float32)
    factor = (1.0 / tl.sqrt(tl.sum(x * x, axis=0) / CHANNELS + eps))[None, :]
    normed = x * factor
    gate = tl.sigmoid(normed)
    result = normed * gate
    if BACKWARD:
        given = tl.load(given_ptr + at, mask=ok, other=0.0).to(tl.float32)
        given = given * gate * (1 + normed * (1 - gate))
        shared = tl.sum(given * normed, axis=0)[None, :] / CHANNELS
        result = factor * (given - normed * shared)
    tl.store(out_ptr + at, result.to(out_ptr.dtype.element_ty), mask=ok)
