"""LTX-2.5's text encoder: the packed file, the states of a tiny Gemma-4, and what of it is never loaded."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Gemma4UnifiedTextConfig, Gemma4UnifiedTextModel

from castsheet.errors import TextEncoderError
from castsheet.ltx.header import read_header
from castsheet.ltx.parts.gemma import EncoderFiles, gemma_fingerprint, is_packed
from castsheet.ltx.parts.text import GemmaEncoder
from tests.doubles.gemma4_doubles import (
    LAYERS,
    VERSION,
    config,
    text_config,
    tiny_gemma4,
    write_folder,
    write_packed,
)
from tests.doubles.text_doubles import WIDTH, write_gemma

PROMPTS = ["hero walks left", "the hero jumps past the red barn and waves and lifts"]


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_packed(tmp_path_factory.mktemp("gemma4") / "encoder.safetensors")


@pytest.fixture(scope="module")
def encoder(packed: Path) -> GemmaEncoder:
    return GemmaEncoder.load(packed, dtype=torch.float32)


def test_the_published_model_has_the_published_counts() -> None:
    """Red: the released encoder has tensors that ours lacks; or transformers reads its config otherwise."""
    full = text_config(layers=48, width=3840, inner=15360, heads=16, head=256, words=262_144)
    with torch.device("meta"):
        model = Gemma4UnifiedTextModel(Gemma4UnifiedTextConfig.from_dict(full))
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    assert len(shapes) == 666
    assert sum(map(math.prod, shapes.values())) == 11_907_350_320
    assert shapes["layers.0.self_attn.v_proj.weight"] == (2048, 3840)
    assert "layers.5.self_attn.v_proj.weight" not in shapes  # global layers take their keys for values
    assert shapes["layers.5.self_attn.k_proj.weight"] == (512, 3840)
    assert shapes["layers.5.layer_scalar"] == (1,)


@pytest.mark.parametrize("layout", ["flat", "hf", "folder"])
def test_every_layout_gives_the_models_own_states(tmp_path: Path, layout: str) -> None:
    """Red: a tensor of the encoder, such as a layer's scalar, is lost or lands in another layer."""
    path = (
        write_folder(tmp_path / "f")
        if layout == "folder"
        else write_packed(tmp_path / "e.safetensors", layout)
    )
    encoder = GemmaEncoder.load(path, dtype=torch.float32)
    ids = torch.tensor([encoder.tokens(PROMPTS[1])])
    model = tiny_gemma4()
    with torch.no_grad():
        raw = model(input_ids=ids, output_hidden_states=True, use_cache=False).hidden_states
        found = encoder.hidden_states(ids)
    assert found.shape == (1, ids.shape[1], WIDTH, LAYERS + 1)
    assert (encoder.width, encoder.states) == (WIDTH, LAYERS + 1)
    for number, state in enumerate(raw):
        assert torch.equal(found[..., number], state)


@torch.no_grad()
def test_the_last_state_is_normed_once_and_the_first_is_the_scaled_embedding(encoder: GemmaEncoder) -> None:
    """Red: the connectors read a raw last state, or one that was normed twice."""
    model, outputs = encoder.model, []
    hook = model.layers[-1].register_forward_hook(lambda _, __, out: outputs.append(out))
    ids = torch.tensor([encoder.tokens(PROMPTS[0])])
    states = encoder.hidden_states(ids)
    hook.remove()
    assert torch.equal(states[..., -1], model.norm(outputs[0]))
    assert not torch.allclose(states[..., -1], model.norm(model.norm(outputs[0])))
    torch.testing.assert_close(states[..., 0], model.embed_tokens.weight[ids] * WIDTH**0.5)


def test_unpadded_prompts_equal_left_padded_ones(encoder: GemmaEncoder) -> None:
    """Red: encoding the real tokens only is no longer what the official padded run computes."""
    ids, mask = encoder.batch(PROMPTS)
    padded = encoder.hidden_states(ids, mask)
    for row, prompt in enumerate(PROMPTS):
        tokens = encoder.tokens(prompt)
        alone = encoder.hidden_states(torch.tensor([tokens]))[0]
        shown = padded[row, -len(tokens) :]
        assert (alone - shown).abs().max() <= 1e-5 * alone.abs().max()


def test_a_prompt_begins_with_bos_although_the_tokenizer_adds_none(encoder: GemmaEncoder) -> None:
    """Red: prompts lack the token that the model was trained to begin with, or have it twice."""
    assert encoder.tokens("hero walks")[:1] == [2]
    assert encoder.tokens("hero walks").count(2) == 1
    assert len(encoder.tokens("hero " * 3000)) == encoder.max_tokens == 1024


def test_towers_assets_and_projections_are_not_loaded(packed: Path) -> None:
    """Red: a vision tower costs memory; or the planner counts what is never loaded."""
    files = EncoderFiles.open(packed)
    assert files.parameters == sum(tensor.numel() for tensor in tiny_gemma4().state_dict().values())
    assert (files.kind, files.version) == ("gemma4", VERSION)
    assert is_packed(read_header(packed))


def test_the_fingerprint_follows_the_file(packed: Path, tmp_path: Path) -> None:
    """Red: contexts of another encoder are read from the cache."""
    other = write_packed(tmp_path / "encoder.safetensors", seed=1)
    assert gemma_fingerprint(packed) != gemma_fingerprint(other)
    assert gemma_fingerprint(packed) == gemma_fingerprint(packed)


def test_a_tokenizer_config_may_stand_in_the_metadata(packed: Path, tmp_path: Path) -> None:
    """Red: packed files of older tools, whose small assets are metadata strings, are refused."""
    tensors = load_file(packed)
    settings = bytes(tensors.pop("hf_asset__tokenizer_config.json").tolist()).decode()
    tensors["tokenizer_json"] = tensors["tokenizer_json"].view(torch.int8)  # and their bytes may be signed
    metadata = {"gemma_config": json.dumps(config()), "tokenizer_config.json": settings}
    save_file(tensors, tmp_path / "old.safetensors", metadata)
    assert GemmaEncoder.load(tmp_path / "old.safetensors").tokens("hero")[0] == 2


@pytest.mark.parametrize("broken", ["no config", "config", "tokenizer", "asset", "layer", "stock"])
def test_damaged_files_say_what_is_wrong(packed: Path, tmp_path: Path, broken: str) -> None:
    """Red: a damaged packed file ends in a traceback, or with random weights."""
    tensors, metadata = load_file(packed), {"gemma_config": json.dumps(config())}
    says = {
        "no config": "gemma_config",
        "config": "not valid JSON",
        "tokenizer": "tokenizer_json",
        "asset": "tokenizer_config",
        "layer": "layers.3.layer_scalar",
        "stock": "gemma4_text",
    }[broken]
    if broken == "no config":
        metadata = {"format": "pt"}
    elif broken == "config":
        metadata["gemma_config"] = "{"
    elif broken == "stock":
        metadata["gemma_config"] = json.dumps({"model_type": "gemma4_text"})
    else:
        gone = {"tokenizer": "tokenizer_json", "asset": "hf_asset__tokenizer_config.json"}
        del tensors[gone.get(broken, "model.layers.3.layer_scalar")]
    path = tmp_path / "broken.safetensors"
    save_file(tensors, path, metadata)
    with pytest.raises(TextEncoderError, match=says) as caught:
        GemmaEncoder.load(path)
    assert caught.value.remedy


def test_gemma_3_folders_are_read_as_before(tmp_path: Path) -> None:
    """Red: the encoder of LTX-2.3 is taken for the other one."""
    write_gemma(tmp_path)
    assert EncoderFiles.open(tmp_path).kind == "gemma3"
