"""Linear layers with fp8 weights and activations, one scale a row; gradients pass through to the inputs.

A row of weights W_o, or of activations x_t, is stored as e4m3 numbers times one fp32 scale, amax / 448. The
tensor cores compute y_to = (sum_i x8_ti w8_oi) * a_t * s_o + b_o directly. A frozen weight needs no gradient.
The input's gradient is a product of the same kind, with the weight's scales multiplied into the gradient's
rows first: dx_ti = (sum_o g8_to w8_oi) * c_t, where g_to = dy_to * s_o = g8_to * c_t.

Legend: M rows of activations, I inputs, O outputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

E4M3 = torch.float8_e4m3fn
LARGEST = 448.0  # of e4m3
_TINY = 1e-12


@dataclass(frozen=True)
class Quantised:
    """Rows (B,T,I) that `quantise_rows` has already quantised; a scaled layer need not do it again.

    Attributes:
        numbers_BTI, scale_BT1: e4m3 and fp32. dtype: of the rows, and of the layers' outputs.
        wide_BTI: the rows themselves, if a plain layer reads them too.
    """

    numbers_BTI: Tensor
    scale_BT1: Tensor
    dtype: torch.dtype
    wide_BTI: Tensor | None = None

    @property
    def shape(self) -> torch.Size:
        return self.numbers_BTI.shape

    def __getitem__(self, places: tuple[slice, slice]) -> Quantised:
        wide_BTI = None if self.wide_BTI is None else self.wide_BTI[places]
        return Quantised(self.numbers_BTI[places], self.scale_BT1[places], self.dtype, wide_BTI)

    def rows(self) -> Tensor:
        """The rows for a plain layer."""
        if self.wide_BTI is None:
            raise ValueError("these rows were kept in fp8 only")
        return self.wide_BTI


def quantise_rows(x_MI: Tensor) -> tuple[Tensor, Tensor]:
    """e4m3 numbers of the same shape and an fp32 scale a row (..., 1); x is about numbers * scale."""
    wide = x_MI.float()
    largest_M1 = wide.abs().amax(dim=-1, keepdim=True).clamp(min=_TINY)
    # One division a row, not a number. A product may pass 448 by rounding; all below 464 become 448.
    return (wide * (LARGEST / largest_M1)).to(E4M3), largest_M1 / LARGEST


def dequantise(weight_OI: Tensor, scale_O1: Tensor) -> Tensor:
    """fp32 weights."""
    return weight_OI.float() * scale_O1


def scaled_linear(
    x: Tensor | Quantised, weight_OI: Tensor, scale_O1: Tensor, bias_O: Tensor | None
) -> Tensor:
    """x (..., I) through frozen fp8 weights, in x's dtype; the gradient of x goes through the same weights.

    With fp8 tensor cores the activations are quantised too. Older GPUs expand the weights for the product:
    slower than bf16 weights, in half their memory. Without a GPU it is `reference_linear`.
    """
    if isinstance(x, Tensor) and torch.is_grad_enabled() and x.requires_grad:
        return _Product.apply(x, weight_OI, scale_O1, bias_O)
    return _product(x, weight_OI, scale_O1, bias_O)


def _product(x: Tensor | Quantised, weight_OI: Tensor, scale_O1: Tensor, bias_O: Tensor | None) -> Tensor:
    unit = unit_of(weight_OI.device)
    if unit == "none":
        return reference_linear(x, weight_OI, scale_O1, bias_O)
    if unit == "wide":
        x = x.rows() if isinstance(x, Quantised) else x
        return F.linear(x, weight_OI.to(x.dtype) * scale_O1.to(x.dtype), bias_O)
    bias = None if bias_O is None else bias_O.to(torch.bfloat16)
    return _multiply(x, weight_OI.t(), scale_O1.t(), bias)


def input_gradient(dy: Tensor, weight_OI: Tensor, scale_O1: Tensor) -> Tensor:
    """The gradient (..., I) of `scaled_linear`'s input, in dy's dtype; dy (..., O) is quantised as x is."""
    unit = unit_of(dy.device)
    if unit == "wide":
        return dy @ (weight_OI.to(dy.dtype) * scale_O1.to(dy.dtype))
    scaled = dy.float() * scale_O1[:, 0]
    if unit == "none":
        return reference_linear(scaled, weight_OI.t(), torch.ones_like(scale_O1[:1]), None).to(dy.dtype)
    # The tensor cores read both factors along the summed axis, so the weight is transposed here; this moves a
    # few per cent of the product's bytes. It is transposed as integers, which every device can copy.
    turned_IO = weight_OI.view(torch.uint8).t().contiguous().view(E4M3)
    ones = torch.ones(1, len(turned_IO), device=dy.device)
    return _multiply(scaled, turned_IO.t(), ones, None).to(dy.dtype)


def _multiply(x: Tensor | Quantised, columns_IO: Tensor, scale_1O: Tensor, bias_O: Tensor | None) -> Tensor:
    """x (..., I) quantised by rows, times e4m3 columns on the fp8 tensor cores."""
    if isinstance(x, Quantised):
        numbers_MI, scale_M1 = x.numbers_BTI.flatten(0, -2), x.scale_BT1.flatten(0, -2)
    else:
        numbers_MI, scale_M1 = quantise_rows(x.flatten(0, -2))
    # The kernel scales rows and columns, and always writes bf16.
    y_MO = torch._scaled_mm(
        numbers_MI.contiguous(),
        columns_IO,
        scale_a=scale_M1,
        scale_b=scale_1O,
        bias=bias_O,
        out_dtype=torch.bfloat16,
        use_fast_accum=True,
    )
    return y_MO.to(x.dtype).unflatten(0, x.shape[:-1])


class _Product(torch.autograd.Function):
    """Keeps only the weights for the backward pass, and they are in memory anyway."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_OI: Tensor, scale_O1: Tensor, bias_O: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight_OI, scale_O1)
        return _product(x, weight_OI, scale_O1, bias_O)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        return input_gradient(gradients[0], *ctx.saved_tensors), None, None, None


def reference_linear(
    x: Tensor | Quantised, weight_OI: Tensor, scale_O1: Tensor, bias_O: Tensor | None
) -> Tensor:
    """The same numbers multiplied in fp32: what `scaled_linear` must give within rounding of the sums."""
    numbers, scale_M1 = (x.numbers_BTI, x.scale_BT1) if isinstance(x, Quantised) else quantise_rows(x)
    y = F.linear(numbers.float() * scale_M1, dequantise(weight_OI, scale_O1))
    return (y if bias_O is None else y + bias_O.float()).to(x.dtype)


@torch.compiler.assume_constant_result
def unit_of(device: torch.device) -> Literal["fp8", "wide", "none"]:
    """What a device computes: "fp8" from compute capability 8.9 on, "wide" on older GPUs, "none" on a CPU."""
    if device.type != "cuda":
        return "none"
    return "fp8" if torch.cuda.get_device_capability(device) >= (8, 9) else "wide"


class ScaledLinear(nn.Module):
    """A linear layer with fp8 weights. Names: `weight` (O,I) e4m3, `weight_scale` (O,1) fp32, `bias` (O)."""

    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__()
        self.in_features, self.out_features = inputs, outputs
        self.weight = nn.Parameter(torch.empty(outputs, inputs, dtype=E4M3), requires_grad=False)
        self.weight_scale = nn.Parameter(torch.empty(outputs, 1), requires_grad=False)
        self.bias = nn.Parameter(torch.empty(outputs), requires_grad=False) if bias else None

    @classmethod
    def of(cls, layer: nn.Linear) -> ScaledLinear:
        """A quantised copy of a layer, on its device."""
        with torch.device("meta"):
            made = cls(layer.in_features, layer.out_features, layer.bias is not None)
        numbers, scale = quantise_rows(layer.weight.detach())
        made.weight = nn.Parameter(numbers, requires_grad=False)
        made.weight_scale = nn.Parameter(scale, requires_grad=False)
        if layer.bias is not None:
            made.bias = nn.Parameter(layer.bias.detach(), requires_grad=False)
        return made

    def forward(self, x: Tensor | Quantised) -> Tensor:
        return scaled_linear(x, self.weight, self.weight_scale, self.bias)
