"""One pass and one guided step of the video-only denoiser at the trained bucket, in all its forms.

    python benchmarks/denoiser.py                     about 6 minutes on a GPU
    python benchmarks/denoiser.py --only bf16 fp8     parts: bf16 fp8 error still strength streamed
    python benchmarks/denoiser.py --tiny              seconds on a CPU

Work of a pass (5376 target and 5376 reference tokens): 242 TFLOP in linear layers, 91 in self-attention, 12
with the text. At 777 TFLOP/s (bf16), 1398 (fp8) and 660 (attention) the floor is 138 + 311 + some 10 = 460 ms
in bf16 and 138 + 182 = 320 ms in fp8. Expected in this program, ms:
    bf16 plain, eager                          850     the same code without any preparation
    bf16 prepared (joined, compiled)           535 to 565
    bf16 prepared, modulation tabulated        0 to 2 less
    fp8 prepared                               390 to 440
    guided step (CFG and STG), bf16 / fp8      2.41 passes
    still reference, bf16 / fp8                286 / 200
    strengths by groups, by FlexAttention      at most 15 % over the pass without
    streamed fp8, pass / guided step           48 blocks take 260 ms at 50 GB/s: hidden; 520 at 25: not,
                                               but a guided step copies them once for its three passes
Peaks expected: 30 GiB bf16, 15 to 17 fp8, under 4 streamed with two slots and no resident block.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from common import Bench, peak, random_transformer, relative, start, timed, video_stream
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from castsheet.ltx.bias import TokenBias
from castsheet.ltx.config import TransformerConfig
from castsheet.ltx.dit import Output, Pass, Stream, Transformer
from castsheet.ltx.fast import attention_kernels, compile_blocks, join_projections, prepare, tabulated
from castsheet.ltx.streaming import stream_blocks
from castsheet.sampling.schedule import sigmas

PARTS = ("bf16", "fp8", "error", "still", "strength", "streamed")
SIGMA = 0.7
GROUPS = (  # first match names the group of a kernel
    ("attention", ("sdpa", "flash", "fmha", "attention", "attn")),
    ("gemm", ("gemm", "nvjet", "cutlass", "xmma", "cublas", "_mm", "matmul")),
    ("copy", ("memcpy", "memset", "copy")),
    ("norm, modulation, rope, quantising", ("triton", "elementwise", "reduce", "norm")),
)


def main() -> None:
    bench, given = start("denoiser", ("--only", {"nargs": "+", "choices": PARTS, "default": list(PARTS)}))
    config = bench.size.config.video_only()
    with torch.no_grad(), attention_kernels(bench.device):
        kept: dict[str, Transformer] = {}
        for kind in ("bf16", "fp8"):
            if kind in given.only or "error" in given.only:
                kept[kind] = resident(bench, config, kind, measure=kind in given.only)
        if "error" in given.only:
            errors(bench, kept["bf16"], kept["fp8"])
        kept.pop("bf16", None)
        fast = kept.pop("fp8", None)
        if fast is None:
            fast = prepare(random_transformer(config, bench.device, bench.dtype, fp8=True))
        if "still" in given.only:
            still(bench, fast)
        if "strength" in given.only:
            strength(bench, fast)
        if "streamed" in given.only:
            del fast
            streamed(bench, config)


def passes(video: Stream, stg_block: int) -> tuple[Pass, ...]:
    """Conditional, unconditional, and the perturbed one, which shares the conditional's first blocks."""
    negative = replace(video, context_BLD=video.context_BLD.flip(1))
    return Pass(video), Pass(negative), Pass(video, stg_blocks=(stg_block,))


def resident(bench: Bench, config: TransformerConfig, kind: str, *, measure: bool) -> Transformer:
    """A prepared model that stays on the device, and on the way there its rows."""
    with peak(bench.device) as loading:
        model = random_transformer(config, bench.device, bench.dtype, fp8=kind == "fp8")
    video, keep = video_stream(bench, config, SIGMA), bench.size.tokens
    if not measure:
        return prepare(model)
    bench.add(f"{kind}, made", **loading)
    plain: Tensor | None = None
    if kind == "bf16":
        bench.add(f"{kind} pass, plain", **timed(bench, lambda: model(video, keep=keep), warm=1, repeats=3))
        plain = model(video, keep=keep).video_BTC
    prepare(model)
    with peak(bench.device) as memory:
        found = timed(bench, lambda: model(video, keep=keep))
    bench.add(f"{kind} pass, prepared", **found, **memory)
    if plain is not None:
        bench.add(f"{kind} prepared against plain", error=relative(model(video, keep=keep).video_BTC, plain))
    levels = sigmas(bench.size.steps).tolist()
    with tabulated(model, [*levels, SIGMA]):
        bench.add(f"{kind} pass, tabulated", **timed(bench, lambda: model(video, keep=keep)))
        three = passes(video, bench.size.stg_block)
        with peak(bench.device) as memory:
            found = timed(bench, lambda: model.forward_passes(three, keep=keep), repeats=3)
        bench.add(f"{kind} guided step", **found, **memory)
    profiled(bench, kind, lambda: model(video, keep=keep))
    return model


def profiled(bench: Bench, kind: str, run: Callable[[], Any]) -> None:
    """Milliseconds of one pass by kernel group."""
    if bench.device.type != "cuda":
        return
    with profile(activities=[ProfilerActivity.CUDA]) as trace:
        run()
        torch.cuda.synchronize(bench.device)
    groups: dict[str, float] = defaultdict(float)
    slowest: dict[str, float] = {}
    for event in trace.key_averages():
        name = event.key.lower()
        group = next((title for title, words in GROUPS if any(word in name for word in words)), "other")
        groups[group] += event.self_device_time_total / 1e3
        slowest[event.key[:80]] = event.self_device_time_total / 1e3
    bench.add(f"{kind} pass, by kernel group", **{key: round(ms, 2) for key, ms in sorted(groups.items())})
    top = sorted(slowest.items(), key=lambda item: -item[1])[:12]
    bench.add(f"{kind} pass, slowest kernels", kernels={key: round(ms, 2) for key, ms in top})


def errors(bench: Bench, exact: Transformer, fast: Transformer) -> None:
    """Relative error of x0 that one fp8 pass makes, over the schedule: x0 = x - sigma v."""
    keep, config = bench.size.tokens, exact.config
    levels = sigmas(bench.size.steps).tolist()[:-1]
    found = []
    for sigma in levels[:: max(1, len(levels) // 10)]:
        video = video_stream(bench, config, sigma)
        x = video.tokens_BTC[:, :keep].float()
        wanted, got = (x - sigma * model(video, keep=keep).video_BTC.float() for model in (exact, fast))
        found.append((sigma, relative(got, wanted)))
    bench.add(
        "fp8 x0 error a pass",
        median=sorted(error for _, error in found)[len(found) // 2],
        largest=max(error for _, error in found),
        by_sigma={f"{sigma:.3f}": error for sigma, error in found},
    )


def still(bench: Bench, fast: Transformer) -> None:
    """The reference in one latent frame."""
    config, keep = fast.config, bench.size.tokens
    short = video_stream(bench, config, SIGMA, reference=1)
    bench.add("fp8 pass, still reference", **timed(bench, lambda: fast(short, keep=keep)))
    three = passes(short, bench.size.stg_block)
    bench.add(
        "fp8 guided step, still reference",
        **timed(bench, lambda: fast.forward_passes(three, keep=keep), repeats=3),
    )


def strength(bench: Bench, fast: Transformer) -> None:
    """A quarter of the reference at another strength, against the pass without."""
    keep = bench.size.tokens
    video = video_stream(bench, fast.config, SIGMA)
    values = torch.ones(2 * keep)
    values[keep : keep + keep // 4] = 1.5
    without = timed(bench, lambda: fast(video, keep=keep))["ms"]
    outputs: dict[str, Output] = {}
    for method in ("groups", "flex"):
        bias = TokenBias.of(values, keep, method)
        biased = replace(video, bias_TT=None if bias is None else bias.to(bench.device))
        try:
            found = timed(bench, lambda biased=biased: fast(biased, keep=keep), repeats=3)
        except RuntimeError as error:
            bench.add(f"fp8 pass, strengths by {method}", failed=str(error).splitlines()[0][:160])
            continue
        outputs[method] = fast(biased, keep=keep)
        bench.add(f"fp8 pass, strengths by {method}", **found, over=found["ms"] / without - 1)
    if len(outputs) == 2:
        both = (outputs["groups"].video_BTC, outputs["flex"].video_BTC)
        bench.add("strengths, groups against flex", error=relative(*both))


def streamed(bench: Bench, config: TransformerConfig) -> None:
    """fp8 blocks from pinned host memory: none resident, then a third of them."""
    keep = bench.size.tokens
    for resident_blocks in (0, config.layers // 3):
        model = join_projections(random_transformer(config, bench.device, bench.dtype, fp8=True))
        stream_blocks(model, bench.device, resident=resident_blocks)
        if bench.device.type == "cuda":
            compile_blocks(model)
        video = video_stream(bench, config, SIGMA)
        levels = sigmas(bench.size.steps).tolist()
        with tabulated(model, [*levels, SIGMA], offload="cpu"):
            with peak(bench.device) as memory:
                found = timed(bench, lambda model=model, video=video: model(video, keep=keep), repeats=3)
            bench.add(f"fp8 pass, streamed, {resident_blocks} resident", **found, **memory)
            three = passes(video, bench.size.stg_block)
            with peak(bench.device) as memory:
                found = timed(
                    bench, lambda model=model, three=three: model.forward_passes(three, keep=keep), repeats=3
                )
            bench.add(f"fp8 guided step, streamed, {resident_blocks} resident", **found, **memory)
        del model


if __name__ == "__main__":
    main()
