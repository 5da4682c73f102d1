"""Adapters in a model: merging and training."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from castsheet.errors import AdapterError, FamilyError
from castsheet.ltx.adapters.lora import IC_TARGETS, LoRALinear, attach, attached_state, load_attached
from castsheet.ltx.adapters.lora_file import LoRA, write
from castsheet.ltx.model.dit import Transformer
from tests.doubles.lora_tiny import RANK, merge, one_layer, saved, trained
from tests.doubles.ltx_tiny import TARGET, randn, tiny_audio, tiny_config, tiny_transformer, tiny_video


def difference(left: Tensor, right: Tensor) -> float:
    return float((left - right).abs().max() / right.abs().max())


@pytest.mark.parametrize("alpha", [None, 2.0, 8.0])
@torch.no_grad()
def test_merged_equals_attached(tmp_path: Path, alpha: float | None) -> None:
    """Red: what was trained is not what a user of the file gets (alpha lost, A and B swapped)."""
    model = tiny_transformer()
    adapted = trained(model, alpha=alpha)
    video = tiny_video(model.config, reference=1)
    before = model(video).video_BTC
    lora = LoRA.open(write(tmp_path / "a.safetensors", attached_state(adapted), {}))
    assert merge(model, [(lora, 1.0)]) == ()
    after = model(video).video_BTC
    assert difference(after, adapted(video).video_BTC) <= 1e-5
    assert difference(after, before) > 0.05


@torch.no_grad()
def test_several_adapters_with_strengths(tmp_path: Path) -> None:
    """Red: strengths are not linear in the weights, or the second adapter replaces the first."""
    model = tiny_transformer()
    layer = "transformer_blocks.1.ff.net.2"
    before = model.get_submodule(layer).weight.clone()
    adapters, expected = [], before.clone()
    for seed, strength in ((3, 1.4), (50, -0.5)):
        state = attached_state(trained(model, seed=seed))
        path = write(tmp_path / f"{seed}.safetensors", state, {})
        adapters.append((LoRA.open(path), strength))
        keys = [f"diffusion_model.{layer}.lora_{part}.weight" for part in "BA"]
        expected += strength * state[keys[0]] @ state[keys[1]]
    merge(model, adapters)
    torch.testing.assert_close(model.get_submodule(layer).weight, expected)


@torch.no_grad()
def test_bf16_weights_are_rounded_once(tmp_path: Path) -> None:
    """Red: small updates vanish because products or sums are made in bf16."""
    model = tiny_transformer()
    lora = LoRA.open(write(tmp_path / "a.safetensors", attached_state(trained(model)), {}))
    exact = copy.deepcopy(model.bfloat16()).float()
    merge(model, [(lora, 0.3), (lora, 0.4)])
    merge(exact, [(lora, 0.3), (lora, 0.4)])
    weight = model.transformer_blocks[0].attn1.to_v.weight
    assert weight.dtype == torch.bfloat16
    assert torch.equal(weight, exact.transformer_blocks[0].attn1.to_v.weight.bfloat16())


def test_attach_hits_the_official_layers_only() -> None:
    """Red: audio layers are trained along, or a fresh adapter changes the model before training."""
    model = tiny_transformer(audio=True, layers=2)
    video, audio = tiny_video(model.config), tiny_audio(model.config)
    with torch.no_grad():
        before = model(video, audio).video_BTC
    parameters = attach(model, RANK)
    with torch.no_grad():
        assert torch.equal(model(video, audio).video_BTC, before)
    layers = [name for name, module in model.named_modules() if isinstance(module, LoRALinear)]
    assert layers == [f"transformer_blocks.{i}.{target}" for i in range(2) for target in IC_TARGETS]
    assert {id(p) for p in model.parameters() if p.requires_grad} == {id(p) for p in parameters}
    assert all(p.dtype == torch.float32 for p in parameters)


def test_the_same_seed_starts_the_same_adapter() -> None:
    """Red: a training run cannot be repeated."""
    starts = [attach(tiny_transformer(), RANK, generator=torch.Generator().manual_seed(5)) for _ in range(2)]
    assert all(torch.equal(a, b) for a, b in zip(*starts, strict=True))


@pytest.mark.parametrize("checkpointing", [False, True])
def test_training_moves_the_adapter_and_not_the_model(checkpointing: bool) -> None:
    """Red: gradients do not reach A and B (also through recomputed blocks), or the base drifts."""
    model = tiny_transformer()
    base = {name: value.clone() for name, value in model.state_dict().items()}
    parameters = attach(model, RANK, generator=torch.Generator().manual_seed(0))
    model.gradient_checkpointing = checkpointing
    video = tiny_video(model.config, reference=1)
    goal = randn(2, TARGET, model.config.out_channels, seed=7)
    optimiser = torch.optim.Adam(parameters, lr=1e-2)
    losses = []
    for _ in range(8):
        loss = (model(video, targets=TARGET).video_BTC - goal).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    assert all(torch.equal(model.state_dict()[name], value) for name, value in base.items())


def test_a_joined_term_is_the_same_function() -> None:
    """Red: adapters trained with joined weights learn another function than the one that inference merges."""
    results = []
    for joined in (False, True):
        layer = nn.Sequential(nn.Linear(8, 6))
        torch.manual_seed(0)
        layer[0].weight.data, layer[0].bias.data = torch.randn(6, 8), torch.randn(6)
        adapted = LoRALinear(layer[0], 3, 0.5, torch.Generator().manual_seed(1), joined)
        adapted.lora_B.data = torch.randn(6, 3)
        out = adapted(torch.randn(5, 8))
        out.square().sum().backward()
        results.append((out.detach(), adapted.lora_A.grad, adapted.lora_B.grad))
    for apart, together in zip(*results, strict=True):
        torch.testing.assert_close(together, apart, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("alpha", [None, 2.0])
def test_training_goes_on_from_a_file(tmp_path: Path, alpha: float | None) -> None:
    """Red: a resumed training starts from another adapter than the one that was saved."""
    first = trained(tiny_transformer(), alpha=alpha)
    lora = LoRA.open(write(tmp_path / "a.safetensors", attached_state(first), {}))
    second = tiny_transformer()
    attach(second, RANK, alpha)
    load_attached(second, lora)
    left, right = attached_state(first), attached_state(second)
    assert all(torch.equal(left[key], right[key]) for key in left)
    third = tiny_transformer()
    attach(third, RANK + 1)
    with pytest.raises(AdapterError, match="rank"):
        load_attached(third, lora)


def test_full_depth_opens_and_merges_strictly(tmp_path: Path) -> None:
    """Red: a file of the published adapters' layout (48 blocks, 960 tensors) does not load."""
    config = replace(tiny_config(), layers=48, heads=1, head_dim=12, context_dim=12)
    model = Transformer(config)
    adapted = copy.deepcopy(model)
    for parameter in attach(adapted, 2):
        parameter.data.normal_(generator=torch.Generator().manual_seed(0))
    path = write(tmp_path / "a.safetensors", attached_state(adapted, torch.bfloat16), {})
    assert len(load_file(path)) == 960
    lora = LoRA.open(path)
    assert len(lora.terms) == 480
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert merge(model, [(lora, 1.0)]) == ()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {f"{name}.weight" for name in lora.terms}


def test_other_families_are_refused(tmp_path: Path) -> None:
    """Red: a 2.5 adapter, whose shapes fit, is merged into 2.3 and spoils the picture silently."""
    model = tiny_transformer()
    lora = saved(tmp_path / "a.safetensors", one_layer(), model_version="2.5.0")
    for use in (lambda: merge(model, [(lora, 1.0)]), lambda: load_attached(model, lora)):
        with pytest.raises(FamilyError, match=r"ltx-2\.5") as caught:
            use()
        assert "ltx-2.3" in caught.value.remedy


def test_joint_adapter_in_a_video_only_model(tmp_path: Path) -> None:
    """Red: an adapter that also adapts audio is refused without audio, or loses that half unmentioned."""
    both = tiny_transformer(audio=True)
    audio_layer = "transformer_blocks.0.audio_to_video_attn.to_k"
    tensors = one_layer() | one_layer(audio_layer, 16)
    lora = saved(tmp_path / "a.safetensors", tensors)
    assert merge(both, [(lora, 1.0)]) == ()
    assert merge(tiny_transformer(), [(lora, 1.0)]) == (audio_layer,)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (one_layer("transformer_blocks.9.attn1.to_q"), "no such layer"),
        (one_layer("transformer_blocks.0.attn1.q_norm"), "no such layer"),
        (one_layer(width=64), r"\(64, 64\), not \(32, 32\)"),
    ],
)
def test_layers_that_do_not_fit(tmp_path: Path, tensors: dict[str, Tensor], message: str) -> None:
    """Red: an adapter of another size or depth is merged in part; the model must stay as it was."""
    model = tiny_transformer()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    good = saved(tmp_path / "good.safetensors", one_layer())
    bad = saved(tmp_path / "bad.safetensors", one_layer("transformer_blocks.1.attn2.to_v") | tensors)
    with pytest.raises(AdapterError, match=message):
        merge(model, [(good, 1.0), (bad, 1.0)])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_nan_is_refused(tmp_path: Path) -> None:
    """Red: a diverged adapter blackens every clip without a word, or is saved over a good one."""
    tensors = one_layer()
    next(iter(tensors.values()))[0, 0] = float("nan")
    lora = saved(tmp_path / "a.safetensors", tensors)
    with pytest.raises(AdapterError, match="NaN"):
        merge(tiny_transformer(), [(lora, 1.0)])
    with pytest.raises(AdapterError, match="nothing was written"):
        write(tmp_path / "b.safetensors", tensors, {})
    assert not (tmp_path / "b.safetensors").exists()


def test_attach_refusals() -> None:
    """Red: a misspelt target trains nothing, or a second attach hides the first."""
    model = tiny_transformer()
    for targets in (("attn1.to_z",), ("attn1.to_q", "to_qq"), ()):
        with pytest.raises(AdapterError, match="no layer"):
            attach(model, RANK, targets=targets)
    for rank, alpha in ((0, None), (4, 0.0), (4, float("nan"))):
        with pytest.raises(AdapterError, match="no adapter"):
            attach(model, rank, alpha)
    with pytest.raises(AdapterError, match="no adapter attached"):
        attached_state(model)
    attach(model, RANK)
    with pytest.raises(AdapterError, match="already"):
        attach(model, RANK)
