"""A loaded denoiser made fast: the optimisations that are asked for, in the order that they need."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
import torch._dynamo

from castsheet.ltx.model.block import Block
from castsheet.ltx.model.dit import Transformer
from castsheet.ltx.model.layers import Attention, FeedForward
from castsheet.ltx.model.rows import RowOps
from castsheet.ltx.model.scaled import unit_of
from castsheet.ltx.speed.attention8 import use_fp8_attention
from castsheet.ltx.speed.joint import join_projections
from castsheet.ltx.speed.memory import SLOTS
from castsheet.ltx.speed.streaming import stream_blocks


def make_fast(
    transformer: Transformer,
    device: torch.device | None = None,
    *,
    attention: str = "auto",
    resident: int | None = None,
    compiled: bool | None = None,
) -> Transformer:
    """Make a loaded model fast, in place; for inference only.

    Merge adapters and quantise layers before. The order is join, choose attention, stream, fuse, compile:
    streamed blocks must be joined before they leave the device, and compiled code must find everything in its
    final place.

    Args:
        device: where the model computes; None is where it is.
        attention: "fp8" for self-attention in fp8, which is approximate; "auto" is exact.
        resident: how many blocks stay on the device while the others are streamed; None streams none.
        compiled: compile the blocks; None compiles on a GPU, where a clip repays the wait in the first step.

    Raises:
        SettingsError, DependencyError: fp8 attention that this machine cannot compute.
    """
    device = device or transformer.patchify_proj.weight.device
    transformer.requires_grad_(False)
    join_projections(transformer)
    if attention == "fp8":
        use_fp8_attention(transformer, device)
    if resident is not None:
        stream_blocks(transformer, device, resident=resident, slots=SLOTS)
    ops = fused_rows(device)
    if ops is not None:
        fuse_rows(transformer, ops)
    compiled = device.type == "cuda" if compiled is None else compiled
    return compile_blocks(transformer) if compiled else transformer


def fuse_rows(transformer: Transformer, ops: RowOps) -> Transformer:
    """Give the blocks `ops` for their row operations, in place."""
    for module in transformer.modules():
        if isinstance(module, Block | Attention | FeedForward):
            module.ops = ops
    return transformer


def fused_rows(device: torch.device) -> RowOps | None:
    """The row operations as kernels for this device; None if Triton has none for it."""
    if device.type != "cuda" or find_spec("triton") is None:
        return None
    from castsheet.ltx.speed.fused_rows import FusedRowOps

    return FusedRowOps(fp8=unit_of(device) == "fp8")


def compile_blocks(transformer: Transformer, backend: str | Callable[..., Any] = "inductor") -> Transformer:
    """Compile every block as one graph. Blocks share its code: 48 blocks compile in the time of three.

    Three forms exist: plain, perturbed, and the last block, which leaves out rows. Sizes are fixed: a clip of
    another size compiles anew. Nothing is compiled before the first call.

    Args:
        backend: as for `torch.compile`.
    """
    # Each new size adds three forms to one function, and torch's own limit is 8 forms.
    limits: Any = torch._dynamo.config
    limits.recompile_limit = max(limits.recompile_limit, 64)
    # Strides must stay as they are: kernels find the outputs of a joint product by their places.
    options = {"comprehensive_padding": False} if backend == "inductor" else None
    for module in transformer.modules():
        if isinstance(module, Block):
            module.compile(fullgraph=True, dynamic=False, backend=backend, options=options)
    return transformer
