"""The GPU's row kernels, run by Triton's interpreter on a CPU: the same functions as their plain forms."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("triton")

from castsheet.ltx.model.rope import Rope
from castsheet.ltx.model.rows import CURVE, PLAIN, SLOPE, Form, RMSNorm, Update
from castsheet.ltx.model.scaled import Quantised, quantise_rows
from castsheet.ltx.speed.fused_rows import FusedRowOps, gelu_of_product

FUSED = FusedRowOps(fp8=True)
FORMS: tuple[Form, ...] = ("wide", "scaled", "both")
SEGMENTS = ((5, 4, 2), (11,), (1, 10), (3, 3, 3, 2), (3, 3, 3, 1, 1))


def randn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def close(left: Tensor, right: Tensor, relative: float = 1e-6) -> None:
    assert left.shape == right.shape
    assert left.dtype == right.dtype
    assert (left.float() - right.float()).norm() <= relative * right.float().norm()


def same_rows(got: Tensor | Quantised, plain: Tensor, form: Form) -> None:
    """The rows in the form asked for.

    Triton's interpreter loses the carry where an e4m3 number is rounded up to a power of two: it halves it.
    """
    if form == "wide":
        assert isinstance(got, Tensor)
        close(got, plain)
        return
    assert isinstance(got, Quantised)
    numbers, scale = quantise_rows(plain)
    close(got.scale_BT1, scale)
    made, expected = got.numbers_BTI.float(), numbers.float()
    other = made != expected
    assert other.float().mean() < 0.05
    assert ((2 * made - expected)[other].abs() <= 2**-9).all()  # the smallest number
    if form == "both":
        close(got.rows(), plain)
    else:
        assert got.wide_BTI is None


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("segments", SEGMENTS)
@pytest.mark.parametrize("pending", [False, True])
@torch.no_grad()
def test_entering_is_the_sum_its_norm_and_its_modulation(
    form: Form, segments: tuple[int, ...], pending: bool
) -> None:
    """Red: on a GPU a token is modulated by another segment's or sample's row, or what is pending is lost."""
    x, update = randn(2, 11, 24), randn(2, 11, 24, seed=1)
    table = randn(2, len(segments), 3, 24, seed=2)
    shift, scale, gate = table.unbind(2)
    more = Update(update, gate) if pending else None
    plain = PLAIN.add_norm_modulate(x, more, shift, scale, segments, 1e-6)
    total, rows = FUSED.add_norm_modulate(x, more, shift, scale, segments, 1e-6, form)
    close(total, plain[0])
    same_rows(rows, plain[1], form if len(segments) <= 4 else "wide")


@torch.no_grad()
def test_rows_for_all_tokens_and_samples_are_repeated() -> None:
    """Red: the gates of one sigma, which the streams' cross attention has, are read past their end."""
    x, gate, (shift, scale) = randn(2, 11, 24), randn(1, 1, 24, seed=1), randn(2, 1, 2, 24, seed=2)
    plain = PLAIN.add_norm_modulate(x, Update(x, gate), shift, scale, (6, 5), 1e-6)
    for got, expected in zip(
        FUSED.add_norm_modulate(x, Update(x, gate), shift, scale, (6, 5), 1e-6), plain, strict=True
    ):
        close(got, expected)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("both", [False, True])
@torch.no_grad()
def test_heads_are_normed_and_turned(turned: bool, both: bool) -> None:
    """Red: on a GPU queries or keys carry another position, or another channel's weight."""
    heads, joint = 3, randn(2, 5, 80, seed=3)  # rows of a joint product, wider than what is read of them
    given = []
    for number, x in enumerate((joint[..., :24], joint[..., 48:72])[: 1 + both]):
        norm = RMSNorm(24, eps=1e-6)
        norm.weight.copy_(randn(24, seed=number))
        given.append((x, norm))
    rope = Rope(randn(heads, 5, 4, seed=5), randn(heads, 5, 4, seed=6)) if turned else None
    plain = PLAIN.norm_rotate(given, rope, heads)
    for got, expected in zip(FUSED.norm_rotate(given, rope, heads), plain, strict=True):
        close(got, expected)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("heads_first", [False, True])
@torch.no_grad()
def test_heads_are_gated(form: Form, heads_first: bool) -> None:
    """Red: on a GPU a head is weighed by another head's gate."""
    x = randn(2, 3, 5, 8).transpose(1, 2) if heads_first else randn(2, 5, 3, 8)
    logits = randn(2, 5, 16, seed=1)[..., :3]
    same_rows(FUSED.gate(x, logits, form), PLAIN.gate(x, logits), form)


@torch.no_grad()
@pytest.mark.parametrize("bias", [True, False])
def test_gelu_of_a_product_needs_no_bias(bias: bool) -> None:
    """Red: on a GPU the feed-forward of LTX-2.5, whose layers have no biases, stops with an error."""
    layer = nn.Linear(8, 24, bias)
    x = randn(2, 5, 8)
    with torch.no_grad():
        # On a CPU the operation computes GELU by its error function.
        close(gelu_of_product(layer, x), torch.nn.functional.gelu(layer(x)), 1e-3)


def test_gelu_is_quantised() -> None:
    """Red: on a GPU the feed-forward layers compute another function in fp8 than elsewhere."""
    x = 3 * randn(1, 3, 50)
    by_sigmoid = x * torch.sigmoid(SLOPE * (x + CURVE * x**3))
    close(by_sigmoid, PLAIN.gelu(nn.Identity(), x))
    same_rows(FUSED.gelu(nn.Identity(), x, "scaled"), by_sigmoid, "scaled")
