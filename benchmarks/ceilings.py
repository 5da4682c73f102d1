"""The machine's ceilings, and whether its kernels compute what they should.

Numbers, and what is expected at compute capability 9.0 with 4.8 TB/s of memory:
    copy within the device                       4.3 TB/s (bytes read and written)
    copy from pinned host memory                 25 to 55 GB/s; a block of fp8 weights is 0.27 GB
    GEMM bf16, model's shapes                    700 to 790 TFLOP/s
    GEMM fp8, one scale a row                    1200 to 1400 TFLOP/s, and with quantising the activations
    attention, 10752 tokens, a kernel a row      cuDNN 600 to 680, flash 340 to 420 TFLOP/s
    feed-forward's first half                    GELU in the product's epilogue against a pass of its own
Checks (against fp32, relative error): fp8 product 1e-3, LSE merge 5e-3, FlexAttention 5e-3. A failed check is
a row with its error; nothing is skipped in silence.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.common import Bench, relative, timed
from benchmarks.flex import FlexBias
from castsheet.ltx.model.bias import TokenBias
from castsheet.ltx.model.scaled import quantise_rows, reference_linear, scaled_linear
from castsheet.ltx.speed.kernels import attention_kernels, attention_order


def ceilings(bench: Bench) -> None:
    """All of them, each guarded."""
    for part in (copies, products, gelu, attention, strengths):
        with bench.attempt(part.__name__):
            part(bench)


def rate(bench: Bench, row: str, work: float, unit: str, run: Callable[[], Any]) -> None:
    """One row: time, and `work` divided by it (1e12 a second, or 1e9 for bytes from the host)."""
    with bench.attempt(row):
        found = timed(bench, run)
        bench.add(row, **found, rate=work / found["ms"] * 1e3, unit=unit)


def copies(bench: Bench) -> None:
    count = 2**32 if bench.on_gpu else 2**20
    source = torch.empty(count, dtype=torch.uint8, device=bench.device).random_()
    target = torch.empty_like(source)
    rate(bench, "copy within the device", 2 * count / 1e12, "TB/s", lambda: target.copy_(source))
    count //= 16
    host = torch.empty(count, dtype=torch.uint8, pin_memory=bench.on_gpu).random_()
    room = target[:count]
    rate(bench, "copy from pinned host", count / 1e9, "GB/s", lambda: room.copy_(host, non_blocking=True))


def products(bench: Bench) -> None:
    width, tokens = bench.size.config.dim, 2 * bench.size.tokens
    for name, inputs, outputs in (
        ("q, k and v", width, 3 * width),
        ("attention out", width, width),
        ("feed-forward in", width, 4 * width),
        ("feed-forward out", 4 * width, width),
    ):
        x, w = _normal(bench, tokens, inputs), _normal(bench, outputs, inputs) / inputs**0.5
        bias = _normal(bench, outputs)
        work = 2 * tokens * inputs * outputs / 1e12
        rate(bench, f"bf16 {name}", work, "TFLOP/s", lambda x=x, w=w, b=bias: F.linear(x, w, b))
        numbers, scale = quantise_rows(w)
        run = torch.compile(scaled_linear, dynamic=False) if bench.on_gpu else scaled_linear
        arguments = (x, numbers, scale, bias)
        rate(bench, f"fp8 {name}, quantising x", work, "TFLOP/s", lambda a=arguments, run=run: run(*a))
        if bench.on_gpu:
            x8, x_scale = quantise_rows(x)
            rate(
                bench,
                f"fp8 {name}, product alone",
                work,
                "TFLOP/s",
                lambda a=x8, b=numbers, s=x_scale, t=scale, c=bias: torch._scaled_mm(
                    a, b.t(), s, t.t(), bias=c, out_dtype=torch.bfloat16, use_fast_accum=True
                ),
            )
        with bench.attempt(f"check fp8 {name}"):
            error = relative(scaled_linear(*arguments), reference_linear(*arguments))
            bench.add(f"check fp8 {name}", error=error)


def gelu(bench: Bench) -> None:
    width, tokens = bench.size.config.dim, 2 * bench.size.tokens
    x, w, b = (
        _normal(bench, tokens, width),
        _normal(bench, 4 * width, width) / width**0.5,
        _normal(bench, 4 * width),
    )

    def apart() -> Tensor:
        return F.gelu(F.linear(x, w, b), approximate="tanh")

    def joined() -> Tensor:
        return torch.ops.aten._addmm_activation(b, x, w.t(), use_gelu=True)

    work = 2 * tokens * width * 4 * width / 1e12
    rate(bench, "feed-forward in and GELU, apart", work, "TFLOP/s", apart)
    rate(bench, "feed-forward in and GELU, in the epilogue", work, "TFLOP/s", joined)
    bench.add("check GELU epilogue", error=relative(joined(), apart()))


def attention(bench: Bench) -> None:
    config, tokens = bench.size.config, 2 * bench.size.tokens
    q, k, v = (_normal(bench, 1, config.heads, tokens, config.head_dim) for _ in range(3))
    work = 4 * tokens * tokens * config.dim / 1e12

    def run() -> Tensor:
        return F.scaled_dot_product_attention(q, k, v)

    if not bench.on_gpu:
        rate(bench, "attention", work, "TFLOP/s", run)
        return
    # The last of the order materialises the matrix; it is no candidate.
    for backend in attention_order(bench.device)[:-1]:
        with attention_kernels(bench.device, [backend]):
            rate(bench, f"attention, {backend.name.lower()}", work, "TFLOP/s", run)


def strengths(bench: Bench) -> None:
    """Per-element strength: attention alone, with a quarter of the reference at another strength."""
    config, clip = bench.size.config, bench.size.tokens
    q, k, v = (_normal(bench, 1, config.heads, 2 * clip, config.head_dim) for _ in range(3))
    values = torch.ones(2 * clip)
    values[clip : clip + clip // 4] = 1.5
    work = 4 * (2 * clip) ** 2 * config.dim / 1e12
    expected: Tensor | None = None
    made = {
        "dense": TokenBias.of(values, clip, "dense"),
        "groups": TokenBias.of(values, clip, "groups"),
        "flex": FlexBias.of(values, clip),
    }
    for method, bias in made.items():
        if bias is None:
            raise ValueError("a strength other than 1 makes a bias")
        bias = bias.to(bench.device)

        def run(bias: TokenBias = bias) -> Tensor:
            return bias.attend(q, k, v)

        rate(bench, f"attention with strengths, {method}", work, "TFLOP/s", run)
        if method == "dense":
            expected = run()
        elif expected is not None:
            with bench.attempt(f"check strengths, {method}"):
                bench.add(f"check strengths, {method}", error=relative(run(), expected))


def _normal(bench: Bench, *shape: int) -> Tensor:
    return torch.randn(*shape, device=bench.device).to(bench.dtype)
