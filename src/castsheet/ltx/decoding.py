"""From clean latents to what people see and hear.

Legend: B batch (1), C channels, F frames, H height, W width, T tokens, S samples.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from castsheet.errors import NumericsError
from castsheet.ltx.latents import to_frames
from castsheet.ltx.parts.audio import AudioVAE, Vocoder
from castsheet.ltx.parts.vae import VideoVAE


def decode(vae: VideoVAE, latents_BCFHW: Tensor) -> np.ndarray:
    """Frames (F,H,W,3) uint8.

    Raises:
        NumericsError: the decoder gave values that are not finite.
    """
    return to_frames(finite(vae.decode(latents_BCFHW), "the picture"))


def decode_audio(
    parts: tuple[AudioVAE, Vocoder], tokens_BTC: Tensor, seconds: float
) -> tuple[np.ndarray, int]:
    """Sound of a clip's length: (S,2) fp32 in [-1,1], and samples a second.

    Raises:
        NumericsError: as `decode`.
    """
    vae, vocoder = parts
    wave_CS = finite(vocoder(vae.decode(tokens_BTC))[0].float(), "the sound").clamp(-1, 1)
    wave_SC = wave_CS.T[: round(seconds * vocoder.rate)]
    return np.ascontiguousarray(wave_SC.cpu().numpy()), vocoder.rate


def finite(x: Tensor, what: str) -> Tensor:
    """`x`, or NumericsError where it holds NaN or infinity."""
    if not torch.isfinite(x).all():
        raise NumericsError(
            f"decoding gave {what} values that are not finite", remedy="run with --dtype fp32"
        )
    return x
