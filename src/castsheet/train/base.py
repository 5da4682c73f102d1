"""The frozen model as training runs it: which blocks are recomputed, compiled blocks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from castsheet.ltx.dit import Transformer
from castsheet.train.config import BaseConfig

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32, "fp8": torch.bfloat16}


def prepare(transformer: Transformer, config: BaseConfig, recomputed: int) -> None:
    """Wrap the blocks' forward passes: compiled where asked for, the first `recomputed` ones not stored."""
    for index, block in enumerate(transformer.transformer_blocks):
        forward: Callable[..., Any] = block.forward
        if config.compile:
            forward = torch.compile(forward, dynamic=False)
        if index < recomputed:
            forward = partial(checkpoint, forward, use_reentrant=False)
        block.forward = forward


def blocks_to_recompute(config: BaseConfig, layers: int, block_bytes: Callable[[], int]) -> int:
    """How many blocks are recomputed.

    Args:
        block_bytes: measures what one block would keep for its backward pass; asked for "auto" only.
    """
    if config.recompute == "all":
        return layers
    if config.recompute == "none":
        return 0
    if config.recompute == "auto":
        stored = int(config.activation_gib * 2**30 // max(block_bytes(), 1))
        return max(layers - stored, 0)
    return min(config.recompute, layers)


def kept_bytes(run: Callable[[], Any]) -> int:
    """Bytes that autograd keeps for the backward pass of what `run` computes, parameters not counted."""
    seen: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, nn.Parameter):
            storage = tensor.untyped_storage()
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = run()
        kept = sum(seen.values())
    del result
    return kept
