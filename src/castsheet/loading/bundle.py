"""A bundle: a folder whose `bundle.json` names the files of one model and how it likes to be run.

    {"version": 1, "name": "mini",
     "files": {"checkpoint": "mini.safetensors", "text_encoder": "text_encoder",
               "adapters": [{"path": "ic-lora.safetensors", "strength": null, "reference": "looped"},
                            {"path": "ic-lora-still.safetensors", "reference": "still"}]},
     "usual": "card",
     "bucket": {"width": 384, "height": 224, "frames": 121, "fps": 24, "stg_blocks": [5]},
     "preset": {"steps": 16, "lora_strength": 1.0}}

Paths are relative to the folder. `bucket` is what the model was trained at and holds under every preset.
`preset` changes the default preset only: a preset that the user names stays as published. An adapter with
`reference` is used in runs whose setting `reference` is the same; an adapter without it is used in every run.
The file's own metadata must agree (`MODE` in ltx/adapters/lora_file.py). An adapter with `preset` is used in
runs with that preset: "fast" for a distilled one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from castsheet.embedded import WEIGHTS
from castsheet.errors import CheckpointError, shown
from castsheet.ltx.adapters.mode import ReferenceMode
from castsheet.machine.regular import file_mode, is_file
from castsheet.machine.text import TextReader
from castsheet.machine.wording import first_mistake
from castsheet.settings import Settings, override, preset

BUNDLE_FILE = "bundle.json"
MINI = WEIGHTS


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AdapterFile(_Part):
    """An adapter of a bundle. Without a strength of its own it takes the preset's `lora_strength`.

    With `reference` it is used only in runs whose setting `reference` is the same, with `preset` only in runs
    of that preset, without them in every run.
    """

    path: str
    strength: float | None = None
    reference: ReferenceMode | None = None
    preset: str | None = None


class Files(_Part):
    """The model's files, relative to the bundle's folder."""

    checkpoint: str
    text_encoder: str
    adapters: tuple[AdapterFile, ...] = ()


class Bucket(_Part):
    """Size, rate and compression of the clips that the model was trained on, and its blocks for STG."""

    width: int
    height: int
    frames: int
    fps: float = 24.0
    stg_blocks: tuple[int, ...] | None = None
    first_frame_crf: int | None = None


class Bundle(_Part):
    """The content of a `bundle.json`, and the folder it was read from.

    `usual` is the preset that a user means who names none; `preset` are changes to it.
    """

    version: int = Field(default=1, ge=1, le=1)
    name: str
    files: Files
    bucket: Bucket | None = None
    usual: str | None = None
    preset: dict[str, Any] = {}
    folder: Path = Field(default=Path(), exclude=True)

    @classmethod
    def load(cls, folder: Path | str) -> Bundle:
        """Read `bundle.json`, and check that its files exist and its settings are sound.

        Raises:
            CheckpointError: bundle.json is missing, damaged, or names a file that is not there.
            SettingsError: the bucket or preset holds an unknown setting or a value out of range.
        """
        folder = Path(folder)
        path = folder / BUNDLE_FILE
        if folder == MINI and not is_file(path):
            raise CheckpointError(
                "the embedded model's weights are not in this installation",
                remedy="install a release that has them, or train them: python -m mini.training.recipe",
            )
        raw = TextReader(CheckpointError, "correct the file").json_object(path)
        try:
            bundle = cls.model_validate(raw)
        except ValidationError as error:
            where, what, remedy = first_mistake(error)
            raise CheckpointError(f"{path}: {where or 'the file'}: {what}", remedy=remedy) from error
        bundle = bundle.model_copy(update={"folder": folder})
        named = (
            bundle.files.checkpoint,
            bundle.files.text_encoder,
            *(one.path for one in bundle.files.adapters),
        )
        for name in named:
            if not name or Path(name).is_absolute() or ".." in Path(name).parts:
                raise CheckpointError(
                    f"{path} names {shown(name)}, which is outside its folder",
                    remedy="put the file, or a link to it, into the bundle's folder",
                )
        for file in (bundle.checkpoint, bundle.text_encoder, *bundle.adapters):
            if not file_mode(file):
                raise CheckpointError(
                    f"{path} names {file}, which is not there", remedy="complete the bundle's folder"
                )
        bundle.settings(None)
        return bundle

    @property
    def checkpoint(self) -> Path:
        """The checkpoint's file, whole or the denoiser's, or a diffusers folder."""
        return self.folder / self.files.checkpoint

    @property
    def text_encoder(self) -> Path:
        """The Gemma folder, or the packed text encoder."""
        return self.folder / self.files.text_encoder

    @property
    def adapters(self) -> dict[Path, AdapterFile]:
        """The adapters' entries by file."""
        return {self.folder / one.path: one for one in self.files.adapters}

    def settings(self, name: str | None) -> Settings:
        """The preset `name` at this model's bucket; None means the model's own default.

        Raises:
            SettingsError: an unknown preset, setting or value.
        """
        base = preset(name if name is not None else self.usual or "card")
        if self.bucket is not None:
            base = override(base, self.bucket.model_dump(exclude_none=True))
        return override(base, self.preset) if name is None else base
