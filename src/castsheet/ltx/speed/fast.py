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

    Adapters are merged and layers quantised before. Streamed blocks must be joined before they leave the
    device, and compiled code must find everything in its last place: so the order is join, choose attention,
    stream, fuse, compile.

    Args:
        device: where the model computes; None is where it is.
        attention: "fp8" for self-attention in fp8, which is approximate; "auto" is exact.
        resident: how many blocks stay on the device while the others are streamed; None streams none.
        compiled: compile the blocks; None does so on a GPU, where the first step's wait is repaid in a clip.

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
    """Have `ops` do the row operations of the blocks, in place."""
    for module in transformer.modules():
        if isinstance(module, Block | Attention | FeedForward):
            module.ops = ops
    return transformer


def fused_rows(device: torch.device) -> RowOps | None:
    """The row operations as kernels for this device; None where Triton has none for it."""
    if device.type != "cuda" or find_spec("triton") is None:
        return None
    from castsheet.ltx.speed.fused_rows import FusedRowOps

    return FusedRowOps(fp8=unit_of(device) == "fp8")


def compile_blocks(transformer: Transformer, backend: str | Callable[..., Any] = "inductor") -> Transformer:
    """Compile every block as one graph; they share its code, so 48 blocks compile in the time of three.

    Three forms exist: plain, perturbed, and the last block where rows are left out. Sizes are fixed: a clip
    of another size compiles anew. Nothing is compiled before the first call.

    Args:
        backend: as for `torch.compile`.
    """
    # Each new size adds three forms to one function; past torch's own limit of 8 it would refuse to go on.
    limits: Any = torch._dynamo.config
    limits.recompile_limit = max(limits.recompile_limit, 64)
    # Rows as far apart as they are here: a joint product's outputs are told apart by their places.
    options = {"comprehensive_padding": False} if backend == "inductor" else None
    for module in transformer.modules():
        if isinstance(module, Block):
            module.compile(fullgraph=True, dynamic=False, backend=backend, options=options)
    return transformer
