"""What the codec learns from: small cuts around the cast, whole pictures and stills, drawn on the device.

A codec of convolutions learns the same from a cut as from a whole picture, and a cut around a figure costs
a fifth. Only whole pictures teach what lies further away than a cut is wide, so a few are in every batch.

Legend: B samples, F frames, H height, W width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mini.data.corpus import Corpus

FRAMES = 25  # of an excerpt: a first latent frame and three others
SIDE = 128  # pixels of a cut: four latent cells
SPREAD = 0.35  # taken off the weight of every pixel when a cut's centre is drawn: most centres lie on figures


@dataclass(frozen=True)
class Batch:
    """What one step sees. Pixels are (B,F,H,W,3) uint8, regions (B,F,H,W) uint8 as in `Corpus`.

    Attributes:
        cuts: around the cast, SIDE wide and high. wholes: excerpts of whole pictures.
        stills: sheets and single frames, one frame each.
    """

    cuts: Tensor
    cut_regions: Tensor
    wholes: Tensor
    whole_regions: Tensor
    stills: Tensor

    def tensors(self) -> tuple[Tensor, ...]:
        """All of it, in the order of the fields."""
        return self.cuts, self.cut_regions, self.wholes, self.whole_regions, self.stills


@dataclass(frozen=True)
class Sizes:
    """How many of each kind a batch has."""

    cuts: int = 12
    wholes: int = 1
    stills: int = 8


def draw(corpus: Corpus, sizes: Sizes) -> Batch:
    """A batch of samples that are there, half of them mirrored.

    Args:
        sizes: three quarters of the stills are sheets.
    """
    height, width = corpus.clips.shape[2:4]
    side = min(SIDE, height, width)
    cuts, cut_regions = _cut(corpus, sizes.cuts, (side, side))
    wholes, whole_regions = _cut(corpus, sizes.wholes, (height, width))
    sheets = sizes.stills - sizes.stills // 4
    device = corpus.clips.device
    chosen = torch.randint(corpus.ready, (sizes.stills,), device=device)
    frames = torch.randint(corpus.clips.shape[1], (sizes.stills - sheets,), device=device)
    stills = torch.cat([corpus.sheets[chosen[:sheets]], corpus.clips[chosen[sheets:], frames]])[:, None]
    return Batch(cuts, cut_regions, wholes, whole_regions, mirrored(stills))


def _cut(corpus: Corpus, count: int, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Pixels and regions of excerpts whose middle frames have a pixel that was drawn near their middle."""
    device, (high, wide) = corpus.clips.device, size
    length, height, width = corpus.regions.shape[1:]
    span = min(FRAMES, length)
    chosen = torch.randint(corpus.ready, (count,), device=device)
    start = torch.randint(length - span + 1, (count,), device=device)
    middle = corpus.regions[chosen, start + span // 2].flatten(1).long()
    centre = torch.multinomial((corpus.shares[chosen].gather(1, middle) - SPREAD).clamp(min=1e-3), 1)[:, 0]
    top = _edge(centre // width, high, height)
    left = _edge(centre % width, wide, width)
    at = (
        chosen[:, None, None, None],
        (start[:, None] + torch.arange(span, device=device))[:, :, None, None],
        (top[:, None] + torch.arange(high, device=device))[:, None, :, None],
        _mirrored_columns(left, wide)[:, None, None, :],
    )
    return corpus.clips[at], corpus.regions[at]


def _edge(centre_B: Tensor, side: int, length: int) -> Tensor:
    """Where cuts of a side begin, a quarter of the side to and fro at random and inside the picture."""
    moved = torch.randint(-(side // 4), side // 4 + 1, centre_B.shape, device=centre_B.device)
    return (centre_B + moved - side // 2).clamp(0, length - side)


def _mirrored_columns(left_B: Tensor, wide: int) -> Tensor:
    """Columns (B,W) of cuts, half of them from right to left."""
    columns = torch.arange(wide, device=left_B.device).expand(len(left_B), -1)
    turned = torch.rand(len(left_B), 1, device=left_B.device) < 0.5
    return left_B[:, None] + torch.where(turned, wide - 1 - columns, columns)


def mirrored(pixels_BFHWC: Tensor) -> Tensor:
    """Half of the samples mirrored."""
    turned = torch.rand(len(pixels_BFHWC), 1, 1, 1, 1, device=pixels_BFHWC.device) < 0.5
    return torch.where(turned, pixels_BFHWC.flip(3), pixels_BFHWC)
