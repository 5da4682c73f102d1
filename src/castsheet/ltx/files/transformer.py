"""Reads the denoiser from a checkpoint, tensor by tensor: merges adapters, and gives layers their format.

Tables, norms, gates, embeddings and the first and last layer are in no format of `ltx/formats.py`. The static
`input_scale` of a published fp8 file is not used. Instead each row of activations gets its own scale, which
never clips and costs one reduction that the compiler fuses into the norm before it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from castsheet.errors import AdapterError, CheckpointError
from castsheet.ltx import keys
from castsheet.ltx.adapters.lora import Deltas
from castsheet.ltx.adapters.lora_file import LoRA, some
from castsheet.ltx.files.checkpoint import Checkpoint
from castsheet.ltx.files.reading import Spoilt, read, widened
from castsheet.ltx.formats import FORMATS, Format, format_of
from castsheet.ltx.header import Entry
from castsheet.ltx.model.config import TransformerConfig
from castsheet.ltx.model.dit import Transformer
from castsheet.ltx.parts.vae import check_shapes, fill

_BLOCK = re.compile(r"transformer_blocks\.(\d+)\.")


@torch.no_grad()
def load_transformer(
    checkpoint: Checkpoint,
    precision: str,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.bfloat16,
    audio: bool = False,
    adapters: Sequence[tuple[LoRA, float]] = (),
    home: torch.device | str | None = None,
    on_tensor: Callable[[], None] | None = None,
) -> tuple[Transformer, tuple[str, ...]]:
    """The denoiser, frozen and in eval mode; AdaLN tables stay fp32.

    Only one tensor at a time is held in a wider format than its final one. Adapters are added in fp32, and
    the sum is rounded once. A layer that stays in its format keeps the file's numbers; a layer with an
    adapter is rounded anew.

    Args:
        precision: "wide": every layer in `dtype`. "plain": each layer as the file stores it. A name in
            `castsheet.ltx.formats.FORMATS`: the large layers of all blocks in that format.
        device: where tensors are merged and quantised. home: where they stay; None means on `device`.
        audio: load the audio half too; without it, its tensors are not read.
        on_tensor: called before each tensor. To give up, raise an exception in it.

    Returns:
        The model, and the adapters' layers that were skipped because a model without audio lacks them.

    Raises:
        CheckpointError: damaged, incomplete or unknown tensors; up to five are named.
        FamilyError: a file of a family that does not run, or an adapter of another family.
        AdapterError: an adapter has layers that the model lacks, or of another shape, or in a format that
            takes none.
    """
    config = _config(checkpoint, audio)
    names = [name for name in checkpoint.names("transformer") if audio or not keys.is_audio(name)]
    stored = {name.removeprefix(keys.DIT): checkpoint.entries[name] for name in names}
    formats = _formats(stored, precision)
    model = _empty(config, stored)
    deltas, spoilt = Deltas(model, adapters), Spoilt()
    _give_formats(model, formats, deltas)
    state: dict[str, Tensor] = {}
    for stored_name, tensor, scale in read(checkpoint.entries, names, device):
        if on_tensor is not None:
            on_tensor()
        name = stored_name.removeprefix(keys.DIT)
        layer = name.removesuffix(".weight")
        if layer == name or layer not in formats:
            found = {name: _wide(name, widened(tensor, scale), deltas, dtype)}
        elif format_of(stored[name].dtype) is formats[layer] and layer not in deltas:
            found = {f"{layer}.{key}": one for key, one in formats[layer].kept(tensor, scale).items()}
        else:
            wide = deltas.added(layer, widened(tensor, scale).float())
            found = {f"{layer}.{key}": one for key, one in formats[layer].held(wide).items()}
        for key, one in found.items():
            spoilt.look(stored_name, one)
            state[key] = one if home is None else one.to(home)
    spoilt.refuse(checkpoint.path)
    fill(model, state)
    return model.eval().requires_grad_(False), deltas.left_out


def _config(checkpoint: Checkpoint, audio: bool) -> TransformerConfig:
    """The config of the whole denoiser, or of its video half."""
    config = checkpoint.config.transformer
    if audio and not (config.audio and checkpoint.has_audio):
        raise CheckpointError(
            f"{checkpoint.path} has no audio half", remedy="run without audio, or use a full file"
        )
    return config if audio else config.video_only()


def _formats(stored: Mapping[str, Entry], precision: str) -> dict[str, Format]:
    """The format of each layer that is in one."""
    layers = [name.removesuffix(".weight") for name in stored if name.endswith(".weight")]
    large = [layer for layer in layers if keys.is_large(layer)]
    if precision == "wide":
        return {}
    if precision != "plain":
        return dict.fromkeys(large, FORMATS[precision])
    found = {layer: format_of(stored[f"{layer}.weight"].dtype) for layer in large}
    return {layer: one for layer, one in found.items() if one is not None}


def _empty(config: TransformerConfig, stored: Mapping[str, Entry]) -> Transformer:
    """A model without numbers.

    Raises:
        CheckpointError: the stored tensors do not fit; raised before tens of gigabytes are read.
    """
    blocks = {found[1] for name in stored if (found := _BLOCK.match(name))}
    if len(blocks) < config.layers:
        raise CheckpointError(
            f"the config header says {config.layers} layers, the tensors are of {len(blocks)}",
            remedy="check that the file is whole and that its config header is its own",
        )
    with torch.device("meta"):
        model = Transformer(config)
    check_shapes(model, {name: tuple(entry.shape) for name, entry in stored.items()})
    return model


def _give_formats(model: Transformer, formats: Mapping[str, Format], deltas: Deltas) -> None:
    """Put a layer of its format in the place of each plain one.

    Raises:
        AdapterError: an adapter has a layer whose format takes none.
    """
    fixed = [layer for layer, one in formats.items() if not one.merges and layer in deltas]
    if fixed:
        raise AdapterError(
            f"an adapter cannot be merged into layers in {formats[fixed[0]].name}: {some(fixed)}",
            remedy="choose another precision, or run without the adapter",
        )
    for name, one in formats.items():
        plain: Any = model.get_submodule(name)
        with torch.device("meta"):
            layer = one.layer(plain.in_features, plain.out_features, plain.bias is not None)
        model.set_submodule(name, layer, strict=True)


def _wide(name: str, tensor: Tensor, deltas: Deltas, dtype: torch.dtype) -> Tensor:
    """A tensor that is in no format, with what adapters add to it."""
    if name.endswith(".weight"):
        tensor = deltas.added(name.removesuffix(".weight"), tensor)
    return tensor.to(torch.float32 if keys.is_table(name) else dtype)
