"""Guidance: several predictions of the clean latent become one.

With c the conditional prediction, u the negative prompt's, p the one whose self-attention is perturbed (STG)
and m the one whose video and audio do not see each other:

    g   = c + (guidance - 1)(c - u) + stg_scale (c - p) + (modality_scale - 1)(c - m)
    out = g * (rescale * std(c) / std(g) + 1 - rescale)

Everything is fp32 and in x0 space; std is the unbiased one over all elements.
Rescaling: section 3.4 of "Common Diffusion Noise Schedules and Sample Steps are Flawed" (arXiv:2305.08891).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from castsheet.errors import SettingsError


@dataclass(frozen=True)
class Weights:
    """How much each further prediction counts for one stream. The values given here switch each one off."""

    guidance: float = 1.0
    stg_scale: float = 0.0
    modality_scale: float = 1.0
    rescale: float = 0.0

    @property
    def uncond(self) -> bool:
        """Whether the negative prompt's pass matters."""
        return self.guidance != 1.0

    @property
    def stg(self) -> bool:
        """Whether the perturbed pass matters."""
        return self.stg_scale != 0.0

    @property
    def isolated(self) -> bool:
        """Whether the pass without audio-video attention matters."""
        return self.modality_scale != 1.0


def combine(
    cond: Tensor,
    uncond: Tensor | None = None,
    stg: Tensor | None = None,
    isolated: Tensor | None = None,
    *,
    guidance: float = 1.0,
    stg_scale: float = 0.0,
    modality_scale: float = 1.0,
    rescale: float = 0.0,
    reference: Tensor | None = None,
) -> Tensor:
    """One guided prediction of the clean latent.

    Args:
        cond, uncond, stg, isolated: predictions of x0, all of one shape. A pass whose weight switches it off
            is not looked at and may be None.
        reference: clean rows that every pass predicts exactly. They are part of both standard deviations, as
            in the official code, where they are rows of the same tensor; they are not part of the result.

    Returns:
        fp32 tensor of cond's shape.

    Raises:
        SettingsError: a weight is set and its prediction is missing.
    """
    passes = (
        ("uncond", guidance - 1.0, uncond),
        ("stg", stg_scale, stg),
        ("isolated", modality_scale - 1.0, isolated),
    )
    c = cond.float()
    guided = c
    for name, weight, other in passes:
        if weight == 0.0:
            continue
        if other is None:
            raise SettingsError(
                f"guidance needs the {name} prediction", remedy=f"run the {name} pass or switch its scale off"
            )
        guided = guided + weight * (c - other.float())
    if rescale == 0.0 or guided is c:
        return guided
    return guided * (rescale * _std(c, reference) / _std(guided, reference) + 1.0 - rescale)


def _std(x: Tensor, reference: Tensor | None) -> Tensor:
    """Unbiased standard deviation over all elements of `x` and of the reference's rows."""
    if reference is None:
        return x.std()
    return torch.cat([x.flatten(), reference.float().flatten()]).std()
