"""Generic image features as an `Embedder` of the judge: CLIP, DINO and the like, from the user's own disk.

Only this file of the judge uses transformers' classes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
from PIL import Image
from torch import Tensor

from castsheet.errors import CheckpointError
from castsheet.judge.cast import Pixels
from castsheet.judge.protocols import Maps, Vectors
from castsheet.machine.regular import is_file, is_folder
from castsheet.machine.text import TextReader

SIDE = 224  # px, if a model's files state none
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, likewise


class HubFeatures:
    """A vision model of transformers by its folder, or by an id whose files are in the local cache.

    Crops are padded to a square with the model's mean colour. Pipelines that cut the square out, and standing
    figures' heads off, give slightly other values.
    Range of a cosine: -1..1; strangers of one kind are rarely below 0.5.
    Blind to: identity behind clothes and pose. On photographs of dressed people general features follow the
    outfit: read the value as "same outfit and kind", not "same person".

    Raises:
        CheckpointError: the model is not on this machine, or does not read pictures.
    """

    def __init__(self, model: str, *, device: str = "cpu") -> None:
        from transformers import AutoModel

        self.name = Path(model).name if is_folder(Path(model)) else model
        folder = _folder(model)
        try:
            self._model: Any = AutoModel.from_pretrained(folder, local_files_only=True).to(device).eval()
        except (OSError, ValueError, KeyError) as error:
            raise CheckpointError(
                f"{model} cannot be opened: {error}", remedy="name a vision model's folder"
            ) from error
        if getattr(self._model, "main_input_name", "") != "pixel_values" and not hasattr(
            self._model, "get_image_features"
        ):
            raise CheckpointError(f"{model} takes no pictures", remedy="name a CLIP or DINO model")
        self._device = device
        self._side, self._mean, self._std = _preprocessing(folder)

    @torch.no_grad()
    def embed(self, crops: list[Pixels]) -> Vectors:
        """Vectors (N, D) of RGB crops of any size."""
        pixels_NCHW = torch.stack([self._square(one) for one in crops]).to(self._device)
        if hasattr(self._model, "get_image_features"):
            found = self._model.get_image_features(pixel_values=pixels_NCHW)
        else:
            found = self._model(pixel_values=pixels_NCHW)
        vectors = found if isinstance(found, Tensor) else found.pooler_output
        return np.asarray(vectors.float().cpu().numpy(), np.float32)

    def _square(self, crop_HWC: Pixels) -> Tensor:
        picture = Image.fromarray(crop_HWC)
        picture.thumbnail((self._side, self._side), Image.Resampling.BICUBIC)
        if max(picture.size) < self._side:
            scale = self._side / max(picture.size)
            size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
            picture = picture.resize(size, Image.Resampling.BICUBIC)
        mean = tuple(round(255 * one) for one in self._mean)
        square = Image.new("RGB", (self._side, self._side), mean)
        square.paste(picture, ((self._side - picture.width) // 2, (self._side - picture.height) // 2))
        levels = np.asarray(square, np.float32) / 255
        scaled = (levels - np.array(self._mean, np.float32)) / np.array(self._std, np.float32)
        return torch.from_numpy(scaled).permute(2, 0, 1)


class HubLooker(HubFeatures):
    """The same model, asked for what it sees in every part of a picture: a `Looker` of the judge.

    Pictures are stretched to the model's square. Parts are of its middle layer, kinds of its last.

    Raises:
        CheckpointError: the model is not on this machine, or gives no square grid of features.
    """

    def __init__(self, model: str, *, device: str = "cpu") -> None:
        super().__init__(model, device=device)
        self._tower: Any = getattr(self._model, "vision_model", self._model)
        try:
            self.maps(np.zeros((1, self._side, self._side, 3), np.uint8))
        except (AttributeError, TypeError, ValueError, RuntimeError, IndexError) as error:
            raise CheckpointError(
                f"{model} gives no features of the parts of a picture: {error}",
                remedy="name a vision transformer, such as a DINO or a CLIP model",
            ) from error

    @torch.no_grad()
    def maps(self, pictures_NHWC: Pixels) -> Maps:
        """Features over the model's own grid."""
        size = self._side, self._side
        squares = [
            np.asarray(Image.fromarray(one).resize(size, Image.Resampling.BOX)) for one in pictures_NHWC
        ]
        levels = np.stack(squares).astype(np.float32) / 255
        scaled = (levels - np.array(self._mean, np.float32)) / np.array(self._std, np.float32)
        pixels_NCHW = torch.from_numpy(scaled.astype(np.float32)).permute(0, 3, 1, 2).to(self._device)
        found = self._tower(pixel_values=pixels_NCHW, output_hidden_states=True)
        layers = found.hidden_states
        return Maps(_grid(layers[len(layers) // 2]), _grid(found.last_hidden_state))


def _grid(tokens: Tensor) -> Vectors:
    """Tokens (N, T, D) of a square of patches, after those that stand for the whole; or maps (N, D, h, w)."""
    if tokens.ndim == 4:
        return np.asarray(tokens.permute(0, 2, 3, 1).float().cpu().numpy(), np.float32)
    side = int(tokens.shape[1] ** 0.5)
    patches = tokens[:, tokens.shape[1] - side * side :]
    return np.asarray(patches.reshape(len(tokens), side, side, -1).float().cpu().numpy(), np.float32)


def _folder(model: str) -> Path:
    if is_folder(Path(model)):
        return Path(model)
    try:
        return Path(snapshot_download(model, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError) as error:
        raise CheckpointError(
            f"{model} is neither a folder nor in the local cache",
            remedy="download it first, and accept its licence, or give its folder",
        ) from error


def _preprocessing(folder: Path) -> tuple[int, tuple[float, ...], tuple[float, ...]]:
    """Side, mean and deviation that the model's files state."""
    file = folder / "preprocessor_config.json"
    if not is_file(file):
        return SIDE, MEAN, STD
    held = TextReader(CheckpointError, "download the model again").json_object(file)
    wanted = held.get("crop_size") or held.get("size") or SIDE
    side = wanted if isinstance(wanted, int) else wanted.get("height") or wanted.get("shortest_edge") or SIDE
    return int(side), tuple(held.get("image_mean") or MEAN), tuple(held.get("image_std") or STD)
