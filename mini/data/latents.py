"""Stories as latents: encoded once, in the background, while training reads what is there.

Legend: B batch, S samples, N tokens of a clip, R of a sheet, T of a sound, C channels, P prompts, L their
tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from castsheet.ltx.parts.audio import AudioVAE
from castsheet.ltx.parts.text import GemmaEncoder
from castsheet.ltx.parts.vae import VideoVAE
from mini.data.corpus import PROMPTS, Rendered, beside, pixels
from mini.data.emphasis import shares, token_weights, weigh
from mini.data.filling import Filling
from mini.data.naming import NOBODY, named
from mini.data.showing import NUMBERS, in_clip, looks
from mini.data.styling import FIGURES
from mini.data.windows import BEGINS, WINDOW, begin_of
from mini.training.architecture import LATENT, LATENT_CHANNELS, SOUND_TOKENS
from mini.training.mel import LogMel
from mini.training.optimise import mixed
from mini.training.train_audio import mels_of

LONGEST = 128  # tokens of a prompt; what is longer loses its end
TOKENS = LATENT[0] * LATENT[1] * LATENT[2]
SHEET_TOKENS = LATENT[1] * LATENT[2]
_TENSORS = ("clips", "sheets", "sounds", "weights", "prompts", "lengths", "named", "shown", "panels", "looks")
_TOGETHER = 4  # clips that are encoded at once


@dataclass
class Latents(Filling):
    """Normalised latents as bf16 tokens, on one device. Of the last samples only windows may be there.

    Attributes:
        clips: (S,N,C), a window in its place. sheets: (S,R,C). sounds: (S,T,C).
        weights: (S,N) of the clips' tokens in the loss, fp32.
        prompts: (S,P,L) token ids, int16, padded on the left. lengths: (S,P) of these.
        named: (S,P,L) whom each token names, int8, in the order of a context's slots: padded on the right.
        shown: (S,N), panels: (S,R) which element each token shows, int8. looks: (S,E,L), see `showing`.
        windows: how many of the samples, the last ones, are windows (see `windows`).
    """

    clips: Tensor
    sheets: Tensor
    sounds: Tensor
    weights: Tensor
    prompts: Tensor
    lengths: Tensor
    named: Tensor
    shown: Tensor
    panels: Tensor
    looks: Tensor
    windows: int = field(default=0, init=False)

    @classmethod
    def empty(cls, count: int, device: torch.device | str, *, windows: int = 0) -> Latents:
        """Room for `count` samples, the last of them windows: 0.4 MB each."""
        c = LATENT_CHANNELS
        clips, sheets, sounds = (
            torch.empty(count, tokens, c, dtype=torch.bfloat16, device=device)
            for tokens in (TOKENS, SHEET_TOKENS, SOUND_TOKENS)
        )
        prompts = torch.zeros(count, PROMPTS, LONGEST, dtype=torch.int16, device=device)
        lengths = torch.zeros(count, PROMPTS, dtype=torch.int16, device=device)
        weights = torch.empty(count, TOKENS, device=device)
        nobody = torch.full_like(prompts, NOBODY, dtype=torch.int8)
        shown, panels = (
            torch.full((count, tokens), NOBODY, dtype=torch.int8, device=device)
            for tokens in (TOKENS, SHEET_TOKENS)
        )
        unseen = torch.full((count, FIGURES, NUMBERS), torch.nan, device=device)
        made = cls(clips, sheets, sounds, weights, prompts, lengths, nobody, shown, panels, unseen)
        made.windows = windows
        return made

    def __len__(self) -> int:
        return len(self.clips)

    @classmethod
    def load(cls, paths: Sequence[Path], device: str) -> Latents:
        """Read what `save` wrote, of one process or of several, as one."""
        stored = [load_file(path, device) for path in paths]
        joined = {name: torch.cat([one[name] for one in stored]) for name in _TENSORS}
        return cls(*joined.values(), ready=len(joined["clips"]))

    def save(self, path: Path) -> None:
        """Write the whole samples that are there."""
        temporary = path.with_suffix(".part")
        whole = self.whole
        save_file({name: getattr(self, name)[:whole].contiguous() for name in _TENSORS}, temporary)
        temporary.replace(path)

    @property
    def whole(self) -> int:
        """How many whole samples are there."""
        return min(self.ready, len(self) - self.windows)

    def draw(self, count: int) -> Tensor:
        """Numbers of `count` samples, drawn from the whole ones that are there."""
        return torch.randint(self.whole, (count,), device=self.clips.device)

    def draw_from(self, begin: int, count: int) -> Tensor:
        """Numbers of `count` samples that show a window's length from latent frame `begin` on."""
        whole, step = self.whole, len(BEGINS)
        first = begin - BEGINS.start  # the first window that begins there
        windows = len(range(first, self.ready - whole, step)) if begin in BEGINS else 0
        drawn = torch.randint(whole + windows, (count,), device=self.clips.device)
        return torch.where(drawn < whole, drawn, whole + first + step * (drawn - whole))

    def tokens_of(self, number: int) -> slice:
        """Which tokens of a sample are there."""
        window = number - (len(self) - self.windows)
        if window < 0:
            return slice(0, TOKENS)
        begin = begin_of(window)
        return slice(begin * SHEET_TOKENS, (begin + WINDOW) * SHEET_TOKENS)

    def words(self, chosen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Token ids, mask and `named` (B,L) of one prompt for each of the samples, drawn from all."""
        wording = torch.randint(PROMPTS, chosen.shape, device=chosen.device)
        ids, lengths = self.prompts[chosen, wording].long(), self.lengths[chosen, wording]
        return ids, real(lengths), self.named[chosen, wording]


def real(lengths_B: Tensor) -> Tensor:
    """Mask (B,L) of the tokens that are no padding."""
    return torch.arange(LONGEST, device=lengths_B.device) >= LONGEST - lengths_B[:, None]


@dataclass(frozen=True)
class Encoders:
    """What makes latents of stories."""

    video: VideoVAE
    audio: AudioVAE
    text: GemmaEncoder

    @torch.no_grad()
    def add(self, latents: Latents, stories: Sequence[Rendered]) -> None:
        """Encode the next samples: whole ones, or windows."""
        device, begin = latents.clips.device, latents.ready
        rows = slice(begin, begin + len(stories))
        with mixed(device):
            clips = self.video.encode(pixels(torch.stack([one.clip for one in stories]), device))
            sheets = torch.stack([one.sheet for one in stories])[:, None]
            latents.sheets[rows] = as_tokens(self.video.encode(pixels(sheets, device)))
            if sounds := [one.sound for one in stories if one.sound is not None]:
                mels = mels_of(torch.stack(sounds).to(device), LogMel(device))
                latents.sounds[rows] = self.audio.encode(mels).to(latents.sounds.dtype)
        regions = torch.stack([one.regions for one in stories]).to(device)
        counted = weigh(regions, torch.stack([shares(one) for one in regions]))
        cells = (clips.shape[2], *LATENT[1:])
        tokens_SNC, weights_SN = as_tokens(clips), token_weights(counted, cells)
        for row, one in enumerate(stories):
            number, panels = begin + row, one.panels.to(device).view(torch.int8).flatten()
            there = latents.tokens_of(number)
            kept = slice(there.start - there.stop, None)  # without what comes before a window
            latents.clips[number, there] = tokens_SNC[row, kept]
            latents.weights[number, there] = weights_SN[row, kept]
            latents.shown[number, there] = in_clip(regions[row], int(panels.max()) + 1, cells)[kept]
            latents.panels[number] = panels
            latents.looks[number] = looks(one.clip, one.regions, one.styles, device)
            for wording, text in enumerate(one.prompts):
                ids = self.text.tokens(text, LONGEST)
                latents.prompts[number, wording, LONGEST - len(ids) :] = torch.tensor(ids)
                latents.lengths[number, wording] = len(ids)
                who = named(text, self.text, LONGEST)
                latents.named[number, wording, : len(who)] = torch.tensor(who)
        if latents.clips.is_cuda:
            torch.cuda.current_stream(device).synchronize()
        latents.advance(rows.stop)


def encode(encoders: Encoders, stories: Iterable[Rendered], latents: Latents) -> None:
    """Begin encoding in the background and return at once."""

    def work() -> None:
        with beside(latents.clips.device):
            waiting, ends = list[Rendered](), (len(latents) - latents.windows, len(latents))
            for number, one in enumerate(stories, 1):
                if latents.stopped:
                    break
                waiting.append(one)
                if len(waiting) == _TOGETHER or number in ends:
                    encoders.add(latents, waiting)
                    waiting.clear()

    latents.fill(work)


def as_tokens(latents_BCFHW: Tensor) -> Tensor:
    """(B,C,F,H,W) to bf16 tokens (B, F*H*W, C)."""
    return latents_BCFHW.flatten(2).transpose(1, 2).bfloat16()
