"""Reads the denoiser from a checkpoint, tensor by tensor: merges adapters, and quantises layers if asked.

Tables, norms, gates, embeddings and the first and last layer are never in fp8. A published fp8 file has one
scalar scale for each weight: the scale is repeated over the rows, and the stored numbers are used unchanged.
The file's static `input_scale` is not used. Instead each row of activations gets its own scale, which never
clips and costs one reduction that the compiler fuses into the norm before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from castsheet.errors import CheckpointError
from castsheet.ltx import keys
from castsheet.ltx.adapters.lora import Deltas
from castsheet.ltx.adapters.lora_file import LoRA
from castsheet.ltx.files.checkpoint import Checkpoint
from castsheet.ltx.files.reading import Spoilt, read, widened
from castsheet.ltx.header import Entry
from castsheet.ltx.model.config import TransformerConfig
from castsheet.ltx.model.dit import Transformer
from castsheet.ltx.model.scaled import (
    E4M3,
    E4M3_NAME,
    Precision,
    ScaledLinear,
    is_scaled,
    quantise_rows,
    swap_layers,
)
from castsheet.ltx.parts.vae import check_shapes, fill


@torch.no_grad()
def load_transformer(
    checkpoint: Checkpoint,
    precision: Precision,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.bfloat16,
    audio: bool = False,
    adapters: Sequence[tuple[LoRA, float]] = (),
    home: torch.device | str | None = None,
) -> tuple[Transformer, tuple[str, ...]]:
    """The denoiser, frozen and in eval mode; AdaLN tables stay fp32.

    Only one tensor at a time is held in a wider format than its final one. Adapters are added in fp32, and
    the sum is rounded once. A layer that stays in fp8 keeps the file's numbers; a layer with an adapter, or
    with scales of another kind, is quantised anew.

    Args:
        precision: "wide": every layer in `dtype`. "plain": each layer as the file stores it, fp8 stays fp8.
            "fp8": the large layers of all blocks in fp8.
        device: where tensors are merged and quantised. home: where they stay; None means on `device`.
        audio: load the audio half too; without it, its tensors are not read.

    Returns:
        The model, and the adapters' layers that were skipped because a model without audio lacks them.

    Raises:
        CheckpointError: damaged, incomplete or unknown tensors; up to five are named.
        FamilyError: a file of a family that does not run, or an adapter of another family.
        AdapterError: an adapter has layers that the model lacks, or of another shape.
    """
    config = checkpoint.config.transformer
    if audio and not (config.audio and checkpoint.has_audio):
        raise CheckpointError(
            f"{checkpoint.path} has no audio half", remedy="run without audio, or use a full file"
        )
    config = config if audio else config.video_only()
    names = [name for name in checkpoint.names("transformer") if audio or not keys.is_audio(name)]
    model = _empty(
        config, {name.removeprefix(keys.DIT): checkpoint.entries[name] for name in names}, precision
    )
    scaled = {name for name, module in model.named_modules() if isinstance(module, ScaledLinear)}
    deltas, spoilt = Deltas(model, adapters), Spoilt()
    state: dict[str, Tensor] = {}
    for stored_name, tensor, scale in read(checkpoint.entries, names, device):
        name = stored_name.removeprefix(keys.DIT)
        for key, one in _placed(name, tensor, scale, scaled, deltas, dtype).items():
            spoilt.look(stored_name, one)
            state[key] = one if home is None else one.to(home)
    spoilt.refuse(checkpoint.path)
    fill(model, state)
    return model.eval().requires_grad_(False), deltas.left_out


def _empty(config: TransformerConfig, stored: Mapping[str, Entry], precision: Precision) -> Transformer:
    """A model with empty layers of the kinds that `precision` asks for.

    Raises:
        CheckpointError: the stored tensors do not fit; raised before tens of gigabytes are read.
    """

    def in_fp8(layer: str) -> bool:
        kept = precision == "plain" and stored[f"{layer}.weight"].dtype == E4M3_NAME
        return is_scaled(layer) and (precision == "fp8" or kept)

    with torch.device("meta"):
        model = Transformer(config)
        check_shapes(model, {name: tuple(entry.shape) for name, entry in stored.items()})
        swap_layers(
            model,
            in_fp8,
            lambda layer: ScaledLinear(layer.in_features, layer.out_features, layer.bias is not None),
        )
    return model


def _placed(
    name: str, tensor: Tensor, scale: Tensor | None, scaled: set[str], deltas: Deltas, dtype: torch.dtype
) -> dict[str, Tensor]:
    """The model's tensors from one stored tensor: the tensor itself, or fp8 numbers and their scales."""
    layer = name.removesuffix(".weight")
    if layer == name or layer not in scaled:
        wide = widened(tensor, scale)
        wide = deltas.added(layer, wide) if layer != name else wide
        return {name: wide.to(torch.float32 if keys.is_table(name) else dtype)}
    if tensor.dtype == E4M3 and layer not in deltas:
        ones = torch.ones(tensor.shape[0], 1, device=tensor.device)
        return {name: tensor, f"{name}_scale": ones if scale is None else (ones * scale).contiguous()}
    numbers, rows = quantise_rows(deltas.added(layer, widened(tensor, scale).float()))
    return {name: numbers, f"{name}_scale": rows}
