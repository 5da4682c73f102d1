"""What lies in memory between the forward and the backward pass, for every way to hold the base."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef

from castsheet.ltx.config import TransformerConfig
from castsheet.ltx.dit import Stream, Transformer
from castsheet.ltx.lora import attach
from castsheet.ltx.precision import quantise
from castsheet.ltx.rope import video_bounds, video_tables
from castsheet.train.base import Keep, kept_bytes, prepare

LAYERS, WIDTH, TOKENS, CPU = 4, 128, 2 * 128, torch.device("cpu")
INPUT = TOKENS * WIDTH * 4  # bytes of a block's input


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    """Compiled code is let go."""
    yield
    torch._dynamo.reset()


def model(weights: str) -> tuple[Transformer, Stream]:
    """A model with an adapter, and [clip | reference] for it."""
    torch.manual_seed(0)
    config = TransformerConfig(
        layers=LAYERS, heads=2, head_dim=WIDTH // 2, in_channels=8, out_channels=8, context_dim=WIDTH
    )
    transformer = Transformer(config).requires_grad_(False)
    if weights == "fp8":
        quantise(transformer)
    attach(transformer, 4)
    rope = video_tables(config, video_bounds(4, 8, 8, 24.0), torch.float32)
    segments, levels = (TOKENS // 2, TOKENS // 2), torch.tensor([[0.5, 0.0]])
    tokens, context = torch.randn(1, TOKENS, 8), torch.randn(1, 4, WIDTH)
    return transformer, Stream(tokens, context, rope, segments, levels, torch.tensor([0.5]))


@pytest.mark.parametrize(("weights", "compiled"), [("fp32", False), ("fp8", False), ("fp8", True)])
@pytest.mark.parametrize(
    ("keep", "least", "most"), [(Keep.INPUT, 1.0, 1.8), (Keep.ATTENTION, 1.0, 2.8), (Keep.ALL, 15.0, 40.0)]
)
def test_a_block_keeps_what_it_says(
    keep: Keep, least: float, most: float, weights: str, compiled: bool
) -> None:
    """Red: a block that is to be recomputed is stored: at full size that is 1 GB more for each of 48."""
    transformer, stream = model(weights)
    backend = "aot_eager_decomp_partition"  # the compiler's choice of what to store, without its kernels
    prepare(transformer, [keep] * LAYERS, compiled=compiled, offload=False, backend=backend)
    kept = kept_bytes(lambda: transformer(stream).video_BTC, CPU) / LAYERS / INPUT
    assert least <= kept <= most


@pytest.mark.parametrize(
    ("keep", "compiled"), [(Keep.INPUT, False), (Keep.ATTENTION, False), (Keep.INPUT, True)]
)
def test_what_is_offloaded_leaves_the_device(keep: Keep, compiled: bool) -> None:
    """Red: a block's input has a copy in host memory, and stays where it was all the same."""
    transformer, stream = model("fp8")
    prepare(transformer, [keep] * LAYERS, compiled=compiled, offload=True, backend="aot_eager")
    inputs: list[StorageWeakRef] = []
    for block in transformer.transformer_blocks:
        block.register_forward_pre_hook(_note(inputs))
    velocity = transformer(stream).video_BTC
    assert [one.expired() for one in inputs] == [True] * LAYERS
    velocity.square().mean().backward()
    trained = [one for one in transformer.parameters() if one.requires_grad]
    assert all(one.grad is not None for one in trained)


def _note(into: list[StorageWeakRef]) -> Any:
    def hook(_: nn.Module, given: tuple[Any, ...]) -> None:
        into.append(StorageWeakRef(given[0].untyped_storage()))

    return hook
