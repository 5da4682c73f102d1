"""The row operations of `ltx/model/rows.py` as one GPU kernel each (row_kernels.py); for inference only.

At full size a kernel takes about as long as copying its bytes. Torch's compiler is slower on long rows, most
of all if they are quantised (benchmarks/README.md).

Legend: B batch, T tokens, C channels, S segments, H heads, D channels of a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import accumulate
from typing import Any

import torch
import triton
from torch import Tensor, nn

from castsheet.ltx.model.rope import Rope
from castsheet.ltx.model.rows import CURVE, SLOPE, Form, RMSNorm, RowOps, Update
from castsheet.ltx.model.scaled import E4M3, Quantised
from castsheet.ltx.speed.row_kernels import rows_enter, rows_gated, rows_gelu, rows_heads

_SEGMENTS = 4  # with more segments the plain operations run
_NEVER = 2**31 - 1
# (rows a program, warps): the fastest on an H200 for rows of 4096 and 16384 numbers.
_LAUNCH = {
    "norm_modulate": (2, 8),
    "add_norm_modulate": (2, 4),
    "norm_rotate": (1, 4),
    "gate": (1, 4),
    "gelu": (1, 16),
}


class FusedRowOps(RowOps):
    """The operations of `RowOps` as kernels; results agree within rounding.

    Args:
        fp8: whether fp8 layers take quantised rows; if not, all rows stay wide.
    """

    def __init__(self, fp8: bool) -> None:
        self._fp8 = fp8

    def add_norm_modulate(
        self,
        x_BTC: Tensor,
        update: Update | None,
        shift_BSC: Tensor,
        scale_BSC: Tensor,
        segments: tuple[int, ...],
        eps: float,
        form: Form = "wide",
    ) -> tuple[Tensor, Tensor | Quantised]:
        form = form if self._fp8 else "wide"
        if len(segments) > _SEGMENTS:
            return super().add_norm_modulate(x_BTC, update, shift_BSC, scale_BSC, segments, eps, form)
        batch, tokens, width = x_BTC.shape
        x_BTC = x_BTC.contiguous()
        added, gate, total = x_BTC, shift_BSC, x_BTC
        if update is not None:
            added, gate, total = update.update_BTC.contiguous(), update.gate_BSC, torch.empty_like(x_BTC)
        room = _room(x_BTC, x_BTC.shape, form)
        rows, warps = _LAUNCH["norm_modulate" if update is None else "add_norm_modulate"]
        if any(edge % rows for edge in (tokens, *accumulate(segments))):
            rows = 1  # no program may hold rows of two samples or segments
        with _on(x_BTC):
            rows_enter[(triton.cdiv(batch * tokens, rows),)](
                x_BTC,
                added,
                gate,
                shift_BSC,
                scale_BSC,
                total,
                *room,
                batch * tokens,
                tokens,
                *_edges(segments),
                *_strides(gate),
                *_strides(shift_BSC),
                *_strides(scale_BSC),
                EPS=eps,
                WIDTH=width,
                PADDED=triton.next_power_of_2(width),
                ROWS=rows,
                ADD=update is not None,
                WIDE=form != "scaled",
                SCALED=form != "wide",
                num_warps=warps,
            )
        return total, _made(*room, form)

    def norm_rotate(
        self, given: Sequence[tuple[Tensor, RMSNorm]], rope: Rope | None, heads: int
    ) -> list[Tensor]:
        x_BTC, norm = given[0]
        batch, tokens, width = x_BTC.shape
        x_BTC, x_row = _by_rows(x_BTC)
        y_BTC, y_norm = given[-1]
        y_BTC, y_row = _by_rows(y_BTC)
        made = [x_BTC.new_empty(batch, tokens, heads, width // heads) for _ in given]
        # Without RoPE the kernel reads no tables.
        cos, sin = (x_BTC, x_BTC) if rope is None else (rope.cos_HTD, rope.sin_HTD)
        half = triton.next_power_of_2(width) // 2
        rows, warps = _LAUNCH["norm_rotate"]
        with _on(x_BTC):
            rows_heads[(triton.cdiv(batch * tokens, rows),)](
                x_BTC,
                y_BTC,
                norm.weight,
                y_norm.weight,
                cos,
                sin,
                made[0],
                made[-1],
                batch * tokens,
                tokens,
                x_row,
                y_row,
                *cos.stride()[:2],
                *sin.stride()[:2],
                EPS=norm.eps,
                WIDTH=width,
                HALF=width // heads // 2,
                PADDED=half,
                ROWS=rows,
                BOTH=len(given) == 2,
                TURN=rope is not None,
                num_warps=warps,
            )
        return [one.transpose(1, 2) for one in made]

    def gate(self, x_BTHD: Tensor, logits_BTH: Tensor, form: Form = "wide") -> Tensor | Quantised:
        form = form if self._fp8 else "wide"
        batch, tokens, heads, channels = x_BTHD.shape
        width = heads * channels
        if x_BTHD.stride(3) != 1:
            x_BTHD = x_BTHD.contiguous()
        logits_BTH, logits_row = _by_rows(logits_BTH)
        room = _room(x_BTHD, (batch, tokens, width), form)
        rows, warps = _LAUNCH["gate"]
        with _on(x_BTHD):
            rows_gated[(triton.cdiv(batch * tokens, rows),)](
                x_BTHD,
                logits_BTH,
                *room,
                batch * tokens,
                tokens,
                *x_BTHD.stride()[:3],
                logits_row,
                WIDTH=width,
                CHANNELS=channels,
                PADDED=triton.next_power_of_2(width),
                ROWS=rows,
                WIDE=form != "scaled",
                SCALED=form != "wide",
                num_warps=warps,
            )
        return _made(*room, form)

    def gelu(self, layer: nn.Module, x: Tensor | Quantised, form: Form = "wide") -> Tensor | Quantised:
        if type(layer) is nn.Linear and isinstance(x, Tensor) and x.device.type == "cuda":
            return gelu_of_product(layer, x)
        if form != "scaled" or not self._fp8:
            return super().gelu(layer, x, form)
        y = layer(x)
        width = y.shape[-1]
        _, numbers, factor = room = _room(y, y.shape, form)
        rows, warps = _LAUNCH["gelu"]
        count = y.numel() // width
        with _on(y):
            rows_gelu[(triton.cdiv(count, rows),)](
                y.contiguous(),
                numbers,
                factor,
                count,
                SLOPE=SLOPE,
                CURVE=CURVE,
                WIDTH=width,
                PADDED=triton.next_power_of_2(width),
                ROWS=rows,
                num_warps=warps,
            )
        return _made(*room, form)


def gelu_of_product(layer: nn.Linear, x: Tensor) -> Tensor:
    """GELU of a plain layer (..., I) -> (..., O); cuBLAS applies it to the sums before it rounds them."""
    # The operation takes no layer without a bias. LTX-2.5 has one, and 32 KB of zeros cost nothing beside it.
    bias_O = layer.weight.new_zeros(layer.out_features) if layer.bias is None else layer.bias
    y_MO = torch.ops.aten._addmm_activation(bias_O, x.flatten(0, -2), layer.weight.t(), use_gelu=True)
    return y_MO.unflatten(0, x.shape[:-1])


def _room(x: Tensor, shape: Sequence[int], form: Form) -> tuple[Tensor, Tensor, Tensor]:
    """Empty tensors for rows, their e4m3 numbers and their factors; x itself in place of those not needed."""
    wide = x if form == "scaled" else x.new_empty(shape)
    if form == "wide":
        return wide, x, x
    return wide, x.new_empty(shape, dtype=E4M3), x.new_empty((*shape[:-1], 1), dtype=torch.float32)


def _made(wide: Tensor, numbers: Tensor, factor: Tensor, form: Form) -> Tensor | Quantised:
    return (
        wide if form == "wide" else Quantised(numbers, factor, wide.dtype, wide if form == "both" else None)
    )


def _on(x: Tensor) -> AbstractContextManager[Any]:
    """Launch kernels on the tensor's device, as torch's own do; compiled code does this by itself."""
    if x.device.type != "cuda" or torch.compiler.is_compiling():
        return nullcontext()
    return torch.cuda.device(x.device)


def _edges(segments: tuple[int, ...]) -> tuple[int, ...]:
    """The starts of the second, third and fourth segment; a missing segment starts at `_NEVER`."""
    starts = list(accumulate(segments))[:-1]
    return (*starts, *[_NEVER] * (_SEGMENTS - 1 - len(starts)))


def _strides(rows_BSC: Tensor) -> tuple[int, int]:
    """Distances between the rows of two samples, and of two segments; 0 if all share one row."""
    batch, segments, _ = rows_BSC.shape
    return (rows_BSC.stride(0) if batch > 1 else 0), (rows_BSC.stride(1) if segments > 1 else 0)


def _by_rows(x_BTC: Tensor) -> tuple[Tensor, int]:
    """The tensor, copied if its rows are not evenly spaced, and the distance between rows."""
    even = x_BTC.shape[0] == 1 or x_BTC.stride(0) == x_BTC.shape[1] * x_BTC.stride(1)
    x_BTC = x_BTC if even and x_BTC.stride(2) == 1 else x_BTC.contiguous()
    return x_BTC, x_BTC.stride(1)
