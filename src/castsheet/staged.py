"""From a settled run to clean latents: the stages at the sheet's size, then those that enlarge the clip.

The stages at the first size see the sheet and are guided. From a stage that enlarges on, the model sees the
prompt alone, as in the official two-stage pipelines.

Legend: B batch (1), T tokens, C channels, F frames, H height, W width, N sampled values.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import NamedTuple

from torch import Tensor

from castsheet.loading.models import Models
from castsheet.ltx.latents import Reference
from castsheet.ltx.model.dit import Transformer
from castsheet.ltx.speed.kernels import attention_kernels
from castsheet.machine.stages import Stages
from castsheet.run import Inputs
from castsheet.sampling.denoiser import Denoiser, PassWeights, Track, audio_track, video_track
from castsheet.sampling.guidance import Pace, Weights
from castsheet.sampling.samplers import SAMPLERS
from castsheet.sampling.schedule import listed
from castsheet.sampling.state import carried, clip_latents
from castsheet.sampling.walk import Before, OnStep, walk
from castsheet.settings import Settings


class Sampled(NamedTuple):
    """Clean latents (1,C,F,H,W), clean audio tokens if the clip has sound, and what the denoiser did."""

    video_BCFHW: Tensor
    audio_BTC: Tensor | None
    work: dict[str, int]


def sample(
    models: Models,
    settings: Settings,
    inputs: Inputs,
    stages: Stages,
    *,
    seed: int,
    noise: Tensor | None = None,
    on_step: OnStep | None = None,
) -> Sampled:
    """Walk from noise to clean latents: at the first size, then at each that a stage enlarges to.

    Args:
        stages: takes the seconds.
        noise: the target's noise (1,C,F,H,W) of the first stage instead of the seed's.

    Raises:
        SettingsError, NumericsError: see sampling/walk.py.
        CheckpointError, AdapterError: a file is missing or damaged.
    """
    device = models.device
    with stages("load"):
        transformer = models.transformer(settings)
        seconds = settings.frames / settings.fps
        sound_frames = models.audio()[0].latent_frames(seconds) if settings.audio else 0
    onward = partial(
        walk,
        sampler=SAMPLERS[settings.sampler],
        eta=settings.eta,
        seed=seed,
        steps=settings.all_steps,
        on_step=on_step,
    )
    first, *larger = _by_size(settings)
    levels = [inputs.levels, *first]
    denoiser, grid = _guided(models, settings, inputs, transformer, sound_frames), inputs.grids[0]
    with stages("sampling"), attention_kernels(device):
        x_BN = onward(denoiser, grid, levels, noise=noise)
    work, before = Counter(denoiser.work), Before(x_BN, len(levels), _steps(levels))
    for number, levels in enumerate(larger, start=1):
        with stages("enlarge"):
            latents = models.enlarged(settings, clip_latents(denoiser, grid, before.x_BN))
        audio = denoiser.unpack(before.x_BN)[1]
        with stages("load"):
            transformer = models.transformer(settings, refining=True)
        denoiser, grid = _refining(models, inputs, number, transformer, sound_frames), inputs.grids[number]
        begun = before._replace(x_BN=carried(denoiser, latents, audio))
        with stages("sampling"), attention_kernels(device):
            x_BN = onward(denoiser, grid, levels, before=begun)
        work += denoiser.work
        before = Before(x_BN, before.stages + len(levels), before.steps + _steps(levels))
    done = {name: count for name, count in work.items() if count}
    return Sampled(clip_latents(denoiser, grid, before.x_BN), denoiser.unpack(before.x_BN)[1], done)


def _guided(
    models: Models, settings: Settings, inputs: Inputs, transformer: Transformer, sound_frames: int
) -> Denoiser:
    """The guided model of the stages that see the sheet."""
    video, sound = _tracks(models, inputs, 0, transformer, sound_frames, inputs.reference)
    positive, *negative = (one.to(models.device) for one in inputs.contexts)
    return Denoiser(
        transformer,
        video,
        sound,
        positive,
        negative[0] if negative else None,
        inputs.weights,
        reference_every=settings.reference_every,
        pace=Pace(settings.guidance_every, settings.guidance_interval),
        residual_threshold=settings.residual_threshold,
        run=models.run,
    )


def _refining(
    models: Models, inputs: Inputs, number: int, transformer: Transformer, sound_frames: int
) -> Denoiser:
    """The model of the stages at another size: neither sheet nor guidance."""
    video, sound = _tracks(models, inputs, number, transformer, sound_frames, None)
    weights = PassWeights(Weights(), None if sound is None else Weights())
    return Denoiser(
        transformer, video, sound, inputs.contexts[0].to(models.device), None, weights, run=models.run
    )


def _tracks(
    models: Models,
    inputs: Inputs,
    number: int,
    transformer: Transformer,
    sound_frames: int,
    reference: Reference | None,
) -> tuple[Track, Track | None]:
    """The two streams at one of the sizes."""
    config, device, dtype = transformer.config, models.device, models.dtype
    given = inputs.given[number] if inputs.given else None
    bias = None if reference is None else inputs.bias
    grid = inputs.grids[number]
    video = video_track(config, grid, reference, given, bias=bias, device=device, dtype=dtype)
    sound = audio_track(config, sound_frames, device=device, dtype=dtype) if sound_frames else None
    return video, sound


def _by_size(settings: Settings) -> list[list[Tensor]]:
    """Noise levels of the further stages, those of one size together; the first list is of the first size."""
    sizes: list[list[Tensor]] = [[]]
    for stage in settings.stages:
        if stage.scale != 1:
            sizes.append([])
        sizes[-1].append(listed(stage.sigmas))
    return sizes


def _steps(stages: list[Tensor]) -> int:
    return sum(len(levels) - 1 for levels in stages)
