"""Pictures of what mini makes of stories that it never saw: of codec, sound, base and adapters.

`python -m mini.training.pictures RECIPE` writes looped.jpg and still.jpg into the folder, of the adapters
that lie there. Needs an EGL driver for rendering.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from castsheet.ltx.adapters import lora
from castsheet.ltx.model.dit import Stream
from castsheet.ltx.model.sequence import Sequence
from castsheet.ltx.parts.audio import AudioVAE, Vocoder
from castsheet.ltx.parts.vae import VideoVAE
from castsheet.sampling.schedule import sigmas
from mini.data import corpus as corpora
from mini.data.captions import NEGATIVE
from mini.data.corpus import Corpus
from mini.data.latents import SHEET_TOKENS, TOKENS
from mini.script import finish
from mini.story.look import PARTS
from mini.training.architecture import ADAPTER_RANK, HEIGHT, LATENT, LATENT_CHANNELS, WIDTH
from mini.training.measure import LIMBS, decoded
from mini.training.mel import LogMel
from mini.training.optimise import mixed
from mini.training.positions import rope_tables
from mini.training.stored import BASE, codec_file, header_of, load_codec, load_models
from mini.training.train_audio import at_16_khz, mels_of
from mini.training.train_flow import Models
from mini.world import VALIDATION

COUNT, STEPS = 12, 16
SHOWN = (0, 25, 60, 90, 115)
FRAMES = {"looped": LATENT[0], "still": 1}  # of the sheet, that each adapter is shown
_CUT, _ENLARGED = 64, 3  # pixels of a limb's surroundings, and how many times they are enlarged


def codec_picture(vae: VideoVAE, held_out: Corpus, device: str, count: int = 6) -> Image.Image:
    """A row a story: two frames and the sheet, each beside its reconstruction."""
    rows = []
    for clip, sheet in zip(held_out.clips[:count], held_out.sheets[:count], strict=True):
        given = decoded(vae, clip, device)
        still = decoded(vae, sheet[None], device)[0]
        shown = [clip[0], given[0], clip[61], given[61], sheet, still]
        rows.append(np.concatenate([one.cpu().numpy() for one in shown], axis=1))
    return Image.fromarray(np.concatenate(rows))


def limbs_picture(vae: VideoVAE, held_out: Corpus, device: str) -> Image.Image:
    """Where limbs move most: six frames a story, each above its reconstruction, enlarged."""
    rows = []
    for clip, regions in zip(held_out.clips, held_out.regions, strict=True):
        given, pairs = decoded(vae, clip, device), []
        for frame in (20, 35, 50, 65, 80, 95):
            part = (regions[frame].int() - 1) % PARTS
            limb = torch.stack([part == one.value for one in LIMBS]).any(0) & (regions[frame] > 0)
            changed = (clip[frame].short() - clip[frame - 1].short()).abs().sum(-1) * limb
            y, x = divmod(int(changed.flatten().argmax()), WIDTH)
            top, left = (min(max(0, at - _CUT // 2), most - _CUT) for at, most in ((y, HEIGHT), (x, WIDTH)))
            cut = (slice(top, top + _CUT), slice(left, left + _CUT))
            pairs.append(torch.cat([clip[frame][cut].to(device), given[frame][cut]]).cpu().numpy())
        rows.append(np.concatenate(pairs, axis=1).repeat(_ENLARGED, 0).repeat(_ENLARGED, 1))
    return Image.fromarray(np.concatenate(rows))


@torch.no_grad()
def sound_picture(
    vae: AudioVAE, vocoder: Vocoder, sounds_SWA: Tensor, device: str
) -> tuple[Image.Image, dict[str, float]]:
    """Log-mels of unseen sounds and what becomes of them, and the mean absolute error of each way.

    A row a sound (its left channel): true; through the VAE; the vocoder's sound of the true one; the
    vocoder's of the VAE's.
    """
    log_mel = LogMel(device)
    true = mels_of(sounds_SWA.to(device), log_mel)
    with mixed(device):
        given = vae.decode(vae.encode(true)).float()
    found = {"VAE": given}
    for name, mel in (("vocoder", true), ("both", given)):
        made = (vocoder(mel) * 32767).clamp(-32767, 32767).to(torch.int16)
        again = log_mel(at_16_khz(made))
        found[name] = again[:, :, : true.shape[2]]
    errors = {name: float((one - true[:, :, : one.shape[2]]).abs().mean()) for name, one in found.items()}
    rows = []
    for index in range(min(8, len(true))):
        columns = [true, *found.values()]
        grey = [(one[index, 0].T.flip(0) + 11.5) / 14 for one in columns]
        rows.append(np.concatenate([(one.clamp(0, 1) * 255).byte().cpu().numpy() for one in grey], 1))
    return Image.fromarray(np.concatenate(rows)), errors


class Codec(Protocol):
    """What pictures are seen through."""

    def encode(self, pixels_BCFHW: Tensor) -> Tensor: ...

    def decode(self, latents_BCFHW: Tensor) -> Tensor: ...


@torch.no_grad()
def clips_picture(
    models: Models,
    codec: Codec,
    held_out: Corpus,
    device: str,
    *,
    reference_frames: int = 0,
    steps: int = STEPS,
) -> Image.Image:
    """A row a story: sheet, a frame of the truth, five frames of the sample.

    Args:
        reference_frames: how often the sheet's latent frame is given; 0 shows the model no sheet.
    """
    count = min(COUNT, held_out.ready)
    eager = torch.compiler.set_stance("force_eager")  # compiling for one batch of pictures costs more
    with eager, mixed(device):
        sheets = corpora.pixels(held_out.sheets[:count, None], device)
        still = codec.encode(sheets).flatten(2).transpose(1, 2)
        texts = [max(prompts, key=len) for prompts in held_out.prompts[:count]]
        contexts = models.contexts(*models.gemma.batch([*texts, NEGATIVE]))[0]
        given = still.repeat(1, reference_frames, 1) if reference_frames else None
        words = contexts[:-1], contexts[-1:].expand(count, -1, -1)
        tokens = sample(models, *words, given, device, steps=steps)
        latents = tokens.transpose(1, 2).unflatten(2, LATENT)
        clips = [to_uint8(codec.decode(latents[i : i + 1])[0]) for i in range(count)]
    rows = []
    for i, clip in enumerate(clips):
        truth, sheet = held_out.clips[i].cpu().numpy(), held_out.sheets[i].cpu().numpy()
        rows.append(np.concatenate([sheet, truth[60], *clip[list(SHOWN)]], axis=1))
    return Image.fromarray(np.concatenate(rows))


@torch.no_grad()
def sample(
    models: Models,
    context: Tensor,
    negative: Tensor,
    reference: Tensor | None,
    device: str,
    *,
    steps: int = STEPS,
    guidance: float = 2.5,
) -> Tensor:
    """Euler sampling for pictures while training; the product's own sampler serves users."""
    count = len(context)
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(count, TOKENS, LATENT_CHANNELS, generator=generator).to(device)
    tables = rope_tables(models.transformer.config, device)
    tables = tables.first(TOKENS + (0 if reference is None else reference.shape[1]))
    levels = sigmas(steps).tolist()
    for level, following in pairwise(levels):
        sigma = torch.full((count,), level, device=device)
        velocity = []
        for words in (context, negative):
            parts = [x] if reference is None else [x, reference.to(x)]
            times = [sigma] if reference is None else [sigma, torch.zeros_like(sigma)]
            stream = Stream(
                tokens_BTC=torch.cat(parts, dim=1),
                context_BLD=words,
                sequence=Sequence(tuple(part.shape[1] for part in parts), tables, marked=SHEET_TOKENS),
                timesteps_BS=torch.stack(times, dim=1),
                sigma_B=sigma,
            )
            velocity.append(models.transformer(stream, targets=TOKENS).video_BTC.float())
        x = x + (following - level) * (velocity[1] + guidance * (velocity[0] - velocity[1]))
    return x


def to_uint8(pixels_CFHW: Tensor) -> np.ndarray:
    """(3, F, H, W) in [-1, 1] to (F, H, W, 3) uint8."""
    return ((pixels_CFHW.float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 3, 0).cpu().numpy()


def draw(recipe: Path, codec: Codec, held_out: Corpus, device: str, *, steps: int = STEPS) -> list[Path]:
    """Write a picture for each adapter that lies in the recipe's folder."""
    base = recipe / BASE
    models = Models.build(recipe / "tokenizer", device, header_of(base))
    load_models(models, base)
    lora.attach(models.transformer, ADAPTER_RANK, joined=True)
    models.transformer.to(device)
    made = []
    for name, frames in FRAMES.items():
        adapter, picture = recipe / f"{name}.safetensors", recipe / f"{name}.jpg"
        if adapter.exists():
            lora.load_attached(models.transformer, lora.LoRA.open(adapter))
            shown = clips_picture(models, codec, held_out, device, reference_frames=frames, steps=steps)
            shown.save(picture, quality=92)
            made.append(picture)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recipe", type=Path, help="the folder that the recipe wrote")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--processes", type=int, default=4, help="that render")
    options = parser.parse_args()

    def run() -> None:
        held_out = corpora.start(VALIDATION[:COUNT], device=options.device, processes=options.processes)
        held_out.wait_for(COUNT)
        codec = load_codec(codec_file(options.recipe), options.device)
        print(*draw(options.recipe, codec, held_out, options.device), sep="\n")

    finish(run)


if __name__ == "__main__":
    main()
