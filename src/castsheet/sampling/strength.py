"""Strengths of elements: `--strength hero=1.2 backpack=0.7` becomes one number for each reference token.

The manifest knows where each element's panels are. A latent cell takes the strength of the element that
covers at least half of it. ltx/model/bias.py says what the number does to attention.

Legend: H, W rows and columns of latent cells, T tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from castsheet.errors import SettingsError, SheetError
from castsheet.ltx.model.bias import Method, TokenBias
from castsheet.sheet.box import Box, Crop
from castsheet.sheet.manifest import Sheet


def cell_strengths(
    panels: Sequence[tuple[Box, str]],
    strengths: Mapping[str, float],
    *,
    image: tuple[int, int],
    size: tuple[int, int],
    cell: int,
) -> np.ndarray:
    """Strength of every latent cell, (H, W) float64; 1 where no panel covers half a cell.

    Args:
        panels: boxes in pixels of the sheet, each with its element.
        image: width and height of the sheet.
        size: width and height at which the model sees the sheet: filled and centre-cropped.
        cell: pixels a latent cell spans.
    """
    crop = Crop.fill(image, size)
    rows, columns = size[1] // cell, size[0] // cell
    shares: dict[str, np.ndarray] = {}
    for box, element in panels:
        left, top, right, bottom = crop.seen(box)
        across, down = _cover(left, right, columns, cell), _cover(top, bottom, rows, cell)
        shares[element] = shares.get(element, np.zeros((rows, columns))) + down[:, None] * across[None, :]
    result = np.ones((rows, columns))
    for element, share in shares.items():
        # Panels do not overlap, so only one element covers more than half of a cell.
        result[share >= 0.5 - 1e-9] = strengths.get(element, 1.0)
    return result


def token_bias(
    sheet: Sheet,
    strengths: Mapping[str, float],
    *,
    size: tuple[int, int],
    cell: int,
    clip_tokens: int,
    frames: int,
    method: Method = "auto",
) -> TokenBias | None:
    """The attention bias of a run, or None when every strength is 1.

    Args:
        size: width and height at which the sheet is encoded. cell: pixels a latent cell spans.
        clip_tokens: tokens before the reference's. frames: latent frames that the reference is held in.

    Raises:
        SheetError: the sheet is a bare picture: its panels are not known.
        SettingsError: no element of that name is on the sheet.
    """
    strengths = {name: value for name, value in strengths.items() if value != 1}
    if not strengths:
        return None
    if not sheet.panels:
        raise SheetError(
            "strengths of elements, but nothing is known of this picture's panels",
            remedy="compose the sheet with castsheet, or keep its JSON beside it",
        )
    known = sorted({panel.element for panel in sheet.panels})
    unknown = sorted(set(strengths) - set(known))
    if unknown:
        raise SettingsError(
            f"strength of {', '.join(unknown)}, which is not on the sheet",
            remedy=f"choose one of {', '.join(known)}",
        )
    panels = [(panel.box, panel.element) for panel in sheet.panels]
    cells_HW = cell_strengths(panels, strengths, image=sheet.image.size, size=size, cell=cell)
    reference_T = torch.from_numpy(cells_HW).float().flatten().repeat(frames)
    return TokenBias.of(torch.cat([torch.ones(clip_tokens), reference_T]), clip_tokens, method)


def _cover(start: float, end: float, count: int, cell: int) -> np.ndarray:
    """How much of each of `count` cells the stretch [start, end) covers, 0 to 1."""
    edges = np.arange(count + 1) * float(cell)
    inside = np.minimum(edges[1:], end) - np.maximum(edges[:-1], start)
    return np.clip(inside / cell, 0, 1)
