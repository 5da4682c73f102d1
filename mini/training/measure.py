"""How near a codec comes to unseen clips: in the whole picture, on figures, and on limbs that move.

And whether places can be told from what a vocoder plays.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from castsheet.ltx.parts.vae import VideoVAE
from mini.data.corpus import Corpus, pixels
from mini.story.listen import place_heard
from mini.story.look import PARTS, Part
from mini.training.mel import LogMel
from mini.training.optimise import mixed
from mini.training.train_audio import mels_of

MOVED = 30  # levels, summed over channels, by which a pixel must change to move
LIMBS = (Part.FOREARM, Part.SHIN, Part.SHOE, Part.SKIN)
PLACES = ("whole", "figures", "moving", "limbs", "sheets")


@torch.no_grad()
def decoded(vae: VideoVAE, frames_FHWC: Tensor, device: str) -> Tensor:
    """uint8 frames through the codec and back, (F,H,W,3) uint8 on the device."""
    with mixed(device):
        output = vae.decode(vae.encode(pixels(frames_FHWC[None], device)))[0]
    return ((output.float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 3, 0)


@torch.no_grad()
def fidelity(vae: VideoVAE, held_out: Corpus, device: str) -> dict[str, float]:
    """PSNR in dB, from mean squared errors over all samples that are there.

    "moving": pixels of figures that changed since the frame before. "limbs": moving pixels of arms' lower
    halves, shins, shoes and skin.
    """
    errors = {place: np.zeros(2) for place in PLACES}

    def count(place: str, error_FHW: Tensor, where_FHW: Tensor | None = None) -> None:
        chosen = error_FHW if where_FHW is None else error_FHW[where_FHW]
        errors[place] += (float(chosen.sum()), chosen.numel())

    for clip, regions, sheet in zip(held_out.clips, held_out.regions, held_out.sheets, strict=True):
        truth, codes = clip.to(device), regions.to(device).int()
        error = (decoded(vae, clip, device).float() - truth.float()).square().mean(-1)
        figure = codes > 0
        moved = torch.zeros_like(figure)
        moved[1:] = (truth[1:].short() - truth[:-1].short()).abs().sum(-1) > MOVED
        part = (codes - 1) % PARTS
        limb = torch.stack([part == one.value for one in LIMBS]).any(0)
        count("whole", error)
        count("figures", error, figure)
        count("moving", error, figure & moved)
        count("limbs", error, figure & moved & limb)
        still = decoded(vae, sheet[None], device)[0]
        count("sheets", (still.float() - sheet.to(device).float()).square().mean(-1))
    means = {place: max(total / n, 1e-4) for place, (total, n) in errors.items() if n}  # 88 dB at most
    return {place: float(10 * np.log10(255**2 / mean)) for place, mean in means.items()}


@torch.no_grad()
def places_heard(vocoder: nn.Module, sounds_SWA: Tensor, kinds: Sequence[str], device: str) -> float:
    """Share of clips whose place can be told from what the vocoder makes of their own spectrogram.

    Args:
        sounds_SWA: int16 at 48 kHz. kinds: each one's kind of place.
    """
    log_mel, heard = LogMel(device), 0
    for sound_WA, kind in zip(sounds_SWA, kinds, strict=True):
        made = vocoder(mels_of(sound_WA[None].to(device), log_mel))[0]
        heard += place_heard(made.float().cpu().numpy()) == kind
    return heard / len(kinds)
