"""Mini's video VAE: trained on the world's clips and sheets.

Edges count more in the loss: a figure is a small part of a picture. Noise on the latents
while training makes the decoder forgive what the denoiser leaves unsaid. At the end the decoder alone learns
on, every part of the cast weighing alike (`emphasis`): that changes no latent.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from castsheet.ltx.parts.vae import VideoVAE
from castsheet.machine.processes import World
from castsheet.train.memory.distributed import same_start
from mini.data.corpus import Corpus, pixels
from mini.official import set_statistics
from mini.training.architecture import config
from mini.training.optimise import Budget, Log, mixed, optimise

SEGMENT = 33  # frames of a training excerpt
LATENT_NOISE = 0.05  # of a channel's standard deviation


def reconstruction_loss(output: Tensor, target: Tensor, weight_BFHW: Tensor | None = None) -> Tensor:
    """|error| + 2 error^2 over (B, 3, F, H, W), where the target has edges up to four times as much.

    Losses on gradients would hold a fresh codec back: while edges are misplaced, having none costs least.
    """
    edge = torch.zeros_like(target)
    edge[..., 1:, :] += target.diff(dim=-2).abs()
    edge[..., :, 1:] += target.diff(dim=-1).abs()
    weight = 1 + 3 * edge.amax(dim=1, keepdim=True).clamp(max=1)
    if weight_BFHW is not None:
        weight = weight * weight_BFHW[:, None]
    error = output - target
    return ((error.abs() + 2 * error.square()) * weight).mean()


def start_near_linear(vae: VideoVAE) -> None:
    """Silence the layers that residual paths go round: training then starts from a linear autoencoder."""
    for name, module in vae.named_modules():
        if isinstance(module, nn.Conv3d) and name.endswith(
            ("conv2.conv", "downsamplers.0.conv.conv", "upsamplers.0.conv.conv")
        ):
            nn.init.zeros_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def train_codec(
    corpus: Corpus, budget: Budget, *, batch: int, where: World, log: Log, rate: float = 4e-4, seed: int = 42
) -> VideoVAE:
    """Train from scratch on whatever samples the corpus holds so far, then set the latent statistics."""
    device = str(where.device)
    torch.manual_seed(seed + where.rank)
    vae = VideoVAE(config()["vae"]).to(device)
    start_near_linear(vae)

    def loss_on(target: Tensor) -> Tensor:
        with mixed(device):
            mean, _ = vae.moments(target)
            output = vae.decode(_noised(mean))
        # The latents' scale is free; a touch of weight keeps it near one.
        return reconstruction_loss(output.float(), target) + 1e-4 * mean.float().square().mean()

    on_clips = torch.compile(loss_on, dynamic=False) if device.startswith("cuda") else loss_on

    def loss_of(step: int) -> Tensor:
        chosen, frames = _draw(corpus, batch)
        loss = on_clips(pixels(corpus.clips[chosen, frames], device))
        if step % 2:
            return loss
        stills = torch.cat([corpus.sheets[chosen], corpus.clips[chosen, frames.start]])
        return loss + loss_on(pixels(stills[:, None], device))

    optimise([vae], loss_of, budget, rate=rate, log=log, name="codec", muon=True, where=where)
    measure_statistics(vae, corpus, device)
    same_start(list(vae.buffers()), where.size)
    return vae.requires_grad_(False).eval()


def train_decoder(
    vae: VideoVAE,
    corpus: Corpus,
    weights_AFHW: Tensor,
    budget: Budget,
    *,
    batch: int,
    where: World,
    log: Log,
    rate: float = 1e-4,
) -> None:
    """Train the decoder on, from latents that stay as they are.

    Args:
        weights_AFHW: of each action's pixels in the loss.
    """
    device = str(where.device)
    torch.manual_seed(43 + where.rank)
    vae.model.decoder.requires_grad_(True)

    def loss_of(_: int) -> Tensor:
        chosen, frames = _draw(corpus, batch)
        target = pixels(corpus.clips[chosen, frames], device)
        weight = weights_AFHW[corpus.actions[chosen].to(device), frames]
        with mixed(device):
            with torch.no_grad():
                latents = vae.encode(target)
            output = vae.decode(_noised(latents))
        return reconstruction_loss(output.float(), target, weight)

    optimise([vae.model.decoder], loss_of, budget, rate=rate, log=log, name="decoder", muon=True, where=where)
    vae.requires_grad_(False)


def _draw(corpus: Corpus, batch: int) -> tuple[Tensor, slice]:
    """Numbers of samples that are there, and the frames to learn from."""
    start = int(torch.randint(corpus.clips.shape[1] - SEGMENT + 1, ()))
    return torch.randint(corpus.ready, (batch,)), slice(start, start + SEGMENT)


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
