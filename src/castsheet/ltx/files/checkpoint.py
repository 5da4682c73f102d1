"""Model files in and out: official single files, diffusers folders, fp8 files; which family a file is of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from castsheet.errors import CheckpointError
from castsheet.ltx import keys as official
from castsheet.ltx.family import detect_family, refuse_checkpoint
from castsheet.ltx.files.folder import is_diffusers_folder, read_folder
from castsheet.ltx.files.reading import OpenFiles, Spoilt, read, widened
from castsheet.ltx.files.transformer import load_transformer
from castsheet.ltx.header import Entry, read_header, save_tensors
from castsheet.ltx.model.config import ModelConfig
from castsheet.ltx.model.dit import Transformer
from castsheet.ltx.parts.audio import (
    AudioVAE,
    Vocoder,
    audio_vae_from_official,
    audio_vae_to_official,
    vocoder_from_official,
    vocoder_to_official,
)
from castsheet.ltx.parts.connectors import (
    GEMMA_12B_STATES,
    TextConnectors,
    connectors_from_official,
    connectors_to_official,
)
from castsheet.ltx.parts.vae import VideoVAE, video_vae_from_official, video_vae_to_official
from castsheet.machine.files import write_atomic

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Checkpoint:
    """A model on disk: what it holds is known, nothing is loaded until a `load_*` method is called.

    Attributes:
        path: the file or folder.
        metadata: the header's strings (empty for a folder).
        entries: every tensor under its official name, quantisation scales included.
    """

    path: Path
    metadata: Mapping[str, str]
    entries: Mapping[str, Entry]

    @classmethod
    def open(cls, path: Path | str) -> Checkpoint:
        """Open an official single file or a diffusers folder.

        Raises:
            CheckpointError: nothing there, a damaged or foreign file, or a folder without a model.
        """
        path = Path(path)
        if path.is_dir():
            if not is_diffusers_folder(path):
                found = ", ".join(sorted(file.name for file in path.glob("*.safetensors"))[:5])
                raise CheckpointError(
                    f"{path} is a folder without a model (no transformer/config.json)",
                    remedy=f"name a file in it: {found}"
                    if found
                    else "name a .safetensors file or a diffusers folder",
                )
            raw, entries = read_folder(path)
            return cls(path, {"config": json.dumps(raw)}, entries)
        header = read_header(path)
        return cls(path, header.metadata, header.entries)

    @cached_property
    def config(self) -> ModelConfig:
        """The parsed config.

        Raises:
            CheckpointError: the config metadata is missing or damaged.
            FamilyError: the file is of a family that is recognised but not supported.
        """
        refuse_checkpoint(self.path, self.family)
        return ModelConfig.from_header(dict(self.metadata), self.family)

    @cached_property
    def family(self) -> str:
        """Name of the file's family, or "unknown": by its stated version, else by its tensors."""
        version = self.metadata.get("model_version")
        denoiser = (name for name in self.entries if name.startswith(official.DIT))
        return detect_family([] if version is None else [version], denoiser)

    @property
    def version(self) -> str:
        return self.metadata.get("model_version", "unknown")

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """Official names of the model's tensors, quantisation scales left out."""
        return tuple(name for name in self.entries if not official.is_quantisation(name))

    @cached_property
    def parts(self) -> frozenset[official.Part]:
        """The parts that the file holds tensors of."""
        return frozenset(part for part in map(official.part_of, self.keys) if part)

    @cached_property
    def has_audio(self) -> bool:
        """Whether the denoiser's audio half is in the file."""
        return any(official.is_audio(name) for name in self.keys if official.part_of(name) == "transformer")

    def load_transformer(
        self,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.bfloat16,
        audio: bool = False,
        check_finite: bool = True,
    ) -> Transformer:
        """The denoiser, frozen and in eval mode; AdaLN tables stay fp32, everything else takes `dtype`.

        Args:
            device: where the tensors go, one by one, so that no second copy exists anywhere.
            dtype: of the weights; fp8 files are expanded to it.
            audio: load the audio half too; without it, its tensors are not read.
            check_finite: refuse NaN and infinity (costs one pass over the weights).

        Raises:
            CheckpointError: damaged, incomplete or unknown tensors; up to five are named.
            FamilyError: a file of a family that does not run.
        """
        model, _ = load_transformer(
            self, "wide", device=device, dtype=dtype, audio=audio, check_finite=check_finite
        )
        return model

    def load_video_vae(
        self,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.bfloat16,
        check_finite: bool = True,
    ) -> VideoVAE:
        """The video VAE, frozen and in eval mode.

        Raises:
            CheckpointError, FamilyError: as `load_transformer`.
        """
        state = dict(self._read(self.names("vae"), device, dtype, check_finite))
        return video_vae_from_official(self.config.vae, state).eval().requires_grad_(False)

    def load_connectors(
        self,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.bfloat16,
        audio: bool = False,
        check_finite: bool = True,
    ) -> TextConnectors:
        """The text connectors, frozen and in eval mode; without `audio`, only the video stream is read.

        Raises:
            CheckpointError, FamilyError: as `load_transformer`.
        """
        raw = self.config.raw["transformer"]
        names = [name for name in self.names("connectors") if audio or not official.is_audio(name)]
        state = dict(self._read(names, device, dtype, check_finite))
        return connectors_from_official(raw, state, audio=audio).eval().requires_grad_(False)

    def load_audio(
        self,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.bfloat16,
        check_finite: bool = True,
    ) -> tuple[AudioVAE, Vocoder]:
        """The audio VAE in `dtype` and the vocoder in fp32, frozen and in eval mode.

        Raises:
            CheckpointError, FamilyError: as `load_transformer`.
        """
        config = self.config
        if config.audio_vae is None or config.vocoder is None:
            raise CheckpointError(
                f"{self.path} has no audio parts", remedy="run without audio, or use a full file"
            )
        mels = dict(self._read(self.names("audio_vae"), device, dtype, check_finite))
        waves = dict(self._read(self.names("vocoder"), device, torch.float32, check_finite))
        vae = audio_vae_from_official(config.audio_vae, mels)
        vocoder = vocoder_from_official(config.vocoder, waves)
        return vae.eval().requires_grad_(False), vocoder.eval().requires_grad_(False)

    def connectors_fingerprint(self) -> str:
        """A hash of the connectors' names, shapes and first rows: changes when they are trained anew."""
        digest = hashlib.sha256()
        with ExitStack() as stack:
            files = OpenFiles(self.entries, stack, "cpu")
            for name in sorted(self.names("connectors")):
                entry, row = self.entries[name], files.first_row(name)
                digest.update(f"{name} {entry.shape} {entry.dtype}".encode())
                digest.update(row.contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def names(self, part: official.Part) -> list[str]:
        """Official names of a part's tensors.

        Raises:
            CheckpointError: the file does not hold the part.
        """
        names = [name for name in self.keys if official.part_of(name) == part]
        if not names:
            raise CheckpointError(
                f"{self.path} holds no {part.replace('_', ' ')}",
                remedy="use a complete LTX-2.3 file; ComfyUI's split files lack parts",
            )
        return names

    def _read(
        self, names: Iterable[str], device: torch.device | str, dtype: torch.dtype, check_finite: bool
    ) -> Iterator[tuple[str, Tensor]]:
        """Tensors one by one, on their device and in their dtype, scales applied."""
        spoilt = Spoilt()
        for name, tensor, scale in read(self.entries, names, device):
            wide = widened(tensor, scale).to(dtype)
            if check_finite:
                spoilt.look(name, wide)
            yield name, wide
        spoilt.refuse(self.path)


def write_checkpoint(
    path: Path | str, tensors: Mapping[str, Tensor], config: Mapping[str, Any], version: str
) -> Path:
    """Write an official single file: official tensor names, `config` and `model_version` in the header.

    Args:
        path: the file; replaced as a whole or not at all.
        tensors: official names (see `official_tensors`), any device.
        config: the parts `transformer`, `vae`, ... as they stand in the official metadata.
        version: for example "2.3.0".

    Raises:
        OutputError: the file cannot be written.
    """
    metadata = {"config": json.dumps(dict(config)), "model_version": version}
    stored: dict[str, Tensor] = {}
    storages: set[int] = set()
    for name, tensor in tensors.items():
        tensor = tensor.detach().to("cpu").contiguous()
        # The format has no notion of tied weights, so each name gets its own copy.
        stored[name] = tensor.clone() if tensor.untyped_storage().data_ptr() in storages else tensor
        storages.add(tensor.untyped_storage().data_ptr())
    return write_atomic(Path(path), lambda temporary: save_tensors(stored, temporary, metadata))


def official_tensors(
    *,
    transformer: Transformer | None = None,
    connectors: TextConnectors | None = None,
    vae: VideoVAE | None = None,
    audio_vae: AudioVAE | None = None,
    vocoder: Vocoder | None = None,
) -> dict[str, Tensor]:
    """The tensors of the given modules under their official names, ready for `write_checkpoint`."""
    tensors: dict[str, Tensor] = {}
    if transformer is not None:
        tensors |= {official.DIT + name: tensor for name, tensor in transformer.state_dict().items()}
    if connectors is not None:
        tensors |= connectors_to_official(connectors)
    if vae is not None:
        tensors |= video_vae_to_official(vae)
    if audio_vae is not None:
        tensors |= audio_vae_to_official(audio_vae)
    if vocoder is not None:
        tensors |= vocoder_to_official(vocoder)
    return tensors


def official_keys(config: Mapping[str, Any], *, states: int = GEMMA_12B_STATES) -> dict[str, Shape]:
    """Name and shape of every tensor of a complete official file with this config, buffers included.

    Args:
        config: the parts `transformer`, `vae` and, for audio, `audio_vae` and `vocoder`.
        states: hidden states a token of the text encoder (49 for Gemma-3-12B).

    Raises:
        CheckpointError, FamilyError: the config is incomplete or of another family.
    """
    model = ModelConfig.from_header({"config": json.dumps(dict(config))})
    audio = model.transformer.audio
    with torch.device("meta"):
        tensors = official_tensors(
            transformer=Transformer(model.transformer),
            connectors=TextConnectors(config["transformer"], states=states, audio=audio),
            vae=VideoVAE(model.vae),
            audio_vae=AudioVAE(model.audio_vae) if audio and model.audio_vae else None,
            vocoder=Vocoder(model.vocoder) if audio and model.vocoder else None,
        )
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}
