"""Exact speed-ups of the denoiser in `ltx/model/dit.py`: the same sums in fewer, larger operations.

    join_projections   queries, keys and values of one input in one product
    tabulated          modulation rows of a whole schedule computed once (they hang on the noise level only)
    fuse_rows          norm, modulation, RoPE, gates, GELU as single kernels (ltx/speed/fused_rows.py)
    compile_blocks     one compiled graph for all blocks
    attention_kernels  the fastest exact attention that this machine has
    prepare            joins both and compiles

What is approximate (fp8, ltx/model/scaled.py) is not here. All of this is for inference only.

Legend: B batch, T tokens, I inputs, O outputs, S segments, N levels, R rows of a modulation, C channels.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from itertools import accumulate
from typing import Any, Literal

import torch
import torch._dynamo
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from castsheet.ltx.model.block import Block
from castsheet.ltx.model.dit import Transformer
from castsheet.ltx.model.layers import AdaLNSingle, Attention, FeedForward
from castsheet.ltx.model.rows import RowOps, through
from castsheet.ltx.model.scaled import Quantised, ScaledLinear, scaled_linear, unit_of

Part = Literal["all", "queries", "keys"]


class Joint(nn.Module):
    """Rows of several linear layers as one weight. The layers' own tensors become views of it.

    So nothing is stored twice, the official names stay, and an adapter merged into a layer reaches both.
    Layers begin at multiples of 64 rows: their outputs begin where kernels read fastest.
    """

    weight: Tensor
    bias: Tensor
    queries_bias: Tensor
    keys_bias: Tensor
    weight_scale: Tensor | None

    def __init__(self, queries: Sequence[nn.Module], keys: Sequence[nn.Module] = ()) -> None:
        """`queries` may be multiplied without `keys`, and the other way round."""
        super().__init__()
        layers: Any = [*queries, *keys]
        self.counts = tuple(layer.out_features for layer in layers)
        self.first = len(queries)
        self.edge = sum(_padded(count) for count in self.counts[: self.first])
        self.register_buffer("weight", _rows(layers, "weight"), persistent=False)
        self.register_buffer("bias", _rows(layers, "bias"), persistent=False)
        # Tensors by themselves: torch 2.11 cannot compile an fp8 product whose bias was sliced in the graph.
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
        # As strides, not slices, which the compiler would copy before it gives them to a kernel of ours.
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
        self.gates = [attention.to_gate_logits]  # in a list: it is no part of this module

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
    """Whether layers are plain or scaled ones, without adapters, that read inputs of one size."""
    kinds = {(type(one), one.weight.dtype, one.weight.device, one.in_features) for one in layers}
    return len(kinds) == 1 and type(layers[0]) in (nn.Linear, ScaledLinear)


def _rows(layers: Sequence[nn.Linear | ScaledLinear], name: str) -> Tensor:
    """One tensor of all layers' `name`, whose slices take the place of the layers' own."""
    parts = [getattr(layer, name).detach() for layer in layers]
    # Joined as bytes where the dtype has no concatenation of its own on every device.
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

    An attention whose layers are of different kinds (an fp8 file that leaves some in bf16) or carry an
    adapter that still trains stays as it is.
    """
    for module in transformer.modules():
        if isinstance(module, Attention) and module.joint is None:
            keys = _alike(module.to_k, module.to_v)
            same_input = module.to_q.in_features == module.to_k.in_features
            if _alike(module.to_q) and keys and (_alike(module.to_q, module.to_k) or not same_input):
                module.joint = JointProjections(module)
    return transformer


def fuse_rows(transformer: Transformer, ops: RowOps) -> Transformer:
    """Have `ops` do the row operations of the blocks, in place."""
    for module in transformer.modules():
        if isinstance(module, Block | Attention | FeedForward):
            module.ops = ops
    return transformer


def fused_rows(device: torch.device) -> RowOps | None:
    """The row operations as kernels for this device; None where Triton has none for it."""
    if device.type != "cuda" or find_spec("triton") is None:
        return None
    from castsheet.ltx.speed.fused_rows import FusedRowOps

    return FusedRowOps(fp8=unit_of(device) == "fp8")


class Tabulated(nn.Module):
    """The modulation rows of a fixed list of timesteps, in place of the layers that compute them.

    Looking a level up needs no answer from the GPU. An unknown level raises on the CPU and gives NaN on a
    GPU, which the sampler reports: it is never a neighbour's rows.
    """

    t_N: Tensor
    rows_NRC: Tensor
    embedded_NC: Tensor

    def __init__(self, source: AdaLNSingle, t_N: Tensor, dtype: torch.dtype) -> None:
        super().__init__()
        # One level at a time: this runs once, and all at once would hold every intermediate N-fold.
        made = [source(t[None, None], dtype) for t in t_N]
        self.register_buffer("t_N", t_N, persistent=False)
        self.register_buffer("rows_NRC", torch.cat([rows[0] for rows, _ in made]), persistent=False)
        self.register_buffer("embedded_NC", torch.cat([one[0] for _, one in made]), persistent=False)

    def forward(self, t_BS: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        distance_BSN = (t_BS[..., None] - self.t_N).abs()
        nearest_BS = distance_BSN.argmin(dim=-1)
        missed_BS = distance_BSN.amin(dim=-1) > 1e-3
        rows_BSRC, embedded_BSC = self.rows_NRC[nearest_BS], self.embedded_NC[nearest_BS]
        if t_BS.device.type == "cpu":
            if missed_BS.any():
                raise ValueError(f"timesteps {t_BS[missed_BS].tolist()} are not among those tabulated")
        else:
            rows_BSRC = rows_BSRC.masked_fill(missed_BS[..., None, None], torch.nan)
        return rows_BSRC.to(dtype), embedded_BSC.to(dtype)


@contextlib.contextmanager
def tabulated(
    transformer: Transformer,
    levels: Sequence[float] | Tensor,
    *,
    masks: Sequence[float] = (0.0, 1.0),
    offload: torch.device | str | None = None,
) -> Iterator[Transformer]:
    """Inside, modulation is looked up instead of computed, for these noise levels only.

    Args:
        levels: the schedule's sigmas. masks: shares of them that segments carry (a reference of strength s
            carries 1 - s).
        offload: where the layers go meanwhile; at full size they are 0.4 GiB. None leaves them.
    """
    names = [name for name, module in transformer.named_children() if isinstance(module, AdaLNSingle)]
    kept = {name: getattr(transformer, name) for name in names}
    weight = transformer.patchify_proj.weight
    sigma_N1 = torch.as_tensor(levels, dtype=torch.float32, device=weight.device)[:, None]
    shares = torch.tensor([*masks, 1.0], dtype=torch.float32, device=weight.device)
    config = transformer.config
    try:
        with torch.no_grad():
            for name, module in kept.items():
                gate = name in ("av_ca_a2v_gate_adaln_single", "av_ca_v2a_gate_adaln_single")
                scale = config.cross_timestep_scale if gate else config.timestep_scale
                t_N = ((sigma_N1 * shares).flatten() * scale).unique()
                setattr(transformer, name, Tabulated(module, t_N, weight.dtype))
                if offload is not None:
                    module.to(offload)
        yield transformer
    finally:
        for name, module in kept.items():
            setattr(transformer, name, module.to(weight.device))


def compile_blocks(transformer: Transformer, backend: str | Callable[..., Any] = "inductor") -> Transformer:
    """Compile every block as one graph; they share its code, so 48 blocks compile in the time of three.

    Three forms exist: plain, perturbed, and the last block where rows are left out. Sizes are fixed: a clip
    of another size compiles anew. Nothing is compiled before the first call.

    Args:
        backend: as for `torch.compile`.
    """
    # Each new size adds three forms to one function; past torch's own limit of 8 it would refuse to go on.
    limits: Any = torch._dynamo.config
    limits.recompile_limit = max(limits.recompile_limit, 64)
    # Rows as far apart as they are here: a joint product's outputs are told apart by their places.
    options = {"comprehensive_padding": False} if backend == "inductor" else None
    for module in transformer.modules():
        if isinstance(module, Block):
            module.compile(fullgraph=True, dynamic=False, backend=backend, options=options)
    return transformer


def attention_order(device: torch.device, capability: tuple[int, int] | None = None) -> list[SDPBackend]:
    """Attention kernels in the order in which to try them; empty where there is no choice (CPU).

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


@contextlib.contextmanager
def attention_kernels(device: torch.device, order: Sequence[SDPBackend] | None = None) -> Iterator[None]:
    """Inside, `scaled_dot_product_attention` tries kernels in this order. Compile inside it too."""
    chosen = attention_order(device) if order is None else list(order)
    if not chosen:
        yield
        return
    with sdpa_kernel(chosen, set_priority=True):
        yield


def use_flash_attention_3() -> bool:
    """Have torch's flash kernel be FlashAttention-3, if its package is there; says whether it is.

    It is used where `attention_kernels` is given an order that starts with SDPBackend.FLASH_ATTENTION.
    """
    activate = getattr(torch.nn.attention, "activate_flash_attention_impl", None)  # newer torch only
    if activate is None or find_spec("flash_attn_interface") is None:
        return False
    activate("FA3")
    return True


def prepare(transformer: Transformer, *, compiled: bool | None = None) -> Transformer:
    """Make a loaded model fast, in place and exactly. Adapters merged and layers quantised before.

    Args:
        compiled: compile the blocks; None does so on a GPU, where the first step's wait is repaid in a clip.
    """
    transformer.requires_grad_(False)
    join_projections(transformer)
    device = transformer.patchify_proj.weight.device
    rows = fused_rows(device)
    if rows is not None:
        fuse_rows(transformer, rows)
    compiled = device.type == "cuda" if compiled is None else compiled
    return compile_blocks(transformer) if compiled else transformer
