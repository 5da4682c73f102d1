"""Many clips at once: the pipeline's own parts, run on a batch.

A clip comes out as `Castsheet.__call__` makes it, up to rounding (a batch adds up in another order).

Legend: B batch, T tokens, C channels, F frames, H height, W width, N sampled values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from castsheet.errors import SettingsError
from castsheet.loading.source import check_fits
from castsheet.ltx.latents import (
    Grid,
    Reference,
    finite,
    make_reference,
    reference_size,
    to_frames,
    to_pixels,
)
from castsheet.ltx.speed.kernels import attention_kernels
from castsheet.pipeline import Castsheet
from castsheet.run import make_levels, make_weights
from castsheet.sampling.denoiser import Contexts, Denoiser, video_track
from castsheet.sampling.samplers import SAMPLERS
from castsheet.sampling.state import clip_latents, draw, step_noise
from castsheet.settings import Settings
from castsheet.sheet.manifest import Sheet


@dataclass(frozen=True)
class Ask:
    """One clip: its sheet, its whole prompt, the seed of its noise."""

    sheet: Sheet
    prompt: str
    seed: int


@torch.no_grad()
def latents(
    castsheet: Castsheet, asks: Sequence[Ask], settings: Settings, reference_frames: int | None = None
) -> Tensor:
    """Clean latents (B,C,F,H,W) of clips that share their settings.

    Args:
        reference_frames: latent frames that hold the sheet, from the clip's first on; None leaves it to
            the setting `reference`.

    Raises:
        SettingsError: settings that a batch cannot have (audio; rescale, which looks at a whole run), or
            that the model cannot.
        CastsheetError: as the pipeline raises.
    """
    if settings.audio or settings.rescale or settings.reference_strength != 1.0:
        raise SettingsError(
            "a batch with audio, rescale or a reference strength", remedy="make these clips one by one"
        )
    models = castsheet.models
    check_fits(settings, models.source.checkpoint)
    grid = models.source.grid(settings)
    reference = _references(castsheet, asks, settings, grid, reference_frames)
    weights = make_weights(settings)
    positive = _contexts(castsheet, [ask.prompt for ask in asks])
    negative = (
        _contexts(castsheet, [settings.negative_prompt] * len(asks)) if weights.wants("uncond") else None
    )

    transformer = models.transformer(settings)
    first = Reference(reference.tokens_BTC[:1], reference.bounds_AT2, 1.0)
    track = video_track(transformer.config, grid, first, device=models.device, dtype=models.dtype)
    target_BTC = track.clean_BTC[:, : grid.tokens].expand(len(asks), -1, -1)
    clean_BTC = torch.cat([target_BTC, reference.tokens_BTC.to(target_BTC)], dim=1)
    track = replace(track, clean_BTC=clean_BTC)
    denoiser = Denoiser(transformer, track, None, positive, negative, weights)

    levels = make_levels(settings, grid, reference)
    single = Denoiser(transformer, replace(track, clean_BTC=clean_BTC[:1]), None, positive, negative, weights)
    x_BN = torch.cat([draw(single, grid, ask.seed, None, float(levels[0])) for ask in asks])
    sampler, renoise = SAMPLERS[settings.sampler], None
    if sampler.eta:
        each = [step_noise(single, grid, ask.seed, settings.eta) for ask in asks]
        renoise = replace(each[0], draw=lambda step: torch.cat([one.draw(step) for one in each]))
    # Blocks that were compiled would be compiled anew for every size of batch and reference.
    with attention_kernels(models.device), torch.compiler.set_stance("force_eager"):
        return clip_latents(denoiser, grid, sampler.walk(denoiser, x_BN, levels, renoise=renoise))


@torch.no_grad()
def frames(
    castsheet: Castsheet, asks: Sequence[Ask], settings: Settings, reference_frames: int | None = None
) -> list[np.ndarray]:
    """The clips' frames, uint8 (F,H,W,3) each. Arguments and errors: as of `latents`."""
    pixels_BCFHW = finite(
        castsheet.models.vae().decode(latents(castsheet, asks, settings, reference_frames)), "the picture"
    )
    return [to_frames(one_CFHW[None]) for one_CFHW in pixels_BCFHW]


def _references(
    castsheet: Castsheet, asks: Sequence[Ask], settings: Settings, grid: Grid, held: int | None
) -> Reference:
    """The sheets' tokens (B,T,C). Sheets that are asked for more than once are encoded once."""
    vae, downscale = castsheet.models.vae(), castsheet.models.source.downscale(settings)
    size = reference_size(grid, downscale)
    pictures = {ask.sheet.sha256: ask.sheet for ask in asks}
    pixels_BCHW = torch.cat([to_pixels(sheet.conditioning_image(*size)) for sheet in pictures.values()])
    pixels_BCHW = pixels_BCHW.to(castsheet.models.device)
    if held is None:
        found = make_reference(vae, pixels_BCHW, grid, mode=settings.reference, downscale=downscale)
    else:
        found = make_reference(vae, pixels_BCHW, replace(grid, frames=held), downscale=downscale)
    place = {name: number for number, name in enumerate(pictures)}
    return replace(found, tokens_BTC=found.tokens_BTC[[place[ask.sheet.sha256] for ask in asks]])


def _contexts(castsheet: Castsheet, prompts: Sequence[str]) -> Contexts:
    """One batch of contexts; equal prompts are encoded once."""
    unique = list(dict.fromkeys(prompts))
    found = dict(zip(unique, castsheet.models.contexts(unique, audio=False), strict=True))
    return Contexts(torch.cat([found[prompt].video_BLD for prompt in prompts]))
