"""How much each spot of a clip counts while mini is trained: every part of the cast alike, however small.

Shoes cover a hundredth of the pixels that the sky covers; in a plain mean a codec or a denoiser can leave
them out at little cost. Where which part is, a story's exact masks tell.

Legend: B batch, F frames, H height, W width, N tokens of a clip.
"""

from __future__ import annotations

import torch
import torch.nn.functional as nnf
from torch import Tensor

CAST_SHARE = 0.5  # of the weight of a whole clip; the rest is spread evenly over all of it
MOST = 60.0  # times the mean that one part may weigh at one spot
REGIONS = 256


def shares(regions_FHW: Tensor) -> Tensor:
    """What a pixel of each region counts (256,) fp32, so that every region of a clip but 0 has one share.

    Args:
        regions_FHW: uint8, as in `Corpus`.
    """
    counts = torch.bincount(regions_FHW.flatten().int(), minlength=REGIONS).float()
    counts[0] = 0
    seen = (counts > 0).sum().clamp(min=1)
    alike = torch.where(counts > 0, regions_FHW.numel() / (counts.clamp(min=1) * seen), 0.0)
    return 1 - CAST_SHARE + CAST_SHARE * alike.clamp(max=MOST)


def weigh(regions_BFHW: Tensor, shares_BR: Tensor) -> Tensor:
    """Weights (B,F,H,W) of clips' pixels; about 1 in a clip's mean."""
    return shares_BR.gather(1, regions_BFHW.flatten(1).long()).view(regions_BFHW.shape)


def token_weights(weights_BFHW: Tensor, cells: tuple[int, int, int]) -> Tensor:
    """Weights (B,N) of latent tokens: means over their pixels; the first latent frame holds one frame."""
    frames, rows, columns = cells
    first, rest = weights_BFHW[:, :1], weights_BFHW[:, 1:]
    pooled = nnf.adaptive_avg_pool3d(rest, (frames - 1, rows, columns))
    return torch.cat([nnf.adaptive_avg_pool3d(first, (1, rows, columns)), pooled], dim=1).flatten(1)
