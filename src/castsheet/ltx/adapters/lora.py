"""Low-rank adapters in a model: merge for inference, attach for training.

Legend: R rank, I inputs, O outputs of the adapted layer.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from castsheet.errors import AdapterError
from castsheet.ltx import keys
from castsheet.ltx.adapters.kinds import Pair
from castsheet.ltx.adapters.lora_file import LoRA, some
from castsheet.ltx.family import refuse_adapter
from castsheet.ltx.model.dit import Transformer
from castsheet.ltx.model.scaled import ScaledLinear, dequantise, scaled_linear

IC_TARGETS = (
    *(
        f"{attention}.{layer}"
        for attention in ("attn1", "attn2")
        for layer in ("to_q", "to_k", "to_v", "to_out.0")
    ),
    "ff.net.0.proj",
    "ff.net.2",
)


class LoRALinear(nn.Linear):
    """A linear layer with a trainable low-rank term; `weight` and `bias` are the adapted layer's own.

    If that layer is in fp8, `weight_scale` is its own too. `joined` adds the term to the weight before the
    product, as `merge` does for inference: this saves passes over the activations and costs one more product
    in the backward pass. It pays in narrow layers with many tokens. `term` says which factors count: the
    trained ones, none inside `without`, or inside `as_started` those that `keep_start` kept.
    """

    weight_scale: nn.Parameter | None
    start_A: nn.Parameter | None
    start_B: nn.Parameter | None

    def __init__(
        self,
        base: nn.Linear | ScaledLinear,
        rank: int,
        scale: float,
        generator: torch.Generator | None,
        joined: bool,
    ) -> None:
        super().__init__(base.in_features, base.out_features, bias=base.bias is not None, device="meta")
        self.weight = base.weight
        self.register_parameter("bias", base.bias)
        self.register_parameter("weight_scale", getattr(base, "weight_scale", None))
        self.register_parameter("start_A", None)
        self.register_parameter("start_B", None)
        self.scale, self.joined = scale, joined
        self.term: Literal["trained", "none", "start"] = "trained"
        down_RI = torch.empty(rank, base.in_features)
        nn.init.kaiming_uniform_(down_RI, a=math.sqrt(5), generator=generator)
        self.lora_A = nn.Parameter(down_RI.to(base.weight.device))
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, rank, device=base.weight.device))

    def forward(self, x: Tensor) -> Tensor:
        down_RI, up_OR = self._factors()
        if down_RI is None or up_OR is None:
            return self._frozen(x)
        if self.joined:
            with torch.autocast(x.device.type, enabled=False):  # an fp32 sum, rounded once
                weight = self._wide() + self.scale * (up_OR @ down_RI)
            return F.linear(x, weight.to(x.dtype), None if self.bias is None else self.bias.to(x.dtype))
        # The factors stay fp32 for the optimiser and work in the activations' dtype.
        low = F.linear(F.linear(x, down_RI.to(x.dtype)), up_OR.to(x.dtype))
        return self._frozen(x) + self.scale * low

    def _factors(self) -> tuple[Tensor | None, Tensor | None]:
        if self.term == "none":
            return None, None
        return (self.start_A, self.start_B) if self.term == "start" else (self.lora_A, self.lora_B)

    def _wide(self) -> Tensor:
        return (
            self.weight.float() if self.weight_scale is None else dequantise(self.weight, self.weight_scale)
        )

    def _frozen(self, x: Tensor) -> Tensor:
        if self.weight_scale is None:
            return F.linear(x, self.weight, self.bias)
        return scaled_linear(x, self.weight, self.weight_scale, self.bias)


class Deltas:
    """The sums that adapters add to each layer of a model.

    Args:
        model: its layers may be on the meta device, and may be in fp8.
        adapters: each with its strength.

    Attributes:
        left_out: layers of the adapters that belong to the audio half of a model opened without it.

    Raises:
        FamilyError: an adapter says that it belongs to another family.
        AdapterError: a layer is unknown or mis-shaped, or a factor is not finite.
    """

    def __init__(self, model: Transformer, adapters: Sequence[tuple[LoRA, float]]) -> None:
        left_out: dict[str, None] = {}
        for lora, _ in adapters:
            refuse_adapter(lora.path, lora.family, model.config.family)
            if not model.config.audio:
                left_out |= dict.fromkeys(name for name in lora.terms if keys.is_audio(name))
            _check_shapes(model, lora, left_out)
        self.left_out = tuple(left_out)
        self._adapters = [(lora.terms, lora.factors(), strength) for lora, strength in adapters]

    def __contains__(self, layer: str) -> bool:
        return any(layer in terms for terms, _, _ in self._adapters)

    def added(self, layer: str, weight_OI: Tensor) -> Tensor:
        """weight + sum of strength * delta, in fp32; the weight itself where no adapter has the layer."""
        for terms, factors, strength in self._adapters:
            if layer in terms:
                here = (factor.to(weight_OI.device) for factor in factors[layer])
                weight_OI = weight_OI.float() + strength * terms[layer].delta(*here)
        return weight_OI


def attach(
    transformer: Transformer,
    rank: int,
    alpha: float | None = None,
    targets: Sequence[str] = IC_TARGETS,
    *,
    generator: torch.Generator | None = None,
    joined: bool = False,
) -> list[nn.Parameter]:
    """Freeze the model and give every targeted layer a low-rank term that is zero at first.

    Args:
        rank, alpha: the term is alpha / rank * B @ A; alpha is the rank when left out.
        targets: ends of layer names, whole words between dots ("attn1.to_k" is not "audio_attn1.to_k").
        generator: draws A (CPU), so that a seed gives the same start on every device.
        joined: add the term to the weight before each product; see `LoRALinear`.

    Returns:
        The new parameters, fp32, A before B, in the order of the layers.

    Raises:
        AdapterError: nothing matches a target, the rank is below 1, or terms are attached already.
    """
    if rank < 1 or (alpha is not None and not alpha > 0):
        raise AdapterError(
            f"rank {rank} with alpha {alpha} is no adapter",
            remedy="use a rank of 1 or more and a positive alpha",
        )
    if _attached(transformer):
        raise AdapterError("the model has an adapter attached already", remedy="load the model anew")
    layers = _layers(transformer)
    missing = [target for target in targets if not any(f".{name}".endswith(f".{target}") for name in layers)]
    if missing or not targets:
        raise AdapterError(
            f"no layer of the model matches {some(missing) or 'an empty target list'}",
            remedy=f"choose targets such as {', '.join(IC_TARGETS[:3])}",
        )
    transformer.requires_grad_(False)
    scale = 1.0 if alpha is None else alpha / rank
    parameters: list[nn.Parameter] = []
    for name, base in layers.items():
        if not f".{name}".endswith(tuple(f".{target}" for target in targets)):
            continue
        adapted = LoRALinear(base, rank, scale, generator, joined)
        parent, _, child = name.rpartition(".")
        setattr(transformer.get_submodule(parent), child, adapted)
        parameters += [adapted.lora_A, adapted.lora_B]
    return parameters


def attached_state(transformer: Transformer, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """The attached terms under official keys, on the CPU, with alpha / rank multiplied into B.

    Args:
        dtype: of the result; None keeps fp32. Published files are bf16.

    Raises:
        AdapterError: nothing is attached.
    """
    layers = _attached(transformer)
    if not layers:
        raise AdapterError("the model has no adapter attached", remedy="call attach() before training")
    state: dict[str, Tensor] = {}
    for name, layer in layers.items():
        up_OR = layer.lora_B.detach() if layer.scale == 1 else layer.lora_B.detach() * layer.scale
        state[f"diffusion_model.{name}.lora_A.weight"] = layer.lora_A.detach().to("cpu", dtype, copy=True)
        state[f"diffusion_model.{name}.lora_B.weight"] = up_OR.to("cpu", dtype, copy=True)
    return state


@contextmanager
def without(transformer: Transformer) -> Iterator[None]:
    """Inside, the model is the one that the terms were attached to: its teacher, in distillation."""
    with _with_term(transformer, "none"):
        yield


@contextmanager
def as_started(transformer: Transformer) -> Iterator[None]:
    """Inside, the terms are those that `keep_start` kept."""
    with _with_term(transformer, "start"):
        yield


def keep_start(transformer: Transformer) -> None:
    """Keep a frozen copy of the attached terms beside them, for `as_started`."""
    for layer in _attached(transformer).values():
        layer.start_A = nn.Parameter(layer.lora_A.detach().clone(), requires_grad=False)
        layer.start_B = nn.Parameter(layer.lora_B.detach().clone(), requires_grad=False)


@contextmanager
def _with_term(transformer: Transformer, term: Literal["none", "start"]) -> Iterator[None]:
    layers = _attached(transformer).values()
    for layer in layers:
        layer.term = term
    try:
        yield
    finally:
        for layer in layers:
            layer.term = "trained"


@torch.no_grad()
def load_attached(transformer: Transformer, lora: LoRA) -> None:
    """Give the attached terms a file's factors, to go on training it.

    Raises:
        FamilyError: the file says that it belongs to another family.
        AdapterError: the file's layers or ranks differ from the attached ones.
    """
    refuse_adapter(lora.path, lora.family, transformer.config.family)
    layers = _attached(transformer)
    wanted = {name: (tuple(layer.lora_A.shape), tuple(layer.lora_B.shape)) for name, layer in layers.items()}
    found = {
        name: (term.down_RI, term.up_OR) if isinstance(term, Pair) else None
        for name, term in lora.terms.items()
    }
    different = [name for name in wanted | found if wanted.get(name) != found.get(name)]
    if different:
        raise AdapterError(
            f"{lora.path} does not have the attached layers and rank: {some(different)}",
            remedy="train with the rank and targets that the file was written with",
        )
    for name, (down_RI, up_OR) in lora.factors().items():
        layers[name].lora_A.copy_(down_RI)
        layers[name].lora_B.copy_(up_OR / layers[name].scale)


def _attached(transformer: Transformer) -> dict[str, LoRALinear]:
    return {name: module for name, module in transformer.named_modules() if isinstance(module, LoRALinear)}


def _layers(transformer: Transformer) -> dict[str, nn.Linear | ScaledLinear]:
    return {
        name: module
        for name, module in transformer.named_modules()
        if isinstance(module, nn.Linear | ScaledLinear)
    }


def _check_shapes(transformer: Transformer, lora: LoRA, left_out: Container[str]) -> None:
    layers = _layers(transformer)
    wrong: list[str] = []
    for name, term in lora.terms.items():
        layer, shape = layers.get(name), term.shape
        if name in left_out:
            continue
        if layer is None:
            wrong.append(f"{name} (no such layer)")
        elif layer.weight.shape != shape:
            wrong.append(f"{name} {shape}, not {tuple(layer.weight.shape)}")
    if wrong:
        raise AdapterError(
            f"{lora.path} does not fit the model: {len(wrong)} layers, such as {some(wrong)}",
            remedy="use an adapter made for this model's family and size",
        )
