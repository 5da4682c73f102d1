"""Attention of a three-dimensional grid to the window around each cell, with torch's own kernels; exact.

A window at the grid's border moves inwards and has as many cells as one inside ("Neighborhood Attention
Transformer", arXiv:2204.07143). Queries are taken in blocks. A block attends to the box that holds all of its
windows; a mask tells which cells of the box are in each query's window. This needs no package with kernels of
its own, and no mask of all cells against all cells.

Legend: B batch, T H W frames, rows, columns of the grid, N heads, D channels of a head, C channels, J
blocks of columns, Q queries of a block, K cells of its box.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK = (4, 8, 8)  # frames, rows and columns of the queries that share a box


@dataclass(frozen=True)
class Axis:
    """One axis cut into blocks of queries, all of one size, and their boxes.

    Attributes:
        queries, boxes: first cell of each block and of its box. block, box: their lengths.
        inside: for each block, which cell of the box is in which query's window: (blocks, block, box).
    """

    queries: tuple[int, ...]
    boxes: tuple[int, ...]
    block: int
    box: int
    inside: Tensor

    @classmethod
    def of(cls, length: int, window: int, block: int) -> Axis:
        """An axis of `length` cells; `window` of them are seen by each."""
        window, block = min(window, length), min(block, length)
        box = min(length, block + window - 1)
        # The last block is moved inwards to full size: its first queries are computed twice.
        queries = tuple(min(start, length - block) for start in range(0, length, block))
        cell = torch.arange(length)
        first = (cell - window // 2).clamp(0, length - window)
        boxes = tuple(min(int(first[start]), length - box) for start in queries)
        inside = torch.stack(
            [
                (cell[start : start + box] >= first[query : query + block, None])
                & (cell[start : start + box] < first[query : query + block, None] + window)
                for query, start in zip(queries, boxes, strict=True)
            ]
        )
        return cls(queries, boxes, block, box, inside)


class NeighbourhoodAttention:
    """What diffusers calls an attention processor, for its LTX-2.5 video decoder."""

    def __call__(self, attention: Any, x_BTHWC: Tensor, block_mask: object = None) -> Tensor:
        del block_mask  # diffusers makes one for its own processor only
        q, k, v = attention.project_qkv(x_BTHWC)  # (B,T,H,W,N,D) each; queries are scaled
        return attention.to_out[0](attend(q, k, v, attention.kernel_size).flatten(-2))


def attend(q: Tensor, k: Tensor, v: Tensor, window: tuple[int, int, int]) -> Tensor:
    """Attention of queries to the keys and values in their windows, (B,T,H,W,N,D) all; scale 1."""
    frames, rows, columns = (
        Axis.of(length, size, block) for length, size, block in zip(q.shape[1:4], window, BLOCK, strict=True)
    )
    out = torch.empty_like(v)
    asked = _columns(columns.queries, columns.block, q.device)
    seen = _columns(columns.boxes, columns.box, q.device)
    across = columns.inside.to(q.device)
    for (f, frame), (r, row) in product(enumerate(frames.queries), enumerate(rows.queries)):
        place = (slice(None), slice(frame, frame + frames.block), slice(row, row + rows.block))
        top, left = frames.boxes[f], rows.boxes[r]
        box = (slice(None), slice(top, top + frames.box), slice(left, left + rows.box))
        plane = _both(frames.inside[f].to(q.device), rows.inside[r].to(q.device))
        mask_JQK = torch.stack([_both(plane, one) for one in across]).repeat(len(q), 1, 1)
        made = F.scaled_dot_product_attention(
            _blocks(q[place], asked),
            _blocks(k[box], seen),
            _blocks(v[box], seen),
            mask_JQK[:, None],
            scale=1.0,
        )
        out[place] = _unblocked(made, out[place].shape, asked)
    return out


def _columns(starts: tuple[int, ...], length: int, device: torch.device) -> Tensor:
    """Numbers of the columns of each block: (J, length)."""
    return (torch.tensor(starts)[:, None] + torch.arange(length)).to(device)


def _both(left: Tensor, right: Tensor) -> Tensor:
    """Masks of two axes (Q,K) and (q,k) as the mask of their grid (Qq,Kk)."""
    return (left[:, None, :, None] & right[None, :, None, :]).flatten(2).flatten(0, 1)


def _blocks(x_BTHWND: Tensor, columns_JL: Tensor) -> Tensor:
    """Blocks of columns as a batch: (B J, N, cells, D)."""
    taken = x_BTHWND[:, :, :, columns_JL]  # (B,T,H,J,L,N,D)
    return taken.permute(0, 3, 5, 1, 2, 4, 6).flatten(3, 5).flatten(0, 1)


def _unblocked(made: Tensor, shape: torch.Size, columns_JL: Tensor) -> Tensor:
    """The inverse of `_blocks`; columns that two blocks computed are alike."""
    batch, frames, rows, _, heads, width = shape
    cells = (frames, rows, columns_JL.shape[1])
    blocks = made.unflatten(0, (batch, -1)).unflatten(3, cells).permute(0, 3, 4, 1, 5, 2, 6)
    room = made.new_empty(shape)
    room[:, :, :, columns_JL.flatten()] = blocks.reshape(batch, frames, rows, -1, heads, width)
    return room
