"""Text-to-image and image-edit pipelines of diffusers, by model id, as renderers."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from huggingface_hub.errors import HfHubHTTPError
from PIL import Image
from safetensors import SafetensorError

from castsheet.authoring.renderer import RenderRequest
from castsheet.errors import CheckpointError, SettingsError

_REMEDY = "name a text-to-image or image-edit pipeline of diffusers, as a folder or an id of the hub"


class DiffusionRenderer:
    """A diffusers pipeline. It reads only safetensors, and runs no code that comes with a model.

    A pipeline that takes an `image` (an edit pipeline) gets the known picture; any other gets only the words.

    Args:
        settings: passed to every call, such as `num_inference_steps`.
    """

    def __init__(self, pipeline: Any, name: str, **settings: Any) -> None:
        self._pipeline = pipeline
        self._settings = settings
        self._known = inspect.signature(pipeline.__call__).parameters
        self.name = name
        if "prompt" not in self._known:
            raise SettingsError(f"{name} takes no prompt", remedy=_REMEDY)
        unknown = sorted(set(settings) - set(self._known))
        if unknown:
            raise SettingsError(
                f"{name} has no setting {unknown[0]!r}", remedy="see the pipeline's documentation"
            )

    @classmethod
    def load(
        cls,
        model: str | Path,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.bfloat16,
        **settings: Any,
    ) -> DiffusionRenderer:
        """Load a pipeline from a folder or the hub.

        Raises:
            CheckpointError: the pipeline is not there, damaged, or not in safetensors.
            SettingsError: the pipeline makes no pictures from words, or lacks a setting.
        """
        try:
            pipeline = DiffusionPipeline.from_pretrained(model, dtype=dtype, use_safetensors=True)
        except (OSError, ValueError, TypeError, AttributeError, SafetensorError, HfHubHTTPError) as error:
            told = " ".join(str(error).split())[:300]
            raise CheckpointError(f"the pipeline {model} cannot be loaded: {told}", remedy=_REMEDY) from error
        pipeline.set_progress_bar_config(disable=True)
        return cls(pipeline.to(device), str(model), **settings)

    def render(self, request: RenderRequest) -> Image.Image:
        """The pipeline's first picture.

        Raises:
            SettingsError: the pipeline needs a picture and there is none, or it refuses the size.
        """
        generator = torch.Generator().manual_seed(request.seed)
        given: dict[str, Any] = {"prompt": request.prompt, "generator": generator, **self._settings}
        if request.picture is not None and "image" in self._known:
            given["image"] = request.picture
        elif not request.looks:
            raise SettingsError(
                f"{self.name} goes by words alone, and nothing says what the element looks like",
                remedy="add --description, or name an image-edit pipeline",
            )
        if request.size is not None:
            given |= dict(zip(("width", "height"), request.size, strict=True))
        try:
            made = self._pipeline(
                **{key: value for key, value in given.items() if key in self._known}
            ).images[0]
        except (ValueError, TypeError) as error:
            raise SettingsError(f"{self.name} refuses the request: {error}", remedy=_REMEDY) from error
        return made if isinstance(made, Image.Image) else Image.fromarray(made)
