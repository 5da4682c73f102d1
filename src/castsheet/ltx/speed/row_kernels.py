"""Kernels over whole rows, in Triton, for `ltx/speed/fused_rows.py`.

Each program holds a few rows in registers. Sums are in fp32; a result is rounded once. Arguments `*_ptr` are
tensors; those named `*_row`, `*_token` and the like are strides, counted in numbers.
"""
# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _store_scaled(numbers_ptr, factor_ptr, at, ok, row, real, x):
    """Rows as e4m3 numbers and one factor each; see `quantise_rows`."""
    # No module constants here: in code that torch compiles they would have 64 bits.
    factor = tl.maximum(tl.max(tl.abs(x), axis=1), 1e-12) / 448.0
    tl.store(numbers_ptr + at, (x * (1.0 / factor)[:, None]).to(tl.float8e4nv), mask=ok)
    tl.store(factor_ptr + row, factor, mask=real)


@triton.jit
def rows_enter(
    x_ptr,
    update_ptr,
    gate_ptr,
    shift_ptr,
    scale_ptr,
    total_ptr,
    wide_ptr,
    numbers_ptr,
    factor_ptr,
    count,
    tokens,
    edge1,
    edge2,
    edge3,
    gate_batch,
    gate_row,
    shift_batch,
    shift_row,
    scale_batch,
    scale_row,
    EPS: tl.constexpr,
    WIDTH: tl.constexpr,
    PADDED: tl.constexpr,
    ROWS: tl.constexpr,
    ADD: tl.constexpr,
    WIDE: tl.constexpr,
    SCALED: tl.constexpr,
):
    first = tl.program_id(0) * ROWS
    row = first + tl.arange(0, ROWS)
    real = row < count
    column = tl.arange(0, PADDED)[None, :]
    inside = column < WIDTH
    ok = real[:, None] & inside
    at = row.to(tl.int64)[:, None] * WIDTH + column
    # All rows of a program belong to one sample and one segment, and therefore share their modulation.
    batch, token = first // tokens, first % tokens
    segment = (token >= edge1).to(tl.int32) + (token >= edge2).to(tl.int32) + (token >= edge3).to(tl.int32)
    x = tl.load(x_ptr + at, mask=ok, other=0.0).to(tl.float32)
    if ADD:
        of = batch * gate_batch + segment * gate_row + column
        gate = tl.load(gate_ptr + of, mask=inside, other=0.0).to(tl.float32)
        update = tl.load(update_ptr + at, mask=ok, other=0.0).to(tl.float32)
        rounded = (x + gate * update).to(total_ptr.dtype.element_ty)
        tl.store(total_ptr + at, rounded, mask=ok)
        x = rounded.to(tl.float32)
    x = x * tl.rsqrt(tl.sum(x * x, axis=1) / WIDTH + EPS)[:, None]
    of = batch * scale_batch + segment * scale_row + column
    scale = tl.load(scale_ptr + of, mask=inside, other=0.0).to(tl.float32)
    of = batch * shift_batch + segment * shift_row + column
    shift = tl.load(shift_ptr + of, mask=inside, other=0.0).to(tl.float32)
    x = x * (1.0 + scale) + shift
    if WIDE:
        tl.store(wide_ptr + at, x.to(wide_ptr.dtype.element_ty), mask=ok)
    if SCALED:
        _store_scaled(numbers_ptr, factor_ptr, at, ok, row, real, x)


@triton.jit
def rows_heads(
    x_ptr,
    y_ptr,
    x_weight_ptr,
    y_weight_ptr,
    cos_ptr,
    sin_ptr,
    x_out_ptr,
    y_out_ptr,
    count,
    tokens,
    x_row,
    y_row,
    cos_head,
    cos_token,
    sin_head,
    sin_token,
    EPS: tl.constexpr,
    WIDTH: tl.constexpr,
    HALF: tl.constexpr,
    PADDED: tl.constexpr,
    ROWS: tl.constexpr,
    BOTH: tl.constexpr,
    TURN: tl.constexpr,
):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    pair = tl.arange(0, PADDED)
    head, place = pair // HALF, pair % HALF
    inside = pair < WIDTH // 2
    ok = (row < count)[:, None] & inside[None, :]
    left = 2 * HALF * head + place
    cos, sin = 1.0, 0.0
    if TURN:
        token = (row % tokens)[:, None]
        cos = tl.load(cos_ptr + token * cos_token + (head * cos_head + place)[None, :], mask=ok, other=0.0)
        sin = tl.load(sin_ptr + token * sin_token + (head * sin_head + place)[None, :], mask=ok, other=0.0)
        cos, sin = cos.to(tl.float32), sin.to(tl.float32)
    wide = row.to(tl.int64)[:, None]
    _turned(x_ptr, x_weight_ptr, x_out_ptr, wide, x_row, left, inside, ok, cos, sin, EPS, WIDTH, HALF, TURN)
    if BOTH:
        _turned(
            y_ptr, y_weight_ptr, y_out_ptr, wide, y_row, left, inside, ok, cos, sin, EPS, WIDTH, HALF, TURN
        )


@triton.jit
def _turned(
    x_ptr,
    weight_ptr,
    out_ptr,
    row,
    distance,
    left,
    inside,
    ok,
    cos,
    sin,
    EPS: tl.constexpr,
    WIDTH: tl.constexpr,
    HALF: tl.constexpr,
    TURN: tl.constexpr,
):
    """Rows normed, then rotated: element i of a head together with element i + HALF."""
    at = row * distance + left[None, :]
    first = tl.load(x_ptr + at, mask=ok, other=0.0).to(tl.float32)
    second = tl.load(x_ptr + at + HALF, mask=ok, other=0.0).to(tl.float32)
    squares = tl.sum(first * first + second * second, axis=1)
    factor = tl.rsqrt(squares / WIDTH + EPS)[:, None]
    first *= factor * tl.load(weight_ptr + left, mask=inside, other=0.0).to(tl.float32)[None, :]
    second *= factor * tl.load(weight_ptr + left + HALF, mask=inside, other=0.0).to(tl.float32)[None, :]
    if TURN:
        first, second = first * cos - second * sin, second * cos + first * sin
    at = row * WIDTH + left[None, :]
    tl.store(out_ptr + at, first.to(out_ptr.dtype.element_ty), mask=ok)
    tl.store(out_ptr + at + HALF, second.to(out_ptr.dtype.element_ty), mask=ok)


@triton.jit
def rows_gated(
    x_ptr,
    logits_ptr,
    wide_ptr,
    numbers_ptr,
    factor_ptr,
    count,
    tokens,
    x_batch,
    x_token,
    x_head,
    logits_row,
    WIDTH: tl.constexpr,
    CHANNELS: tl.constexpr,
    PADDED: tl.constexpr,
    ROWS: tl.constexpr,
    WIDE: tl.constexpr,
    SCALED: tl.constexpr,
):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    real = row < count
    column = tl.arange(0, PADDED)
    head, channel = column // CHANNELS, column % CHANNELS
    ok = real[:, None] & (column < WIDTH)[None, :]
    wide = row.to(tl.int64)
    start = (wide // tokens) * x_batch + (wide % tokens) * x_token
    x = tl.load(x_ptr + start[:, None] + (head * x_head + channel)[None, :], mask=ok, other=0.0)
    logits = tl.load(logits_ptr + (wide * logits_row)[:, None] + head[None, :], mask=ok, other=0.0)
    x = x.to(tl.float32) * (2.0 * tl.sigmoid(logits.to(tl.float32)))
    at = wide[:, None] * WIDTH + column[None, :]
    if WIDE:
        tl.store(wide_ptr + at, x.to(wide_ptr.dtype.element_ty), mask=ok)
    if SCALED:
        _store_scaled(numbers_ptr, factor_ptr, at, ok, row, real, x)


@triton.jit
def rows_gelu(
    x_ptr,
    numbers_ptr,
    factor_ptr,
    count,
    SLOPE: tl.constexpr,
    CURVE: tl.constexpr,
    WIDTH: tl.constexpr,
    PADDED: tl.constexpr,
    ROWS: tl.constexpr,
):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    real = row < count
    column = tl.arange(0, PADDED)[None, :]
    ok = real[:, None] & (column < WIDTH)
    at = row.to(tl.int64)[:, None] * WIDTH + column
    x = tl.load(x_ptr + at, mask=ok, other=0.0).to(tl.float32)
    x *= tl.sigmoid(SLOPE * x * (1.0 + CURVE * x * x))
    _store_scaled(numbers_ptr, factor_ptr, at, ok, row, real, x)
