"""More of the video-only denoiser at the trained bucket: strengths, block streaming, time by kernel group.

Work of a pass (5376 target and 5376 reference tokens): 242 TFLOP in linear layers, 91 in self-attention, 12
with the text. At 777 TFLOP/s (bf16), 1398 (fp8) and 660 (attention) the floor is 138 + 311 + some 10 = 460 ms
in bf16 and 138 + 182 = 320 ms in fp8. Expected on an H100:
    strengths by groups, by FlexAttention      at most 15 % over the pass without
    streamed fp8, pass / guided step           48 blocks take 260 ms at 50 GB/s: hidden; 520 at 25: not,
                                               but a guided step copies them once for its three passes
    peak, streamed with no resident block      under 4 GiB
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from benchmarks.ceilings import rate
from benchmarks.common import Bench, peak, random_transformer, relative, timed, video_stream
from benchmarks.flex import FlexBias
from benchmarks.peers import SIGMA, guided, x0_over_schedule
from castsheet.ltx.model.bias import TokenBias
from castsheet.ltx.model.dit import Output, Transformer
from castsheet.ltx.model.layers import Kernel
from castsheet.ltx.speed.attention8 import attend_fp8, reference_attention, use_fp8_attention
from castsheet.ltx.speed.fast import make_fast
from castsheet.ltx.speed.joint import join_projections
from castsheet.ltx.speed.kernels import attention_kernels
from castsheet.ltx.speed.streaming import stream_blocks
from castsheet.ltx.speed.tabulated import tabulated
from castsheet.sampling.schedule import sigmas

FUSED = "norm, modulation, rope, GELU, quantising"
GROUPS = (  # first match names the group of a kernel; the compiler's carry the names of all they fuse
    (FUSED, ("triton", "rows_")),
    ("attention", ("sdpa", "flash", "fmha", "attention", "attn")),
    ("products", ("gemm", "nvjet", "cutlass", "xmma", "cublas", "_mm", "matmul")),
    ("copies", ("memcpy", "memset", "copy")),
    ("elementwise", ("elementwise", "reduce", "norm")),
)


def strength(bench: Bench) -> None:
    """A quarter of the reference at another strength, against the pass without; then kernel groups."""
    model = made(bench)
    targets = bench.size.tokens
    video = video_stream(bench, model.config, SIGMA)
    values = torch.ones(2 * targets)
    values[targets : targets + targets // 8] = 1.5
    values[targets + targets // 8 : targets + targets // 4] = 0.7
    outputs: dict[str, Output] = {}
    with attention_kernels(bench.device):
        row = "pass without strengths, fp8"
        bench.add(row, **timed(bench, lambda: model(video, targets=targets)))
        biases = {"groups": TokenBias.of(values, targets, "groups"), "flex": FlexBias.of(values, targets)}
        for method, bias in biases.items():
            sequence = replace(video.sequence, bias=None if bias is None else bias.to(bench.device))
            biased = replace(video, sequence=sequence)
            name = f"pass with two strengths, by {method}, fp8"
            with bench.attempt(name):
                found = timed(bench, lambda biased=biased: model(biased, targets=targets), repeats=3)
                outputs[method] = model(biased, targets=targets)
                bench.add(name, **found, over=found["ms"] / bench.ms(row) - 1)
        if len(outputs) == len(biases):
            both = (outputs[method].video_BTC for method in biases)
            bench.add("strengths, groups against flex", error=relative(*both))
        with bench.attempt("pass with tabulated modulation, fp8"), tabulated(model, [SIGMA]):
            found = timed(bench, lambda: model(video, targets=targets), repeats=3)
            bench.add("pass with tabulated modulation, fp8", **found, over=found["ms"] / bench.ms(row) - 1)
        with bench.attempt("by kernel group"):
            profiled(bench, "fp8", lambda: model(video, targets=targets))


def kernels(bench: Bench) -> None:
    """The bf16 pass by kernel group."""
    model = made(bench, fp8=False)
    video = video_stream(bench, model.config, SIGMA)
    with attention_kernels(bench.device):
        timed(bench, lambda: model(video, targets=bench.size.tokens), repeats=1)
        profiled(bench, "bf16", lambda: model(video, targets=bench.size.tokens))


def streamed(bench: Bench) -> None:
    """fp8 blocks from pinned host memory, with none and with half of them resident, against all resident."""
    targets, three = bench.size.tokens, None
    with attention_kernels(bench.device):
        with bench.attempt("resident"):
            model = made(bench)
            video = video_stream(bench, model.config, SIGMA)
            three = guided(video, bench.size.stg_block)
            measure(bench, "all resident", model, video, three, targets)
            del model
        for resident in (0, bench.size.config.layers // 2):
            name = f"{resident} resident, others streamed"
            with bench.attempt(name):
                model = join_projections(made(bench, fast=False))
                stream_blocks(model, bench.device, resident=resident)
                make_fast(model)
                video = video_stream(bench, model.config, SIGMA)
                three = guided(video, bench.size.stg_block)
                # The layers that modulation comes from leave the card, as they would on a small one.
                with tabulated(model, [*sigmas(bench.size.steps).tolist(), SIGMA], offload="cpu"):
                    measure(bench, name, model, video, three, targets)
                del model


def attention_fp8(bench: Bench) -> None:
    """Self-attention in fp8: alone, then in the fp8 pass, against the exact kernel."""
    kernel = attend_fp8 if bench.on_gpu else reference_attention
    with attention_kernels(bench.device):
        with bench.attempt("attention in fp8"):
            attention_alone(bench, kernel)
        with bench.attempt("pass with fp8 attention, fp8"):
            model = made(bench)
            video = video_stream(bench, model.config, SIGMA)
            row = "pass with exact attention, fp8"
            bench.add(row, **timed(bench, lambda: model(video, targets=bench.size.tokens)))
            exact = x0_over_schedule(bench, model, None)
            use_fp8_attention(model, bench.device, kernel)
            found = timed(bench, lambda: model(video, targets=bench.size.tokens))
            bench.add("pass with fp8 attention, fp8", **found, over=found["ms"] / bench.ms(row) - 1)
            x0_over_schedule(bench, model, exact, "x0 error of fp8 attention a pass, median")


def attention_alone(bench: Bench, kernel: Kernel) -> None:
    """One attention of the bucket's size, the quantising of its inputs counted."""
    config, tokens = bench.size.config, 2 * bench.size.tokens
    shape = (1, config.heads, tokens, config.head_dim)
    q, k, v = (torch.randn(shape, device=bench.device).to(bench.dtype) for _ in range(3))
    work = 4 * tokens * tokens * config.dim / 1e12
    rate(bench, "attention, exact", work, "TFLOP/s", lambda: F.scaled_dot_product_attention(q, k, v))
    run = torch.compile(kernel, dynamic=False) if bench.on_gpu else kernel
    rate(bench, "attention, fp8, with quantising", work, "TFLOP/s", lambda: run(q, k, v))
    error = relative(run(q, k, v), F.scaled_dot_product_attention(q, k, v))
    bench.add("error of fp8 attention", error=error)


def measure(bench: Bench, name: str, model: Transformer, video: Any, three: Any, targets: int) -> None:
    """A pass and a guided step, each with its peak, and over the same with all blocks resident."""
    for what, run in (
        ("pass", lambda: model(video, targets=targets)),
        ("guided step", lambda: model.forward_passes(three, targets=targets)),
    ):
        with peak(bench.device) as memory:
            found = timed(bench, run, repeats=3)
        whole = bench.ms(f"fp8 {what}, all resident")
        over = {} if name == "all resident" else {"over": found["ms"] / whole - 1}
        bench.add(f"fp8 {what}, {name}", **found, **memory, **over)


def made(bench: Bench, *, fp8: bool = True, fast: bool = True) -> Transformer:
    model = random_transformer(bench.size.config.video_only(), bench.device, bench.dtype, fp8=fp8)
    return make_fast(model) if fast else model


def profiled(bench: Bench, kind: str, run: Callable[[], Any]) -> None:
    """Milliseconds of one pass by kernel group."""
    if not bench.on_gpu:
        return
    times = kernel_times(bench, run)
    groups: dict[str, float] = defaultdict(float)
    for name, ms in times.items():
        groups[group_of(name)] += ms
    for group, ms in sorted(groups.items(), key=lambda item: -item[1]):
        bench.add(f"{kind} pass: {group}", ms=round(ms, 2))
    top = sorted(times.items(), key=lambda item: -item[1])[:12]
    bench.add(f"{kind} pass, slowest kernels", kernels={name[:80]: round(ms, 2) for name, ms in top})


def kernel_times(bench: Bench, run: Callable[[], Any]) -> dict[str, float]:
    """Milliseconds of every kernel of one call, by its name."""
    with profile(activities=[ProfilerActivity.CUDA]) as trace:
        run()
        torch.cuda.synchronize(bench.device)
    return {event.key: event.self_device_time_total / 1e3 for event in trace.key_averages()}


def group_of(kernel: str) -> str:
    """The group that a kernel's time counts to."""
    name = kernel.lower()
    return next((title for title, words in GROUPS if any(word in name for word in words)), "other")
