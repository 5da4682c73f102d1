"""Clips and sheets as latents: encoded once, in the background, while training reads what is there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from castsheet.ltx.parts.vae import VideoVAE
from mini.data.corpus import Corpus, pixels
from mini.data.filling import Filling
from mini.training.optimise import mixed

_TOGETHER = 4  # clips that are encoded at once


@dataclass
class Latents(Filling):
    """Normalised latents as bf16 tokens.

    Attributes:
        clips: (S, 1344, 64). sheets: (S, 84, 64). actions: (S,) index into `ACTIONS`.
    """

    clips: Tensor
    sheets: Tensor
    actions: Tensor

    @classmethod
    def load(cls, path: Path, device: str) -> Latents:
        """Read what `save` wrote."""
        stored = load_file(path, device)
        return cls(stored["clips"], stored["sheets"], stored["actions"], ready=len(stored["actions"]))

    def save(self, path: Path) -> None:
        """Write all samples; waits for them."""
        self.wait_for(len(self.actions))
        temporary = path.with_suffix(".part")
        save_file({"clips": self.clips, "sheets": self.sheets, "actions": self.actions}, temporary)
        temporary.replace(path)

    def draw(self, count: int) -> Tensor:
        """Numbers of `count` samples, drawn from those that are there."""
        return torch.randint(self.ready, (count,), device=self.clips.device)


def encode(vae: VideoVAE, corpus: Corpus, device: str) -> Latents:
    """Begin encoding in the background and return at once."""
    with torch.no_grad():
        first = as_tokens(vae.encode(pixels(corpus.clips[:1], device)))
        still = as_tokens(vae.encode(pixels(corpus.sheets[:1, None], device)))
    count = len(corpus.actions)
    latents = Latents(
        first.new_empty(count, *first.shape[1:]),
        still.new_empty(count, *still.shape[1:]),
        torch.empty_like(corpus.actions, device=device),
    )
    latents.fill(lambda: _fill(latents, vae, corpus, device))
    return latents


@torch.no_grad()
def _fill(latents: Latents, vae: VideoVAE, corpus: Corpus, device: str) -> None:
    count = len(corpus.actions)
    for start in range(0, count, _TOGETHER):
        stop = min(start + _TOGETHER, count)
        corpus.wait_for(stop)
        with mixed(device):
            clips, stills = corpus.clips[start:stop], corpus.sheets[start:stop, None]
            latents.clips[start:stop] = as_tokens(vae.encode(pixels(clips, device)))
            latents.sheets[start:stop] = as_tokens(vae.encode(pixels(stills, device)))
        latents.actions[start:stop] = corpus.actions[start:stop]
        latents.advance(stop)


def as_tokens(latents_BCFHW: Tensor) -> Tensor:
    """(B,C,F,H,W) to bf16 tokens (B, F*H*W, C)."""
    return latents_BCFHW.flatten(2).transpose(1, 2).bfloat16()
