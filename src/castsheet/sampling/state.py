"""The sampler's state: both streams' sampled values in one tensor (1,N), from noise or from latents.

Legend: B batch (1 in the pipeline), T tokens, C channels, N sampled values.
"""

from __future__ import annotations

import torch
from torch import Tensor

from castsheet.errors import SettingsError
from castsheet.ltx.latents import Grid, patchify, unpatchify
from castsheet.machine.seeds import generator
from castsheet.sampling.denoiser import Denoiser
from castsheet.sampling.samplers import Renoise


def draw(denoiser: Denoiser, grid: Grid, seed: int, noise: Tensor | None, sigma: float) -> Tensor:
    """The start of a run: fp32 noise drawn on the CPU, so that a seed means the same on every device.

    The target's noise is drawn first: it depends only on the clip's size and the seed.

    Args:
        noise: the target's noise (1,C,F,H,W) instead.

    Raises:
        SettingsError: the seed is out of range, or given noise is not of the latents' shape.
    """
    if not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise SettingsError(f"seed {seed!r}", remedy="choose a whole number from 0 to 2^63 - 1")
    source = torch.Generator().manual_seed(seed)
    video, sound = denoiser.video, denoiser.audio
    channels = video.clean_BTC.shape[2]
    shape = (1, channels, grid.frames, grid.height, grid.width)
    if noise is None:
        noise = torch.randn(shape, generator=source)
    elif tuple(noise.shape) != shape:
        raise SettingsError(f"noise of shape {tuple(noise.shape)}", remedy=f"give noise of shape {shape}")
    start = None
    if sound is not None:
        start = sound.start(torch.randn(sound.clean_BTC.shape, generator=source), sigma)
    appended = torch.randn(1, video.sampled - grid.tokens, channels, generator=source)
    return denoiser.pack(
        video.start(torch.cat([patchify(noise.float().cpu()), appended], dim=1), sigma), start
    )


def carried(denoiser: Denoiser, latents_BCFHW: Tensor, audio_BTC: Tensor | None) -> Tensor:
    """A finished clip as the sampler's state (1,N); a given first frame is put into it.

    Args:
        denoiser: one without a sheet that is sampled too.
    """
    video = denoiser.video
    x_BTC = patchify(latents_BCFHW).to(video.clean_BTC)
    return denoiser.pack(x_BTC * video.mask + video.clean_BTC * (1 - video.mask), audio_BTC)


def step_noise(denoiser: Denoiser, grid: Grid, seed: int, eta: float) -> Renoise:
    """The noise that an ancestral sampler adds: a function of the seed and the step, drawn on the CPU.

    A seed gives the same noise on every device, and each step's noise can be drawn again by itself. As in
    `draw`, the target's noise does not depend on sound and reference.
    """
    video, sound = denoiser.video, denoiser.audio
    channels = video.clean_BTC.shape[2]

    def noise(step: int) -> Tensor:
        def normal(part: str, *shape: int) -> Tensor:
            source = generator(seed, "step noise", step, part)
            return torch.randn(1, *shape, generator=source).to(video.clean_BTC.device)

        target = patchify(normal("target", channels, grid.frames, grid.height, grid.width))
        appended = normal("appended", video.sampled - grid.tokens, channels)
        audio = None if sound is None else normal("audio", *sound.clean_BTC.shape[1:])
        return denoiser.pack(torch.cat([target, appended], dim=1), audio)

    return Renoise(eta, noise, denoiser.shares)


def clip_latents(denoiser: Denoiser, grid: Grid, x_BN: Tensor) -> Tensor:
    """The clip's own latents (1,C,F,H,W) in the sampler's state."""
    return unpatchify(denoiser.unpack(x_BN)[0][:, : grid.tokens], grid.frames, grid.height, grid.width)
