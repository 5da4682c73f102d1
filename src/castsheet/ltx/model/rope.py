"""Rotary positions of LTX-2.3, with "split" pairs. A token's position is the middle of its extent.

Legend: A axes, T tokens, H heads, D half of a head's width, 2 = [start, end) of a token on an axis, B batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from castsheet.ltx.model.config import TransformerConfig

AUDIO_HOP, AUDIO_RATE, AUDIO_SCALE = 160, 16000, 4  # mel hop and rate in samples; mel frames a latent frame


@dataclass(frozen=True)
class Rope:
    """Rotation of every head and token; each head turns a different slice of the frequencies."""

    cos_HTD: Tensor
    sin_HTD: Tensor

    def first(self, tokens: int) -> Rope:
        """The rotation of the first `tokens` tokens."""
        return Rope(self.cos_HTD[:, :tokens], self.sin_HTD[:, :tokens])

    def rows(self, tokens: Tensor) -> Rope:
        """The rotation of the tokens with these numbers."""
        return Rope(self.cos_HTD[:, tokens], self.sin_HTD[:, tokens])

    def to(self, target: torch.device | torch.dtype | str) -> Rope:
        """Both tables on another device or in another dtype."""
        return Rope(self.cos_HTD.to(target), self.sin_HTD.to(target))


def video_bounds(
    frames: int,
    height: int,
    width: int,
    fps: float,
    *,
    scale: tuple[int, int, int] = (8, 32, 32),
    downscale: int = 1,
) -> Tensor:
    """Extent of every latent token, order (frame, row, column), in (seconds, pixels, pixels).

    Args:
        frames, height, width: size of the latent.
        fps: frame rate of the video; a reference takes the target's.
        scale: pixels a latent cell spans per axis (frames, rows, columns).
        downscale: how many times smaller than the target a reference was encoded; its extents grow by it.

    Returns:
        (3, frames*height*width, 2) fp32. The first latent frame is one pixel frame: it covers [0, 1/fps).
    """
    time_F2 = (_edges(frames) * scale[0] + 1 - scale[0]).clamp(min=0) / fps
    row_H2 = _edges(height) * scale[1] * downscale
    column_W2 = _edges(width) * scale[2] * downscale
    grid = (
        time_F2[:, None, None].expand(frames, height, width, 2),
        row_H2[None, :, None].expand(frames, height, width, 2),
        column_W2[None, None, :].expand(frames, height, width, 2),
    )
    return torch.stack(grid).flatten(1, 3)


def audio_bounds(frames: int) -> Tensor:
    """Extent in seconds of every audio latent frame, causal like the video's.

    Returns:
        (1, frames, 2) fp32.
    """
    seconds_T2 = (_edges(frames) * AUDIO_SCALE + 1 - AUDIO_SCALE).clamp(min=0) * AUDIO_HOP / AUDIO_RATE
    return seconds_T2[None]


def tables(
    bounds_AT2: Tensor,
    dim: int,
    heads: int,
    theta: float,
    max_pos: Sequence[float],
    dtype: torch.dtype = torch.float32,
) -> Rope:
    """Cosines and sines for `heads` heads of a `dim`-wide attention.

    With n = dim // (2A) frequencies an axis, f_j = (pi/2) theta^(j/(n-1)) and angle = f_j (2p/max_pos - 1).
    Angles are ordered by frequency, then by axis; the rest of dim/2, on the left, is not rotated. Frequencies
    are computed in fp64 on the CPU and then rounded: every device has the same ones.

    Raises:
        ValueError: the width leaves no frequency for an axis, or does not divide by the heads.
    """
    axes = bounds_AT2.shape[0]
    count = dim // (2 * axes)
    if count < 1 or dim % (2 * heads) or len(max_pos) != axes:
        raise ValueError(f"no RoPE for {axes} axes, width {dim}, {heads} heads and max_pos {tuple(max_pos)}")
    exponent = torch.linspace(0.0, 1.0, count, dtype=torch.float64)
    frequency_N = (theta**exponent * (torch.pi / 2)).float().to(bounds_AT2.device)
    limit_A1 = torch.tensor(max_pos, dtype=torch.float32, device=bounds_AT2.device)[:, None]
    position_AT = bounds_AT2.float().mean(dim=-1) / limit_A1 * 2 - 1
    angle_TF = (position_AT.T[:, None, :] * frequency_N[None, :, None]).flatten(1)
    identity = (dim // 2 - angle_TF.shape[1], 0)
    cos_TF, sin_TF = F.pad(angle_TF.cos(), identity, value=1.0), F.pad(angle_TF.sin(), identity, value=0.0)
    cos_THD, sin_THD = (table_TF.unflatten(1, (heads, -1)).to(dtype) for table_TF in (cos_TF, sin_TF))
    return Rope(cos_THD.transpose(0, 1).contiguous(), sin_THD.transpose(0, 1).contiguous())


def video_tables(config: TransformerConfig, bounds_3T2: Tensor, dtype: torch.dtype = torch.float32) -> Rope:
    """Tables of the video stream's self-attention."""
    return tables(bounds_3T2, config.dim, config.heads, config.theta, config.max_pos, dtype)


def audio_tables(config: TransformerConfig, bounds_1T2: Tensor, dtype: torch.dtype = torch.float32) -> Rope:
    """Tables of the audio stream's self-attention."""
    return tables(bounds_1T2, config.audio_dim, config.audio_heads, config.theta, config.audio_max_pos, dtype)


def cross_tables(config: TransformerConfig, bounds_AT2: Tensor, dtype: torch.dtype = torch.float32) -> Rope:
    """Tables of either stream for the attentions between them: time only, in the audio stream's width."""
    return tables(
        bounds_AT2[:1], config.audio_dim, config.audio_heads, config.theta, config.cross_max_pos, dtype
    )


def _edges(count: int) -> Tensor:
    """[i, i + 1) of each of `count` cells: (count, 2) fp32."""
    start = torch.arange(count, dtype=torch.float32)
    return torch.stack((start, start + 1), dim=-1)


def apply(x_BHTD: Tensor, rope: Rope) -> Tensor:
    """Rotate element i of each head with element i + half, in the wider dtype of input and tables."""
    if not torch.compiler.is_compiling():
        left, right = x_BHTD.chunk(2, dim=-1)
        cos, sin = rope.cos_HTD, rope.sin_HTD
        return torch.cat((left * cos - right * sin, right * cos + left * sin), dim=-1).to(x_BHTD.dtype)
    # This order is the projections' order in memory, a whole head at once: the compiler can then make one
    # kernel of a row's norm and its rotation.
    pairs_BTH2D = x_BHTD.transpose(1, 2).unflatten(-1, (2, -1))
    cos_TH1D, sin_TH1D = (table.transpose(0, 1)[:, :, None] for table in (rope.cos_HTD, rope.sin_HTD))
    sign_21 = 2 * torch.arange(2, dtype=x_BHTD.dtype, device=x_BHTD.device)[:, None] - 1
    turned_BTH2D = pairs_BTH2D * cos_TH1D + pairs_BTH2D.flip(3) * sin_TH1D * sign_21
    return turned_BTH2D.flatten(3).transpose(1, 2).to(x_BHTD.dtype)
