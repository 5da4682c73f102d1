"""Mini's video VAE: trained on the world's clips and sheets.

The loss is L1 in pixels and in their spatial gradients, with edges counting more: a figure is a small part of a
picture. Noise on the latents while training makes the decoder forgive what the denoiser leaves unsaid.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from castsheet.ltx.vae import VideoVAE
from castsheet.mini.architecture import config
from castsheet.mini.corpus import Corpus, pixels

SEGMENT = 33  # frames of a training excerpt
LATENT_NOISE = 0.12  # of a channel's standard deviation


def reconstruction_loss(output: Tensor, target: Tensor) -> Tensor:
    """Edge-weighted L1 plus L1 of the spatial gradients, over (B, 3, F, H, W)."""
    down, across = target.diff(dim=-2), target.diff(dim=-1)
    edge = torch.zeros_like(target)
    edge[..., 1:, :] += down.abs()
    edge[..., :, 1:] += across.abs()
    weight = 1 + 5 * edge.amax(dim=1, keepdim=True).clamp(max=1)
    plain = ((output - target).abs() * weight).mean()
    gradients = (output.diff(dim=-2) - down).abs().mean() + (output.diff(dim=-1) - across).abs().mean()
    return plain + gradients


def train_codec(
    corpus: Corpus, *, steps: int, batch: int, device: str, log: Callable[[str], None], rate: float = 6e-4, seed: int = 42
) -> VideoVAE:
    """Train from scratch; reads whatever samples the corpus holds so far. Sets the latent statistics at the end."""
    torch.manual_seed(seed)
    vae = VideoVAE(config()["vae"]).to(device)
    optimiser = torch.optim.AdamW(vae.parameters(), rate, betas=(0.9, 0.98), weight_decay=1e-4)
    warm = max(1, steps // 40)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min(1, (step + 1) / warm) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))
    )

    def loss_of(target: Tensor) -> Tensor:
        with torch.autocast(device.split(":")[0], torch.bfloat16):
            mean, _ = vae.moments(target)
            spread = mean.float().std(dim=(0, 2, 3, 4), keepdim=True).detach()
            noisy = mean + LATENT_NOISE * spread * torch.randn_like(mean)
            output = vae.decode(noisy)
        # The latents' scale is free; a touch of weight keeps it near one.
        return reconstruction_loss(output.float(), target) + 1e-4 * mean.float().square().mean()

    on_clips = torch.compile(loss_of) if device.startswith("cuda") else loss_of
    for step in range(steps):
        ready = corpus.ready
        chosen = torch.randint(ready, (batch,), device=device)
        start = int(torch.randint(corpus.clips.shape[1] - SEGMENT + 1, ()))
        loss = on_clips(pixels(corpus.clips[chosen, start : start + SEGMENT]))
        if step % 2 == 0:
            stills = torch.cat([corpus.sheets[chosen], corpus.clips[chosen, start]])
            loss = loss + loss_of(pixels(stills[:, None]))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        schedule.step()
        if step % 50 == 0 or step == steps - 1:
            log(f"codec step {step} loss {loss.item():.4f} samples {ready}")
    measure_statistics(vae, corpus, device)
    return vae.requires_grad_(False).eval()


@torch.no_grad()
def measure_statistics(vae: VideoVAE, corpus: Corpus, device: str, clips: int = 256) -> None:
    """Per-channel mean and standard deviation of raw latents, over clips and sheets alike."""
    total, squares, count = 0.0, 0.0, 0
    for index in range(0, min(clips, corpus.ready), 4):
        with torch.autocast(device.split(":")[0], torch.bfloat16):
            parts = [vae.moments(pixels(corpus.clips[index : index + 4]))[0]]
            parts.append(vae.moments(pixels(corpus.sheets[index : index + 4, None]))[0])
        for mean in parts:
            flat = mean.double().movedim(1, -1).flatten(0, -2)
            total, squares, count = total + flat.sum(0), squares + flat.square().sum(0), count + len(flat)
    mean = total / count
    std = (squares / count - mean**2).clamp(min=1e-12).sqrt()
    vae.set_statistics(mean.float(), std.float())


@torch.no_grad()
def encode_corpus(vae: VideoVAE, corpus: Corpus, device: str, log: Callable[[str], None]) -> tuple[Tensor, Tensor]:
    """Normalised latents as tokens, bf16: clips (S, 1344, 64), sheets (S, 84, 64)."""
    clips, sheets = [], []
    for index in range(0, len(corpus.clips), 4):
        corpus.wait_for(min(index + 4, len(corpus.clips)))
        with torch.autocast(device.split(":")[0], torch.bfloat16):
            clips.append(as_tokens(vae.encode(pixels(corpus.clips[index : index + 4]))))
            sheets.append(as_tokens(vae.encode(pixels(corpus.sheets[index : index + 4, None]))))
        if index % 1000 == 0:
            log(f"encoded {index} of {len(corpus.clips)}")
    return torch.cat(clips), torch.cat(sheets)


def as_tokens(latents_BCFHW: Tensor) -> Tensor:
    """(B,C,F,H,W) to bf16 tokens (B, F*H*W, C)."""
    return latents_BCFHW.flatten(2).transpose(1, 2).bfloat16()
