"""The training objective: rectified flow on the target's tokens, beside a clean reference.

x_s = (1 - s) x0 + s n and the model predicts v = n - x0, for one noise level s a sample. Reference tokens are
appended clean at timestep 0; the loss reads the target's tokens only.

Legend: B batch, N target tokens, R reference tokens, C channels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from castsheet.ltx.model.dit import Stream, Transformer
from castsheet.ltx.model.rope import Rope
from castsheet.ltx.model.sequence import Sequence
from castsheet.sampling.schedule import shift

# The published sampler maps the 0.5 % and 99.9 % points of its logit-normal to 0 and 1.
_LOW, _HIGH = -2.5758, 3.0902
_REFLECT, _UNIFORM_SHARE = 1e-3, 0.1


def sigmas_of(normal_B: Tensor, uniform_B: Tensor, chance_B: Tensor, tokens: int) -> Tensor:
    """Noise levels (B,) from normal draws and two kinds of uniform draws.

    y = sigmoid(N(0,1) + mu) is stretched so that its 0.5 % and 99.9 % points fall on 0 and 1. Values below
    0.001 are reflected. One sample in ten is uniform on [0.001, 1].
    """
    mu = shift(tokens)
    y_B = torch.sigmoid(normal_B + mu)
    low, high = 1 / (1 + math.exp(-(mu + _LOW))), 1 / (1 + math.exp(-(mu + _HIGH)))
    z_B = (y_B - low) / (high - low)
    z_B = torch.where(z_B < _REFLECT, 2 * _REFLECT - z_B, z_B).clamp(0, 1)
    return torch.where(chance_B < _UNIFORM_SHARE, _REFLECT + (1 - _REFLECT) * uniform_B, z_B)


def flow_losses(
    transformer: Transformer,
    target_BNC: Tensor,
    context_BLD: Tensor,
    rope: Rope,
    sigma_B: Tensor,
    noise_BNC: Tensor,
    *,
    reference_BRC: Tensor | None = None,
    first_frame_tokens: int = 0,
    given_B: Tensor | None = None,
    mask_BN: Tensor | None = None,
    marked: int | None = None,
) -> Tensor:
    """Mean squared velocity error of every sample, (B,) fp32.

    Args:
        target_BNC: clean latents as tokens, order (frame, row, column).
        rope: tables for the N target tokens followed by the R reference tokens.
        sigma_B: noise level of every sample.
        noise_BNC: standard normal, one draw a sample.
        reference_BRC: clean reference tokens, appended at timestep 0.
        first_frame_tokens: how many leading target tokens are given clean, at timestep 0, outside the loss.
        given_B: the samples that are given these tokens; None means all. All samples keep one shape.
        mask_BN: weight of each target token in the loss, 0 or more; None weighs all alike.
        marked: how many leading target tokens are the clip's first latent frame; a model with a marker asks.

    If a sample's mask is zero everywhere its loss is NaN. It is not checked here because the check would make
    the host wait for the GPU.
    """
    tokens = target_BNC.shape[1]
    sigma_B11 = sigma_B.float()[:, None, None]
    clean, noise = target_BNC.float(), noise_BNC.float()
    noisy = (1 - sigma_B11) * clean + sigma_B11 * noise
    zero_B = torch.zeros_like(sigma_B)
    if given_B is None:
        given_B = torch.ones_like(sigma_B, dtype=torch.bool)
    given_BN1 = (torch.arange(tokens, device=noisy.device) < first_frame_tokens)[None, :, None]
    given_BN1 = given_BN1 & given_B[:, None, None]
    if first_frame_tokens:
        noisy = torch.where(given_BN1, clean, noisy)
    first_B = torch.where(given_B, zero_B, sigma_B)
    segments = [(first_frame_tokens, first_B), (tokens - first_frame_tokens, sigma_B)]
    sequence = noisy.to(target_BNC.dtype)
    if reference_BRC is not None:
        segments.append((reference_BRC.shape[1], zero_B))
        sequence = torch.cat([sequence, reference_BRC], dim=1)
    segments = [(count, timestep) for count, timestep in segments if count]
    stream = Stream(
        tokens_BTC=sequence,
        context_BLD=context_BLD,
        sequence=Sequence(tuple(count for count, _ in segments), rope, marked=marked),
        timesteps_BS=torch.stack([timestep for _, timestep in segments], dim=1),
        sigma_B=sigma_B,
    )
    velocity = transformer(stream, targets=tokens).video_BTC.float()
    error_BN = (velocity - (noise - clean)).square().mean(dim=2)
    if mask_BN is None and not first_frame_tokens:
        return error_BN.mean(dim=1)
    return _weighted_mean(error_BN, ~given_BN1[..., 0], mask_BN)


def _weighted_mean(error_BN: Tensor, learned_BN: Tensor, mask_BN: Tensor | None) -> Tensor:
    """Mean error (B,) over the learned tokens, weighted by the mask; NaN if no token has weight."""
    weight_BN = learned_BN.float()
    if mask_BN is not None:
        weight_BN = weight_BN * mask_BN.float()
    return (error_BN * weight_BN).sum(dim=1) / weight_BN.sum(dim=1)
