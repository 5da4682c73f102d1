"""Small adapters, shared by the tests of adapter files and of adapters in a model."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from castsheet.ltx.adapters.lora import Deltas, attach
from castsheet.ltx.adapters.lora_file import LoRA
from castsheet.ltx.model.dit import Transformer
from tests.doubles.ltx_tiny import randn

RANK = 4


def trained(model: Transformer, *, alpha: float | None = None, seed: int = 3) -> Transformer:
    """A copy with an attached adapter whose B is no longer zero."""
    model = copy.deepcopy(model)
    parameters = attach(model, RANK, alpha, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for index, parameter in enumerate(parameters):
            parameter.copy_(0.2 * randn(*parameter.shape, seed=seed + index))
    return model


def saved(path: Path, tensors: dict[str, Tensor], **metadata: str) -> LoRA:
    """Write tensors as they are and open them as an adapter."""
    save_file(tensors, path, metadata=metadata or None)
    return LoRA.open(path)


def one_layer(name: str = "transformer_blocks.0.attn1.to_q", width: int = 32) -> dict[str, Tensor]:
    """An adapter of one square layer, under official keys."""
    return {
        f"diffusion_model.{name}.lora_A.weight": randn(RANK, width, seed=1),
        f"diffusion_model.{name}.lora_B.weight": randn(width, RANK, seed=2),
    }


@torch.no_grad()
def merge(transformer: Transformer, adapters: Sequence[tuple[LoRA, float]]) -> tuple[str, ...]:
    """Add adapters to a loaded model's weights, as loading does tensor by tensor; the layers left out."""
    deltas = Deltas(transformer, adapters)
    for name, module in transformer.named_modules():
        if isinstance(module, nn.Linear) and name in deltas:
            module.weight.copy_(deltas.added(name, module.weight))
    return deltas.left_out
