"""Queries, gates, keys and values of one input in one product; exact.

Legend: B batch, T tokens, I inputs, O outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from castsheet.ltx.model.dit import Transformer
from castsheet.ltx.model.layers import Attention
from castsheet.ltx.model.rows import through
from castsheet.ltx.model.scaled import Quantised, ScaledLinear, scaled_linear

Part = Literal["all", "queries", "keys"]


class Joint(nn.Module):
    """The rows of several linear layers as one weight. The layers' own tensors become views of it.

    Nothing is stored twice, the official names stay, and an adapter merged into a layer changes the joint
    weight too. Layers begin at multiples of 64 rows: kernels read fastest from there.
    """

    weight: Tensor
    bias: Tensor
    queries_bias: Tensor
    keys_bias: Tensor
    weight_scale: Tensor | None

    def __init__(self, queries: Sequence[nn.Module], keys: Sequence[nn.Module] = ()) -> None:
        """`forward` can multiply `queries` without `keys`, and `keys` without `queries`."""
        super().__init__()
        layers: Any = [*queries, *keys]
        self.counts = tuple(layer.out_features for layer in layers)
        self.first = len(queries)
        self.edge = sum(_padded(count) for count in self.counts[: self.first])
        self.register_buffer("weight", _rows(layers, "weight"), persistent=False)
        self.register_buffer("bias", _rows(layers, "bias"), persistent=False)
        # Separate biases: torch 2.11 cannot compile an fp8 product whose bias was sliced in the graph.
        self.register_buffer("queries_bias", self.bias[: self.edge], persistent=False)
        self.register_buffer("keys_bias", self.bias[self.edge :], persistent=False)
        scaled = isinstance(layers[0], ScaledLinear)
        scale = _rows(layers, "weight_scale") if scaled else None
        self.register_buffer("weight_scale", scale, persistent=False)

    def forward(self, x: Tensor | Quantised, part: Part = "all") -> tuple[Tensor, ...]:
        """Each layer's outputs (..., O)."""
        place, bias, counts = slice(None), self.bias, self.counts
        if part == "queries":
            place, bias, counts = slice(self.edge), self.queries_bias, self.counts[: self.first]
        elif part == "keys":
            place, bias, counts = slice(self.edge, None), self.keys_bias, self.counts[self.first :]
        if self.weight_scale is not None:
            y = scaled_linear(x, self.weight[place], self.weight_scale[place], bias)
        else:
            y = F.linear(x if isinstance(x, Tensor) else x.rows(), self.weight[place], bias)
        starts = accumulate((_padded(count) for count in counts[:-1]), initial=0)
        # Strides, not slices: the compiler would copy a slice before it gives it to a kernel of ours.
        return tuple(
            y.as_strided((*y.shape[:-1], count), y.stride(), start)
            for start, count in zip(starts, counts, strict=True)
        )


class JointProjections(nn.Module):
    """The projections of one attention in as few products as its inputs and its layers' kinds allow."""

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.gated = _alike(attention.to_q, attention.to_gate_logits)
        queries = [attention.to_q, attention.to_gate_logits] if self.gated else [attention.to_q]
        keys = [attention.to_k, attention.to_v]
        self.one_input = _alike(*queries, *keys)
        self.queries = Joint(queries, keys if self.one_input else ())
        self.keys = self.queries if self.one_input else Joint((), keys)
        self.gates = [attention.to_gate_logits]  # the list keeps torch from registering the layer here too

    def forward(
        self, x: Tensor | Quantised, context: Tensor | Quantised
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Queries, gates' logits, keys and values."""
        if self.one_input and x is context:
            *query, k, v = self.queries(x)
        else:
            query, (k, v) = list(self.queries(x, "queries")), self.keys(context, "keys")
        gate = query[1] if self.gated else through(self.gates[0], x)
        return query[0], gate, k, v


def _padded(count: int) -> int:
    return -(-count // 64) * 64


def _alike(*layers: nn.Module) -> bool:
    """Whether all layers are plain, or all scaled, without adapters, and read inputs of one size."""
    kinds = {(type(one), one.weight.dtype, one.weight.device, one.in_features) for one in layers}
    return len(kinds) == 1 and type(layers[0]) in (nn.Linear, ScaledLinear)


def _rows(layers: Sequence[nn.Linear | ScaledLinear], name: str) -> Tensor:
    """The layers' tensors `name` joined to one; the layers' own become slices of it."""
    parts = [getattr(layer, name).detach() for layer in layers]
    # Joined as bytes: not every device can concatenate e4m3.
    raw = [part.view(torch.uint8) if part.dtype.itemsize == 1 else part for part in parts]
    padded = [F.pad(part, (0, 0) * (part.ndim - 1) + (0, _padded(len(part)) - len(part))) for part in raw]
    whole = torch.cat(padded).view(parts[0].dtype)
    places = whole.split([len(part) for part in padded])
    for layer, part, place in zip(layers, parts, places, strict=True):
        setattr(layer, name, nn.Parameter(place[: len(part)], requires_grad=False))
    return whole


@torch.no_grad()
def join_projections(transformer: Transformer) -> Transformer:
    """Join the projections of every attention, in place; move the model to its device before.

    An attention is left alone if its layers are of different kinds (an fp8 file may leave some in bf16) or
    carry an adapter that still trains.
    """
    for module in transformer.modules():
        if isinstance(module, Attention) and module.joint is None:
            keys = _alike(module.to_k, module.to_v)
            same_input = module.to_q.in_features == module.to_k.in_features
            if _alike(module.to_q) and keys and (_alike(module.to_q, module.to_k) or not same_input):
                module.joint = JointProjections(module)
    return transformer
