"""Mini's video VAE: trained on the world's clips and sheets.

Excerpts are cut around the cast, which is a small part of a picture (`excerpts`). What is minimised is
what is measured: the squared error. Noise on the latents while training makes the decoder forgive what the
denoiser leaves unsaid. At the end the decoder alone may learn on: that changes no latent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from castsheet.ltx.parts.vae import VideoVAE
from castsheet.machine.processes import World
from castsheet.train.memory.distributed import same_start
from mini.data.corpus import Corpus, pixels
from mini.official import set_statistics
from mini.training import excerpts
from mini.training.captured import Captured
from mini.training.excerpts import Batch, Sizes
from mini.training.optimise import Budget, Log, mixed, optimise
from mini.training.silu_norm import joined

LATENT_NOISE = 0.05  # of a channel's standard deviation
FIGURE = 2.0  # how many times as much a figure's pixels count
SQUARES = 8.0  # how much more a squared error counts than an absolute one, which keeps flat colours clean
ABSOLUTE = 0.2


def reconstruction_loss(output: Tensor, target: Tensor, weight_BFHW: Tensor | None = None) -> Tensor:
    """0.2 |error| + 8 error^2 over (B, 3, F, H, W), its mean weighed."""
    error = output - target
    loss = ABSOLUTE * error.abs() + SQUARES * error.square()
    return (loss if weight_BFHW is None else loss * weight_BFHW[:, None]).mean()


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


def batch_loss(vae: VideoVAE, device: str, *, decoder_only: bool = False) -> Callable[..., Tensor]:
    """The loss of a batch's tensors (see `Batch.tensors`).

    Args:
        decoder_only: latents are normalised, and no gradient goes into the encoder.
    """

    def loss_of(given_BFHWC: Tensor, regions_BFHW: Tensor | None = None) -> Tensor:
        target, weight, size = pixels(given_BFHWC, device), None, torch.zeros((), device=device)
        if regions_BFHW is not None:
            weight = 1 + (FIGURE - 1) * (regions_BFHW > 0).float()
        with mixed(device):
            if decoder_only:
                with torch.no_grad():
                    latents = vae.encode(target)
            else:
                latents, _ = vae.moments(target)
                # The latents' scale is free; a touch of weight keeps it near one.
                size = 1e-4 * latents.float().square().mean()
            output = vae.decode(_noised(latents))
        return reconstruction_loss(output.float(), target, weight) + size

    def loss(cuts: Tensor, cut_regions: Tensor, wholes: Tensor, regions: Tensor, stills: Tensor) -> Tensor:
        return loss_of(cuts, cut_regions) + 0.5 * loss_of(wholes, regions) + 0.5 * loss_of(stills)

    return loss


def train_codec(
    config: Mapping[str, Any],
    corpus: Corpus,
    budget: Budget,
    *,
    sizes: Sizes,
    where: World,
    log: Log,
    start: VideoVAE | None = None,
    rate: float = 8e-4,
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
    _learn(vae, vae, batch_loss(vae, device), corpus, budget, sizes, where, log, name="codec", rate=rate)
    measure_statistics(vae, corpus, device)
    same_start(list(vae.buffers()), where.size)
    return vae.requires_grad_(False).eval()


def train_decoder(
    vae: VideoVAE,
    corpus: Corpus,
    budget: Budget,
    *,
    sizes: Sizes,
    where: World,
    log: Log,
    rate: float = 4e-4,
) -> None:
    """Train the decoder on, from latents that stay as they are."""
    device = str(where.device)
    torch.manual_seed(43 + where.rank)
    decoder = vae.model.decoder.requires_grad_(True)
    loss = batch_loss(vae, device, decoder_only=True)
    _learn(vae, decoder, loss, corpus, budget, sizes, where, log, name="decoder", rate=rate)
    vae.requires_grad_(False)


def _learn(
    vae: VideoVAE,
    learner: nn.Module,
    loss: Callable[..., Tensor],
    corpus: Corpus,
    budget: Budget,
    sizes: Sizes,
    where: World,
    log: Log,
    *,
    name: str,
    rate: float,
) -> None:
    """Train `learner`, which is `vae` or a part of it; on a GPU as one graph of fused kernels."""
    if not budget.steps:
        return
    trained = [p for p in learner.parameters() if p.requires_grad]
    same_start(trained, where.size)

    def drawn() -> Batch:
        return excerpts.draw(corpus, sizes)

    if where.device.type != "cuda":
        step: Callable[[int], Tensor] = lambda _: loss(*drawn().tensors())  # noqa: E731
        optimise([learner], step, budget, rate=rate, log=log, name=name, muon=True, where=where)
        return
    with joined(vae.model):
        captured = Captured(loss, drawn().tensors(), trained)
        step = lambda _: captured(drawn().tensors())  # noqa: E731
        optimise(
            [learner], step, budget, rate=rate, log=log, name=name, muon=True, where=where, replayed=True
        )
        captured.release()


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
