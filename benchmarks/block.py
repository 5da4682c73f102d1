"""One block at full width: what each way of compiling it takes, and its fused kernels against their bytes.

First to run after a change. The block is that of the video stream, no row left out. `ms at the ceiling` of
fused kernels is what they must read and write, over the rate of a copy measured here; in rows of tokens x
width in bf16 (88 MB at the trained bucket, 29 us), that is:

                                        bf16                      fp8
    norm, modulation                    1 + 1                     1 + 1 + 1/2
    norm and RoPE of queries and keys   2 + 1 (tables) + 2        the same
    gates, after each attention         2 (1 + 1)                 2 (1 + 1/2)
    sum, norm, modulation, twice        2 (2 + 2)                 (2 + 2 + 1/2) + (2 + 1 + 1/2)
    norm of the text's queries          1 + 1                     the same
    GELU                                0 (4 + 4 where apart)     4 + 2
    sum                                 2 + 1                     the same

Errors: a bf16 block against the same block in fp32, plain or not; an fp8 block against its plain, eager form;
a kernel against its plain form in fp32.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch._dynamo
import torch._inductor.config as inductor_config
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.ceilings import rate
from benchmarks.common import Bench, random_transformer, relative, timed, video_stream
from benchmarks.denoiser import FUSED, group_of, kernel_times
from benchmarks.peers import SIGMA
from castsheet.ltx import rope as rotary
from castsheet.ltx.config import TransformerConfig
from castsheet.ltx.dit import Stream, Transformer
from castsheet.ltx.fast import attention_kernels, compile_blocks, join_gelu, join_projections, linear_gelu
from castsheet.ltx.layers import modulate, rms
from castsheet.ltx.rope import Rope
from castsheet.ltx.scaled import quantise_rows

LEAST = {"bf16": 24.0, "bf16 apart": 32.0, "fp8": 29.5, "fp8 apart": 29.5}
COPY = "copy within the device"
OWN, ONCE = "torch's own choices", "rows read once"
Backend = str | Callable[..., Any] | None


def block(bench: Bench) -> None:
    """The block in both precisions, then its parts."""
    copying(bench)
    with attention_kernels(bench.device):
        for kind in ("fp8", "bf16"):
            with bench.attempt(f"{kind} block"):
                forms(bench, kind)
        for part in (kernels, layouts, gates, tuned):
            with bench.attempt(part.__name__):
                part(bench)


def copying(bench: Bench) -> None:
    """The rate that bytes are set against."""
    source = torch.empty(2**31 if bench.on_gpu else 2**20, dtype=torch.uint8, device=bench.device).random_()
    target = torch.empty_like(source)
    rate(bench, COPY, 2 * len(source) / 1e12, "TB/s", lambda: target.copy_(source))


def backends(bench: Bench) -> dict[str, Backend]:
    """The two ways of compiling; on a CPU neither, which would take a minute."""
    return {OWN: "inductor", ONCE: None} if bench.on_gpu else {OWN: "eager", ONCE: "eager"}


def row_ms(bench: Bench, rows: float) -> float:
    """Milliseconds that so many rows of tokens x width in bf16 take at the rate of a copy."""
    moved = rows * 2 * bench.size.tokens * bench.size.config.dim * 2 / 1e12
    return moved / next((one["rate"] for one in bench.rows if one["row"] == COPY), float("nan")) * 1e3


def forms(bench: Bench, kind: str) -> None:
    """One block: plain, compiled by torch's own choices, by ours, and with GELU joined to its product."""
    config = block_config(bench)
    torch._dynamo.reset()
    model = random_transformer(config, bench.device, bench.dtype, fp8=kind == "fp8")
    video = video_stream(bench, config, SIGMA)
    run = runner(model, video)
    plain = run()
    exact = plain
    if kind == "bf16":
        whole = copy.deepcopy(model).float()
        exact = runner(whole, video)()
        del whole
    row = f"{kind} block, plain and eager"
    bench.add(row, **timed(bench, run, repeats=3), error=relative(plain, exact))
    join_projections(model)
    ways = backends(bench)
    for name, backend, joined in (
        (OWN, ways[OWN], False),
        (ONCE, ways[ONCE], False),
        ("all", ways[ONCE], True),
    ):
        title = f"{kind} block, {'and GELU joined' if joined else name}"
        with bench.attempt(title):
            torch._dynamo.reset()
            compile_blocks(join_gelu(model) if joined else model, backend)
            bench.add(title, **timed(bench, run), error=relative(run(), exact))
            least = row_ms(bench, LEAST[kind if joined else f"{kind} apart"])
            fused(bench, title, run, least)


def runner(model: Transformer, video: Stream) -> Callable[[], Tensor]:
    """Its first block on what enters it."""
    given: list[tuple[Any, ...]] = []
    first = model.transformer_blocks[0]
    hook = first.register_forward_pre_hook(lambda _block, arguments: given.append(arguments))
    model(video)
    hook.remove()
    return lambda: first(*given[0])[0]


def fused(bench: Bench, title: str, run: Callable[[], Any], least: float) -> None:
    """The compiler's kernels of one call, together and the slowest."""
    if not bench.on_gpu:
        return
    times = {name: ms for name, ms in kernel_times(bench, run).items() if group_of(name) == FUSED}
    slowest = dict(sorted(times.items(), key=lambda item: -item[1])[:12])
    shown = {name[:80]: round(ms, 4) for name, ms in slowest.items()}
    bench.add(f"{title}: fused kernels", ms=sum(times.values()), least=least, kernels=shown)


@dataclass(frozen=True)
class Part:
    """What the compiler makes one kernel of; `rows` is what it moves, as above."""

    name: str
    run: Callable[..., Any]
    given: tuple[Tensor, ...]
    rows: float


def kernels(bench: Bench) -> None:
    """Each fused kernel by itself, as torch chooses and as we do."""
    for part in parts(bench):
        plain = part.run(*(one.float() for one in part.given))
        for name, backend in backends(bench).items():
            row = f"{part.name}, {name}"
            with bench.attempt(row):
                run = torch.compile(part.run, dynamic=False, backend=compiler(backend))
                found = timed(bench, partial(run, *part.given))
                error = relative(whole(run(*part.given)), whole(plain))
                bench.add(row, **found, least=row_ms(bench, part.rows), error=error)


def compiler(backend: Backend) -> Any:
    """What `torch.compile` takes."""
    if backend is not None:
        return backend
    from castsheet.ltx.inductor import compile_graph

    return compile_graph


def whole(result: Any) -> Tensor:
    """Numbers and scales multiplied out; several results in one."""
    if isinstance(result, Tensor):
        return result.float()
    if result[0].dtype == torch.float8_e4m3fn:
        return result[0].float() * result[1]
    return torch.cat([one.float().flatten() for one in result])


def parts(bench: Bench) -> list[Part]:
    """The block's kernels, and GELU in both of its forms."""
    config, tokens = bench.size.config, 2 * bench.size.tokens
    width, heads, half = config.dim, config.heads, config.head_dim // 2
    x, wide = _normal(bench, 1, tokens, width), _normal(bench, 1, tokens, 4 * width)
    rows, logits = _normal(bench, 1, 2, 2, width), _normal(bench, 1, tokens, heads)
    qkv, cos, sin = _normal(bench, 1, tokens, 3 * width), *(_normal(bench, heads, tokens, half) for _ in "cs")
    segments = (bench.size.tokens, bench.size.tokens)

    def modulated(x: Tensor, rows: Tensor) -> Tensor:
        return modulate(rms(x, config.norm_eps), *rows.unbind(2), segments)

    def turned(qkv: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, ...]:
        both = (F.rms_norm(one, (width,)).unflatten(-1, (heads, -1)) for one in qkv.chunk(3, dim=-1)[:2])
        return tuple(rotary.apply(one.transpose(1, 2), Rope(cos, sin)) for one in both)

    def gated(x: Tensor, logits: Tensor) -> Tensor:
        return (x.unflatten(-1, (heads, -1)) * (2.0 * torch.sigmoid(logits))[..., None]).flatten(2)

    def by_tanh(x: Tensor) -> tuple[Tensor, Tensor]:
        return quantise_rows(F.gelu(x, approximate="tanh"))

    def by_sigmoid(x: Tensor) -> tuple[Tensor, Tensor]:
        return quantise_rows(linear_gelu(nn.Identity(), x))

    return [
        Part("GELU by tanh, quantising", by_tanh, (wide,), 6),
        Part("GELU by sigmoid, quantising", by_sigmoid, (wide,), 6),
        Part("norm, modulation", modulated, (x, rows), 2),
        Part("norm, modulation, quantising", lambda *a: quantise_rows(modulated(*a)), (x, rows), 1.5),
        Part("norm and RoPE of queries and keys", turned, (qkv, cos, sin), 5),
        Part("gates, quantising", lambda *a: quantise_rows(gated(*a)), (x, logits), 1.5),
    ]


def layouts(bench: Bench) -> None:
    """Self-attention over dense heads, and over rows as the block has them (values a third of a row)."""
    config, tokens = bench.size.config, 2 * bench.size.tokens
    shape = (1, tokens, config.heads, config.head_dim)
    q, k = _normal(bench, *shape).transpose(1, 2), _normal(bench, *shape).transpose(1, 2)
    v = _normal(bench, 1, tokens, 3 * config.dim)[..., -config.dim :].unflatten(-1, (config.heads, -1))
    given = (q, k, v.transpose(1, 2))
    dense = tuple(one.contiguous() for one in given)
    for name, qkv in (
        ("heads outermost", dense),
        ("values by rows", (*dense[:2], given[2])),
        ("rows", given),
    ):
        work = 4 * tokens**2 * config.dim / 1e12
        run = partial(F.scaled_dot_product_attention, *qkv)
        rate(bench, f"attention, {name}", work, "TFLOP/s", run)


def gates(bench: Bench) -> None:
    """The gates' logits in a product of their own, as they are, and as more rows of the one beside them."""
    config, tokens = bench.size.config, 2 * bench.size.tokens
    x = _normal(bench, tokens, config.dim)
    for name, outputs in (
        ("q, k and v", 3 * config.dim),
        ("q of the text", config.dim),
        ("gates", config.heads),
        ("q, k, v and gates", 3 * config.dim + config.heads),
        ("q of the text and gates", config.dim + config.heads),
    ):
        weight, bias = _normal(bench, outputs, config.dim) / config.dim**0.5, _normal(bench, outputs)
        work = 2 * tokens * config.dim * outputs / 1e12
        rate(bench, f"bf16 product, {name}", work, "TFLOP/s", partial(F.linear, x, weight, bias))


def tuned(bench: Bench) -> None:
    """What is left in the launches of fused kernels: the compiler tries others on the device (slow)."""
    model = join_projections(random_transformer(block_config(bench), bench.device, bench.dtype, fp8=True))
    run = runner(model, video_stream(bench, model.config, SIGMA))
    torch._dynamo.reset()
    compile_blocks(join_gelu(model), backends(bench)[ONCE])
    title = "fp8 block, and GELU joined, launches tuned"
    with inductor_config.patch(coordinate_descent_tuning=True):
        bench.add(title, **timed(bench, run))
        fused(bench, title, run, row_ms(bench, LEAST["fp8"]))


def block_config(bench: Bench) -> TransformerConfig:
    """A model of one block of the video stream."""
    return replace(bench.size.config.video_only(), layers=1)


def _normal(bench: Bench, *shape: int) -> Tensor:
    return torch.randn(*shape, device=bench.device).to(bench.dtype)
