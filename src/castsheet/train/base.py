"""The frozen model as training runs it: its precision, which blocks are recomputed, compiled blocks.

Legend: O outputs, I inputs of a linear layer.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils.checkpoint import checkpoint

from castsheet.ltx.dit import Transformer
from castsheet.train.config import BaseConfig

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32, "fp8": torch.bfloat16}
FP8 = torch.float8_e4m3fn


class _Expand(nn.Module):
    """An fp8 weight as its layer sees it: bf16, each row by its own scale."""

    scale_O1: Tensor

    def __init__(self, scale_O1: Tensor) -> None:
        super().__init__()
        self.register_buffer("scale_O1", scale_O1, persistent=False)

    def forward(self, stored_OI: Tensor) -> Tensor:
        return stored_OI.to(torch.bfloat16) * self.scale_O1


def store_fp8(transformer: Transformer) -> None:
    """Hold the blocks' matrices in fp8 (e4m3, a scale a row), half of bf16; they are expanded when used.

    Under recomputation only one block's expanded weights exist at a time.
    """
    for layer in transformer.transformer_blocks.modules():
        if isinstance(layer, nn.Linear) and not parametrize.is_parametrized(layer):
            weight_OI = layer.weight.detach().float()
            scale_O1 = weight_OI.abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / torch.finfo(FP8).max
            layer.weight = nn.Parameter((weight_OI / scale_O1).to(FP8), requires_grad=False)
            expand = _Expand(scale_O1.to(torch.bfloat16))
            parametrize.register_parametrization(layer, "weight", expand, unsafe=True)


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
