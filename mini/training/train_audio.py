"""Mini's audio VAE and vocoder, trained on the world's sounds.

The VAE learns log-mel spectrograms, the vocoder to turn them into waveforms whose spectra are right at
several resolutions: at 16 kHz after its first half, at 48 kHz after its second. No adversary: the world's
sounds are few, and a spectrum tells them.

Legend: S sounds, B batch, W stereo channels, A samples, M mel frames, K mel bins.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as nnf
from torch import Tensor

from castsheet.ltx.parts.audio import AudioVAE, Vocoder
from castsheet.machine.processes import World
from castsheet.train.memory.distributed import same_start
from mini.story.sound import RATE
from mini.training.architecture import AUDIO_RATE, MEL_HOP, SOUND_TOKENS
from mini.training.captured import Captured
from mini.training.mel import LogMel, set_analysis
from mini.training.optimise import Budget, Log, mixed, optimise
from mini.training.snake import joined

EXCERPT = 60  # mel frames that the vocoder learns from at once
LATENT_NOISE = 0.05  # of a channel's standard deviation
_RESOLUTIONS = ((256, 64), (512, 128), (1024, 256), (2048, 512))  # window and hop, samples
_WIDER = RATE // AUDIO_RATE
_FEEDS = 4  # mel frames a latent frame


def at_16_khz(sounds_BWA: Tensor) -> Tensor:
    """48 kHz int16 to 16 kHz fp32 (B,W,A/3), low-passed at 7.5 kHz by its spectrum."""
    whole = sounds_BWA.shape[-1] // (2 * _WIDER) * 2 * _WIDER
    wave = sounds_BWA[..., :whole].float() / 32767
    spectrum = torch.fft.rfft(wave)
    kept = spectrum[..., : whole // (2 * _WIDER) + 1] / _WIDER
    pitch = torch.arange(kept.shape[-1], device=wave.device) * RATE / whole
    return torch.fft.irfft(kept * (pitch <= 7500), whole // _WIDER)


def mels_of(sounds_BWA: Tensor, log_mel: LogMel) -> Tensor:
    """Log-mel spectrograms (B,W,4T-3,K) of clips' 48 kHz int16 sounds, as the VAE takes them."""
    return log_mel(at_16_khz(sounds_BWA))[:, :, : _FEEDS * (SOUND_TOKENS - 1) + 1]


def train_audio_vae(
    config: Mapping[str, Any],
    sounds_SWA: Tensor,
    budget: Budget,
    *,
    batch: int,
    where: World,
    log: Log,
    rate: float = 5e-4,
) -> AudioVAE:
    """Train from scratch on int16 sounds at 48 kHz, then set the latent statistics.

    Args:
        config: the header's `audio_vae`. sounds_SWA: on the CPU.
    """
    device = str(where.device)
    torch.manual_seed(44 + where.rank)
    vae = AudioVAE(config).to(device)
    log_mel = LogMel(device)

    def loss_of(_: int) -> Tensor:
        mel = mels_of(sounds_SWA[torch.randint(len(sounds_SWA), (batch,))].to(device), log_mel)
        with mixed(device):
            raw = vae.model.encode(mel).latent_dist.mean
            spread = raw.float().std(dim=(0, 2), keepdim=True).detach()
            noised = raw + LATENT_NOISE * spread * torch.randn_like(raw)
            output = vae.model.decode(noised).sample.float()
        error = output - mel
        return (error.abs() + 0.5 * error.square()).mean() + 1e-4 * raw.float().square().mean()

    optimise([vae], loss_of, budget, rate=rate, log=log, name="audio", muon=True, where=where)
    _set_statistics(vae, sounds_SWA, log_mel, device)
    same_start(list(vae.buffers()), where.size)
    return vae.requires_grad_(False).eval()


@torch.no_grad()
def _set_statistics(vae: AudioVAE, sounds_SWA: Tensor, log_mel: LogMel, device: str) -> None:
    """Mean and standard deviation of each channel of raw latent tokens."""
    raw = []
    for index in range(0, min(256, len(sounds_SWA)), 16):
        with mixed(device):
            mel = mels_of(sounds_SWA[index : index + 16].to(device), log_mel)
            raw.append(vae.model.encode(mel).latent_dist.mean.transpose(1, 2).flatten(2).double())
    tokens = torch.cat(raw).flatten(0, 1)
    vae.model.latents_mean.copy_(tokens.mean(0))
    vae.model.latents_std.copy_(tokens.std(0).clamp(min=1e-6))


def spectral_loss(output_BWA: Tensor, target_BWA: Tensor) -> Tensor:
    """Mean over resolutions of |log magnitude error| and of the magnitude's relative error.

    From R. Yamamoto et al., "Parallel WaveGAN" (arXiv:1910.11480), equations 4 to 6.
    """
    losses = []
    for window, hop in _RESOLUTIONS:
        shape = torch.hann_window(window, device=output_BWA.device)
        told, wanted = (
            torch.stft(one.flatten(0, 1), window, hop, window=shape, return_complex=True)
            .abs()
            .clamp(min=1e-4)
            for one in (output_BWA.float(), target_BWA.float())
        )
        relative = (told - wanted).flatten(1).norm(dim=1) / wanted.flatten(1).norm(dim=1).clamp(min=0.1)
        losses.append((told.log() - wanted.log()).abs().mean() + relative.mean())
    return torch.stack(losses).mean()


def train_vocoder(
    config: Mapping[str, Any],
    sounds_SWA: Tensor,
    budget: Budget,
    *,
    batch: int,
    where: World,
    log: Log,
    start: Vocoder | None = None,
    rate: float = 1e-3,
) -> Vocoder:
    """Train on excerpts of int16 sounds at 48 kHz and their true spectrograms.

    Args:
        config: the header's `vocoder`. sounds_SWA: on the CPU. start: what to go on from.
    """
    device = str(where.device)
    torch.manual_seed(45 + where.rank)
    vocoder = start or Vocoder(config).to(device)
    vocoder.requires_grad_(True)
    set_analysis(vocoder)
    log_mel = LogMel(device)

    def drawn() -> tuple[Tensor, Tensor, Tensor]:
        """Excerpts' spectrograms, and their sound at 16 and at 48 kHz."""
        sounds = sounds_SWA[torch.randint(len(sounds_SWA), (batch,))].to(device)
        low, mel = at_16_khz(sounds), mels_of(sounds, log_mel)
        begins = _interesting(mel)
        steps = torch.arange(EXCERPT, device=device)
        rows = torch.arange(batch, device=device)[:, None]
        part = mel[rows, :, begins[:, None] + steps].transpose(1, 2)
        narrow, wide = (
            wave[rows, :, begins[:, None] * hop + torch.arange(EXCERPT * hop, device=device)].transpose(1, 2)
            for wave, hop in ((low, MEL_HOP), (sounds.float() / 32767, MEL_HOP * _WIDER))
        )
        return part, narrow, wide

    def loss(part: Tensor, narrow: Tensor, wide: Tensor) -> Tensor:
        first, full = both(vocoder, part)
        plain = nnf.l1_loss(first, narrow) + nnf.l1_loss(full, wide)
        return spectral_loss(first, narrow) + spectral_loss(full, wide) + plain

    rest: dict[str, Any] = {"rate": rate, "log": log, "name": "vocoder", "muon": False, "where": where}
    on_gpu = where.device.type == "cuda"
    with joined(vocoder, compiled=on_gpu):
        if on_gpu:
            captured = Captured(loss, drawn(), list(vocoder.parameters()))
            optimise([vocoder], lambda _: captured(drawn()), budget, replayed=True, **rest)
            captured.release()
        else:
            optimise([vocoder], lambda _: loss(*drawn()), budget, **rest)
    return vocoder.requires_grad_(False).eval()


def both(vocoder: Vocoder, mel_BWMK: Tensor) -> tuple[Tensor, Tensor]:
    """The sound at 16 kHz that the first half of the vocoder makes, and the whole's at 48 kHz."""
    made = list[Tensor]()

    def keep(*seen: Tensor) -> None:
        made.append(seen[-1])

    handle = vocoder.model.vocoder.register_forward_hook(keep)
    try:
        full = vocoder(mel_BWMK)
    finally:
        handle.remove()
    return made[0], full


def _interesting(mel_BWMK: Tensor) -> Tensor:
    """Where excerpts begin (B,): half anywhere, half where it soon gets louder."""
    last = mel_BWMK.shape[2] - EXCERPT
    anywhere = torch.randint(last, (len(mel_BWMK),), device=mel_BWMK.device)
    loudness = mel_BWMK.exp().sum((1, 3))
    rise = (loudness[:, 1:] - loudness[:, :-1]).clamp(min=0) + 1e-6
    onset = torch.multinomial(rise, 1)[:, 0] - torch.randint(
        EXCERPT // 2, anywhere.shape, device=mel_BWMK.device
    )
    return torch.where(anywhere % 2 == 0, anywhere, onset.clamp(0, last - 1))
