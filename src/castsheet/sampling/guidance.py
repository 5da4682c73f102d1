"""Guidance: several predictions of the clean latent become one.

With c the conditional prediction, u the negative prompt's, p the one whose self-attention is perturbed (STG)
and m the one whose video and audio do not see each other:

    g   = c + (guidance - 1)(c - u) + stg_scale (c - p) + (modality_scale - 1)(c - m)
    out = g * (rescale * std(c) / std(g) + 1 - rescale)

Everything is fp32 and in x0 space; std is the unbiased one over all elements.
Rescaling: section 3.4 of "Common Diffusion Noise Schedules and Sample Steps are Flawed" (arXiv:2305.08891).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from castsheet.errors import SettingsError


@dataclass(frozen=True)
class Weights:
    """The weight of each further prediction for one stream. The default of a weight switches it off."""

    guidance: float = 1.0
    stg_scale: float = 0.0
    modality_scale: float = 1.0
    rescale: float = 0.0

    @property
    def scales(self) -> dict[str, float]:
        """The passes that count beside the conditional one, and their factors in the formula.

        "uncond" is the negative prompt's pass, "stg" the perturbed one, "isolated" the one without attention
        between video and audio.
        """
        scales = {
            "uncond": self.guidance - 1.0,
            "stg": self.stg_scale,
            "isolated": self.modality_scale - 1.0,
        }
        return {name: scale for name, scale in scales.items() if scale != 0.0}


@dataclass(frozen=True)
class Pace:
    """In which steps guidance is computed. The default, every step, is exact; all else is approximate.

    Attributes:
        every: the guiding passes run in every such step; between, what they added is added again.
        interval: lowest and highest noise level at which guidance is on ("Applying Guidance in a Limited
            Interval", arXiv:2404.07724).
    """

    every: int = 1
    interval: tuple[float, float] = (0.0, 1.0)

    def at(self, step: int, sigma: Tensor) -> Literal["computed", "reused", "off"]:
        """What happens to guidance in a step, counted from 0."""
        low, high = self.interval
        if (low, high) != (0.0, 1.0) and not low <= float(sigma) <= high:
            return "off"
        return "computed" if step % self.every == 0 else "reused"


EXACT = Pace()


def combine(predictions: Mapping[str, Tensor], weights: Weights, reference: Tensor | None = None) -> Tensor:
    """One guided prediction of the clean latent.

    Args:
        predictions: x0 of the pass "cond" and of the passes in `weights.scales`, all of one shape. Other
            passes are ignored.
        reference: clean rows that every pass predicts exactly. The official code has them in the same tensor,
            so they count in both standard deviations. The result does not contain them.

    Returns:
        fp32 tensor of the conditional prediction's shape.

    Raises:
        SettingsError: a weight is set and its prediction is missing.
    """
    return rescaled(predictions["cond"].float(), guide(predictions, weights), weights, reference)


def guide(predictions: Mapping[str, Tensor], weights: Weights) -> Tensor:
    """The formula's g, fp32; the conditional prediction itself if no other has a weight.

    Raises:
        SettingsError: a weight is set and its prediction is missing.
    """
    c = predictions["cond"].float()
    guided = c
    for name, scale in weights.scales.items():
        if name not in predictions:
            raise SettingsError(
                f"guidance needs the {name} prediction", remedy=f"run the {name} pass or switch its scale off"
            )
        guided = guided + scale * (c - predictions[name].float())
    return guided


def rescaled(c: Tensor, guided: Tensor, weights: Weights, reference: Tensor | None = None) -> Tensor:
    """The formula's second line; `reference` as in `combine`."""
    rescale = weights.rescale
    if rescale == 0.0 or guided is c:
        return guided
    return guided * (rescale * _std(c, reference) / _std(guided, reference) + 1.0 - rescale)


def _std(x: Tensor, reference: Tensor | None) -> Tensor:
    """Unbiased standard deviation over all elements of `x` and of the reference's rows."""
    if reference is None:
        return x.std()
    return torch.cat([x.flatten(), reference.float().flatten()]).std()
