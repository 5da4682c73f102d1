"""The model as the pipeline uses it: parts loaded when they are needed, adapters merged, prompts cached."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from castsheet.errors import AdapterError, OutputError, SettingsError, TextEncoderError
from castsheet.loading.bundle import BUNDLE_FILE, MINI, Bundle
from castsheet.loading.placement import Placement
from castsheet.ltx.adapters.lora import LoRA, merge
from castsheet.ltx.adapters.lora_file import MODE, TEMPORAL
from castsheet.ltx.adapters.mode import ReferenceMode
from castsheet.ltx.family import refuse_adapter, refuse_checkpoint
from castsheet.ltx.files.checkpoint import Checkpoint
from castsheet.ltx.latents import Grid
from castsheet.ltx.model.dit import Transformer
from castsheet.ltx.parts.audio import AudioVAE, Vocoder
from castsheet.ltx.parts.text import Context, ContextCache, GemmaEncoder, TextEncoder, gemma_fingerprint
from castsheet.ltx.parts.vae import VideoVAE, scale_of
from castsheet.ltx.speed.attention8 import use_fp8_attention
from castsheet.ltx.speed.fast import join_projections, prepare
from castsheet.ltx.speed.memory import SLOTS, Plan, tile_decoding
from castsheet.ltx.speed.precision import load_transformer
from castsheet.ltx.speed.streaming import stream_blocks
from castsheet.media import provenance
from castsheet.sampling.denoiser import Contexts, RunPasses, run_alone
from castsheet.settings import Settings


@dataclass(frozen=True)
class Adapter:
    """An adapter file; without a strength of its own it follows the preset's.

    `reference` limits it to runs that hold the sheet so; None to none.
    """

    lora: LoRA
    strength: float | None = None
    reference: ReferenceMode | None = None

    def at(self, strength: float | None) -> Adapter:
        """The adapter at a strength, unless it has one of its own."""
        return self if self.strength is not None else replace(self, strength=strength)

    def strength_in(self, settings: Settings) -> float:
        """The strength in a run with these settings."""
        return settings.lora_strength if self.strength is None else self.strength


@dataclass(frozen=True)
class Source:
    """Which files make the model.

    Attributes:
        text_encoder: the Gemma-3 folder; None where the user named none.
        bundle: what came with the files; None for a bare checkpoint.
    """

    checkpoint: Checkpoint
    text_encoder: Path | None
    adapters: tuple[Adapter, ...]
    bundle: Bundle | None = None

    @classmethod
    def open(
        cls,
        model: str | Path,
        text_encoder: str | Path | None = None,
        adapters: Sequence[str | Path | tuple[str | Path, float | None]] = (),
    ) -> Source:
        """Open the files that a user names, without loading tensors.

        Args:
            model: "mini", a bundle's folder, a checkpoint file or a diffusers folder.
            text_encoder: a Gemma-3 folder; overrides the bundle's.
            adapters: LoRA files, with or without a strength; added to the bundle's.

        Raises:
            CheckpointError, AdapterError, TextEncoderError: a file is missing, damaged or not supported.
            FamilyError: the files belong to different model families.
            SettingsError: the bundle's settings are not sound.
        """
        path = MINI if model == "mini" else Path(model)
        path = path.parent if path.name == BUNDLE_FILE else path
        bundle = Bundle.load(path) if model == "mini" or (path / BUNDLE_FILE).is_file() else None
        checkpoint = Checkpoint.open(path if bundle is None else bundle.checkpoint)
        own = {} if bundle is None else bundle.adapters
        named = [(one, None) if isinstance(one, str | Path) else one for one in adapters]
        opened = (
            *(Adapter(LoRA.open(file), one.strength, one.reference) for file, one in own.items()),
            *(Adapter(LoRA.open(file), strength) for file, strength in named),
        )
        _refuse_other_families(checkpoint, opened)
        _refuse_slow_references(opened)
        folder = bundle.text_encoder if text_encoder is None and bundle is not None else text_encoder
        if folder is not None and not Path(folder).is_dir():
            raise TextEncoderError(f"{folder} is not a folder", remedy="name a Gemma-3 folder")
        return cls(checkpoint, None if folder is None else Path(folder), opened, bundle)

    @property
    def name(self) -> str:
        """A short name for people."""
        return self.checkpoint.path.stem if self.bundle is None else self.bundle.name

    def adapters_in(self, settings: Settings) -> tuple[Adapter, ...]:
        """The adapters of a run: the model's for this way of holding the reference, then the recipe's.

        A recipe's adapter that the model has already, by its file's name, counts once; its own strength wins.

        Raises:
            AdapterError: an adapter that the settings add is not there.
            FamilyError: it is for another model family.
        """
        own = [one for one in self.adapters if one.reference in (None, settings.reference)]
        here = {one.lora.path.name for one in own}
        wanted = {Path(file).name: strength for file, strength in settings.further_adapters.items()}
        added = [
            Adapter(LoRA.open(self._find(file)), strength)
            for file, strength in settings.further_adapters.items()
            if Path(file).name not in here
        ]
        _refuse_other_families(self.checkpoint, added)
        return (*(one.at(wanted.get(one.lora.path.name)) for one in own), *added)

    def _find(self, file: str) -> Path:
        """An adapter that the settings name: a path, or a file beside the checkpoint."""
        beside = self.checkpoint.path.parent / file
        for path in (Path(file), beside):
            if path.is_file():
                return path
        raise AdapterError(
            f"the settings add the adapter {file}, which is not in {beside.parent}",
            remedy="put it there or give its path with --adapter; a distilled checkpoint needs none:"
            " --further-adapters none",
        )

    def check_reference(self, settings: Settings) -> None:
        """Refuse adapters that were trained on references held in another way than the run's.

        "looped" is what adapters that say nothing were trained on; "still" wants one that says so.

        Raises:
            AdapterError: one was trained otherwise, or none is known to have been trained so.
        """
        wanted = settings.reference
        chosen = [adapter.lora for adapter in self.adapters_in(settings)]
        for lora in chosen:
            if lora.mode not in (None, wanted):
                raise AdapterError(
                    f"{lora.path} was trained on {lora.mode} references ({MODE}), the run's is {wanted}",
                    remedy=f"choose reference {lora.mode}, use another adapter, or force it",
                )
        if wanted == "still" and not any(lora.mode == "still" for lora in chosen):
            names = ", ".join(lora.path.name for lora in chosen) or "no adapter"
            raise AdapterError(
                f"reference still: {names} is not known to be trained on it; identity would be lost",
                remedy=f"use an adapter whose metadata says {MODE} still, reference looped, or force it",
            )

    @property
    def cell(self) -> int:
        """Pixels of the clip that a latent cell's side spans."""
        return scale_of(self.checkpoint.config.vae)[2]

    def grid(self, settings: Settings) -> Grid:
        """The latent grid of a run.

        Raises:
            SettingsError: the model's VAE cannot make that size or frame count.
        """
        size = {"width": settings.width, "height": settings.height}
        return Grid.of(self.checkpoint.config.vae, **size, frames=settings.frames, fps=settings.fps)

    def downscale(self, settings: Settings) -> int:
        """How many times smaller than the clip the run's adapters read the sheet.

        Raises:
            AdapterError: they disagree.
        """
        factors = {adapter.lora.downscale for adapter in self.adapters_in(settings)} - {1}
        if len(factors) > 1:
            sizes = ", ".join(f"1/{factor}" for factor in sorted(factors))
            raise AdapterError(
                f"the adapters read their reference at different sizes ({sizes})",
                remedy="use adapters of one reference_downscale_factor",
            )
        return factors.pop() if factors else 1

    def record(self, settings: Settings) -> dict[str, Any]:
        """Names, sizes and hashes of all files, for a clip's sidecar."""
        encoder = self.text_encoder
        adapters = [
            {
                **provenance.file_record(adapter.lora.path),
                "strength": adapter.strength_in(settings),
                "rank": adapter.lora.rank,
                "downscale": adapter.lora.downscale,
                "reference": adapter.lora.mode,
                "family": adapter.lora.family,
            }
            for adapter in self.adapters_in(settings)
        ]
        return {
            "name": self.name,
            "family": self.checkpoint.family,
            "version": self.checkpoint.version,
            "checkpoint": [provenance.file_record(file) for file in self._checkpoint_files()],
            "text_encoder": None
            if encoder is None
            else {"name": encoder.name, "hash": gemma_fingerprint(encoder)},
            "adapters": adapters,
        }

    def _checkpoint_files(self) -> list[Path]:
        return sorted({entry.file for entry in self.checkpoint.entries.values()})


class Models:
    """The parts of a `Source` in memory. Each is loaded once, when it is first asked for.

    Where they do not fit the GPU together they take turns: asking for one brings it there and sends the
    others to host memory, so ask anew for each stage of a run.

    Attributes:
        source: the files.
        device, dtype: where the parts work, in which precision; AdaLN tables and the vocoder stay fp32.
        placement: what is on the GPU when; decided anew for each size of clip.
        run: how a step's passes are run.
        left_out: layers of the adapters that the denoiser at hand lacks, for it was opened without audio.
    """

    def __init__(
        self,
        source: Source,
        device: torch.device,
        dtype: torch.dtype,
        cache_dir: Path | None,
        placement: Placement | None = None,
        run: RunPasses = run_alone,
    ) -> None:
        self.source, self.device, self.dtype = source, device, dtype
        self.cache_dir = cache_dir or default_cache()
        self.placement = placement or Placement(device)
        self.run = run
        self._vae: VideoVAE | None = None
        self._audio: tuple[AudioVAE, Vocoder] | None = None
        self._transformer: Transformer | None = None
        self._merged: tuple[Any, ...] = ()
        self.left_out: tuple[str, ...] = ()

    @property
    def numerics(self) -> str:
        """What of the precision makes a clip another: the dtype, and what was asked to be in fp8."""
        fp8 = {"layers": self.placement.dtype, "attention": self.placement.attention}
        return ", ".join([str(self.dtype), *(f"fp8 {part}" for part, kind in fp8.items() if kind == "fp8")])

    def vae(self) -> VideoVAE:
        """The video VAE."""
        if self._vae is None:
            self._vae = self.source.checkpoint.load_video_vae(device=self.device, dtype=self.dtype)
        self.placement.turn(self._vae, [self._transformer])
        if self.placement.plan is not None:
            tile_decoding(self._vae, self.placement.plan.tiling)
        return self._vae

    def audio(self) -> tuple[AudioVAE, Vocoder]:
        """The audio VAE and the vocoder; small enough to stay.

        Raises:
            CheckpointError: the checkpoint has none.
        """
        if self._audio is None:
            self._audio = self.source.checkpoint.load_audio(device=self.device, dtype=self.dtype)
        return self._audio

    def settle(self, settings: Settings) -> Plan | None:
        """Decide what is on the GPU when; None where there is nothing to decide.

        Raises:
            SettingsError: the clip does not fit the memory.
        """
        plan = self.placement.settle(self.source.checkpoint, self.source.text_encoder, settings)
        if self._merged != self._wanted(settings):
            self._transformer = None  # it will be loaded anew, so nothing should make room for it
        return plan

    def transformer(self, settings: Settings) -> Transformer:
        """The denoiser with the adapters merged at the settings' strengths, made fast.

        Other strengths than last time load the weights anew: what was rounded into bf16 cannot be taken out.

        Raises:
            AdapterError: an adapter does not fit the model.
        """
        wanted = self._wanted(settings)
        if self._transformer is None or self._merged != wanted:
            self._transformer = None  # two copies of the real model do not fit
            self.placement.turn(None, [self._vae])
            self._transformer = self._load(settings)
            self._merged = wanted
        self.placement.turn(self._transformer, [self._vae])
        return self._transformer

    def _strengths(self, settings: Settings) -> list[tuple[LoRA, float]]:
        return [(one.lora, one.strength_in(settings)) for one in self.source.adapters_in(settings)]

    def _wanted(self, settings: Settings) -> tuple[Any, ...]:
        """What tells one loaded denoiser from another."""
        strengths = [(lora.path, strength) for lora, strength in self._strengths(settings)]
        return settings.audio, self.placement.form(self.source.checkpoint), *strengths

    def _load(self, settings: Settings) -> Transformer:
        form, audio = self.placement.form(self.source.checkpoint), settings.audio
        adapters = self._strengths(settings)
        home = torch.device("cpu") if form.streams else self.device
        if form.precision is None:
            model = self.source.checkpoint.load_transformer(device=home, dtype=self.dtype, audio=audio)
            self.left_out = merge(model, adapters)
        else:
            model, self.left_out = load_transformer(
                self.source.checkpoint,
                device=self.device,
                home=home,
                dtype=self.dtype,
                audio=audio,
                adapters=adapters,
                precision=form.precision,
            )
        if self.left_out:
            warnings.warn(
                f"{len(self.left_out)} adapter layers belong to the audio half and are left out, such as"
                f" {self.left_out[0]}; run with audio to use them",
                stacklevel=4,
            )
        join_projections(model)
        if self.placement.attention == "fp8":
            use_fp8_attention(model, self.device)
        if form.streams:
            stream_blocks(model, self.device, resident=form.resident, slots=SLOTS)
        return prepare(model)

    def contexts(self, prompts: Sequence[str], *, audio: bool) -> list[Contexts]:
        """The text contexts of prompts, from the cache where they are there.

        The text encoder is loaded only if one is missing, and let go again: it is as large as the denoiser.

        Raises:
            TextEncoderError: it is needed and not given, or does not fit the checkpoint.
        """
        cache = ContextCache(self.cache_dir / "contexts", self._text_fingerprint(audio))
        found = {prompt: cache.get(prompt) for prompt in prompts}
        missing = [prompt for prompt, context in found.items() if context is None]
        if missing:
            encoder = self._text_encoder(audio)
            for prompt in missing:
                found[prompt] = context = encoder.encode(prompt)
                _keep(cache, prompt, context)
        contexts = [context for context in (found[prompt] for prompt in prompts) if context is not None]
        return [
            Contexts(
                one.video_LD[None].to(self.device),
                None if one.audio_LD is None else one.audio_LD[None].to(self.device),
            )
            for one in contexts
        ]

    def _text_encoder(self, audio: bool) -> TextEncoder:
        folder, device = self._text_folder(), self.placement.text_device
        self.placement.turn_of_text([self._vae, self._transformer])
        gemma = GemmaEncoder.load(folder, device=device, dtype=self._text_dtype)
        connectors = self.source.checkpoint.load_connectors(
            device=device, dtype=self._text_dtype, audio=audio
        )
        return TextEncoder(gemma, connectors)

    @property
    def _text_dtype(self) -> torch.dtype:
        # A prompt is encoded once; on a CPU that costs little, and bf16 would only lose digits.
        return self.dtype if self.device.type == "cuda" else torch.float32

    def _text_folder(self) -> Path:
        if self.source.text_encoder is None:
            raise TextEncoderError(
                f"{self.source.checkpoint.path} holds no text encoder",
                remedy="give --text-encoder with a Gemma-3-12B folder (google/gemma-3-12b-it)",
            )
        return self.source.text_encoder

    def _text_fingerprint(self, audio: bool) -> str:
        parts = (
            gemma_fingerprint(self._text_folder()),
            self.source.checkpoint.connectors_fingerprint(),
            str(self._text_dtype),
            "audio" if audio else "video",
        )
        return " ".join(parts)


def default_cache() -> Path:
    """Where contexts are kept between runs: `castsheet` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return (Path(base) if base else Path.home() / ".cache") / "castsheet"


def _keep(cache: ContextCache, prompt: str, context: Context) -> None:
    """Store a context; a cache that cannot be written costs time and is no reason to stop."""
    try:
        cache.put(prompt, context)
    except OutputError as error:
        warnings.warn(f"the prompt's context was not kept: {error.what}", stacklevel=2)


def check_fits(settings: Settings, checkpoint: Checkpoint) -> None:
    """Refuse settings that ask for what the model does not have.

    Raises:
        SettingsError: audio of a model without, or STG in blocks that do not exist.
    """
    if settings.audio and not (checkpoint.config.transformer.audio and checkpoint.has_audio):
        raise SettingsError(f"audio: {checkpoint.path} has no audio half", remedy="run without audio")
    layers = checkpoint.config.transformer.layers
    outside = [block for block in settings.stg_blocks if block >= layers]
    if settings.stg_scale != 0 and outside:
        raise SettingsError(
            f"stg_blocks {outside}: the model has {layers} blocks",
            remedy=f"choose blocks from 0 to {layers - 1}",
        )


def _refuse_other_families(checkpoint: Checkpoint, adapters: Sequence[Adapter]) -> None:
    refuse_checkpoint(checkpoint.path, checkpoint.family)
    for adapter in adapters:
        refuse_adapter(adapter.lora.path, adapter.lora.family, checkpoint.config.transformer.family)


def _refuse_slow_references(adapters: Sequence[Adapter]) -> None:
    """A sheet stands still at the clip's own rate; another rate has other positions in time."""
    for adapter in adapters:
        if adapter.lora.temporal != 1:
            raise AdapterError(
                f"{adapter.lora.path} reads references of 1/{adapter.lora.temporal} of the clip's frame rate"
                f" ({TEMPORAL} {adapter.lora.temporal}), which is not supported",
                remedy="use an adapter trained on references of the clip's own rate",
            )
