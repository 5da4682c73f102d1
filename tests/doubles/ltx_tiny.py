"""Tiny random LTX models and inputs, shared by the tests of the model code."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from castsheet.ltx.family import DEFAULT, family_of
from castsheet.ltx.files.checkpoint import Checkpoint
from castsheet.ltx.files.transformer import load_transformer
from castsheet.ltx.keys import is_large
from castsheet.ltx.model.config import TransformerConfig
from castsheet.ltx.model.dit import Pass, Stream, Transformer
from castsheet.ltx.model.rope import audio_bounds, audio_tables, cross_tables, video_bounds, video_tables
from castsheet.ltx.model.scaled import ScaledLinear
from castsheet.ltx.model.sequence import Sequence

FRAMES, ROWS, COLUMNS, FPS = 3, 2, 4, 24.0
TARGET = FRAMES * ROWS * COLUMNS
AUDIO = 5
CONTEXT = 6


def tiny_config(*, audio: bool = False, layers: int = 3, family: str = DEFAULT.name) -> TransformerConfig:
    """A 2-head model. Width 32 has 16 pairs: 5 frequencies on 3 axes and one identity, as at full size."""
    return TransformerConfig(
        layers=layers,
        heads=2,
        head_dim=16,
        in_channels=8,
        out_channels=8,
        context_dim=32,
        audio=audio,
        audio_heads=2,
        audio_head_dim=8,
        audio_in_channels=6,
        audio_out_channels=6,
        audio_context_dim=16,
        family=family,
    )


def official_dict(config: TransformerConfig) -> dict[str, Any]:
    """The official `transformer` dictionary that `TransformerConfig.from_dict` reads back."""
    audio = {
        "audio_num_attention_heads": config.audio_heads,
        "audio_attention_head_dim": config.audio_head_dim,
        "audio_in_channels": config.audio_in_channels,
        "audio_out_channels": config.audio_out_channels,
        "audio_cross_attention_dim": config.audio_context_dim,
        "audio_positional_embedding_max_pos": list(config.audio_max_pos),
        "av_ca_timestep_scale_multiplier": config.cross_timestep_scale,
    }
    return {
        "_class_name": "AVTransformer3DModel",
        "num_layers": config.layers,
        "num_attention_heads": config.heads,
        "attention_head_dim": config.head_dim,
        "in_channels": config.in_channels,
        "out_channels": config.out_channels,
        "cross_attention_dim": config.context_dim,
        "norm_eps": config.norm_eps,
        "norm_elementwise_affine": False,
        "attention_bias": True,
        "positional_embedding_type": "rope",
        "positional_embedding_theta": config.theta,
        "positional_embedding_max_pos": list(config.max_pos),
        "causal_temporal_positioning": True,
        "timestep_scale_multiplier": config.timestep_scale,
        "use_audio_video_cross_attention": config.audio,
        **(audio if config.audio else {}),
        **family_of(config.family).flags,
    }


def tiny_transformer(
    *, audio: bool = False, layers: int = 3, seed: int = 0, family: str = DEFAULT.name
) -> Transformer:
    """A model all of whose parameters are random, tables and norms included; its outputs are near 1."""
    model = Transformer(tiny_config(audio=audio, layers=layers, family=family))
    randomise(model, seed)
    return model.eval()


def randomise(model: torch.nn.Module, seed: int = 0) -> None:
    """Fill every parameter: matrices keep an input's size, vectors and tables stay near their usual place."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if "norm" in name:
                parameter.copy_(1 + 0.3 * noise)
            elif parameter.ndim == 2 and "table" not in name:
                parameter.copy_(noise / parameter.shape[1] ** 0.5)
            else:
                parameter.copy_(0.3 * noise)


def with_large_marker(model: Transformer) -> Transformer:
    """The model; if it has a marker, with one as large as the tokens: a trained one is a thousandth."""
    if model.config.marker:
        with torch.no_grad():
            model.keyframes_abs_pos_embedding.copy_(3 * randn(1, model.config.dim, seed=77))
    return model


def randn(*shape: int, seed: int) -> Tensor:
    """Normal numbers from a generator of their own."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def tiny_video(
    config: TransformerConfig, *, reference: int = 0, sigmas: tuple[float, ...] = (0.7, 0.3), seed: int = 1
) -> Stream:
    """A batch with one sigma a sample; `reference` latent frames at timestep 0 are appended to the target."""
    bounds = video_bounds(FRAMES, ROWS, COLUMNS, FPS)
    if reference:
        bounds = torch.cat((bounds, video_bounds(reference, ROWS, COLUMNS, FPS)), dim=1)
    tokens = bounds.shape[1]
    sigma_B = torch.tensor(sigmas)
    segments = (TARGET, tokens - TARGET) if reference else (TARGET,)
    timesteps_BS = torch.stack((sigma_B, torch.zeros_like(sigma_B)), dim=1)[:, : len(segments)]
    cross_rope = cross_tables(config, bounds) if config.audio else None
    return Stream(
        tokens_BTC=randn(len(sigmas), tokens, config.in_channels, seed=seed),
        context_BLD=randn(len(sigmas), CONTEXT, config.context_dim, seed=seed + 100),
        sequence=Sequence(segments, video_tables(config, bounds), cross_rope, marked=ROWS * COLUMNS),
        timesteps_BS=timesteps_BS,
        sigma_B=sigma_B,
    )


def tiny_audio(config: TransformerConfig, *, sigmas: tuple[float, ...] = (0.7, 0.3), seed: int = 2) -> Stream:
    """The audio stream beside `tiny_video`."""
    bounds = audio_bounds(AUDIO)
    sigma_B = torch.tensor(sigmas)
    return Stream(
        tokens_BTC=randn(len(sigmas), AUDIO, config.audio_in_channels, seed=seed),
        context_BLD=randn(len(sigmas), CONTEXT, config.audio_context_dim, seed=seed + 100),
        sequence=Sequence((AUDIO,), audio_tables(config, bounds), cross_tables(config, bounds)),
        timesteps_BS=sigma_B[:, None],
        sigma_B=sigma_B,
    )


def laid_out(stream: Stream, **changes: Any) -> Stream:
    """The stream with changes of its sequence."""
    return replace(stream, sequence=replace(stream.sequence, **changes))


def streams(model: Transformer) -> tuple[Stream, Stream | None]:
    """A video with a reference, and sound if the model has an audio half."""
    audio = tiny_audio(model.config) if model.config.audio else None
    return tiny_video(model.config, reference=2), audio


def close(left: Tensor, right: Tensor, relative: float = 1e-5) -> None:
    """Fail where the tensors differ by more than rounding."""
    assert (left - right).norm() <= relative * right.norm()


def pair(
    video: Stream, audio: Stream | None = None, *, stg_blocks: Collection[int], stg_audio: bool = False
) -> tuple[Pass, Pass]:
    """The conditional pass and the perturbed one."""
    return Pass(video, audio), Pass(video, audio, stg_blocks, stg_audio)


@torch.no_grad()
def quantise(model: Transformer) -> Transformer:
    """Turn a loaded model's large layers to fp8, in place."""
    for name, layer in list(model.named_modules()):
        if is_large(name):
            model.set_submodule(name, ScaledLinear.of(cast(nn.Linear, layer)))
    return model


def load_wide(checkpoint: Checkpoint, **options: Any) -> Transformer:
    """A checkpoint's denoiser with every layer in one dtype."""
    return load_transformer(checkpoint, "wide", **options)[0]
