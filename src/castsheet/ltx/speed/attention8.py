"""Self-attention in fp8: opt-in and approximate. A GPU runs cuDNN's kernel; this file defines its arithmetic.

Queries, keys and values are stored as e4m3 numbers times one fp32 scale a tensor, amax / 448. First each
head's mean key is subtracted from its keys (as in SageAttention, arXiv:2410.02367): smaller keys lose less by
rounding, and all logits of a query change by one number, which the softmax cancels. Softmax weights relative
to their row's largest are multiplied by 256 and rounded to e4m3:

    l = (q8 k8) s_q s_k / sqrt(D),   p = exp(l - max l)
    out = (sum_t e4m3(256 p_t) v8_t) s_v / (256 sum_t p_t)

Legend: B batch, H heads, Q queries, T keys, D channels of a head.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import torch
from torch import Tensor

from castsheet.errors import SettingsError
from castsheet.ltx.model.dit import Transformer
from castsheet.ltx.model.layers import Attention, Kernel
from castsheet.ltx.model.scaled import E4M3, LARGEST
from castsheet.machine.files import require

WEIGHTS = 256.0  # what softmax weights in [0, 1] are multiplied by before they are rounded
_TINY = 1e-12


def quantise_tensor(x: Tensor) -> tuple[Tensor, Tensor]:
    """e4m3 numbers of the same shape, dense, and one fp32 scale (1,1,1,1); x is about numbers * scale."""
    wide = x.float()
    scale = wide.abs().amax().clamp(min=_TINY) / LARGEST
    numbers = (wide / scale).clamp(-LARGEST, LARGEST).to(E4M3)
    return numbers.contiguous(), scale.reshape(1, 1, 1, 1)


def attend_fp8(q_BHQD: Tensor, k_BHTD: Tensor, v_BHTD: Tensor) -> Tensor:
    """Attention in fp8 on a GPU: (B,H,Q,D) in the dtype of q."""
    out_BHQD = torch.ops.castsheet.attention8(*_operands(q_BHQD, k_BHTD, v_BHTD))
    return out_BHQD.to(q_BHQD.dtype)


def reference_attention(q_BHQD: Tensor, k_BHTD: Tensor, v_BHTD: Tensor) -> Tensor:
    """The same numbers and roundings in fp32 on any device; the kernel must agree within its own rounding."""
    q, k, v, q_scale, k_scale, v_scale = _operands(q_BHQD, k_BHTD, v_BHTD)
    logits_BHQT = q.float() @ k.float().transpose(2, 3) * (q_scale * k_scale * q.shape[-1] ** -0.5)
    weights_BHQT = (logits_BHQT - logits_BHQT.amax(dim=-1, keepdim=True)).exp()
    rounded_BHQT = (weights_BHQT * WEIGHTS).to(E4M3).float() / WEIGHTS
    out_BHQD = rounded_BHQT @ v.float() * v_scale / weights_BHQT.sum(dim=-1, keepdim=True)
    return out_BHQD.to(q_BHQD.dtype)


def use_fp8_attention(
    transformer: Transformer, device: torch.device, kernel: Kernel = attend_fp8
) -> Transformer:
    """Make the video stream compute its self-attention in fp8, in place.

    Attention with strengths of single elements is not changed.

    Args:
        device: where the model computes. kernel: the function that computes attention.

    Raises:
        SettingsError: no GPU of compute capability 9.0 or later, or heads that its kernel does not take.
        DependencyError: cuDNN's frontend is not installed.
    """
    if kernel is attend_fp8:
        check_device(device)
        check_heads(transformer.config.head_dim)
    for name, module in transformer.named_modules():
        if isinstance(module, Attention) and name.endswith(".attn1"):
            module.kernel = kernel
    return transformer


def check_device(device: torch.device) -> None:
    """Refuse fp8 attention where it cannot run, before anything is loaded.

    Raises:
        SettingsError: no GPU of compute capability 9.0 or later.
        DependencyError: cuDNN's frontend is not installed.
    """
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < (9, 0):
        raise SettingsError(
            f"attention fp8 on {device}: it needs an NVIDIA GPU of compute capability 9.0 or later",
            remedy="leave --attention at auto",
        )
    require("cudnn", "attention8")


def check_heads(width: int) -> None:
    """Refuse heads whose number of channels the kernel does not support.

    Raises:
        SettingsError: the number is not supported.
    """
    if width % 16 or width > 128:
        raise SettingsError(
            f"attention fp8: heads of {width} channels, but the kernel takes multiples of 16 up to 128",
            remedy="leave --attention at auto",
        )


def _operands(
    q_BHQD: Tensor, k_BHTD: Tensor, v_BHTD: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The e4m3 numbers of q, k and v, then their scales."""
    k_BHTD = k_BHTD - k_BHTD.float().mean(dim=2, keepdim=True)
    (q, q_scale), (k, k_scale), (v, v_scale) = (quantise_tensor(x) for x in (q_BHQD, k_BHTD, v_BHTD))
    return q, k, v, q_scale, k_scale, v_scale


@torch.library.custom_op("castsheet::attention8", mutates_args=(), device_types="cuda")
def _attention8(q: Tensor, k: Tensor, v: Tensor, q_scale: Tensor, k_scale: Tensor, v_scale: Tensor) -> Tensor:
    return _plan(tuple(q.shape), tuple(k.shape), q.device.index)(q, k, v, q_scale, k_scale, v_scale)


@_attention8.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, q_scale: Tensor, k_scale: Tensor, v_scale: Tensor) -> Tensor:  # noqa: ARG001
    return q.new_empty(q.shape, dtype=torch.bfloat16)


class _Plan:
    """cuDNN's kernel for one size of dense queries and keys, with its workspace.

    Raises:
        SettingsError: this cuDNN or GPU has no such kernel.
    """

    def __init__(self, q_shape: tuple[int, ...], k_shape: tuple[int, ...], device: torch.device) -> None:
        self.cudnn: Any = require("cudnn", "attention8")
        self.device, self.shape = device, q_shape
        self.handle = self.cudnn.create_handle()
        try:
            # The output is bf16 if this cuDNN can write it.
            self._build(q_shape, k_shape, torch.bfloat16)
        except self.cudnn.cudnnGraphNotSupportedError:
            try:
                self._build(q_shape, k_shape, E4M3)
            except self.cudnn.cudnnGraphNotSupportedError as error:
                raise SettingsError(
                    f"attention fp8: cuDNN {self.cudnn.backend_version()} has no kernel for it here: {error}",
                    remedy="leave --attention at auto",
                ) from error
        size = max(1, self.graph.get_workspace_size())
        self.workspace = torch.empty(size, dtype=torch.uint8, device=device)
        self.unread = [torch.empty(1, 1, 1, 1, device=device) for _ in self.amax]
        self.weights = torch.tensor([1 / WEIGHTS, WEIGHTS, 1.0], device=device).reshape(3, 1, 1, 1, 1)

    def _build(self, q_shape: tuple[int, ...], k_shape: tuple[int, ...], written: torch.dtype) -> None:
        kinds = self.cudnn.data_type
        fp8, fp32 = kinds.FP8_E4M3, kinds.FLOAT
        graph = self.cudnn.pygraph(
            io_data_type=fp8, intermediate_data_type=fp32, compute_data_type=fp32, handle=self.handle
        )
        self.inputs = [
            graph.tensor(dim=list(shape), stride=_dense(shape), data_type=fp8)
            for shape in (q_shape, k_shape, k_shape)
        ]
        names = ("descale_q", "descale_k", "descale_v", "descale_s", "scale_s", "scale_o")
        self.scales = [graph.tensor(dim=[1] * 4, stride=[1] * 4, data_type=fp32) for _ in names]
        out, _, *amax = graph.sdpa_fp8(
            **dict(zip("qkv", self.inputs, strict=True)),
            **dict(zip(names, self.scales, strict=True)),
            is_inference=True,
            attn_scale=q_shape[-1] ** -0.5,
        )
        kind = fp8 if written == E4M3 else kinds.BFLOAT16
        out.set_output(True).set_dim(list(q_shape)).set_stride(_dense(q_shape)).set_data_type(kind)
        for one in amax:
            one.set_output(True).set_dim([1] * 4).set_stride([1] * 4).set_data_type(fp32)
        graph.validate()
        graph.build_operation_graph()
        graph.create_execution_plans([self.cudnn.heur_mode.A])
        graph.check_support()
        graph.build_plans()
        self.graph, self.out, self.amax, self.written = graph, out, amax, written

    def __call__(
        self, q: Tensor, k: Tensor, v: Tensor, q_scale: Tensor, k_scale: Tensor, v_scale: Tensor
    ) -> Tensor:
        room = torch.empty(self.shape, dtype=self.written, device=self.device)
        # An attended value is no larger than the largest value, so the scale of the values fits it too.
        last = 1 / v_scale if self.written == E4M3 else self.weights[2]
        scales = (q_scale, k_scale, v_scale, self.weights[0], self.weights[1], last)
        given = (q, k, v, *scales, room, *self.unread)
        keys = (*self.inputs, *self.scales, self.out, *self.amax)
        stream = torch.cuda.current_stream(self.device).cuda_stream
        self.cudnn.set_stream(handle=self.handle, stream=stream)
        self.graph.execute(dict(zip(keys, given, strict=True)), self.workspace, handle=self.handle)
        return (room.float() * v_scale).to(torch.bfloat16) if self.written == E4M3 else room


@cache
def _plan(q_shape: tuple[int, ...], k_shape: tuple[int, ...], index: int) -> _Plan:
    return _Plan(q_shape, k_shape, torch.device("cuda", index))


def _dense(shape: tuple[int, ...]) -> list[int]:
    """Strides of a dense tensor."""
    return [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
