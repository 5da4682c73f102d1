"""Mini's video VAE: trained on the world's clips and sheets.

Edges and figures count more in the loss: a figure is a small part of a picture. Noise on the latents
while training makes the decoder forgive what the denoiser leaves unsaid. At the end the decoder alone learns
on, every part of the cast weighing alike (`emphasis`): that changes no latent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from castsheet.ltx.parts.vae import VideoVAE
from castsheet.machine.processes import World
from castsheet.train.memory.distributed import same_start
from mini.data.corpus import Corpus, pixels
from mini.data.emphasis import weigh
from mini.official import set_statistics
from mini.training.optimise import Budget, Log, mixed, optimise

SEGMENT = 33  # frames of a training excerpt
LATENT_NOISE = 0.05  # of a channel's standard deviation
FIGURE = 2.0  # how many times as much a figure's pixels count, in half of the loss; parts count alike in half
SLOPES = 0.3  # how much the decoder's last stage minds wrong differences between neighbouring pixels


def reconstruction_loss(
    output: Tensor, target: Tensor, weight_BFHW: Tensor | None = None, *, slopes: float = 0.0
) -> Tensor:
    """|error| + 2 error^2 over (B, 3, F, H, W), where the target has edges up to four times as much.

    Args:
        slopes: weight of the error of differences between neighbours. They would hold a fresh codec back:
            while edges are misplaced, having none costs least.
    """
    edge = torch.zeros_like(target)
    edge[..., 1:, :] += target.diff(dim=-2).abs()
    edge[..., :, 1:] += target.diff(dim=-1).abs()
    weight = 1 + 3 * edge.amax(dim=1, keepdim=True).clamp(max=1)
    if weight_BFHW is not None:
        weight = weight * weight_BFHW[:, None]
    error = output - target
    loss = ((error.abs() + 2 * error.square()) * weight).mean()
    if slopes:
        down, across = error.diff(dim=-2).abs() * weight[..., 1:, :], error.diff(dim=-1).abs()
        loss = loss + slopes * (down.mean() + (across * weight[..., :, 1:]).mean())
    return loss


def start_near_linear(vae: VideoVAE) -> None:
    """Let training start from a linear autoencoder.

    Layers that residual paths go round are silent; upsampling steps without such a path repeat what they are
    given.
    """
    for name, module in vae.named_modules():
        if isinstance(module, nn.Conv3d) and name.endswith(
            ("conv2.conv", "downsamplers.0.conv.conv", "upsamplers.0.conv.conv")
        ):
            nn.init.zeros_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
            step: Any = vae.get_submodule(name.removesuffix(".conv.conv"))
            if name.endswith("upsamplers.0.conv.conv") and not step.residual:
                _repeat(module.weight, stretch=step.stride[0] * step.stride[1] * step.stride[2])


@torch.no_grad()
def _repeat(weight: Tensor, *, stretch: int) -> None:
    """Output channels come in groups of `stretch` cells; a group repeats the mean of its share of inputs."""
    groups, inputs = weight.shape[0] // stretch, weight.shape[1]
    share = inputs // groups
    for group in range(groups):
        cells = slice(group * stretch, (group + 1) * stretch)
        weight[cells, group * share : (group + 1) * share, 1, 1, 1] = share**-0.5


def train_codec(
    config: Mapping[str, Any],
    corpus: Corpus,
    budget: Budget,
    *,
    batch: int,
    where: World,
    log: Log,
    start: VideoVAE | None = None,
    rate: float = 4e-4,
    seed: int = 42,
) -> VideoVAE:
    """Train on whatever samples the corpus holds so far, then set the latent statistics.

    Args:
        config: the header's `vae`. start: what to go on from, instead of random numbers.
    """
    device = str(where.device)
    torch.manual_seed(seed + where.rank)
    vae = start
    if vae is None:
        vae = VideoVAE(config).to(device)
        start_near_linear(vae)
    set_statistics(vae, torch.zeros(vae.channels), torch.ones(vae.channels))
    vae.requires_grad_(True)

    def loss_on(target: Tensor, weight: Tensor | None) -> Tensor:
        with mixed(device):
            mean, _ = vae.moments(target)
            output = vae.decode(_noised(mean))
        # The latents' scale is free; a touch of weight keeps it near one.
        return reconstruction_loss(output.float(), target, weight) + 1e-4 * mean.float().square().mean()

    on_clips = torch.compile(loss_on, dynamic=False) if device.startswith("cuda") else loss_on

    def loss_of(step: int) -> Tensor:
        chosen, frames = _draw(corpus, batch)
        regions = corpus.regions[chosen, frames].to(device)
        alike = weigh(regions, corpus.shares[chosen].to(device))
        weight = 0.5 * (1 + (FIGURE - 1) * (regions > 0).float()) + 0.5 * alike
        loss = on_clips(pixels(corpus.clips[chosen, frames], device), weight)
        if step % 2:
            return loss
        stills = torch.cat([corpus.sheets[chosen], corpus.clips[chosen, frames.start]])
        return loss + loss_on(pixels(stills[:, None], device), None)

    optimise([vae], loss_of, budget, rate=rate, log=log, name="codec", muon=True, where=where)
    measure_statistics(vae, corpus, device)
    same_start(list(vae.buffers()), where.size)
    return vae.requires_grad_(False).eval()


def train_decoder(
    vae: VideoVAE,
    corpus: Corpus,
    budget: Budget,
    *,
    batch: int,
    where: World,
    log: Log,
    rate: float = 1e-4,
) -> None:
    """Train the decoder on, from latents that stay as they are."""
    device = str(where.device)
    torch.manual_seed(43 + where.rank)
    vae.model.decoder.requires_grad_(True)

    def loss_on(target: Tensor, weight: Tensor) -> Tensor:
        with mixed(device):
            with torch.no_grad():
                latents = vae.encode(target)
            output = vae.decode(_noised(latents))
        return reconstruction_loss(output.float(), target, weight, slopes=SLOPES)

    on_clips = torch.compile(loss_on, dynamic=False) if device.startswith("cuda") else loss_on

    def loss_of(_: int) -> Tensor:
        chosen, frames = _draw(corpus, batch)
        regions = corpus.regions[chosen, frames].to(device)
        weight = weigh(regions, corpus.shares[chosen].to(device))
        return on_clips(pixels(corpus.clips[chosen, frames], device), weight)

    optimise([vae.model.decoder], loss_of, budget, rate=rate, log=log, name="decoder", muon=True, where=where)
    vae.requires_grad_(False)


def _draw(corpus: Corpus, batch: int) -> tuple[Tensor, slice]:
    """Numbers of samples that are there, and the frames to learn from."""
    start = int(torch.randint(corpus.clips.shape[1] - SEGMENT + 1, ()))
    chosen = torch.randint(corpus.ready, (batch,), device=corpus.clips.device)
    return chosen, slice(start, start + SEGMENT)


def _noised(latents_BCFHW: Tensor) -> Tensor:
    spread = latents_BCFHW.float().std(dim=(0, 2, 3, 4), keepdim=True).detach()
    return latents_BCFHW + LATENT_NOISE * spread * torch.randn_like(latents_BCFHW)


@torch.no_grad()
def measure_statistics(vae: VideoVAE, corpus: Corpus, device: str, clips: int = 256) -> None:
    """Per-channel mean and standard deviation of raw latents, over clips and sheets alike."""
    channels = vae.channels
    total = torch.zeros(channels, dtype=torch.double, device=device)
    squares, count = torch.zeros_like(total), 0
    for index in range(0, min(clips, corpus.ready), 4):
        with mixed(device):
            parts = [vae.moments(pixels(corpus.clips[index : index + 4], device))[0]]
            parts.append(vae.moments(pixels(corpus.sheets[index : index + 4, None], device))[0])
        for mean in parts:
            flat = mean.double().movedim(1, -1).flatten(0, -2)
            total, squares, count = total + flat.sum(0), squares + flat.square().sum(0), count + len(flat)
    mean = total / count
    std = (squares / count - mean**2).clamp(min=1e-12).sqrt()
    set_statistics(vae, mean.float(), std.float())
