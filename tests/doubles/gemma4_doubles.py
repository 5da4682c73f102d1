"""Tiny random Gemma-4 encoders: the layer pattern of the real one, in its packed file and in a folder.

Like the real one, five sliding layers are followed by a global one, whose heads are wider, whose values are
its keys, and whose rotation reaches a quarter of a head. Its tokenizer adds no BOS.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import Gemma4UnifiedTextConfig, Gemma4UnifiedTextModel

from tests.doubles.text_doubles import WIDTH, WORDS

VERSION = "gemma4-12b-ltx-v1"
LAYERS = 6


def text_config(
    *,
    layers: int = LAYERS,
    width: int = WIDTH,
    inner: int = 48,
    heads: int = 2,
    head: int = 16,
    words: int = 64,
) -> dict[str, Any]:
    """The text half of the config in the form that it is published in, at any width."""
    pattern = ["full_attention" if (index + 1) % 6 == 0 else "sliding_attention" for index in range(layers)]
    return {
        "model_type": "gemma4_unified_text",
        "vocab_size": words,
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads // 2,
        "num_global_key_value_heads": 1,
        "head_dim": head,
        "global_head_dim": 2 * head,
        "attention_k_eq_v": True,
        "sliding_window": 1024,
        "layer_types": pattern,
        "rope_parameters": {
            "full_attention": {
                "partial_rotary_factor": 0.25,
                "rope_theta": 1_000_000.0,
                "rope_type": "proportional",
            },
            "sliding_attention": {"rope_theta": 10_000.0, "rope_type": "default"},
        },
        "max_position_embeddings": 262_144,
        "hidden_activation": "gelu_pytorch_tanh",
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": True,
        "use_bidirectional_attention": "vision",
        "final_logit_softcapping": 30.0,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "bos_token_id": 2,
    }


def config(**sizes: int) -> dict[str, Any]:
    """The whole config."""
    return {"model_type": "gemma4_unified", "gemma_version": VERSION, "text_config": text_config(**sizes)}


def tiny_gemma4(seed: int = 0) -> Gemma4UnifiedTextModel:
    """A random language model, its layer scalars included."""
    model = Gemma4UnifiedTextModel(Gemma4UnifiedTextConfig.from_dict(text_config())).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            noise = torch.randn(tensor.shape, generator=generator)
            centre = 1.0 if "norm" in name or name.endswith("layer_scalar") else 0.0
            tensor.copy_(centre + 0.2 * noise)
    return model


def tokenizer_bytes() -> bytes:
    """A word-level tokenizer without a post-processor: it adds no BOS."""
    words = ["<pad>", "<eos>", "<bos>", "<unk>", *WORDS]
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(words[:4])
    return tokenizer.to_str().encode()


TOKENIZER_CONFIG = {
    "bos_token": "<bos>",
    "eos_token": "<eos>",
    "pad_token": "<pad>",
    "model_max_length": 10**30,
}


def packed_tensors(model: Gemma4UnifiedTextModel, layout: str = "flat") -> dict[str, Tensor]:
    """What a packed file holds: the language model, a tower that nobody loads, assets as bytes."""
    prefix, tower = {
        "flat": ("model.", "vision_model."),
        "hf": ("model.language_model.", "model.vision_embedder."),
    }[layout]
    tensors = {f"{prefix}{name}": tensor.clone() for name, tensor in model.state_dict().items()}
    tensors |= {
        f"{tower}pos_embedding": torch.ones(3),
        "audio_projector.embedding_projection.weight": torch.ones(2),
    }
    assets = {"tokenizer_config.json": TOKENIZER_CONFIG, "processor_config.json": {}}
    tensors["tokenizer_json"] = as_bytes(tokenizer_bytes())
    return tensors | {f"hf_asset__{name}": as_bytes(json.dumps(one).encode()) for name, one in assets.items()}


def as_bytes(raw: bytes) -> Tensor:
    return torch.frombuffer(bytearray(raw), dtype=torch.uint8)


def write_packed(
    path: Path, layout: str = "flat", *, seed: int = 0, version: str | None = VERSION, **more: Tensor
) -> Path:
    """A packed file; in the names of `more` tensors, such as projections, two bars stand for a dot."""
    stated = config()
    if version is None:
        del stated["gemma_version"]
    else:
        stated["gemma_version"] = version
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = packed_tensors(tiny_gemma4(seed), layout) | {
        key.replace("__", "."): t for key, t in more.items()
    }
    save_file(tensors, path, {"gemma_config": json.dumps(stated), "format": "pt"})
    return path


def write_folder(folder: Path, *, seed: int = 0) -> Path:
    """The same encoder as a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {f"model.language_model.{name}": t.clone() for name, t in tiny_gemma4(seed).state_dict().items()}
    save_file(state, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config()))
    (folder / "tokenizer.json").write_bytes(tokenizer_bytes())
    (folder / "tokenizer_config.json").write_text(json.dumps(TOKENIZER_CONFIG))
    return folder
