"""fp8 layers: rounding, scales, loading while quantising, published fp8 files, adapters, error of a pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from torch import Tensor, nn

from castsheet.errors import AdapterError, CheckpointError, FamilyError
from castsheet.ltx.files import reading
from castsheet.ltx.files.checkpoint import Checkpoint
from castsheet.ltx.files.inspect import inspect_file
from castsheet.ltx.files.transformer import load_transformer
from castsheet.ltx.keys import LARGE, is_large
from castsheet.ltx.model.scaled import (
    E4M3,
    ScaledLinear,
    dequantise,
    quantise_rows,
    reference_linear,
    scaled_linear,
)
from mini.official import write_checkpoint
from tests.doubles.lora_tiny import merge, one_layer, saved
from tests.doubles.ltx_tiny import TARGET, load_wide, quantise, randn, tiny_transformer, tiny_video
from tests.doubles.model_doubles import toy_config, write_toy
from tests.doubles.published_fp8 import published

PREFIX = "model.diffusion_model."
NAME = "transformer_blocks.0.attn1.to_q"


def error(got: Tensor, wanted: Tensor) -> float:
    return float((got.float() - wanted.float()).norm() / wanted.float().norm())


# --- numbers and scales ---


@given(st.integers(0, 10_000), st.floats(1e-6, 1e6))
@settings(max_examples=50, deadline=None)
def test_rows_are_rounded_to_three_bits(seed: int, size: float) -> None:
    """Red: a row overflows to NaN, or small rows drown in a neighbour's scale."""
    x = randn(6, 64, seed=seed) * size
    x[3] *= 1e-3
    numbers, scale = quantise_rows(x)
    assert numbers.dtype == E4M3
    assert scale.shape == (6, 1)
    back = dequantise(numbers, scale)
    assert torch.isfinite(back).all()
    # Half a step of a three-bit mantissa, or of the subnormals' fixed step.
    allowed = torch.maximum(x.abs() / 16, scale * 2**-10)
    assert ((back - x).abs() <= allowed * 1.001).all()


def test_a_row_of_zeros_stays_zero() -> None:
    """Red: a zero row divides by zero and becomes NaN."""
    numbers, scale = quantise_rows(torch.zeros(2, 16))
    assert torch.equal(dequantise(numbers, scale), torch.zeros(2, 16))


def test_layer_is_its_reference_and_near_the_plain_layer() -> None:
    """Red: scales are applied along the wrong axis."""
    torch.manual_seed(0)
    layer = nn.Linear(64, 32)
    with torch.no_grad():
        layer.weight.mul_(torch.linspace(0.01, 10, 32)[:, None])
    x = randn(2, 5, 64, seed=1) * torch.linspace(0.1, 30, 5)[:, None]
    scaled = ScaledLinear.of(layer)
    y = scaled(x)
    assert y.shape == (2, 5, 32)
    assert torch.equal(y, reference_linear(x, scaled.weight, scaled.weight_scale, scaled.bias))
    # Of each row and column alone, so that large ones do not hide small ones.
    plain = layer(x)
    for got, wanted in ((y, plain), (y.transpose(1, 2), plain.transpose(1, 2))):
        assert ((got - wanted).norm(dim=-1) <= 0.3 * wanted.norm(dim=-1)).all()


def test_gradients_pass_through_frozen_fp8_weights() -> None:
    """Red: training on an fp8 base follows another gradient than that of its own weights."""
    torch.manual_seed(0)
    layer = nn.Linear(64, 32)
    with torch.no_grad():
        layer.weight.mul_(torch.linspace(0.01, 10, 32)[:, None])
    scaled = ScaledLinear.of(layer)
    x = randn(2, 5, 64, seed=1).requires_grad_()
    dy = randn(2, 5, 32, seed=2) * torch.logspace(-6, 2, 5)[:, None]
    (got,) = torch.autograd.grad(scaled(x), x, dy)
    wanted = dy @ dequantise(scaled.weight, scaled.weight_scale)
    # Of each row alone: a token with a small gradient keeps it beside one with a large gradient.
    assert ((got - wanted).norm(dim=-1) <= 0.04 * wanted.norm(dim=-1)).all()
    assert not torch.equal(got, wanted)
    bf16 = torch.autograd.grad(scaled(x.bfloat16()), x, dy.bfloat16())[0]
    assert bf16.dtype == torch.float32  # of the leaf; inside, dy's dtype is kept


def test_dtype_follows_the_activations() -> None:
    """Red: bf16 activations leave an fp8 layer as fp32 and widen everything after it."""
    scaled = ScaledLinear.of(nn.Linear(16, 16))
    assert scaled(randn(3, 16, seed=0).bfloat16()).dtype == torch.bfloat16
    assert (
        scaled_linear(randn(3, 16, seed=0), scaled.weight, scaled.weight_scale, None).dtype == torch.float32
    )


def test_which_layers_are_quantised() -> None:
    """Red: gates, tables or the embedding lose precision, or a large layer stays wide."""
    model = tiny_transformer(audio=True)
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    chosen = [name for name in names if is_large(name)]
    assert len(chosen) == 3 * len(LARGE)
    assert not [name for name in names if name not in chosen and name.startswith("transformer_blocks.")
                and "gate_logits" not in name]  # fmt: skip
    quantise(model)
    assert all(isinstance(model.get_submodule(name), ScaledLinear) for name in chosen)
    assert model.transformer_blocks[0].scale_shift_table.dtype == torch.float32


@torch.no_grad()
def test_error_of_a_pass() -> None:
    """Red: fp8 does more harm to x0 than the rounding of its numbers explains."""
    model = tiny_transformer(layers=4)
    video = tiny_video(model.config, reference=2)
    sigma = video.sigma_B[:, None, None]
    plain = video.tokens_BTC[:, :TARGET] - sigma * model(video, targets=TARGET).video_BTC
    got = video.tokens_BTC[:, :TARGET] - sigma * quantise(model)(video, targets=TARGET).video_BTC
    assert 1e-4 < error(got, plain) < 0.08


# --- loading ---


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy(tmp_path_factory.mktemp("toy") / "toy.safetensors", audio=False)


@pytest.mark.parametrize("audio", [False, True])
def test_loading_in_fp8_is_loading_then_quantising(tmp_path: Path, audio: bool) -> None:
    """Red: quantising tensor by tensor gives another model than quantising a loaded one."""
    checkpoint = Checkpoint.open(write_toy(tmp_path / "toy.safetensors", audio=audio))
    direct, _ = load_transformer(checkpoint, "fp8", audio=audio)
    later = quantise(load_wide(checkpoint, audio=audio))
    assert list(direct.state_dict()) == list(later.state_dict())
    for name, tensor in direct.state_dict().items():
        other = later.state_dict()[name]
        assert tensor.dtype == other.dtype
        assert torch.equal(tensor.float(), other.float()), name
    assert not any(parameter.requires_grad for parameter in direct.parameters())


def test_plain_precision_is_the_plain_loader(toy: Path) -> None:
    """Red: the loader for adapters and fp8 changes an ordinary file's weights."""
    checkpoint = Checkpoint.open(toy)
    (ours, _), plain = load_transformer(checkpoint, "plain"), load_wide(checkpoint)
    assert all(torch.equal(ours.state_dict()[name], tensor) for name, tensor in plain.state_dict().items())


@pytest.mark.parametrize("precision", ["plain", "fp8"])
def test_adapters_are_added_before_the_one_rounding(toy: Path, tmp_path: Path, precision: str) -> None:
    """Red: an adapter is lost in an fp8 model, or rounded twice."""
    lora = saved(tmp_path / "lora.safetensors", one_layer(NAME))
    checkpoint = Checkpoint.open(toy)
    got = load_transformer(checkpoint, precision, adapters=[(lora, 1.4)])[0].get_submodule(NAME)
    wide = load_wide(checkpoint, dtype=torch.float32)
    merge(wide, [(lora, 1.4)])
    weight = wide.get_submodule(NAME).weight
    if precision == "plain":
        assert torch.equal(got.weight, weight.bfloat16())
    else:
        numbers, scale = quantise_rows(weight)
        assert torch.equal(got.weight_scale, scale)
        assert torch.equal(got.weight.float(), numbers.float())


def test_adapters_that_do_not_fit_are_refused(toy: Path, tmp_path: Path) -> None:
    """Red: an adapter of another size or family is silently left out."""
    checkpoint = Checkpoint.open(toy)
    unknown = saved(tmp_path / "a.safetensors", one_layer("transformer_blocks.9.attn1.to_q"))
    with pytest.raises(AdapterError, match=r"transformer_blocks\.9"):
        load_transformer(checkpoint, "fp8", adapters=[(unknown, 1.0)])
    newer = saved(tmp_path / "b.safetensors", one_layer(NAME), model_version="2.5.0")
    with pytest.raises(FamilyError):
        load_transformer(checkpoint, "fp8", adapters=[(newer, 1.0)])


# --- published fp8 files ---


@pytest.mark.parametrize("scale", [False, True])
def test_published_fp8_weights_stay_as_they_are(tmp_path: Path, scale: bool) -> None:
    """Red: a published fp8 file is expanded, rounded a second time, or its scales are lost."""
    path, tensors = published(tmp_path / "fp8.safetensors", scale=scale)
    model, _ = load_transformer(Checkpoint.open(path), "plain")
    layer = model.transformer_blocks[1].attn1.to_q
    stored = tensors[f"{PREFIX}transformer_blocks.1.attn1.to_q.weight"]
    assert isinstance(layer, ScaledLinear)
    assert torch.equal(layer.weight.view(torch.uint8), stored.view(torch.uint8))
    factor = tensors.get(f"{PREFIX}transformer_blocks.1.attn1.to_q.weight_scale", torch.tensor(1.0))
    assert torch.equal(layer.weight_scale, factor.expand(32, 1))
    kept = model.transformer_blocks[0].attn1.to_q
    assert isinstance(kept, nn.Linear)
    assert kept.weight.dtype == torch.bfloat16
    scales = "a scale a tensor and of activations" if scale else "no scales"
    assert inspect_file(path).quantisation == f"{scales}, whole file, blocks 0 not quantised"
    everywhere, _ = load_transformer(Checkpoint.open(path), "fp8")
    assert isinstance(everywhere.transformer_blocks[0].attn1.to_q, ScaledLinear)


@torch.no_grad()
def test_published_fp8_file_computes_what_its_expansion_does(tmp_path: Path) -> None:
    """Red: fp8 kept as it is gives another picture than the same file expanded."""
    checkpoint = Checkpoint.open(published(tmp_path / "fp8.safetensors")[0])
    kept, _ = load_transformer(checkpoint, "plain", dtype=torch.float32)
    wide = load_wide(checkpoint, dtype=torch.float32)
    video = tiny_video(kept.config, reference=1)
    assert error(kept(video).video_BTC, wide(video).video_BTC) < 0.06


def test_an_adapter_on_published_fp8_weights(tmp_path: Path) -> None:
    """Red: an adapter on an fp8 layer is refused, lost, or added to numbers without their scale."""
    path, tensors = published(tmp_path / "fp8.safetensors")
    name = "transformer_blocks.1.attn1.to_q"
    lora = saved(tmp_path / "lora.safetensors", one_layer(name))
    layer = load_transformer(Checkpoint.open(path), "plain", adapters=[(lora, 1.0)])[0].get_submodule(name)
    wide = tensors[f"{PREFIX}{name}.weight"].float() * tensors[f"{PREFIX}{name}.weight_scale"]
    down, up = lora.factors()[name]
    assert error(dequantise(layer.weight, layer.weight_scale), wide + up @ down) < 0.04


def test_damaged_fp8_files_are_refused(tmp_path: Path) -> None:
    """Red: NaN in an fp8 weight, or scales of another layout, turn up as a black clip."""
    path, tensors = published(tmp_path / "nan.safetensors", spoil=True)
    with pytest.raises(CheckpointError, match=r"ff\.net\.2"):
        load_transformer(Checkpoint.open(path), "fp8")
    name = f"{PREFIX}transformer_blocks.1.attn1.to_q.weight_scale"
    write_checkpoint(
        tmp_path / "b.safetensors",
        tensors | {name: torch.ones(4)},
        toy_config(layers=3, audio=False),
        "2.3.0",
    )
    with pytest.raises(CheckpointError, match="4 scales"):
        load_transformer(Checkpoint.open(tmp_path / "b.safetensors"), "fp8")


def test_audio_of_a_file_without_is_refused(toy: Path) -> None:
    """Red: asking for sound gives an untrained audio half."""
    with pytest.raises(CheckpointError, match="no audio"):
        load_transformer(Checkpoint.open(toy), "fp8", audio=True)


def test_a_file_is_opened_once_however_many_scales_it_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Red: every scaled weight reads the file's whole header again, about 1,300 times for the 22B model."""
    path, _ = published(tmp_path / "fp8.safetensors")
    opened: list[Path] = []

    def counted(path: Path, **options: str) -> Any:
        opened.append(path)
        return safe_open(path, **options)

    monkeypatch.setattr(reading, "safe_open", counted)
    for precision in ("wide", "plain", "fp8"):
        opened.clear()
        load_transformer(Checkpoint.open(path), precision)
        assert opened == [path]
