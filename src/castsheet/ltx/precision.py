"""fp8 weights and activations for the denoiser's large linear layers, one scale a row.

A row of weights W_o, or of activations x_t, is stored as e4m3 numbers times one fp32 scale, amax / 448. Then
y_to = (sum_i x8_ti w8_oi) * a_t * s_o + b_o, which the tensor cores compute directly. Tables, norms, gates,
embeddings and the first and last layer stay as they are. Published fp8 files carry one scalar scale a weight;
it is repeated over the rows, so their numbers are used untouched. Their static `input_scale` is not used: a
scale of each row's own costs one reduction that the compiler fuses into the norm before it, and never clips.

Legend: M rows of activations, T tokens, I inputs, O outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn.utils import parametrize

from castsheet.errors import AdapterError, CheckpointError, FamilyError
from castsheet.ltx import keys
from castsheet.ltx.checkpoint import Checkpoint
from castsheet.ltx.dit import Transformer
from castsheet.ltx.header import Entry
from castsheet.ltx.lora import LoRA
from castsheet.ltx.lora_file import FAMILY, some
from castsheet.ltx.vae import fill

Precision = Literal["plain", "fp8"]

E4M3 = torch.float8_e4m3fn
E4M3_NAME = "F8_E4M3"  # in safetensors headers
LARGEST = 448.0  # of e4m3
_TINY = 1e-12
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


def quantise_rows(x_MI: Tensor) -> tuple[Tensor, Tensor]:
    """e4m3 numbers of the same shape and an fp32 scale a row (..., 1); x is about numbers * scale."""
    wide = x_MI.float()
    scale_M1 = wide.abs().amax(dim=-1, keepdim=True).clamp(min=_TINY) / LARGEST
    # Rounding may push the largest value past the format's end, which has no infinity but NaN.
    return (wide / scale_M1).clamp(-LARGEST, LARGEST).to(E4M3), scale_M1


def dequantise(weight_OI: Tensor, scale_O1: Tensor) -> Tensor:
    """fp32 weights."""
    return weight_OI.float() * scale_O1


def scaled_linear(x: Tensor, weight_OI: Tensor, scale_O1: Tensor, bias_O: Tensor | None) -> Tensor:
    """x (..., I) through fp8 weights, in x's dtype.

    With fp8 tensor cores the activations are quantised too; on older GPUs the weights are expanded for the
    product, which is slower than bf16 weights and needs half their memory. Elsewhere: `reference_linear`.
    """
    unit = unit_of(x.device)
    if unit == "none":
        return reference_linear(x, weight_OI, scale_O1, bias_O)
    if unit == "wide":
        return F.linear(x, weight_OI.to(x.dtype) * scale_O1.to(x.dtype), bias_O)
    x_MI = x.flatten(0, -2)
    numbers_MI, scale_M1 = quantise_rows(x_MI)
    # The product is written in bf16 whatever x is; rows and columns are scaled inside the kernel.
    y_MO = torch._scaled_mm(
        numbers_MI,
        weight_OI.t(),
        scale_a=scale_M1,
        scale_b=scale_O1.t(),
        bias=None if bias_O is None else bias_O.to(torch.bfloat16),
        out_dtype=torch.bfloat16,
        use_fast_accum=True,
    )
    return y_MO.to(x.dtype).unflatten(0, x.shape[:-1])


def reference_linear(x: Tensor, weight_OI: Tensor, scale_O1: Tensor, bias_O: Tensor | None) -> Tensor:
    """The same numbers multiplied in fp32: what `scaled_linear` must give within rounding of the sums."""
    numbers, scale_M1 = quantise_rows(x)
    y = F.linear(numbers.float() * scale_M1, dequantise(weight_OI, scale_O1))
    return (y if bias_O is None else y + bias_O.float()).to(x.dtype)


@torch.compiler.assume_constant_result
def unit_of(device: torch.device) -> Literal["fp8", "wide", "none"]:
    """Whether a device multiplies e4m3 with a scale a row (compute capability 8.9 or newer), or is no GPU."""
    if device.type != "cuda":
        return "none"
    return "fp8" if torch.cuda.get_device_capability(device) >= (8, 9) else "wide"


class ScaledLinear(nn.Module):
    """A linear layer with fp8 weights. Names: `weight` (O,I) e4m3, `weight_scale` (O,1) fp32, `bias` (O)."""

    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__()
        self.in_features, self.out_features = inputs, outputs
        self.weight = nn.Parameter(torch.empty(outputs, inputs, dtype=E4M3), requires_grad=False)
        self.weight_scale = nn.Parameter(torch.empty(outputs, 1), requires_grad=False)
        self.bias = nn.Parameter(torch.empty(outputs), requires_grad=False) if bias else None

    @classmethod
    def of(cls, layer: nn.Linear) -> ScaledLinear:
        """A quantised copy of a layer, on its device."""
        with torch.device("meta"):
            made = cls(layer.in_features, layer.out_features, layer.bias is not None)
        numbers, scale = quantise_rows(layer.weight.detach())
        made.weight = nn.Parameter(numbers, requires_grad=False)
        made.weight_scale = nn.Parameter(scale, requires_grad=False)
        if layer.bias is not None:
            made.bias = nn.Parameter(layer.bias.detach(), requires_grad=False)
        return made

    def forward(self, x: Tensor) -> Tensor:
        return scaled_linear(x, self.weight, self.weight_scale, self.bias)


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


class _Expand(nn.Module):
    """An fp8 weight as its layer sees it: in the layer's own dtype, each row by its own scale."""

    scale_O1: Tensor

    def __init__(self, scale_O1: Tensor) -> None:
        super().__init__()
        self.register_buffer("scale_O1", scale_O1, persistent=False)

    def forward(self, stored_OI: Tensor) -> Tensor:
        return stored_OI.to(self.scale_O1.dtype) * self.scale_O1


@torch.no_grad()
def store_quantised(transformer: Transformer) -> None:
    """Hold the large layers' weights in fp8 and expand them when they are used: half the memory of bf16.

    For training, whose backward pass needs products that fp8 units do not give. Adapters attached before stay
    as they are. Where blocks are recomputed, only one block's expanded weights exist at a time.
    """
    for name, layer in transformer.named_modules():
        if isinstance(layer, nn.Linear) and is_scaled(name) and not parametrize.is_parametrized(layer):
            dtype = layer.weight.dtype
            numbers_OI, scale_O1 = quantise_rows(layer.weight.detach())
            layer.weight = nn.Parameter(numbers_OI, requires_grad=False)
            parametrize.register_parametrization(layer, "weight", _Expand(scale_O1.to(dtype)), unsafe=True)


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
            if lora.family not in (FAMILY, "unknown"):
                raise FamilyError(
                    f"{lora.path} is an adapter for {lora.family}, the model is {FAMILY}",
                    remedy=f"use the adapter's release for {FAMILY}",
                )
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
