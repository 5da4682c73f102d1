"""The frozen model in training: what each block keeps for the backward pass, and compiled blocks.

The backward pass needs only a block's input: it can run the block again. Keeping more saves time. For its
size, the result of the attention over the whole sequence saves seven times as much as anything else (at the
published bucket 4 ms for 88 MB; all other work of a block is 6 ms for 1 GB).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from functools import partial
from typing import Any

import torch
import torch._dynamo
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

from castsheet.ltx.model.block import Block
from castsheet.ltx.model.dit import Transformer
from castsheet.train.config import BaseConfig
from castsheet.train.memory.host import HostCopies


class Keep(StrEnum):
    """What a block keeps: its input; its self-attention's result too; or all that its backward pass reads."""

    INPUT = "input"
    ATTENTION = "attention"
    ALL = "all"


_ATTENTION = {
    getattr(torch.ops.aten, f"_scaled_dot_product_{name}").default
    for name in ("cudnn_attention", "flash_attention", "efficient_attention", "flash_attention_for_cpu")
}


def prepare(
    transformer: Transformer,
    keeps: Sequence[Keep],
    *,
    compiled: bool,
    offload: bool,
    backend: str = "inductor",
) -> None:
    """Replace the blocks' forward passes.

    Args:
        keeps: what each block keeps.
        compiled: compile one graph for all blocks that keep the same.
        offload: keep the blocks' inputs in host memory until the backward pass.
        backend: of the compiler.
    """
    run: dict[Keep, Callable[..., Any]] = {
        Keep.INPUT: _from_input,
        Keep.ATTENTION: _from_attention,
        Keep.ALL: Block.forward,
    }
    if compiled:
        limits: Any = torch._dynamo.config
        limits.recompile_limit = max(limits.recompile_limit, 64)  # sizes, noise, sample pictures
        settings: dict[str, Any] = {"dynamic": False, "fullgraph": True, "backend": backend}
        run = {keep: torch.compile(function, **settings) for keep, function in run.items()}
    device = transformer.patchify_proj.weight.device
    copies = HostCopies(device) if offload else None
    for block, keep in zip(transformer.transformer_blocks, keeps, strict=True):
        forward: Callable[..., Any] = partial(run[keep], block)
        block.forward = forward if copies is None else partial(copies.around, forward)


def _from_input(block: Block, *arguments: Any) -> Any:
    return _checkpointed(block, arguments, _keep_nothing)


def _from_attention(block: Block, *arguments: Any) -> Any:
    return _checkpointed(block, arguments, _keep_attention)


def _checkpointed(block: Block, arguments: Sequence[Any], policy: Callable[..., CheckpointPolicy]) -> Any:
    # A policy is needed even if nothing is kept. Without one, torch 2.11's compiler recomputes no operation
    # inside a custom function, and stores the results of all fp8 products, 1 GB a block.
    contexts = partial(create_selective_checkpoint_contexts, policy)
    run = partial(Block.forward, block)
    return checkpoint(run, *arguments, use_reentrant=False, preserve_rng_state=False, context_fn=contexts)


def _keep_nothing(*_: Any, **__: Any) -> CheckpointPolicy:
    return CheckpointPolicy.PREFER_RECOMPUTE


def _keep_attention(_: Any, operation: Any, *arguments: Any, **__: Any) -> CheckpointPolicy:
    """Keep self-attention's result. Attention to the text costs a tenth, and its result is as large."""
    if operation in _ATTENTION and arguments[1].shape[-2] >= arguments[0].shape[-2]:
        return CheckpointPolicy.MUST_SAVE
    return CheckpointPolicy.PREFER_RECOMPUTE


def plan(
    config: BaseConfig, layers: int, input_bytes: int, block_bytes: Callable[[], int]
) -> tuple[Keep, ...]:
    """What each block keeps.

    Args:
        input_bytes: of a block's input; its attention's result has about the same size.
        block_bytes: measures what a block keeps that keeps all; called only if there may be room for it.
    """
    choice = config.recompute
    if choice == "all":
        return (Keep.INPUT,) * layers
    if choice == "attention":
        return (Keep.ATTENTION,) * layers
    if choice == "none":
        return (Keep.ALL,) * layers
    if choice != "auto":
        return (Keep.INPUT,) * min(choice, layers) + (Keep.ALL,) * max(layers - choice, 0)
    # The last block's backward pass comes first: what it keeps is gone before the others' peak.
    others = layers - 1
    left = int(config.activation_gib * 2**30) - layers * input_bytes
    attention = min(max(left // max(input_bytes, 1), 0), others)
    left -= attention * input_bytes
    whole = 0
    if attention == others and left > 4 * input_bytes:
        whole = min(left // max(block_bytes() - 2 * input_bytes, 1), others)
    parts = ((Keep.INPUT, others - attention), (Keep.ATTENTION, attention - whole), (Keep.ALL, whole + 1))
    return tuple(keep for keep, count in parts for _ in range(count))


# What a compiled block's results for its backward pass are, and with its work there, in inputs of its size:
# 2.1 GiB and 4.3 GiB at the published bucket (rank 128, fp8), where an input is 84 MiB. Measured.
_WHOLE, _WORK = 25, 52
ROOMS = 4
"""Blocks of a streamed base that are on the device at once: one that runs, the next one, and their copies."""
# With `offload`, what of them is on the device at once, room for copies included: 0.9 GiB there. Measured.
_ON_DEVICE = 11


def expected_peak(keeps: Sequence[Keep], held: int, trained: int, input_bytes: int, *, offload: bool) -> int:
    """The most bytes that a step needs on the device.

    peak = held + work + max(kept, gradients), with work = 52 inputs (a block is computed again and goes
    through its backward pass), kept = for every block but the last its input (offloaded: of eleven), its
    attention's result (one input more) or all it keeps (25 inputs), and gradients = 4 bytes a number (unless
    offloaded). The two are not added: a block's gradients come when what it kept goes.

    Args:
        held: bytes of weights, adapter and optimiser. trained: numbers. input_bytes: of a block's input.
    """
    others = keeps[:-1]
    extra = {Keep.INPUT: 0, Keep.ATTENTION: 1, Keep.ALL: _WHOLE - 1}
    inputs = min(_ON_DEVICE, len(others)) if offload else len(others)
    kept = (inputs + sum(extra[keep] for keep in others)) * input_bytes
    return held + _WORK * input_bytes + max(kept, 0 if offload else 4 * trained)


def held_bytes(tensors: Iterable[Tensor], device: torch.device) -> int:
    """Bytes of the memory of those tensors that lie on the device, of divided ones this process's part.

    Shared memory counts once.
    """
    own = [one.to_local() if isinstance(one, DTensor) else one for one in tensors]
    storages = [one.untyped_storage() for one in own if one.device.type == device.type]
    places = {one.data_ptr(): one.nbytes() for one in storages}
    return sum(places.values())


def frozen_part(block: nn.Module) -> list[Tensor]:
    """A block's tensors that are not trained."""
    return [one for one in (*block.parameters(), *block.buffers()) if not one.requires_grad]


def kept_bytes(run: Callable[[], Any], device: torch.device) -> int:
    """Bytes that autograd keeps for the backward pass of what `run` computes, parameters not counted."""
    if device.type == "cuda":
        run()  # kernels make their workspaces
        before = torch.cuda.memory_allocated(device)
        result = run()
        kept = torch.cuda.memory_allocated(device) - before
        del result
        return kept
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
