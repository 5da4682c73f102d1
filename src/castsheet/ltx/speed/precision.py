"""The denoiser with its large linear layers in fp8 (`ltx/model/scaled.py`): which layers, and files read so.

Tables, norms, gates, embeddings and the first and last layer stay as they are. Published fp8 files carry one
scalar scale a weight; it is repeated over the rows, so their numbers are used untouched. Their static
`input_scale` is not used: a scale of each row's own costs one reduction that the compiler fuses into the norm
before it, and never clips.

Legend: I inputs, O outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from castsheet.errors import AdapterError, CheckpointError
from castsheet.ltx import keys
from castsheet.ltx.adapters.lora import LoRA
from castsheet.ltx.adapters.lora_file import some
from castsheet.ltx.family import refuse_adapter
from castsheet.ltx.files.checkpoint import Checkpoint
from castsheet.ltx.header import Entry
from castsheet.ltx.model.dit import Transformer
from castsheet.ltx.model.scaled import E4M3, ScaledLinear, dequantise, quantise_rows
from castsheet.ltx.parts.vae import fill

Precision = Literal["plain", "fp8"]

E4M3_NAME = "F8_E4M3"  # in safetensors headers
_AGAIN = "download the file again"

# Ends of the names of the layers that hold nearly all weights and work.
LAYERS = tuple(
    f".{attention}.{layer}"
    for attention in (
        "attn1",
        "attn2",
        "audio_attn1",
        "audio_attn2",
        "audio_to_video_attn",
        "video_to_audio_attn",
    )
    for layer in ("to_q", "to_k", "to_v", "to_out.0")
) + tuple(f".{ff}.{layer}" for ff in ("ff", "audio_ff") for layer in ("net.0.proj", "net.2"))


def is_scaled(name: str) -> bool:
    """Whether the layer `name` (official, without prefix) is one that fp8 is for."""
    return name.startswith("transformer_blocks.") and name.endswith(LAYERS)


def swap_layers(
    model: nn.Module, wanted: Callable[[str], bool], make: Callable[[nn.Linear], nn.Module]
) -> tuple[str, ...]:
    """Replace the linear layers whose name is wanted, one at a time; returns their names."""
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and wanted(name)]
    for name in names:
        parent, _, child = name.rpartition(".")
        holder = model.get_submodule(parent)
        setattr(holder, child, make(getattr(holder, child)))
    return tuple(names)


@torch.no_grad()
def quantise(transformer: Transformer) -> Transformer:
    """Turn a loaded model's large layers to fp8 in place; each bf16 weight is let go before the next."""
    swap_layers(transformer, is_scaled, ScaledLinear.of)
    return transformer


@torch.no_grad()
def load_transformer(
    checkpoint: Checkpoint,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.bfloat16,
    audio: bool = False,
    adapters: Sequence[tuple[LoRA, float]] = (),
    precision: Precision = "fp8",
    home: torch.device | str | None = None,
) -> tuple[Transformer, tuple[str, ...]]:
    """The denoiser with adapters merged and the large layers in fp8, read tensor by tensor.

    At no time is more than one tensor in a wider format than it ends up in. Adapters are added in fp32 before
    the one rounding. Weights that a file stores in e4m3 stay as they are; those with an adapter, or with
    scales of another kind, are quantised anew. Blocks that such a file leaves in bf16 stay in bf16 when
    `precision` is "plain", which therefore reads fp8 files as their makers meant them.

    Args:
        device: where tensors are read to, merged and quantised. home: where they stay; None means there too.

    Returns:
        The model, and the adapters' layers that were left out because a model without audio has none such.

    Raises:
        CheckpointError, FamilyError: as `Checkpoint.load_transformer`.
        AdapterError: an adapter has layers that the model lacks, or of another shape.
    """
    config = checkpoint.config.transformer
    if audio and not (config.audio and checkpoint.has_audio):
        raise CheckpointError(f"{checkpoint.path} has no audio half", remedy="run without audio")
    config = config if audio else config.video_only()
    names = [name for name in checkpoint.keys if keys.part_of(name) == "transformer"]
    names = [name for name in names if audio or not keys.is_audio(name)]
    stored = {name.removeprefix(keys.DIT): checkpoint.entries[name].dtype for name in names}
    with torch.device("meta"):
        model = Transformer(config)
        swap_layers(
            model,
            lambda name: (
                is_scaled(name) and (precision == "fp8" or stored.get(f"{name}.weight") == E4M3_NAME)
            ),
            lambda layer: ScaledLinear(layer.in_features, layer.out_features, layer.bias is not None),
        )
    scaled = {name for name, module in model.named_modules() if isinstance(module, ScaledLinear)}
    deltas = _Deltas(model, adapters)
    state: dict[str, Tensor] = {}
    for name, tensor, scale in read(checkpoint, names, device):
        placed = _place(name, tensor, scale, scaled, deltas, dtype)
        state |= {key: one if home is None else one.to(home) for key, one in placed.items()}
    fill(model, state)
    return model.eval().requires_grad_(False), deltas.left_out


def _place(
    name: str, tensor: Tensor, scale: Tensor | None, scaled: set[str], deltas: _Deltas, dtype: torch.dtype
) -> dict[str, Tensor]:
    """One stored tensor as the model's tensors: itself, or numbers and scales."""
    layer = name.removesuffix(".weight")
    if layer == name or layer not in scaled:
        plain = tensor if scale is None else dequantise(tensor, scale)
        plain = deltas.added(layer, plain) if layer != name else plain
        return {name: plain.to(torch.float32 if "scale_shift_table" in name else dtype)}
    if tensor.dtype == E4M3 and layer not in deltas:
        ones = torch.ones(tensor.shape[0], 1, device=tensor.device)
        return {name: tensor, f"{name}_scale": ones if scale is None else (ones * scale).contiguous()}
    wide = tensor.float() if scale is None else dequantise(tensor, scale)
    numbers, rows = quantise_rows(deltas.added(layer, wide))
    return {name: numbers, f"{name}_scale": rows}


def read(
    checkpoint: Checkpoint, names: Iterable[str], device: torch.device | str
) -> Iterator[tuple[str, Tensor, Tensor | None]]:
    """(name without prefix, stored tensor, its fp32 scale (1,1) or (O,1) or None), one at a time.

    Raises:
        CheckpointError: unreadable, not finite, or as many scales as neither 1 nor the weight's rows.
    """
    spoilt: list[str] = []
    with ExitStack() as stack:
        files = _Files(stack, device)
        for name in names:
            tensor = files.tensor(checkpoint.entries[name])
            small = tensor.dtype.itemsize == 1
            scale = _scale(checkpoint, name, tensor, files) if small else None
            # Few operations know e4m3, which holds NaN; so it is looked at in a format that they know.
            if not torch.isfinite(tensor.to(torch.bfloat16) if small else tensor).all():
                spoilt.append(name)
            yield name.removeprefix(keys.DIT), tensor, scale
    if spoilt:
        raise CheckpointError(
            f"{checkpoint.path}: {len(spoilt)} tensors hold NaN or infinity: {', '.join(spoilt[:5])}",
            remedy=_AGAIN,
        )


class _Files:
    """Open files, each opened once."""

    def __init__(self, stack: ExitStack, device: torch.device | str) -> None:
        self.stack, self.device = stack, str(device)
        self.handles: dict[Path, Any] = {}

    def tensor(self, entry: Entry) -> Tensor:
        """One tensor, on the device."""
        try:
            if entry.file not in self.handles:
                opened = safe_open(entry.file, framework="pt", device=self.device)
                self.handles[entry.file] = self.stack.enter_context(opened)
            return self.handles[entry.file].get_tensor(entry.stored)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"cannot read {entry.file}: {error}", remedy=_AGAIN) from error


def _scale(checkpoint: Checkpoint, name: str, weight: Tensor, files: _Files) -> Tensor | None:
    stem = name.removesuffix(".weight")
    names = (f"{stem}.weight_scale", f"{stem}.scale_weight")
    stored = next((one for one in names if one in checkpoint.entries), None)
    if stored is None:
        return None
    scale = files.tensor(checkpoint.entries[stored]).float().flatten()
    if scale.numel() not in (1, weight.shape[0]) or not torch.isfinite(scale).all():
        raise CheckpointError(
            f"{checkpoint.path}: {stored} holds {scale.numel()} scales, not all finite or not for"
            f" {weight.shape[0]} rows",
            remedy="use an fp8 file with one scale a tensor or a row, or the bf16 file",
        )
    return scale[:, None]


class _Deltas:
    """What the adapters add to each layer."""

    def __init__(self, model: Transformer, adapters: Sequence[tuple[LoRA, float]]) -> None:
        layers = {
            name: (module.out_features, module.in_features)
            for name, module in model.named_modules()
            if isinstance(module, nn.Linear | ScaledLinear)
        }
        self.terms: list[tuple[Mapping[str, tuple[Tensor, Tensor]], float]] = []
        left_out: dict[str, None] = {}
        for lora, strength in adapters:
            refuse_adapter(lora.path, lora.family, model.config.family)
            audio = set() if model.config.audio else {name for name in lora.pairs if keys.is_audio(name)}
            wrong = [
                name
                for name, pair in lora.pairs.items()
                if name not in audio and layers.get(name) != (pair.up_OR[0], pair.down_RI[1])
            ]
            if wrong:
                raise AdapterError(
                    f"{lora.path} does not fit the model: {len(wrong)} layers, such as {some(wrong)}",
                    remedy="use an adapter made for this model's family and size",
                )
            left_out |= dict.fromkeys(name for name in lora.pairs if name in audio)
            self.terms.append((lora.factors(), strength))
        self.left_out = tuple(left_out)

    def __contains__(self, layer: str) -> bool:
        return any(layer in factors for factors, _ in self.terms)

    def added(self, layer: str, weight_OI: Tensor) -> Tensor:
        """weight + sum of strength * B @ A, in fp32; the weight itself where no adapter has the layer."""
        for factors, strength in self.terms:
            if layer in factors:
                down_RI, up_OR = (factor.to(weight_OI.device) for factor in factors[layer])
                weight_OI = weight_OI.float() + strength * (up_OR @ down_RI)
        return weight_OI
