"""Mel spectrograms as the official audio VAE was trained on, and the vocoder's own analysis, from formulas.

Slaney's mel scale: linear below 1 kHz, logarithmic above; triangles of unit area (M. Slaney, "Auditory
Toolbox", Technical Report 1998-010, as librosa and torchaudio write it out).

Legend: B batch, W stereo channels, A samples, M mel frames, K mel bins, Q frequencies of a Fourier transform.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from castsheet.ltx.parts.audio import Vocoder
from mini.training.architecture import AUDIO_RATE, MEL_BINS, MEL_HOP

WINDOW = 1024
SMALLEST = 1e-5
_LINEAR, _KNEE, _STEP = 200.0 / 3, 1000.0, math.log(6.4) / 27  # Hz a mel, where it bends, log Hz a mel


def filters(bins: int, window: int, rate: int) -> Tensor:
    """Triangular filters (K,Q) over [0, rate / 2], fp32; the area under each is one (in Hz)."""
    top = _mel(np.array([rate / 2]))[0]
    edges = _hertz(np.linspace(0.0, top, bins + 2))
    pitch = np.linspace(0, rate / 2, window // 2 + 1)
    rising = (pitch[None] - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - pitch[None]) / np.diff(edges)[1:, None]
    triangles = np.maximum(0, np.minimum(rising, falling)) * (2 / (edges[2:] - edges[:-2]))[:, None]
    return torch.from_numpy(triangles.astype(np.float32))


def _mel(hertz: np.ndarray) -> np.ndarray:
    above = _KNEE / _LINEAR + np.log(np.maximum(hertz, _KNEE) / _KNEE) / _STEP
    return np.where(hertz < _KNEE, hertz / _LINEAR, above)


def _hertz(mel: np.ndarray) -> np.ndarray:
    knee = _KNEE / _LINEAR
    return np.where(mel < knee, mel * _LINEAR, _KNEE * np.exp(_STEP * (np.maximum(mel, knee) - knee)))


class LogMel:
    """Waveforms at 16 kHz to log-mel spectrograms, on one device."""

    def __init__(self, device: torch.device | str) -> None:
        self.filters_KQ = filters(MEL_BINS, WINDOW, AUDIO_RATE).to(device)
        self.window = torch.hann_window(WINDOW, device=device)

    def __call__(self, sound_BWA: Tensor) -> Tensor:
        """(B,W,M,K) with M = A // 160 + 1; frame m is centred at sample 160 m."""
        spectrum = torch.stft(
            sound_BWA.flatten(0, 1),
            WINDOW,
            MEL_HOP,
            window=self.window,
            center=True,
            pad_mode="reflect",
            return_complex=True,
        ).abs()
        mel = (self.filters_KQ @ spectrum).clamp(min=SMALLEST).log()
        return mel.transpose(1, 2).unflatten(0, sound_BWA.shape[:2])


@torch.no_grad()
def set_analysis(vocoder: Vocoder) -> None:
    """Fill the fixed buffers by which the vocoder looks at its own 16 kHz sound."""
    analysis = vocoder.model.mel_stft
    transform = analysis.stft_fn
    length = transform.window_length
    rows = length // 2 + 1
    angle = 2 * math.pi / length * torch.outer(torch.arange(rows).double(), torch.arange(length).double())
    waves = torch.cat([angle.cos(), -angle.sin()])
    window = torch.hann_window(length, dtype=torch.double)
    transform.forward_basis.copy_((waves * window)[:, None])
    transform.inverse_basis.copy_((torch.linalg.pinv(waves).T * window)[:, None])
    analysis.mel_basis.copy_(filters(MEL_BINS, length, AUDIO_RATE))
