"""Castsheet: a sheet, a prompt and a preset become a clip.

    castsheet = Castsheet.load("mini")
    clip = castsheet(Sheet.load("cast.png"), "hero walks left past the barn", seed=7)
    clip.save("walk.mp4")

Legend: B batch (1), C channels, F frames, H height, W width, T tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from castsheet import settings as presets
from castsheet.clip import Clip
from castsheet.errors import LintRefused
from castsheet.lint.findings import Finding
from castsheet.lint.panels import lint_sheet
from castsheet.lint.prompt import lint_prompt
from castsheet.lint.video import VideoSettings, lint_video
from castsheet.loading.models import Models, Source, check_fits
from castsheet.loading.placement import Placement, enough_memory
from castsheet.ltx.latents import (
    Grid,
    Reference,
    decode,
    decode_audio,
    encode_still,
    make_reference,
    reference_size,
    to_pixels,
)
from castsheet.ltx.model.bias import TokenBias
from castsheet.ltx.speed.fast import attention_kernels, tabulated
from castsheet.machine.device import pick_device, pick_dtype
from castsheet.machine.stages import Stages
from castsheet.media import provenance
from castsheet.prompt import Prompt, build, parse
from castsheet.sampling.denoiser import (
    Contexts,
    Denoiser,
    Guide,
    audio_track,
    clip_latents,
    draw,
    step_noise,
    video_track,
)
from castsheet.sampling.first_frame import read_picture
from castsheet.sampling.guidance import Weights
from castsheet.sampling.samplers import SAMPLERS
from castsheet.sampling.schedule import listed, schedule_tokens, sigmas
from castsheet.sampling.strength import token_bias
from castsheet.settings import Settings
from castsheet.sheet.manifest import Sheet

OnStep = Callable[[int, int, Tensor], None]


@dataclass(frozen=True)
class Inputs:
    """What one run's denoiser reads besides the noise.

    Attributes:
        contexts: of the prompt, and of the negative prompt where guidance uses it.
        picture: the sheet at its conditioning size. reference: the same as tokens.
        bias: strengths of its elements.
        opening: the given first picture at the clip's size. given: its latent frame.
        levels: the noise levels.
    """

    grid: Grid
    guide: Guide
    contexts: tuple[Contexts, ...]
    picture: Image.Image
    reference: Reference
    bias: TokenBias | None
    opening: Image.Image | None
    given: Tensor | None
    levels: Tensor


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
        device: str = "auto",
        dtype: str = "auto",
        memory: str = "auto",
        attention: str = "auto",
        cache_dir: str | Path | None = None,
    ) -> Castsheet:
        """Open a model.

        Args:
            model: "mini", a bundle's folder, an official checkpoint file, or a diffusers folder.
            text_encoder: a Gemma-3 folder; a bundle brings its own.
            adapters: LoRA files, each with or without a strength; without one it follows the preset's.
            device: "auto", "cpu", "cuda" or "cuda:N". dtype: "auto", "fp32", "bf16", or "fp8" for the
                denoiser's large layers. "auto" takes fp8 where bf16 does not fit the GPU.
            memory: GPU memory to stay under: "auto" for what is free, or GiB such as "12". What does not fit
                takes turns, or is streamed from host memory.
            attention: "auto" for the fastest exact kernel, or "fp8" (see ltx/attention8.py), approximate.
            cache_dir: where text contexts are kept; by default the user's cache folder.

        Raises:
            CheckpointError, AdapterError, TextEncoderError: a file is missing or damaged.
            FamilyError: the files belong to different model families.
            SettingsError: no such device, precision or attention, or a memory limit without a GPU.
            DependencyError: fp8 attention's package is not installed.
        """
        source = Source.open(model, text_encoder, adapters)
        place = pick_device(device)
        cache = None if cache_dir is None else Path(cache_dir)
        placement = Placement(place, dtype, memory, attention)
        return cls(Models(source, place, pick_dtype(dtype, place), cache, placement))

    @torch.no_grad()
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
            preset: a preset or its name; by default the model's own. Its fields can be overridden by keyword.
            seed: of the noise: the same on every device. On one machine the same seed gives the same clip.
            first_frame: a picture that the clip starts with.
            prompt: a whole two-part prompt instead of `action`.
            noise: (1,C,F,H,W) latents instead of the seed's noise, for comparisons with other programs.
            on_step: called after each step with its number (from 1), their count, and the present prediction
                of the clean latents (1,C,F,H,W).
            check: run the checks first, and refuse what they call an error unless `force` is set.
            force: go on although a check found an error, or the adapter is not known to be trained on
                references held as the setting `reference` says.

        Raises:
            SettingsError, PromptError, SheetError, ImageError: an input is not usable.
            LintRefused: the checks found an error.
            NumericsError: the model's numbers ran away; names the step.
            CheckpointError, AdapterError, TextEncoderError: a file is damaged or does not fit.
        """
        settings = self.settings(preset, **overrides)
        sheet = sheet if isinstance(sheet, Sheet) else Sheet.load(sheet)
        words = read_prompt(sheet, action, prompt, settings)
        findings = self.findings(sheet, words, settings, baseline=preset) if check else []
        if not force:
            refuse_errors(findings)
            self.models.source.check_reference(settings)
        stages = Stages(self.models.device)
        with enough_memory():
            inputs = self._inputs(settings, sheet, words, first_frame, stages)
            video, audio = self._sample(settings, inputs, seed, noise, on_step, stages)
            with stages("decode"):
                frames = decode(self.models.vae(), video)
                seconds = settings.frames / settings.fps
                sound = None if audio is None else decode_audio(self.models.audio(), audio, seconds)
        record = {
            **self._record(settings, inputs, sheet, words),
            "seed": seed if noise is None else None,
            "findings": [finding.to_dict() for finding in findings],
            "timings_s": stages.seconds,
        }
        wave, rate = (None, None) if sound is None else sound
        return Clip(frames, settings.fps, wave, rate, sheet=inputs.picture, provenance=record)

    def settings(self, base: str | Settings | None = None, **overrides: Any) -> Settings:
        """The settings of a run: the preset at the model's bucket, then the overrides.

        Raises:
            SettingsError: an unknown preset, setting or value.
        """
        bundle = self.models.source.bundle
        if isinstance(base, Settings):
            return presets.override(base, overrides)
        chosen = presets.preset(base or "card") if bundle is None else bundle.settings(base)
        return presets.override(chosen, overrides)

    def findings(
        self, sheet: Sheet, words: Prompt, settings: Settings, *, baseline: str | Settings | None = None
    ) -> list[Finding]:
        """What the checks say about a run before it is made.

        Args:
            baseline: the preset that the settings came from; its size and strength are the usual ones.
        """
        source, usual = self.models.source, self.settings(baseline)
        adapters = source.adapters_in(settings)
        size, cell = (settings.width, settings.height), source.cell
        video = VideoSettings(
            width=settings.width,
            height=settings.height,
            frames=settings.frames,
            fps=settings.fps,
            grid=cell,
            lora_strength=settings.lora_strength if adapters else None,
            guidance=settings.guidance,
            negative_prompt=settings.negative_prompt,
            preset_lora_strength=usual.lora_strength,
            bucket=(usual.width, usual.height),
        )
        families = tuple(adapter.lora.family for adapter in adapters)
        return [
            *lint_sheet(sheet, output=size, grid=cell),
            *lint_prompt(words, sheet),
            *lint_video(video, source.checkpoint.family, families),
        ]

    def _inputs(
        self,
        settings: Settings,
        sheet: Sheet,
        words: Prompt,
        first_frame: Image.Image | Path | str | None,
        stages: Stages,
    ) -> Inputs:
        """Everything that the denoiser reads besides the noise."""
        check_fits(settings, self.models.source.checkpoint)
        self.models.settle(settings)
        source = self.models.source
        grid, downscale = source.grid(settings), source.downscale(settings)
        picture = sheet.conditioning_image(*reference_size(grid, downscale))
        opening = None
        if first_frame is not None:
            opening = read_picture(first_frame, grid, crf=settings.first_frame_crf)
        guide = make_guide(settings)
        with stages("text"):
            texts = [words.text, settings.negative_prompt] if guide.wants("uncond") else [words.text]
            contexts = self.models.contexts(texts, audio=settings.audio)
        with stages("load"):
            vae = self.models.vae()
        with stages("reference"):
            pixels = to_pixels(picture).to(self.models.device)
            reference = make_reference(
                vae,
                pixels,
                grid,
                mode=settings.reference,
                downscale=downscale,
                strength=settings.reference_strength,
            )
            bias = token_bias(
                sheet,
                settings.strength,
                size=picture.size,
                cell=source.cell,
                clip_tokens=grid.tokens,
                frames=grid.frames if settings.reference == "looped" else 1,
            )
            given = None
            if opening is not None:
                given = encode_still(vae, to_pixels(opening).to(self.models.device), 1)
        levels = make_levels(settings, grid, reference)
        return Inputs(grid, guide, tuple(contexts), picture, reference, bias, opening, given, levels)

    def _sample(
        self,
        settings: Settings,
        inputs: Inputs,
        seed: int,
        noise: Tensor | None,
        on_step: OnStep | None,
        stages: Stages,
    ) -> tuple[Tensor, Tensor | None]:
        """Clean latents (1,C,F,H,W), and clean audio tokens where there is sound."""
        grid = inputs.grid
        with stages("load"):
            transformer = self.models.transformer(settings)
            seconds = settings.frames / settings.fps
            sound_frames = self.models.audio()[0].latent_frames(seconds) if settings.audio else 0
        config, device, dtype = transformer.config, self.models.device, self.models.dtype
        video = video_track(
            config, grid, inputs.reference, inputs.given, bias=inputs.bias, device=device, dtype=dtype
        )
        sound = audio_track(config, sound_frames, device=device, dtype=dtype) if sound_frames else None
        negative = inputs.contexts[1] if len(inputs.contexts) > 1 else None
        denoiser = Denoiser(
            transformer,
            video,
            sound,
            inputs.contexts[0],
            negative,
            inputs.guide,
            reference_every=settings.reference_every,
            run=self.models.run,
        )
        x = draw(denoiser, grid, seed, noise, float(inputs.levels[0]))
        steps = len(inputs.levels) - 1
        fast = attention_kernels(device), tabulated(transformer, inputs.levels, masks=video.masks)
        sampler = SAMPLERS[settings.sampler]
        renoise = step_noise(denoiser, grid, seed, settings.eta) if sampler.eta else None
        show = preview(on_step, denoiser, grid, steps)
        with stages("sampling"), fast[0], fast[1]:
            x = sampler.walk(denoiser, x, inputs.levels, renoise=renoise, callback=show)
        return clip_latents(denoiser, grid, x), denoiser.unpack(x)[1]

    def _record(self, settings: Settings, inputs: Inputs, sheet: Sheet, words: Prompt) -> dict[str, Any]:
        """What made a clip: its settings and inputs, and hashes of the files."""
        source = self.models.source
        run = f"{settings.name}, {settings.steps} steps, guidance {settings.guidance:g}"
        opening = inputs.opening
        return {
            "notes": {"model": source.name, "run": run, "action": words.action},
            "settings": asdict(settings),
            "sigmas": inputs.levels.tolist(),
            "prompt": words.text,
            "sheet": {"sha256": sheet.sha256, "name": None if sheet.path is None else sheet.path.name},
            "first_frame": None if opening is None else provenance.pixels_sha256(np.asarray(opening)),
            "model": {**source.record(settings), "adapter_layers_left_out": list(self.models.left_out)},
            "device": str(self.models.device),
            "memory": None if self.models.placement.plan is None else self.models.placement.plan.describe(),
            "dtype": str(self.models.dtype).removeprefix("torch."),
            "numerics": self.models.numerics,
        }


def read_prompt(sheet: Sheet, action: str, prompt: Prompt | str | None, settings: Settings) -> Prompt:
    """The two-part prompt: the given one, or one built from the sheet and the action.

    Raises:
        PromptError: a half is missing.
    """
    if isinstance(prompt, Prompt):
        return prompt
    return build(sheet, action, settings.prompt_format) if prompt is None else parse(prompt)


def refuse_errors(findings: Sequence[Finding]) -> None:
    """Raise LintRefused if a finding is an error."""
    errors = [finding for finding in findings if finding.severity == "error"]
    if errors:
        listing = "; ".join(f"{one.rule} {one.message}" for one in errors)
        raise LintRefused(f"the checks found {len(errors)} errors: {listing}", remedy=errors[0].remedy)


def make_guide(settings: Settings) -> Guide:
    """Which passes run and how they count. Without audio there is nothing to isolate the video from."""
    modality = settings.modality_scale if settings.audio else 1.0
    video = Weights(settings.guidance, settings.stg_scale, modality, settings.rescale)
    audio = Weights(settings.audio_guidance, settings.stg_scale, modality, settings.rescale)
    return Guide(video, audio if settings.audio else None, settings.stg_blocks)


def make_levels(settings: Settings, grid: Grid, reference: Reference) -> Tensor:
    """The run's noise levels."""
    if settings.sigmas is not None:
        return listed(settings.sigmas)
    tokens = schedule_tokens(settings.schedule, grid.tokens, reference.tokens_BTC.shape[1])
    return sigmas(settings.steps, tokens=tokens)


def preview(
    on_step: OnStep | None, denoiser: Denoiser, grid: Grid, total: int
) -> Callable[[int, Tensor], None] | None:
    """`on_step` as the sampler calls it."""
    if on_step is None:
        return None
    return lambda step, x0_BN: on_step(step, total, clip_latents(denoiser, grid, x0_BN))
