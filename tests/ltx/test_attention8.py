"""fp8 attention: its arithmetic on the CPU, where it is plugged in, and where it is refused."""

from __future__ import annotations

import sys

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from castsheet.errors import DependencyError, SettingsError
from castsheet.loading.placement import Placement
from castsheet.ltx.model.bias import TokenBias
from castsheet.ltx.speed.attention8 import (
    _dense,
    attend_fp8,
    check_heads,
    quantise_tensor,
    reference_attention,
    use_fp8_attention,
)
from castsheet.ltx.speed.fast import compile_blocks
from castsheet.pipeline import Castsheet
from tests.doubles.ltx_tiny import TARGET, laid_out, randn, tiny_transformer, tiny_video

CPU = torch.device("cpu")


def qkv(queries: int = 24, keys: int = 40) -> tuple[Tensor, Tensor, Tensor]:
    return randn(1, 3, queries, 16, seed=1), randn(1, 3, keys, 16, seed=2), randn(1, 3, keys, 16, seed=3)


def away(got: Tensor, wanted: Tensor) -> float:
    return float((got - wanted).norm() / wanted.norm())


def test_numbers_and_scales_give_the_tensor_back() -> None:
    """Red: the scale is inverted, or the largest value becomes NaN."""
    x = 1000 * randn(2, 3, 5, 16, seed=4).transpose(1, 2)
    numbers, scale = quantise_tensor(x)
    assert numbers.is_contiguous()
    assert scale.shape == (1, 1, 1, 1)
    assert away(numbers.float() * scale, x) < 0.04
    assert float(quantise_tensor(torch.zeros(1, 1, 2, 16))[0].float().abs().max()) == 0


def test_the_arithmetic_is_that_of_attention() -> None:
    """Red: logits, weights or values are scaled otherwise than the kernel is told."""
    q, k, v = qkv()
    wanted = F.scaled_dot_product_attention(q, k, v)
    assert 1e-3 < away(reference_attention(q, k, v), wanted) < 0.08


def test_a_mean_key_costs_no_precision() -> None:
    """Red: keys that share a large part, as trained ones do, leave nothing for their differences."""
    q, k, v = qkv()
    shifted = k + 30 * randn(1, 3, 1, 16, seed=5)
    wanted = F.scaled_dot_product_attention(q, shifted, v)
    assert away(reference_attention(q, shifted, v), wanted) < 0.08


@torch.no_grad()
def test_it_takes_the_place_of_self_attention_only() -> None:
    """Red: the option changes nothing, or text attention, or drops the strengths of elements."""
    model = tiny_transformer()
    video = tiny_video(model.config, reference=1)
    strengths = torch.ones(video.tokens_BTC.shape[1])
    strengths[TARGET:] = 1.5
    biased = laid_out(video, bias=TokenBias.of(strengths, TARGET))
    exact, exact_biased = (model(one, targets=TARGET).video_BTC for one in (video, biased))
    use_fp8_attention(model, CPU, reference_attention)
    assert 1e-3 < away(model(video, targets=TARGET).video_BTC, exact) < 0.2
    assert torch.equal(model(biased, targets=TARGET).video_BTC, exact_biased)


@torch.no_grad()
def test_blocks_with_it_compile_as_one_graph() -> None:
    """Red: on a GPU the blocks break at the kernel, or refuse to compile."""
    torch.compiler.reset()
    with FakeTensorMode():
        x = torch.empty(1, 3, 32, 16, device="cuda", dtype=torch.bfloat16)
        out = torch.compile(attend_fp8, fullgraph=True, backend="aot_eager")(x, x, x)
    assert (out.shape, out.dtype, out.device.type) == (x.shape, torch.bfloat16, "cuda")
    model = use_fp8_attention(tiny_transformer(layers=2), CPU, reference_attention)
    video = tiny_video(model.config, reference=1)
    expected = model(video, targets=TARGET).video_BTC
    assert away(compile_blocks(model, backend="eager")(video, targets=TARGET).video_BTC, expected) < 1e-5


def test_strides_are_those_of_a_dense_tensor() -> None:
    """Red: the kernel reads rows at the wrong places."""
    assert tuple(_dense((2, 3, 5, 16))) == torch.empty(2, 3, 5, 16).stride()


def test_where_it_cannot_run_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Red: a clip is half made before somebody learns that a package or GPU is missing."""
    with pytest.raises(SettingsError, match="attention fp8 on cpu"):
        Castsheet.load("mini", device="cpu", attention="fp8")
    with pytest.raises(SettingsError, match="attention 'fast'"):
        Placement(CPU, attention="fast")
    with pytest.raises(SettingsError, match="heads of 24 channels"):
        check_heads(24)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: (9, 0))
    monkeypatch.setitem(sys.modules, "cudnn", None)
    with pytest.raises(DependencyError, match="attention8"):
        Placement(torch.device("cuda"), attention="fp8")
