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
_REGIONS = 256


def balanced(regions_BFHW: Tensor) -> Tensor:
    """Weights (B,F,H,W) fp32 in which every region of a clip but 0 has one share; about 1 in a clip's mean.

    Args:
        regions_BFHW: uint8, as in `Corpus`.
    """
    batch, cells = len(regions_BFHW), regions_BFHW[0].numel()
    rows = torch.arange(batch, device=regions_BFHW.device)[:, None]
    codes = (regions_BFHW.flatten(1).long() + _REGIONS * rows).flatten()
    counts = torch.zeros(batch * _REGIONS, device=regions_BFHW.device)
    counts = counts.scatter_add(0, codes, torch.ones_like(codes, dtype=torch.float32)).view(batch, _REGIONS)
    counts[:, 0] = 0
    seen = (counts > 0).sum(1, keepdim=True).clamp(min=1)
    table = torch.where(counts > 0, cells / (counts.clamp(min=1) * seen), 0.0).clamp(max=MOST)
    return 1 - CAST_SHARE + CAST_SHARE * table.flatten()[codes].view(regions_BFHW.shape)


def token_weights(weights_BFHW: Tensor, cells: tuple[int, int, int]) -> Tensor:
    """Weights (B,N) of latent tokens: means over their pixels; the first latent frame holds one frame."""
    frames, rows, columns = cells
    first, rest = weights_BFHW[:, :1], weights_BFHW[:, 1:]
    pooled = nnf.adaptive_avg_pool3d(rest, (frames - 1, rows, columns))
    return torch.cat([nnf.adaptive_avg_pool3d(first, (1, rows, columns)), pooled], dim=1).flatten(1)
