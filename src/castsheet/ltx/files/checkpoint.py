"""Model files: official single files, diffusers folders, fp8 files; which family a file is of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from castsheet.errors import CheckpointError, shown
from castsheet.ltx import keys as official
from castsheet.ltx.family import Told, detect_family, refuse_checkpoint, refuse_contradiction, tell_family
from castsheet.ltx.files.folder import is_diffusers_folder, no_model, read_folder
from castsheet.ltx.files.reading import OpenFiles, Spoilt, read, widened
from castsheet.ltx.files.split import FOLDERS, complete, find_denoiser, official_entries
from castsheet.ltx.header import Entry, read_header
from castsheet.ltx.model.config import ModelConfig
from castsheet.ltx.parts.audio import AudioVAE, Vocoder, audio_vae_from_official, vocoder_from_official
from castsheet.ltx.parts.connectors import TextConnectors, connectors_from_official
from castsheet.ltx.parts.diffusion_vae import diffusion_vae_from_official
from castsheet.ltx.parts.vae import VideoVAE, is_diffusion, video_vae_from_official
from castsheet.machine.json_text import JsonMistake, parse_json
from castsheet.machine.regular import is_folder


@dataclass(frozen=True)
class Checkpoint:
    """A model on disk. Its contents are known; nothing is loaded until a `load_*` method is called.

    Attributes:
        path: the file or folder.
        metadata: the header's strings (of a diffusers folder, its config alone).
        entries: every tensor under its official name, quantisation scales included.
        text_encoder: the packed text encoder that belongs to the files; None where it comes on its own.
    """

    path: Path
    metadata: Mapping[str, str]
    entries: Mapping[str, Entry]
    text_encoder: Path | None = None

    @classmethod
    def open(
        cls, path: Path | str, *, vae: Path | None = None, text_encoder: Path | None = None
    ) -> Checkpoint:
        """Open an official file, whole or with its other parts around it, or a folder that holds one.

        Args:
            vae: a file with another video VAE. text_encoder: the one that the user named.

        Raises:
            CheckpointError: nothing there, a damaged or foreign file, a folder without a model, or several
                files that would do.
        """
        path = Path(path)
        if is_folder(path) and is_diffusers_folder(path):
            raw, entries = read_folder(path)
            return cls(path, {"config": json.dumps(raw)}, entries)
        file = find_denoiser(path) if path.is_dir() else path
        if file is None:
            raise no_model(path)
        pieces = complete(read_header(file), vae=vae, text_encoder=text_encoder)
        return cls(path, pieces.metadata, pieces.entries, pieces.text_encoder)

    @classmethod
    def alone(cls, path: Path | str) -> Checkpoint:
        """One file as it is, without what belongs to it.

        Raises:
            CheckpointError: nothing there, or a damaged or foreign file.
        """
        header = read_header(path)
        return cls(header.path, header.metadata, official_entries(header))

    @cached_property
    def config(self) -> ModelConfig:
        """The parsed config.

        Raises:
            CheckpointError: the config metadata is missing or damaged.
            FamilyError: the file is of a family that is recognised but not supported, or its header and its
                tensors are of two families.
        """
        refuse_checkpoint(self.path, self.family)
        config = ModelConfig.from_header(dict(self.metadata), self.family)
        refuse_contradiction(self.path, config.transformer.family, detect_family((), self._denoiser()))
        return config

    @cached_property
    def family(self) -> str:
        """Name of the file's family, or "unknown"; see `told`."""
        return self.told.family

    @cached_property
    def told(self) -> Told:
        """The file's family: by its stated version, else by its tensors."""
        version = self.metadata.get("model_version")
        return tell_family([] if version is None else [version], self._denoiser())

    def _denoiser(self) -> Iterator[str]:
        return (name for name in self.entries if name.startswith(official.DIT))

    @property
    def version(self) -> str:
        return self.metadata.get("model_version", "unknown")

    @property
    def encoder_version(self) -> str | None:
        """The text encoder that the model was trained with, where the header names one (LTX-2.5 does).

        Raises:
            CheckpointError: the statement is damaged.
        """
        text = self.metadata.get("gemma_source_checkpoint")
        if text is None:
            return None
        try:
            return str(parse_json(text)["gemma_version"])
        except (JsonMistake, KeyError, TypeError) as error:
            raise CheckpointError(
                f"{self.path}: gemma_source_checkpoint in the header is damaged: {shown(text)}",
                remedy="download the checkpoint again",
            ) from error

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

    def load_video_vae(
        self,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.bfloat16,
    ) -> VideoVAE:
        """The video VAE, frozen and in eval mode.

        Args:
            device, dtype: where the tensors go, one by one, and as what; fp8 is expanded to it.

        Raises:
            CheckpointError: damaged, incomplete or unknown tensors; up to five are named.
            FamilyError: a file of a family that does not run.
        """
        state = dict(self._read(self.names("vae"), device, dtype))
        build = diffusion_vae_from_official if is_diffusion(self.config.vae) else video_vae_from_official
        return build(self.config.vae, state).eval().requires_grad_(False)

    def load_connectors(
        self,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.bfloat16,
        audio: bool = False,
    ) -> TextConnectors:
        """The text connectors, frozen and in eval mode; without `audio`, only the video stream is read.

        Raises:
            CheckpointError, FamilyError: as `load_video_vae`.
        """
        raw = self.config.raw["transformer"]
        names = [name for name in self.names("connectors") if audio or not official.is_audio(name)]
        state = dict(self._read(names, device, dtype))
        return connectors_from_official(raw, state, audio=audio).eval().requires_grad_(False)

    def load_audio(
        self,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.bfloat16,
    ) -> tuple[AudioVAE, Vocoder]:
        """The audio VAE in `dtype` and the vocoder in fp32, frozen and in eval mode.

        Raises:
            CheckpointError, FamilyError: as `load_video_vae`.
        """
        config = self.config
        if config.audio_vae is None or config.vocoder is None:
            raise CheckpointError(
                f"{self.path} has no audio parts", remedy="run without audio, or use a full file"
            )
        mels = dict(self._read(self.names("audio_vae"), device, dtype))
        waves = dict(self._read(self.names("vocoder"), device, torch.float32))
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
                remedy=f"use a whole file, or put the part's file beside it, or in {', '.join(FOLDERS[1:])}",
            )
        strange = [name for name in names if self.entries[name].dtype == "C64"]
        if strange:
            raise CheckpointError(
                f"{self.path}: {strange[0]} holds complex numbers",
                remedy="use a file in bf16, fp16, fp32 or fp8",
            )
        return names

    def _read(
        self, names: Iterable[str], device: torch.device | str, dtype: torch.dtype
    ) -> Iterator[tuple[str, Tensor]]:
        """Tensors one by one, on their device and in their dtype, scales applied."""
        spoilt = Spoilt()
        for name, tensor, scale in read(self.entries, names, device):
            wide = widened(tensor, scale).to(dtype)
            spoilt.look(name, wide)
            yield name, wide
        spoilt.refuse(self.path)
