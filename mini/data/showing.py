"""Which of the sheet's elements each token shows, and what these look like: what mini's base is taught beside
the pictures.

A large model tells from a picture and a prompt that the woman who walks is "zoe", the second of the list, and
where on the sheet zoe stands. A small one that learns from clips alone has no reason to. An adapter has to
bring a token of the clip and the sheet's panel of the same element together: it needs both to say which
element they show. And it has to carry looks from the panel, where a person may be two tokens high, to the
clip: it needs both to say looks in the same way.

Legend: B batch, F latent frames, H, W cells, N tokens, D their width, E figures (people, then props),
L numbers of a figure's looks: six of each part (its mean colour, and how far its colours scatter), then the
answers of `styling`.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as nnf
from numpy.typing import NDArray
from torch import Tensor, nn

from castsheet.prompt import listed
from castsheet.sheet.manifest import Sheet
from mini.data.naming import MOST, NOBODY
from mini.data.styling import FIGURES, QUESTIONS, UNASKED
from mini.story.look import PARTS

SURE, FEW = 0.3, 0.05  # shares of a token's pixels: that show an element; that still count as none
COLOURS = 6 * PARTS
NUMBERS = COLOURS + QUESTIONS
_THIN = (slice(None, None, 4), slice(None, None, 2), slice(None, None, 2))  # enough of a clip for a mean
_LEAST = 12  # pixels of a thinned clip that tell a part's colour


def in_clip(regions_FHW: Tensor, elements: int, cells: tuple[int, int, int]) -> Tensor:
    """The element that each token of a clip shows (N,) int8; `NOBODY` where a figure's edge runs through.

    Args:
        regions_FHW: uint8, as in `Corpus`. Figures are numbered as the list is.
        elements: in the sheet's list, whose last one is the place.
    """
    frames, rows, columns = cells
    if elements == 1:
        return torch.zeros(frames * rows * columns, dtype=torch.int8, device=regions_FHW.device)
    figures_FHW = (regions_FHW.int() - 1).div(PARTS, rounding_mode="floor")
    numbers = torch.arange(elements - 1, device=regions_FHW.device)
    shares_EFHW = (figures_FHW == numbers[:, None, None, None]).float()
    parts = shares_EFHW[:, :1], shares_EFHW[:, 1:]
    pooled = [
        nnf.adaptive_avg_pool3d(part, (count, rows, columns))
        for part, count in zip(parts, (1, frames - 1), strict=True)
    ]
    share_N, number_N = torch.cat(pooled, dim=1).flatten(1).max(0)
    told_N = torch.where(share_N < FEW, elements - 1, NOBODY)
    return torch.where(share_N >= SURE, number_N, told_N).to(torch.int8)


def on_sheet(sheet: Sheet, cells: tuple[int, int]) -> NDArray[np.uint8]:
    """The element that each cell of a sheet shows (H,W); 255, which is `NOBODY` as int8, where none does."""
    order = [note.id for note in listed(sheet)]
    rows, columns = cells
    high, wide = sheet.image.height / rows, sheet.image.width / columns
    covered = np.zeros((max(1, len(order)), rows, columns))
    for panel in sheet.panels:
        box = panel.box
        down = _overlaps(box.y, box.bottom, rows, high)
        across = _overlaps(box.x, box.right, columns, wide)
        covered[order.index(panel.element)] += down[:, None] * across
    told = covered.argmax(0).astype(np.uint8)
    told[covered.max(0) < SURE] = NOBODY % 256
    return told


def _overlaps(begin: int, end: int, cells: int, size: float) -> NDArray[np.float64]:
    """How much of each cell lies between `begin` and `end`, in [0, 1]."""
    edges = np.arange(cells + 1) * size
    inside = np.minimum(edges[1:], end) - np.maximum(edges[:-1], begin)
    return np.asarray(inside.clip(min=0) / size)


def looks(clip_FHWC: Tensor, regions_FHW: Tensor, styles_EG: Tensor, device: torch.device | str) -> Tensor:
    """What the figures of a clip look like (E,L) fp32; NaN where a part is not seen or a question not asked.

    Colours are in [-1, 1]; an answer is 0.5 or -0.5, which scatters about as much.

    Args:
        clip_FHWC: uint8. regions_FHW: uint8, as in `Corpus`. styles_EG: uint8, of `styling`.
    """
    colours_N3 = clip_FHWC[_THIN].flatten(0, 2).to(device).double() / 127.5 - 1
    numbers_N = regions_FHW[_THIN].flatten().to(device).long()
    size = 1 + FIGURES * PARTS
    counts_R = torch.bincount(numbers_N, minlength=size)[:size]
    sums = [
        torch.bincount(numbers_N, weights=channel, minlength=size)[:size]
        for channel in (*colours_N3.unbind(1), *colours_N3.square().unbind(1))
    ]
    means_RC = torch.stack(sums, dim=1) / counts_R[:, None]
    scatter_R3 = (means_RC[:, 3:] - means_RC[:, :3].square()).clamp(min=0).sqrt()
    told_RC = torch.cat([means_RC[:, :3], scatter_R3], dim=1)
    told_RC[counts_R < _LEAST] = torch.nan
    answers_EG = styles_EG.to(device).float() - 0.5
    answers_EG[styles_EG == UNASKED] = torch.nan
    return torch.cat([told_RC[1:].float().view(FIGURES, COLOURS), answers_EG], dim=1)


class Showing(nn.Module):
    """Reads from the tokens between two blocks which element they show, of clips and of sheets alike, and
    what it looks like, parts out of the token's sight too.

    One reader for both makes both say it in the same way, so that a token finds its panel by likeness.
    It is thrown away with the training.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.element = nn.Linear(width, MOST)
        self.looks = nn.Linear(width, NUMBERS)

    def forward(self, tokens_BND: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B,N,E+1) and looks (B,N,L), fp32."""
        told_BND = nnf.layer_norm(tokens_BND, tokens_BND.shape[-1:])
        return self.element(told_BND).float(), self.looks(told_BND).float()

    def losses(
        self,
        tokens_BND: Tensor,
        shown_BN: Tensor,
        looks_BEL: Tensor,
        weights_BN: Tensor | None = None,
        *,
        numbers: slice = slice(None),
    ) -> tuple[Tensor, Tensor]:
        """Mean cross entropy of the tokens that show one element, and mean squared error of looks; 0 if none.

        Args:
            weights_BN: of the tokens in the cross entropy. numbers: which of the looks count.
        """
        logits_BNE, told_BNL = self(tokens_BND)
        wanted = shown_BN.long()
        counted = (wanted != NOBODY).float() if weights_BN is None else weights_BN * (wanted != NOBODY)
        found_BN = nnf.cross_entropy(logits_BNE.mT, wanted, ignore_index=NOBODY, reduction="none")
        element = (found_BN * counted).sum() / counted.sum().clamp(min=1e-6)
        figure = wanted.clamp(0, FIGURES - 1)[..., None].expand(-1, -1, NUMBERS)
        truth_BNL = looks_BEL.float().gather(1, figure)
        seen = torch.isfinite(truth_BNL) & ((wanted >= 0) & (wanted < FIGURES))[..., None]
        error, seen = ((told_BNL - truth_BNL.nan_to_num()).square() * seen)[..., numbers], seen[..., numbers]
        return element, error.sum() / seen.sum().clamp(min=1)

    @torch.no_grad()
    def share(self, tokens_BND: Tensor, shown_BN: Tensor, among: tuple[int, ...]) -> Tensor:
        """How many of the tokens that show one of these elements are read rightly."""
        counted = torch.isin(shown_BN.long(), torch.tensor(among, device=shown_BN.device))
        right = self(tokens_BND)[0].argmax(2) == shown_BN
        return (right & counted).sum() / counted.sum().clamp(min=1)
