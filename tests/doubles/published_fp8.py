"""A small checkpoint in fp8, as large ones are published."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from castsheet.ltx.keys import DIT, is_large
from castsheet.ltx.model.scaled import E4M3
from mini.official import write_checkpoint
from tests.doubles.model_doubles import random_tensors, toy_config


def published(path: Path, *, scale: bool = True, spoil: bool = False) -> tuple[Path, dict[str, Tensor]]:
    """As published files are: scalar fp32 scales, an unused input scale, the first block left in bf16."""
    config = toy_config(audio=False, layers=3)
    tensors = random_tensors(config)
    for name in [one.removesuffix(".weight") for one in tensors if one.endswith(".weight")]:
        layer = name.removeprefix(DIT)
        if not is_large(layer) or layer.startswith("transformer_blocks.0."):
            continue
        weight = tensors[f"{name}.weight"].float()
        factor = weight.abs().max() / 448 if scale else torch.tensor(1.0)
        tensors[f"{name}.weight"] = (weight / factor).to(E4M3)
        if scale:
            tensors[f"{name}.weight_scale"] = factor
            tensors[f"{name}.input_scale"] = torch.tensor(0.02)
    if spoil:
        raw = tensors[f"{DIT}transformer_blocks.1.ff.net.2.weight"].view(torch.uint8)
        raw[0, 0] = 0x7F  # e4m3's NaN
    write_checkpoint(path, tensors, config, "2.3.0")
    return path, tensors
