"""The training objective: rectified flow on the target's tokens, beside a clean reference.

x_s = (1 - s) x0 + s n and the model predicts v = n - x0, for one noise level s a sample. Reference tokens are
appended clean at timestep 0; the loss reads the target's tokens only. What a distilled adapter learns instead
of v is in distillation.py.

Legend: B batch, N target tokens, R reference tokens, C channels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

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


@dataclass(frozen=True)
class Given:
    """What the transformer is given beside the noisy clips of a batch.

    Attributes:
        target_BNC: clean latents as tokens, order (frame, row, column).
        context_BLD: text contexts.
        rope: tables for the N target tokens followed by the R reference tokens.
        reference_BRC: clean reference tokens, appended at timestep 0.
        first_frame_tokens: how many leading target tokens are given clean, at timestep 0, outside the loss.
        given_B: the samples that are given these tokens; None means all. All samples keep one shape.
        marked: how many leading target tokens are the clip's first latent frame; a model with a marker asks.
    """

    target_BNC: Tensor
    context_BLD: Tensor
    rope: Rope
    reference_BRC: Tensor | None = None
    first_frame_tokens: int = 0
    given_B: Tensor | None = None
    marked: int | None = None

    @property
    def tokens(self) -> int:
        """N, the target's tokens."""
        return self.target_BNC.shape[1]

    @cached_property
    def given_mask(self) -> Tensor:
        """Which target tokens are given clean, (B,N,1)."""
        target = self.target_BNC
        given_B = self.given_B
        if given_B is None:
            given_B = torch.ones(len(target), dtype=torch.bool, device=target.device)
        given_BN1 = (torch.arange(self.tokens, device=target.device) < self.first_frame_tokens)[None, :, None]
        return given_BN1 & given_B[:, None, None]

    def kept(self, x_BNC: Tensor) -> Tensor:
        """`x` with the given tokens clean, fp32."""
        return (
            torch.where(self.given_mask, self.target_BNC.float(), x_BNC) if self.first_frame_tokens else x_BNC
        )

    def noisy(self, sigma_B: Tensor, noise_BNC: Tensor) -> Tensor:
        """The clips at these noise levels, fp32."""
        sigma_B11 = sigma_B.float()[:, None, None]
        return self.kept((1 - sigma_B11) * self.target_BNC.float() + sigma_B11 * noise_BNC.float())

    def stream(self, x_BNC: Tensor, sigma_B: Tensor, context_BLD: Tensor | None = None) -> Stream:
        """The transformer's input: clips `x` at their noise levels, then the reference.

        Args:
            context_BLD: another text context than the batch's.
        """
        zero_B = torch.zeros_like(sigma_B)
        first_B = zero_B if self.given_B is None else torch.where(self.given_B, zero_B, sigma_B)
        segments = [(self.first_frame_tokens, first_B), (self.tokens - self.first_frame_tokens, sigma_B)]
        sequence = x_BNC.to(self.target_BNC.dtype)
        if self.reference_BRC is not None:
            segments.append((self.reference_BRC.shape[1], zero_B))
            sequence = torch.cat([sequence, self.reference_BRC], dim=1)
        segments = [(count, timestep) for count, timestep in segments if count]
        return Stream(
            tokens_BTC=sequence,
            context_BLD=self.context_BLD if context_BLD is None else context_BLD,
            sequence=Sequence(tuple(count for count, _ in segments), self.rope, marked=self.marked),
            timesteps_BS=torch.stack([timestep for _, timestep in segments], dim=1),
            sigma_B=sigma_B,
        )

    def mean(self, error_BNC: Tensor, mask_BN: Tensor | None) -> Tensor:
        """Mean (B,) of an error over channels and learned tokens.

        Args:
            mask_BN: weight of each target token, 0 or more; None weighs all alike. If a sample's mask is zero
                everywhere its mean is NaN. It is not checked here because the check would make the host wait
                for the GPU.
        """
        error_BN = error_BNC.mean(dim=2)
        if mask_BN is None and not self.first_frame_tokens:
            return error_BN.mean(dim=1)
        weight_BN = (~self.given_mask[..., 0]).float()
        if mask_BN is not None:
            weight_BN = weight_BN * mask_BN.float()
        return (error_BN * weight_BN).sum(dim=1) / weight_BN.sum(dim=1)


def flow_losses(
    transformer: Transformer,
    given: Given,
    sigma_B: Tensor,
    noise_BNC: Tensor,
    *,
    mask_BN: Tensor | None = None,
) -> Tensor:
    """Mean squared velocity error of every sample, (B,) fp32.

    Args:
        sigma_B: noise level of every sample.
        noise_BNC: standard normal, one draw a sample.
        mask_BN: see `Given.mean`.
    """
    x_BNC = given.noisy(sigma_B, noise_BNC)
    velocity = transformer(given.stream(x_BNC, sigma_B), targets=given.tokens).video_BTC.float()
    return given.mean((velocity - (noise_BNC.float() - given.target_BNC.float())).square(), mask_BN)
