"""Networks that tell a subject from its background: U-2-Net, and any ONNX file of that kind.

U-2-Net: Qin et al., Pattern Recognition 2020. A file or a hub's repository can be named instead: BiRefNet
(Zheng et al., 2024), IS-Net and their like take an RGB picture and give one map.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from castsheet.errors import DependencyError, ImageError
from castsheet.machine.files import require
from castsheet.machine.regular import is_file
from castsheet.sheet.box import Box
from castsheet.sheet.look.onnx import refusals, session
from castsheet.sheet.look.weights import weights

EXTRA = "cutout"
# What the network sees around its first find, as a share of the find's sides.
_MARGIN = 0.08
# A find that covers this much of the picture gets no second look: it would gain less than 1.4 x the pixels.
_NEAR = 0.5
_SIDE = 320
# A pixel of the first look counts as found above this, of 1.
_FOUND = 0.5
# More threads than these gain nothing on pictures so small.
_THREADS = 4
# The side at which a network of free input size looks, if nothing says another.
_FREE_SIDE = 1024
# ImageNet's, by which these networks were trained.
_MEAN = np.array((0.485, 0.456, 0.406), np.float32)
_DEVIATION = np.array((0.229, 0.224, 0.225), np.float32)

Array = NDArray[np.float32]


class Matter(Protocol):
    """A network that tells subject from background. Tests use a double.

    The judge calls it from several threads at a time.
    """

    @property
    def name(self) -> str:
        """Names model and version, for cache keys."""

    def mask(self, rgb: Image.Image) -> Array:
        """How much each pixel belongs to the subject (0..1), at any size; stretched to the picture's."""


class U2Net:
    """A U-2-Net: `u2netp` (5 MB), or `u2net` (176 MB), which is better with hair.

    Args:
        side: px of the square at which it looks; it was trained at 320.
        threads: of one look; 0 is one a core, four at most. Callers that look at several pictures at a time
            want 1.

    Raises:
        DependencyError: onnxruntime or the file of weights is missing.
    """

    def __init__(
        self, name: Literal["u2netp", "u2net"] = "u2netp", side: int = _SIDE, *, threads: int = 0
    ) -> None:
        self.name: str = name if side == _SIDE else f"{name}-{side}"
        self._side = side
        threads = threads or min(_THREADS, os.cpu_count() or 1)
        model = weights(f"{name}.onnx").read_bytes()
        self._session: Any = session(model if side == _SIDE else _any_size(model), EXTRA, threads=threads)
        self._input, self._output = (
            one[0].name for one in (self._session.get_inputs(), self._session.get_outputs())
        )

    def mask(self, rgb: Image.Image) -> Array:
        """Looks twice: at the whole picture, then closer at what it found, with more pixels."""
        first = self.glance(rgb)
        box = around(first > _FOUND, rgb.size)
        if box is None or box.area > _NEAR * rgb.width * rgb.height:
            return first
        return self.within(rgb, box)

    def within(self, rgb: Image.Image, box: Box) -> Array:
        """One look at a part of the picture (px); outside it nothing is subject."""
        scale = min(1.0, 1024 / max(rgb.size))
        size = max(1, round(rgb.width * scale)), max(1, round(rgb.height * scale))
        near = Image.fromarray(self.glance(rgb.crop(box.corners)))
        canvas = Image.new("F", size)
        part = max(1, round(box.w * scale)), max(1, round(box.h * scale))
        canvas.paste(
            near.resize(part, Image.Resampling.BICUBIC), (round(box.x * scale), round(box.y * scale))
        )
        return np.clip(np.asarray(canvas), 0, 1)

    def glance(self, rgb: Image.Image) -> Array:
        """One look at the whole picture, (side, side)."""
        small = rgb.resize((self._side, self._side), Image.Resampling.LANCZOS, reducing_gap=3)
        pixels = np.asarray(small, dtype=np.float32)
        pixels = (pixels / max(float(pixels.max()), 1.0) - _MEAN) / _DEVIATION
        found = self._session.run([self._output], {self._input: pixels.transpose(2, 0, 1)[None]})[0][0, 0]
        # The output is stretched to 0..1 only if it nearly has that range: else nothing in view stands out.
        low, high = float(found.min()), float(found.max())
        return (found - low) / max(high - low, 0.5)


def _any_size(model: bytes) -> bytes:
    """The network with free height and width in place of the 1 x 3 x 320 x 320 that its file states.

    In protobuf's wire format a dimension is {0A 03 08 C0 02} when it is the number 320, and {0A 03 12 01 x}
    when it is free and called x; both take five bytes, so nothing else moves.
    """
    fixed = bytes((0x0A, 3, 8, 0xC0, 2))
    free = [bytes((0x0A, 3, 0x12, 1, ord(name))) for name in "hw"]
    for channels in (3, 1):
        before = bytes((0x0A, 2, 8, 1, 0x0A, 2, 8, channels))
        model = model.replace(before + 2 * fixed, before + free[0] + free[1])
    return model


def around(mask: NDArray[np.bool_], size: tuple[int, int]) -> Box | None:
    """The part of a picture, px, that a square mask stretched over it marks, with some room; None where
    nothing is marked."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        return None
    (x0, x1), (y0, y1) = _widened(columns / len(mask), size[0]), _widened(rows / len(mask), size[1])
    return Box(x0, y0, x1 - x0, y1 - y0)


def _widened(shares: NDArray[np.float64], side: int) -> tuple[int, int]:
    first, last = float(shares[0]), float(shares[-1]) + 1 / _SIDE
    margin = _MARGIN * (last - first)
    return max(0, round((first - margin) * side)), min(side, round((last + margin) * side))


class NamedNetwork:
    """An ONNX network of the user's: a file, a folder, or a repository of the hub, such as
    `onnx-community/BiRefNet-ONNX`.

    It gets the picture as (1, 3, H, W), normalised as `preprocessor_config.json` beside it says, else as
    ImageNet's; its last map is the mask, and a map that leaves 0..1 is passed through a logistic function.

    Args:
        named: the file (.onnx), the folder, or OWNER/NAME of a repository.

    Raises:
        ImageError: there is no such file, or it is not a network of one picture.
        DependencyError: onnxruntime is missing, or the hub cannot be reached.
    """

    def __init__(self, named: str) -> None:
        model, settings = _located(named)
        self.name = f"{named} {model.stat().st_size}"
        told = _told(settings)
        try:
            self._session: Any = session(model, EXTRA, threads=1)
        except refusals(EXTRA) as error:
            raise ImageError(
                f"{model} is not a network that can be run: {str(error)[:200]}", remedy="name an .onnx file"
            ) from error
        first = self._session.get_inputs()[0]
        shape = list(first.shape)
        if len(shape) != 4 or shape[1] != 3:
            raise ImageError(
                f"{model} takes {shape}, not pictures (1, 3, H, W)",
                remedy="name a network that cuts out subjects",
            )
        self._input, self._half = first.name, "float16" in first.type
        fixed = [side if isinstance(side, int) and side > 0 else 0 for side in shape[2:]]
        size = told.get("size")
        asked: dict[str, Any] = size if isinstance(size, dict) else {}
        self._size = (
            fixed[1] or int(asked.get("width", _FREE_SIDE)),
            fixed[0] or int(asked.get("height", _FREE_SIDE)),
        )
        self._mean = np.asarray(told.get("image_mean", _MEAN), np.float32)
        self._deviation = np.asarray(told.get("image_std", _DEVIATION), np.float32)

    def mask(self, rgb: Image.Image) -> Array:
        """One look at the whole picture."""
        small = rgb.convert("RGB").resize(self._size, Image.Resampling.BILINEAR, reducing_gap=3)
        pixels = (np.asarray(small, np.float32) / 255 - self._mean) / self._deviation
        given = pixels.transpose(2, 0, 1)[None].astype(np.float16 if self._half else np.float32)
        try:
            maps = self._session.run(None, {self._input: given})
        except refusals(EXTRA) as error:
            raise ImageError(
                f"the network {self.name} does not take a picture of {self._size[0]}x{self._size[1]}: "
                f"{str(error)[:200]}",
                remedy="name a network that cuts out subjects",
            ) from error
        found = np.asarray(maps[0] if maps[0].shape[-1] >= maps[-1].shape[-1] else maps[-1], np.float32)
        found = found.reshape(-1, *found.shape[-2:])[0]
        if found.min() < -0.01 or found.max() > 1.01:
            found = 1 / (1 + np.exp(-np.clip(found, -50, 50)))
        return np.asarray(found, np.float32)


def _located(named: str) -> tuple[Path, Path | None]:
    """The network's file, and the settings beside it."""
    path = Path(named)
    if path.is_dir():
        models = sorted(path.rglob("*.onnx"))
        if not models:
            raise ImageError(f"{path} holds no .onnx file", remedy="name the file or its folder")
        path = next((one for one in models if one.name == "model.onnx"), models[0])
    if is_file(path):
        beside = [folder / "preprocessor_config.json" for folder in (path.parent, path.parent.parent)]
        return path, next((one for one in beside if is_file(one)), None)
    if named.endswith(".onnx") or named.count("/") != 1:
        raise ImageError(
            f"{named}: no such file", remedy="check the path, or name a repository as OWNER/NAME"
        )
    return _from_hub(named)


def _from_hub(named: str) -> tuple[Path, Path | None]:
    hub = require("huggingface_hub", EXTRA)
    told = require("huggingface_hub.errors", EXTRA)
    wrong = (told.HfHubHTTPError, told.LocalEntryNotFoundError, told.HFValidationError, OSError)
    try:
        model = Path(hub.hf_hub_download(named, "onnx/model.onnx"))
    except wrong as error:
        raise DependencyError(
            f"{named}: its file onnx/model.onnx could not be fetched: {str(error).splitlines()[0][:160]}",
            remedy="check the name and the network, or download the .onnx file and name its path",
        ) from error
    try:
        return model, Path(hub.hf_hub_download(named, "preprocessor_config.json"))
    except wrong:
        return model, None


def _told(settings: Path | None) -> dict[str, Any]:
    if settings is None:
        return {}
    try:
        told = json.loads(settings.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}
