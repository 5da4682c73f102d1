"""Tiny random text encoders, written to disk in the layouts that Gemma-3 folders come in."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    Gemma3Config,
    Gemma3ForCausalLM,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    Gemma3TextModel,
)

WORDS = [
    "a",
    "the",
    "hero",
    "walks",
    "left",
    "right",
    "waves",
    "jumps",
    "past",
    "red",
    "barn",
    "and",
    "lifts",
]

WIDTH = 32
LAYERS = 3


def text_config() -> Gemma3TextConfig:
    return Gemma3TextConfig(
        vocab_size=64,
        hidden_size=WIDTH,
        intermediate_size=64,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        query_pre_attn_scalar=16,
        sliding_window=16,
        sliding_window_pattern=2,
        max_position_embeddings=256,
    )


def write_tokenizer(folder: Path, *, model_max_length: int = 64) -> None:
    """A word-level tokenizer that, like Gemma's, puts BOS in front through its post-processor."""
    words = ["<pad>", "<eos>", "<bos>", "<unk>", *WORDS]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(words[:4])
    tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 2)])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<bos>",
        "eos_token": "<eos>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "padding_side": "left",
        "model_max_length": model_max_length,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def write_gemma(
    folder: Path, layout: str = "text", *, model_max_length: int = 64, seed: int = 0
) -> Gemma3TextModel:
    """Write a random encoder as `text`, `causal` or `multimodal`; return its text model."""
    torch.manual_seed(seed)
    config = text_config()
    if layout == "text":
        model = text = Gemma3TextModel(config)
    elif layout == "causal":
        model = Gemma3ForCausalLM(config)
        text = model.model
    else:
        vision = {
            "model_type": "siglip_vision_model",
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 28,
            "patch_size": 14,
        }
        model = Gemma3ForConditionalGeneration(
            Gemma3Config(
                text_config=config,
                vision_config=vision,
                mm_tokens_per_image=1,
                image_token_index=63,
                boi_token_index=62,
                eoi_token_index=61,
            )
        )
        text = model.model.language_model
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.2)
    model.save_pretrained(folder, max_shard_size="40KB")
    write_tokenizer(folder, model_max_length=model_max_length)
    return text.eval()


def transformer_config(registers: int = 16) -> dict:
    """The connector fields of an official `transformer` config, at toy width."""
    return {
        "caption_channels": WIDTH,
        "cross_attention_dim": 48,
        "connector_num_attention_heads": 3,
        "connector_attention_head_dim": 16,
        "connector_num_layers": 2,
        "connector_num_learnable_registers": registers,
        "connector_positional_embedding_max_pos": [4096],
        "connector_apply_gated_attention": True,
        "connector_norm_output": True,
        "audio_connector_num_attention_heads": 3,
        "audio_connector_attention_head_dim": 8,
        "positional_embedding_theta": 10000.0,
        "rope_type": "split",
        "frequencies_precision": "float64",
        "text_encoder_norm_type": "per_token_rms",
    }
