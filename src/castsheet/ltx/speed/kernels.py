"""The fastest exact attention of a machine: the order in which torch tries its kernels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel


def attention_order(device: torch.device, capability: tuple[int, int] | None = None) -> list[SDPBackend]:
    """Attention kernels in the order in which to try them; empty on a CPU, where there is no choice.

    All compute the same function. On compute capability 9 and later, cuDNN's is about twice as fast as the
    FlashAttention-2 that ships with torch; FlashAttention-3, where its package is installed, is its equal.
    """
    if device.type != "cuda":
        return []
    newest = (capability or torch.cuda.get_device_capability(device)) >= (9, 0)
    rest = [SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
    if newest:
        return [SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, *rest]
    return [SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION, *rest]


@contextmanager
def attention_kernels(device: torch.device, order: Sequence[SDPBackend] | None = None) -> Iterator[None]:
    """Inside the block, `scaled_dot_product_attention` tries kernels in this order. Compile inside it too."""
    chosen = attention_order(device) if order is None else list(order)
    if not chosen:
        yield
        return
    with sdpa_kernel(chosen, set_priority=True):
        yield
