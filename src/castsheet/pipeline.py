"""Castsheet: a sheet, a prompt and a preset become a clip.

    castsheet = Castsheet.load("mini")
    clip = castsheet(Sheet.load("cast.png"), "hero walks left past the barn", seed=7)
    clip.save("walk.mp4")

Legend: B batch (1), C channels, F frames, H height, W width, T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from castsheet import settings as presets
from castsheet.clip import Clip
from castsheet.loading.models import Models
from castsheet.loading.options import Loading
from castsheet.loading.placement import Placement, enough_memory, working_dtype
from castsheet.loading.source import Source, check_fits
from castsheet.ltx.latents import decode, decode_audio, decode_frame
from castsheet.machine.device import pick_device
from castsheet.machine.stages import Stages
from castsheet.media.encoding import Encoder
from castsheet.prompt import Prompt
from castsheet.run import (
    Run,
    contexts_of,
    findings_of,
    make_inputs,
    read_prompt,
    record_of,
    refuse_errors,
)
from castsheet.sampling.denoiser import Contexts, RunPasses, run_alone
from castsheet.sampling.first_frame import read_picture
from castsheet.sampling.walk import OnStep
from castsheet.settings import Settings
from castsheet.settings.kinds import SEED
from castsheet.sheet.manifest import Sheet
from castsheet.staged import sample


class Castsheet:
    """One model with its adapters. Call it to make clips; nothing is loaded before it is needed.

    Attributes:
        models: the parts in memory and the files that they come from.
    """

    def __init__(self, models: Models) -> None:
        self.models = models

    @classmethod
    def load(
        cls,
        model: str | Path = "mini",
        *,
        text_encoder: str | Path | None = None,
        adapters: Sequence[str | Path | tuple[str | Path, float | None]] = (),
        vae: str | Path | None = None,
        device: str = "auto",
        dtype: str = "auto",
        memory: str = "auto",
        attention: str = "auto",
        cache_dir: str | Path | None = None,
    ) -> Castsheet:
        """Open a model.

        Args:
            model: "mini", a bundle's folder, an official checkpoint file, or a diffusers folder.
            text_encoder: a Gemma folder or LTX-2.5's packed file; a bundle brings its own, and a packed file
                beside the model is found.
            adapters: LoRA files, each with or without a strength; without one it follows the preset's.
            vae: a file with another video VAE than the model's own.
            device: "auto", "cpu", "cuda" or "cuda:N". dtype: "auto", "fp32", "bf16", or "fp8" for the
                denoiser's large layers. "auto" takes fp8 where bf16 does not fit the GPU.
            memory: GPU memory to stay under: "auto" for all free memory, or GiB such as "12". Parts that do
                not fit take turns, or are streamed from host memory.
            attention: "auto" for the fastest exact kernel, or "fp8" (ltx/speed/attention8.py), approximate.
            cache_dir: where text contexts are kept; by default the user's cache folder.

        Raises:
            CheckpointError, AdapterError, TextEncoderError: a file is missing or damaged.
            FamilyError: the files belong to different model families.
            SettingsError: no such device, precision or attention, or a memory limit without a GPU.
            DependencyError: fp8 attention's package is not installed.
        """
        loading = Loading(device, dtype, memory, attention, cache_dir=cache_dir)
        return cls.open(Source.open(model, text_encoder, adapters, vae), loading, pick_device(device))

    @classmethod
    def open(
        cls, source: Source, loading: Loading, device: torch.device, run: RunPasses = run_alone
    ) -> Castsheet:
        """A model from its files.

        Args:
            device: the one that `loading` names.
            run: runs a step's passes; several processes can share them (sampling/parallel.py).

        Raises:
            SettingsError, DependencyError: see `load`.
        """
        cache = None if loading.cache_dir is None else Path(loading.cache_dir)
        placement = Placement(device, loading.dtype, loading.memory, loading.attention)
        return cls(Models(source, device, working_dtype(loading.dtype, device), cache, placement, run))

    def __call__(
        self,
        sheet: Sheet | Path | str,
        action: str = "",
        *,
        preset: str | Settings | None = None,
        seed: int = 0,
        first_frame: Image.Image | Path | str | None = None,
        prompt: Prompt | str | None = None,
        noise: Tensor | None = None,
        on_step: OnStep | None = None,
        check: bool = False,
        force: bool = False,
        **overrides: Any,
    ) -> Clip:
        """Make one clip.

        Args:
            sheet: the reference sheet, or the path of one.
            action: what happens; the sheet's own descriptions become the prompt's first half.
            preset: a preset or its name; by default the model's own. Keywords override its fields.
            seed: of the noise, the same on every device. On one machine a seed always gives the same clip.
            first_frame: a picture that the clip starts with.
            prompt: a whole two-part prompt instead of `action`.
            noise: (1,C,F,H,W) latents instead of the seed's noise, for comparisons with other programs.
            on_step: called after each step with its number (from 1), their count, and the present prediction
                of the clean latents (1,C,F,H,W), of which `picture` makes a picture.
            check: run the checks first, and refuse a run with an error unless `force` is set.
            force: go on although a check found an error, or the adapter is not known to be trained on the
                reference mode of the run.

        Raises:
            SettingsError, PromptError, SheetError, ImageError: an input is not usable.
            LintRefused: the checks found an error.
            NumericsError: the model gave NaN or infinity; the message names the step.
            CheckpointError, AdapterError, TextEncoderError: a file is damaged or does not fit.
        """
        usual = self.settings(preset)
        run = self.prepare(
            sheet if isinstance(sheet, Sheet) else Sheet.load(sheet),
            action,
            settings=presets.override(usual, overrides),
            usual=usual,
            seed=seed,
            first_frame=first_frame,
            prompt=prompt,
            check=check,
        )
        self.refuse(run, force=force)
        return self.make(run, noise=noise, on_step=on_step)

    def settings(self, base: str | Settings | None = None, **overrides: Any) -> Settings:
        """The settings of a run: the preset at the model's bucket, then the overrides.

        Raises:
            SettingsError: an unknown preset, setting or value.
        """
        chosen = base if isinstance(base, Settings) else self.models.source.settings(base)
        return presets.override(chosen, overrides)

    def prepare(
        self,
        sheet: Sheet,
        action: str = "",
        *,
        settings: Settings,
        usual: Settings | None = None,
        seed: int = 0,
        first_frame: Image.Image | Path | str | None = None,
        prompt: Prompt | str | None = None,
        check: bool = True,
    ) -> Run:
        """Settle a clip without making it; no weights are loaded.

        Args:
            usual: the preset that the settings came from; the checks report departures from it.
            check: run the checks.

        Raises:
            SettingsError, PromptError, ImageError: an input is not usable.
        """
        usual = usual or settings
        SEED.check("seed", seed)
        words = read_prompt(sheet, action, prompt, settings)
        openings = () if first_frame is None else self.openings(first_frame, settings)
        run = Run(settings, usual, sheet, words, seed, openings)
        return replace(run, findings=tuple(findings_of(run, self.models.source))) if check else run

    def openings(self, picture: Image.Image | Path | str, settings: Settings) -> tuple[Image.Image, ...]:
        """A picture for a clip to start with, as a `Run` holds it: at each size of the run's stages.

        Raises:
            SettingsError, ImageError: see sampling/first_frame.py.
        """
        grids, crf = self.models.source.grids(settings), settings.first_frame_crf
        return tuple(read_picture(picture, grid, crf=crf) for grid in grids)

    def refuse(self, run: Run, *, force: bool = False) -> None:
        """Refuse a run that cannot be made, or that the checks advise against.

        Args:
            force: go on although a check found an error, or the adapter is not known to be trained on the
                reference mode of the run.

        Raises:
            LintRefused: the checks found an error.
            SettingsError, AdapterError: the model cannot make it.
        """
        source = self.models.source
        if not force:
            refuse_errors(run.findings)
            source.check_reference(run.settings)
        check_fits(run.settings, source.checkpoint)
        source.grids(run.settings)
        source.upsampler(run.settings)
        source.refiners(run.settings)

    def encoder(self) -> AbstractContextManager[Encoder | None]:
        """For `make`: a thread for the clips that it makes; None on a CPU, whose cores are busy decoding."""
        return nullcontext() if self.models.device.type == "cpu" else Encoder()

    @torch.no_grad()
    def make(
        self,
        run: Run,
        *,
        noise: Tensor | None = None,
        on_step: OnStep | None = None,
        encoder: Encoder | None = None,
    ) -> Clip:
        """Make a clip that `prepare` settled. To cancel, raise an exception in `on_step`.

        Args:
            noise, on_step: see `__call__`.
            encoder: encodes the frames in its thread as they are decoded. The clip must be saved before the
                encoder ends.

        Raises:
            SettingsError, NumericsError, CheckpointError, AdapterError, TextEncoderError: see `__call__`.
        """
        settings, stages = run.settings, Stages(self.models.device)
        with enough_memory():
            inputs = make_inputs(run, self.models, stages)
            made = sample(self.models, settings, inputs, stages, seed=run.seed, noise=noise, on_step=on_step)
            with stages("decode"):
                track = None if encoder is None else encoder.track(settings.fps)
                on_frames = None if track is None else track.add
                frames = decode(self.models.vae(), made.video_BCFHW, run.seed, on_frames)
                if track is not None:
                    track.end(frames)
                seconds = settings.frames / settings.fps
                sound = None
                if made.audio_BTC is not None:
                    sound = decode_audio(self.models.audio(), made.audio_BTC, seconds)
        record = {
            **record_of(run, self.models, inputs.levels),
            "work": made.work,
            "seed": run.seed if noise is None else None,
            "findings": [finding.to_dict() for finding in run.findings],
            "timings_s": stages.seconds,
        }
        wave, rate = (None, None) if sound is None else sound
        return Clip(frames, settings.fps, wave, rate, sheet=inputs.picture, provenance=record, track=track)

    @torch.no_grad()
    def latents(self, run: Run, *, on_step: OnStep | None = None) -> Tensor:
        """The clean latents (1,C,F,H,W) of a clip, fp32; nothing is decoded.

        Args:
            on_step: see `__call__`.

        Raises:
            SettingsError, NumericsError, CheckpointError, AdapterError, TextEncoderError: see `__call__`.
        """
        stages = Stages(self.models.device)
        with enough_memory():
            inputs = make_inputs(run, self.models, stages)
            made = sample(self.models, run.settings, inputs, stages, seed=run.seed, on_step=on_step)
            return made.video_BCFHW

    @torch.no_grad()
    def picture(self, latents_BCFHW: Tensor, at: float = 1.0) -> Image.Image:
        """One frame of a clip that is being made, from 0 (the first) to 1 (the last), for `on_step`.

        It costs the decoding of nine frames. The VAE works where it lies: in host memory, where the denoiser
        takes the whole card, that takes seconds.
        """
        return Image.fromarray(decode_frame(self.models.vae_at_rest(), latents_BCFHW, at))

    def contexts(self, run: Run) -> tuple[Contexts, ...]:
        """The encoded prompt, and the encoded negative prompt if guidance uses it.

        Raises:
            TextEncoderError: the text encoder is needed and not given, or does not fit the checkpoint.
        """
        return contexts_of(run, self.models)
