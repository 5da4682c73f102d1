"""A run: one clip with everything settled; what checks, text and sampler are given, and what is told of it.

Legend: C channels, F frames, H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from castsheet.errors import LintRefused
from castsheet.lint.findings import Finding
from castsheet.lint.panels import lint_sheet
from castsheet.lint.prompt import lint_prompt
from castsheet.lint.video import lint_distilled, lint_reader, lint_video
from castsheet.loading.models import Models
from castsheet.loading.source import Source, check_fits
from castsheet.ltx.latents import Grid, Reference, encode_still, make_reference, reference_size, to_pixels
from castsheet.ltx.model.bias import TokenBias
from castsheet.machine.stages import Stages
from castsheet.media import provenance
from castsheet.prompt import Prompt, build, parse
from castsheet.sampling.denoiser import Contexts, PassWeights
from castsheet.sampling.guidance import Weights
from castsheet.sampling.schedule import listed, schedule_tokens, sigmas
from castsheet.sampling.strength import token_bias
from castsheet.settings import Settings
from castsheet.settings.paces import EXACT
from castsheet.sheet.manifest import Sheet


@dataclass(frozen=True)
class Run:
    """One clip: everything is settled, nothing is computed.

    Attributes:
        usual: the preset that the settings came from, at the model's own size.
        words: the two-part prompt.
        openings: the picture that the clip starts with, at the size of each of `Source.grids`; or none.
        findings: what the checks say; empty if they were not run.
        contexts: the encoded texts of `run_texts`, if they were encoded in advance.
    """

    settings: Settings
    usual: Settings
    sheet: Sheet
    words: Prompt
    seed: int = 0
    openings: tuple[Image.Image, ...] = ()
    findings: tuple[Finding, ...] = ()
    contexts: tuple[Contexts, ...] | None = None

    @property
    def opening_sha256(self) -> str | None:
        """The hash of the first frame's pixels at the first size; None without a first frame."""
        return provenance.pixels_sha256(np.asarray(self.openings[0])) if self.openings else None


def findings_of(run: Run, source: Source) -> list[Finding]:
    """What the checks say about a run before it is made."""
    settings, cell = run.settings, source.cell
    adapters = [adapter.lora for adapter in source.adapters_in(settings)]
    families = tuple(lora.family for lora in adapters)
    distilled = {lora.path.name: lora.distilled for lora in adapters}
    return [
        *lint_sheet(run.sheet, output=(settings.width, settings.height), grid=cell),
        *lint_prompt(run.words, run.sheet),
        *lint_video(settings, run.usual, grid=cell, family=source.checkpoint.family, adapters=families),
        *lint_distilled(settings, distilled),
        *lint_reader(distilled),
    ]


def read_prompt(sheet: Sheet, action: str, prompt: Prompt | str | None, settings: Settings) -> Prompt:
    """The two-part prompt: the given one, or one built from the sheet and the action.

    Raises:
        PromptError: a half is missing.
    """
    if isinstance(prompt, Prompt):
        return prompt
    return build(sheet, action, settings.prompt_format) if prompt is None else parse(prompt)


def run_texts(run: Run) -> list[str]:
    """The texts that a run encodes: its prompt, and the negative prompt if guidance uses it."""
    negative = [run.settings.negative_prompt] if make_weights(run.settings).wants("uncond") else []
    return [run.words.text, *negative]


def refuse_errors(findings: Sequence[Finding]) -> None:
    """Raise LintRefused if a finding is an error."""
    errors = [finding for finding in findings if finding.severity == "error"]
    if errors:
        listing = "; ".join(f"{one.rule} {one.message}" for one in errors)
        count = "an error" if len(errors) == 1 else f"{len(errors)} errors"
        raise LintRefused(
            f"the checks found {count}: {listing}",
            remedy=f"{errors[0].remedy}; or go on regardless with --force (Python: force=True)",
        )


def make_weights(settings: Settings) -> PassWeights:
    """The weights of a run's passes. Without audio there is no pass that isolates the two streams."""
    modality = settings.modality_scale if settings.audio else 1.0
    video = Weights(settings.guidance, settings.stg_scale, modality, settings.rescale)
    audio = Weights(settings.audio_guidance, settings.stg_scale, modality, settings.rescale)
    return PassWeights(video, audio if settings.audio else None, settings.stg_blocks)


def make_levels(settings: Settings, grid: Grid, reference: Reference) -> Tensor:
    """The run's noise levels."""
    if settings.sigmas is not None:
        return listed(settings.sigmas)
    tokens = schedule_tokens(settings.schedule, grid.tokens, reference.tokens_BTC.shape[1])
    return sigmas(settings.steps, tokens=tokens)


def contexts_of(run: Run, models: Models) -> tuple[Contexts, ...]:
    """The encoded prompt, and the encoded negative prompt if guidance uses it.

    Raises:
        TextEncoderError: the text encoder is needed and not given, or does not fit the checkpoint.
    """
    return tuple(models.contexts(run_texts(run), audio=run.settings.audio, following=run.settings))


@dataclass(frozen=True)
class Inputs:
    """What one run's denoiser reads besides the noise.

    Attributes:
        contexts: of the prompt, and of the negative prompt if guidance uses it.
        picture: the sheet at the size at which the model sees it. reference: the sheet as tokens.
        bias: strengths of the sheet's elements.
        grids: one for each size that the stages have. The sheet is seen at the first.
        given: the latent frame of the picture that the clip starts with, at each size; empty without one.
        levels: the noise levels of the first stage.
    """

    grids: list[Grid]
    weights: PassWeights
    contexts: tuple[Contexts, ...]
    picture: Image.Image
    reference: Reference
    bias: TokenBias | None
    given: list[Tensor]
    levels: Tensor


def make_inputs(run: Run, models: Models, stages: Stages) -> Inputs:
    """Everything that the denoiser reads besides the noise.

    Raises:
        SettingsError: the model or the memory does not allow the run.
        TextEncoderError: see `contexts_of`.
    """
    settings, source, device = run.settings, models.source, models.device
    check_fits(settings, source.checkpoint)
    models.settle(settings)
    grids, downscale = source.grids(settings), source.downscale(settings)
    grid = grids[0]
    picture = run.sheet.conditioning_image(*reference_size(grid, downscale))
    with stages("text"):
        contexts = run.contexts or contexts_of(run, models)
    with stages("load"):
        vae = models.vae()
    with stages("reference"):
        pixels = to_pixels(picture).to(device)
        reference = make_reference(
            vae,
            pixels,
            grid,
            mode=settings.reference,
            downscale=downscale,
            strength=settings.reference_strength,
        )
        bias = token_bias(
            run.sheet,
            settings.strength,
            size=picture.size,
            cell=source.cell,
            clip_tokens=grid.tokens,
            frames=grid.frames if settings.reference == "looped" else 1,
        )
        given = [encode_still(vae, to_pixels(one).to(device), 1) for one in run.openings]
    levels = make_levels(settings, grid, reference)
    return Inputs(grids, make_weights(settings), contexts, picture, reference, bias, given, levels)


def record_of(run: Run, models: Models, levels: Tensor) -> dict[str, Any]:
    """What made a clip: its settings and inputs, and hashes of the files.

    Args:
        levels: the noise levels of the first stage.
    """
    source, settings, sheet = models.source, run.settings, run.sheet
    told = f"{settings.name}, {settings.all_steps} steps, guidance {settings.guidance:g}"
    told += "" if settings.pace == EXACT else f", pace {settings.pace}"
    return {
        "notes": {"model": source.name, "run": told, "action": run.words.action},
        "settings": asdict(settings),
        "sigmas": levels.tolist(),
        "prompt": run.words.text,
        "sheet": {"sha256": sheet.sha256, "name": None if sheet.path is None else sheet.path.name},
        "first_frame": run.opening_sha256,
        "model": {**source.record(settings), "adapter_layers_left_out": list(models.left_out)},
        "device": str(models.device),
        "memory": None if models.placement.plan is None else models.placement.plan.describe(),
        "dtype": str(models.dtype).removeprefix("torch."),
        "numerics": models.numerics,
    }
