"""Formats of the denoiser's large weights: only the table `FORMATS` tells them apart.

To add a precision, add an entry: the layer that computes with the format, how a weight gets into it, and what
the planner counts. Settings, loading and planning read the table. The layer's arithmetic has its own module,
such as `ltx/model/scaled.py`. Importing this module needs no torch, because settings name the formats.

Legend: I inputs, O outputs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn


class Format(ABC):
    """How the layers that `keys.is_large` names hold their weights.

    Attributes:
        name: as the user chooses it.
        bytes: of one weight, for the planner; scales are too few to count.
        dtype: of everything outside the format, as the user would choose it.
        stored: dtypes in safetensors headers that are this format; weights in them are kept unchanged.
        capability: the oldest GPU on which "auto" may choose the format; with None only the user chooses it.
        merges: whether a layer with an adapter can be held in the format.
    """

    name: str
    bytes: float
    dtype: str = "bf16"
    stored: tuple[str, ...] = ()
    capability: tuple[int, int] | None = None
    merges: bool = True

    @abstractmethod
    def layer(self, inputs: int, outputs: int, bias: bool) -> nn.Module:
        """An empty layer with `in_features`, `out_features`, `weight` (O,I) and `bias`."""

    @abstractmethod
    def held(self, weight_OI: Tensor) -> dict[str, Tensor]:
        """The layer's tensors other than the bias, by name, for a weight in fp32."""

    def kept(self, weight_OI: Tensor, scale: Tensor | None) -> dict[str, Tensor]:
        """The tensors of `held` for a weight in a dtype of `stored`, and its scale (1,1), (O,1) or None."""
        wide = weight_OI.float()
        return self.held(wide if scale is None else wide * scale)


class Fp8(Format):
    """e4m3 with one scale a row. A published file's one scale a weight is repeated over the rows."""

    name, bytes, stored, capability = "fp8", 1, ("F8_E4M3",), (8, 9)

    def layer(self, inputs: int, outputs: int, bias: bool) -> nn.Module:
        from castsheet.ltx.model.scaled import ScaledLinear

        return ScaledLinear(inputs, outputs, bias)

    def held(self, weight_OI: Tensor) -> dict[str, Tensor]:
        from castsheet.ltx.model.scaled import quantise_rows

        numbers_OI, scale_O1 = quantise_rows(weight_OI)
        return {"weight": numbers_OI, "weight_scale": scale_O1}

    def kept(self, weight_OI: Tensor, scale: Tensor | None) -> dict[str, Tensor]:
        import torch

        ones_O1 = torch.ones(len(weight_OI), 1, device=weight_OI.device)
        scale_O1 = ones_O1 if scale is None else (ones_O1 * scale).contiguous()
        return {"weight": weight_OI, "weight_scale": scale_O1}


FORMATS: dict[str, Format] = {one.name: one for one in (Fp8(),)}


def format_of(stored: str) -> Format | None:
    """The format of weights that a file stores in this dtype; None for bf16 and other plain numbers."""
    return next((one for one in FORMATS.values() if stored in one.stored), None)


def automatic(capability: tuple[int, int]) -> tuple[str, ...]:
    """The choices of "auto" on a GPU, in order: plain weights, then formats that the GPU computes."""
    fast = (one for one in FORMATS.values() if one.capability is not None and one.capability <= capability)
    return ("plain", *(one.name for one in fast))
