"""Adapter files: the official layout, other dialects, what a file says about itself, and what is refused."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import torch
from diffusers.loaders import LTX2LoraLoaderMixin
from peft import get_peft_model_state_dict
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from benchmarks.peers import peer_of
from castsheet.errors import AdapterError, OutputError
from castsheet.ltx.adapters.lora import IC_TARGETS, attached_state
from castsheet.ltx.adapters.lora_file import LoRA, write
from castsheet.ltx.keys import transformer_to_diffusers
from tests.doubles.lora_tiny import RANK, merge, one_layer, saved, trained
from tests.doubles.ltx_tiny import tiny_transformer


def test_official_layout(tmp_path: Path) -> None:
    """Red: other programs cannot load our adapters."""
    model = trained(tiny_transformer(), alpha=2.0)
    path = write(tmp_path / "a.safetensors", attached_state(model, torch.bfloat16), {"trained_steps": "9"})
    tensors = load_file(path)
    expected = {
        f"diffusion_model.transformer_blocks.{i}.{target}.lora_{part}.weight"
        for i in range(3)
        for target in IC_TARGETS
        for part in "AB"
    }
    assert set(tensors) == expected
    assert {t.dtype for t in tensors.values()} == {torch.bfloat16}
    lora = LoRA.open(path)
    assert lora.metadata["reference_downscale_factor"] == "1"
    assert (lora.rank, lora.downscale, lora.family) == (RANK, 1, "ltx-2.3")
    assert {re.sub(r"^transformer_blocks\.\d+\.", "", name) for name in lora.terms} == set(IC_TARGETS)
    assert lora.metadata["trained_steps"] == "9"
    assert sum(math.prod(one.down_RI) + math.prod(one.up_OR) for one in lora.terms.values()) == sum(
        t.numel() for t in tensors.values()
    )


def test_diffusers_reads_every_key(tmp_path: Path) -> None:
    """Red: diffusers' loader drops or renames layers of our files."""
    model = tiny_transformer()
    state = attached_state(trained(model))
    write(tmp_path / "pytorch_lora_weights.safetensors", state, {})
    theirs = LTX2LoraLoaderMixin.lora_state_dict(
        str(tmp_path), weight_name="pytorch_lora_weights.safetensors", local_files_only=True
    )
    assert set(theirs) == {key.replace("diffusion_model.", "transformer.") for key in state}
    assert all(
        torch.equal(theirs[key.replace("diffusion_model.", "transformer.")], state[key]) for key in state
    )


def test_diffusers_and_peft_merge_to_the_same_weights(tmp_path: Path) -> None:
    """Red: in diffusers a layer of our file stays unused, or acts at another strength than here."""
    trained_in = tiny_transformer(audio=True)
    lora = saved(tmp_path / "adapter.safetensors", attached_state(trained(trained_in, alpha=2.0 * RANK)))
    peer = peer_of(tiny_transformer(audio=True))
    state = LTX2LoraLoaderMixin.lora_state_dict(
        str(tmp_path), weight_name="adapter.safetensors", local_files_only=True
    )
    LTX2LoraLoaderMixin.load_lora_into_transformer(state, peer, adapter_name="ours")
    assert set(get_peft_model_state_dict(peer, adapter_name="ours")) == {
        key.removeprefix("transformer.") for key in state
    }
    peer.fuse_lora()
    peer.unload_lora()
    ours = tiny_transformer(audio=True)
    merge(ours, [(lora, 1.0)])
    theirs = peer.state_dict()
    for name, tensor in ours.state_dict().items():
        torch.testing.assert_close(theirs[transformer_to_diffusers(name)], tensor, rtol=1e-5, atol=1e-6)
    assert any(key.endswith("ff.net.2.weight") for key in theirs)


@pytest.mark.parametrize("prefix", ["", "diffusion_model.", "transformer.", "base_model.model."])
@pytest.mark.parametrize(
    "names", [("lora_A", "lora_B"), ("lora_down", "lora_up"), ("lora_A.default", "lora_B.default")]
)
def test_other_dialects(tmp_path: Path, prefix: str, names: tuple[str, str]) -> None:
    """Red: an adapter of another trainer is refused, or read as nothing."""
    module = "transformer_blocks.0.attn1.to_q"
    down_RI, up_OR = one_layer().values()
    tensors = {f"{prefix}{module}.{names[0]}.weight": down_RI, f"{prefix}{module}.{names[1]}.weight": up_OR}
    lora = saved(tmp_path / "a.safetensors", tensors)
    assert list(lora.terms) == [module]
    assert torch.equal(lora.factors()[module][1] @ lora.factors()[module][0], up_OR @ down_RI)


def test_alpha_is_honoured(tmp_path: Path) -> None:
    """Red: a file with alpha half its rank is merged at twice its strength."""
    module = "transformer_blocks.0.attn1.to_q"
    down_RI, up_OR = one_layer().values()
    tensors = {
        f"{module}.lora_down.weight": down_RI,
        f"{module}.lora_up.weight": up_OR,
        f"{module}.alpha": torch.tensor(RANK / 2),
    }
    factors = saved(tmp_path / "a.safetensors", tensors).factors()
    torch.testing.assert_close(factors[module][1] @ factors[module][0], 0.5 * up_OR @ down_RI)


@pytest.mark.parametrize(
    ("metadata", "family"),
    [
        ({}, "unknown"),
        ({"model_version": "2.3.0"}, "ltx-2.3"),
        ({"model_version": "2.5"}, "ltx-2.5"),
        ({"base_model": "Lightricks/LTX-2.3"}, "ltx-2.3"),
        ({"base_model": "ltx-2.5-22b-dev.safetensors"}, "ltx-2.5"),
        ({"base_model": "ltx-2-19b-dev"}, "ltx-2.0"),
        ({"ss_base_model_version": "ltx2.3"}, "ltx-2.3"),
        ({"modelspec.architecture": "ltx-video-2.3"}, "ltx-2.3"),
        ({"base_model": "ltx-2.3.1"}, "ltx-2.3"),
        ({"base_model": "ltx-video-2b-0.9.5"}, "unknown"),
        ({"base_model": "flux-1-dev"}, "unknown"),
    ],
)
def test_family(tmp_path: Path, metadata: dict[str, str], family: str) -> None:
    """Red: a 2.5 adapter passes as one for 2.3, or a good one is refused."""
    assert saved(tmp_path / "a.safetensors", one_layer(), **metadata).family == family


def test_family_from_layers(tmp_path: Path) -> None:
    """Red: a 2.0 adapter without metadata is not recognised by the layer that only 2.0 has."""
    assert saved(tmp_path / "a.safetensors", one_layer("caption_projection.linear_1")).family == "ltx-2.0"


@pytest.mark.parametrize(("text", "factor"), [("1", 1), ("2", 2), ("2.0", 2)])
def test_downscale(tmp_path: Path, text: str, factor: int) -> None:
    """Red: a reference is encoded at another size than the adapter was trained with."""
    assert saved(tmp_path / "a.safetensors", one_layer(), reference_downscale_factor=text).downscale == factor


@pytest.mark.parametrize("text", ["", "two", "0", "-1", "1.5", "nan", "inf", "1e9"])
def test_corrupt_factors(tmp_path: Path, text: str) -> None:
    """Red: a damaged factor becomes 1 silently."""
    metadata = {"reference_downscale_factor": text, "reference_temporal_scale_factor": text}
    lora = saved(tmp_path / "a.safetensors", one_layer(), **metadata)
    with pytest.raises(AdapterError, match="reference_downscale_factor"):
        _ = lora.downscale
    with pytest.raises(AdapterError, match="reference_temporal_scale_factor"):
        _ = lora.temporal


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({}, "holds no adapter"),
        ({"weight": torch.ones(2, 2)}, "keys that are not an adapter's: weight"),
        (one_layer() | {"a.dora_scale": torch.ones(2)}, "dora_scale"),
        ({f"x.{i}.diff": torch.ones(1) for i in range(7)}, r"7 keys.*x\.4\.diff, \.\.\."),
        (dict(list(one_layer().items())[:1]), "incomplete"),
        ({"a.lora_A.weight": torch.ones(4, 8), "a.lora_B.weight": torch.ones(8, 3)}, "mis-shaped"),
        ({"a.lora_A.weight": torch.ones(4, 8, 1), "a.lora_B.weight": torch.ones(8, 4)}, "mis-shaped"),
        ({"a.lora_A.weight": torch.ones(0, 8), "a.lora_B.weight": torch.ones(8, 0)}, "mis-shaped"),
        (one_layer() | {k.removeprefix("diffusion_model."): v for k, v in one_layer().items()}, "keys that"),
    ],
)
def test_files_that_are_no_adapter(tmp_path: Path, tensors: dict[str, Tensor], message: str) -> None:
    """Red: a wrong or half-written file is taken for an adapter."""
    with pytest.raises(AdapterError, match=message):
        saved(tmp_path / "a.safetensors", tensors)


def test_damaged_files(tmp_path: Path) -> None:
    """Red: a cut-off download, a pickle or a missing file ends in a traceback."""
    path = tmp_path / "a.safetensors"
    saved(path, one_layer())
    path.write_bytes(path.read_bytes()[:-40])
    torch.save({"a": 1}, tmp_path / "b.pt")
    for broken in (path, tmp_path / "b.pt", tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(AdapterError, match=r"truncated|pickle|cannot be read|folder"):
            LoRA.open(broken)


def test_write_is_whole_or_not_at_all(tmp_path: Path) -> None:
    """Red: an impossible path ends in a traceback or leaves a temporary file."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError):
        write(tmp_path / "file" / "a.safetensors", one_layer(), {})
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_the_same_adapter_gives_the_same_bytes(tmp_path: Path) -> None:
    """Red: hashes in sidecars tell files apart that hold the same adapter."""
    notes = {f"note{number}": str(number) for number in range(12)} | {"author": "Zoë"}
    state = {"transformer_blocks.0.attn1.to_q.lora_A.weight": torch.ones(2, 8)}
    state |= {"transformer_blocks.0.attn1.to_q.lora_B.weight": torch.ones(8, 2)}
    files = [write(tmp_path / f"{name}.safetensors", state, notes) for name in "ab"]
    assert files[0].read_bytes() == files[1].read_bytes()
    with safe_open(files[0], "pt") as opened:
        assert opened.metadata().items() >= notes.items()
        assert torch.equal(opened.get_tensor(opened.keys()[0]), torch.ones(2, 8))
