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
    GELU                                0 (compiled: 4 + 4)       4 + 2
    sum                                 2 + 1                     the same

Errors: a bf16 block against the same block in fp32, plain or not; an fp8 block against its plain, eager form;
a kernel against its plain form in fp32.
"""

from __future__ import annotations

import copy
import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch._dynamo
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.ceilings import rate
from benchmarks.common import Bench, random_transformer, relative, timed, video_stream
from benchmarks.denoiser import FUSED, group_of, kernel_times
from benchmarks.peers import SIGMA
from castsheet.ltx.model.config import TransformerConfig
from castsheet.ltx.model.dit import Stream, Transformer
from castsheet.ltx.model.rope import Rope
from castsheet.ltx.model.rows import PLAIN, Form, RMSNorm, RowOps, Update
from castsheet.ltx.model.scaled import Quantised, quantise_rows
from castsheet.ltx.speed.fast import compile_blocks, fuse_rows, fused_rows
from castsheet.ltx.speed.joint import join_projections
from castsheet.ltx.speed.kernels import attention_kernels

COPY = "copy within the device"
COMPILED, KERNELS = "as compiled", "kernels"
LEAST = {("bf16", COMPILED): 32.0, ("bf16", KERNELS): 24.0, ("fp8", COMPILED): 29.5, ("fp8", KERNELS): 29.5}
ROUNDS = 4


def block(bench: Bench) -> None:
    """The block in both precisions, then its parts."""
    copying(bench)
    with attention_kernels(bench.device):
        for kind in ("fp8", "bf16"):
            with bench.attempt(f"{kind} block"):
                forms(bench, kind)
        for part in (kernels, layouts, gates):
            with bench.attempt(part.__name__):
                part(bench)


def copying(bench: Bench) -> None:
    """The rate that bytes are set against."""
    source = torch.empty(2**31 if bench.on_gpu else 2**20, dtype=torch.uint8, device=bench.device).random_()
    target = torch.empty_like(source)
    rate(bench, COPY, 2 * len(source) / 1e12, "TB/s", lambda: target.copy_(source))


def ways(bench: Bench) -> dict[str, RowOps]:
    """Who does the row operations: torch's compiler, or our kernels where the device has them."""
    fused = fused_rows(bench.device)
    return {COMPILED: PLAIN} if fused is None else {COMPILED: PLAIN, KERNELS: fused}


def backend(bench: Bench) -> str:
    """Of torch's compiler; on a CPU it would take a minute."""
    return "inductor" if bench.on_gpu else "eager"


def row_ms(bench: Bench, rows: float) -> float:
    """Milliseconds that so many rows of tokens x width in bf16 take at the rate of a copy."""
    moved = rows * 2 * bench.size.tokens * bench.size.config.dim * 2 / 1e12
    return moved / next((one["rate"] for one in bench.rows if one["row"] == COPY), float("nan")) * 1e3


def forms(bench: Bench, kind: str) -> None:
    """One block: plain, compiled, and compiled around our kernels."""
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
    runs: dict[str, Callable[[], Tensor]] = {}
    for name, rows in ways(bench).items():
        with bench.attempt(f"{kind} block, {name}"):
            own = compile_blocks(fuse_rows(copy.deepcopy(model), rows), backend(bench))
            runs[name] = runner(own, video)
    for name, found in in_turns(bench, runs).items():
        title = f"{kind} block, {name}"
        bench.add(title, **found, error=relative(runs[name](), exact))
        fused(bench, title, runs[name], row_ms(bench, LEAST[kind, name]))


def in_turns(bench: Bench, runs: dict[str, Callable[[], Tensor]]) -> dict[str, dict[str, float]]:
    """Each run's time, measured a little at a time: a card that grows hot slows all of them alike."""
    rounds = [{name: timed(bench, run) for name, run in runs.items()} for _ in range(ROUNDS)]
    return {
        name: {
            "ms": statistics.median(one[name]["ms"] for one in rounds),
            "first_s": rounds[0][name]["first_s"],
        }
        for name in runs
    }


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
    """A row operation as a block asks for it; `rows` is what it moves, as above."""

    name: str
    run: Callable[..., Any]  # of whoever does it, the form asked for, and what is given
    form: Form
    given: tuple[Tensor, ...]
    rows: float


def kernels(bench: Bench) -> None:
    """Each row operation by itself, compiled and as a kernel of ours."""
    for part in parts(bench):
        plain = whole(part.run(PLAIN, part.form, *(one.float() for one in part.given)))
        for name, rows in ways(bench).items():
            row = f"{part.name}, {name}"
            with bench.attempt(row):
                run: Callable[..., Any] = partial(part.run, rows, part.form)
                if rows is PLAIN:
                    run = torch.compile(_quantised(run, part.form), dynamic=False, backend=backend(bench))
                call = partial(run, *part.given)
                error = relative(whole(call()), plain)
                # By the profile: alone, kernels this short would be timed by the wait for their launch.
                ms = sum(kernel_times(bench, call).values()) if bench.on_gpu else timed(bench, call)["ms"]
                bench.add(row, ms=ms, least=row_ms(bench, part.rows), error=error)


def _quantised(run: Callable[..., Any], form: Form) -> Callable[..., Any]:
    """With the quantising that a product in fp8 would do of plain rows."""

    def both(*given: Tensor) -> Any:
        made = run(*given)
        if form == "wide":
            return made
        *others, last = made if isinstance(made, tuple) else (made,)
        return (*others, Quantised(*quantise_rows(last), last.dtype, last if form == "both" else None))

    return both


def whole(result: Any) -> Tensor:
    """Numbers and scales multiplied out; several results in one."""
    if isinstance(result, Quantised):
        return (result.numbers_BTI.float() * result.scale_BT1).flatten()
    if isinstance(result, Tensor):
        return result.float().flatten()
    return torch.cat([whole(one) for one in result])


@torch.no_grad()
def parts(bench: Bench) -> list[Part]:
    """The block's row operations."""
    config, tokens = bench.size.config, 2 * bench.size.tokens
    width, heads, eps = config.dim, config.heads, config.norm_eps
    x, update, wide = (_normal(bench, 1, tokens, count * width) for count in (1, 1, 4))
    table, logits = _normal(bench, 1, 2, 3, width), _normal(bench, 1, tokens, heads)
    q, k = _normal(bench, 1, tokens, 3 * width).chunk(3, dim=-1)[:2]
    cos, sin = (_normal(bench, heads, tokens, config.head_dim // 2) for _ in "cs")
    norms = [RMSNorm(width, eps=eps).to(bench.device, bench.dtype) for _ in "qk"]
    segments = (bench.size.tokens, bench.size.tokens)

    def enter(ops: RowOps, form: Form, x: Tensor, table: Tensor) -> Any:
        shift, scale, _ = table.unbind(2)
        return ops.add_norm_modulate(x, None, shift, scale, segments, eps, form)[1]

    def add(ops: RowOps, form: Form, x: Tensor, table: Tensor, update: Tensor) -> Any:
        shift, scale, gate = table.unbind(2)
        return ops.add_norm_modulate(x, Update(update, gate), shift, scale, segments, eps, form)

    def turn(ops: RowOps, _form: Form, q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> Any:
        return tuple(ops.norm_rotate([(q, norms[0]), (k, norms[1])], Rope(cos, sin), heads))

    def gate(ops: RowOps, form: Form, x: Tensor, logits: Tensor) -> Any:
        return ops.gate(x.unflatten(-1, (heads, -1)), logits, form)

    def gelu(ops: RowOps, form: Form, x: Tensor) -> Any:
        return ops.gelu(nn.Identity(), x, form)

    return [
        Part("norm, modulation", enter, "wide", (x, table), 2),
        Part("norm, modulation, also in fp8", enter, "both", (x, table), 2.5),
        Part("sum, norm, modulation", add, "wide", (x, table, update), 4),
        Part("sum, norm, modulation, in fp8", add, "scaled", (x, table, update), 3.5),
        Part("norm and RoPE of queries and keys", turn, "wide", (q, k, cos, sin), 5),
        Part("gates", gate, "wide", (x, logits), 2),
        Part("gates, in fp8", gate, "scaled", (x, logits), 1.5),
        Part("GELU, in fp8", gelu, "scaled", (wide,), 6),
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


def block_config(bench: Bench) -> TransformerConfig:
    """A model of one block of the video stream."""
    return replace(bench.size.config.video_only(), layers=1)


def _normal(bench: Bench, *shape: int) -> Tensor:
    return torch.randn(*shape, device=bench.device).to(bench.dtype)
