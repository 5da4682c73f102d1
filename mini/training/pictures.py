"""What mini makes of identities that it never saw: `python -m mini.training.pictures RECIPE` writes
looped.png and still.png into the folder, of the adapters that lie there. Needs an EGL driver for rendering.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from castsheet.ltx.adapters import lora
from castsheet.ltx.model.dit import Stream
from castsheet.ltx.model.sequence import Sequence
from castsheet.ltx.parts.vae import VideoVAE
from castsheet.sampling.schedule import sigmas
from mini.data import corpus as corpora
from mini.data.captions import NEGATIVE, caption
from mini.data.corpus import Corpus
from mini.script import finish
from mini.training.architecture import ADAPTER_RANK, LATENT_CHANNELS
from mini.training.optimise import mixed
from mini.training.stored import codec_file, load_codec, load_models
from mini.training.train_flow import LATENT, TOKENS, Models, rope_tables
from mini.world import VALIDATION
from mini.world.motion import ACTIONS

COUNT, STEPS = 12, 16
FRAMES = {"looped": LATENT[0], "still": 1}  # of the sheet, that each adapter is shown


@torch.no_grad()
def clips_picture(
    models: Models,
    vae: VideoVAE,
    held_out: Corpus,
    device: str,
    *,
    reference_frames: int = 0,
    steps: int = STEPS,
) -> Image.Image:
    """A row an identity: sheet, a frame of the truth, five frames of the sample.

    Args:
        reference_frames: how often the sheet's latent frame is given; 0 shows the model no sheet.
    """
    count = min(COUNT, held_out.ready)
    random = np.random.default_rng(3)
    actions = [list(ACTIONS)[int(a)] for a in held_out.actions[:count]]
    eager = torch.compiler.set_stance("force_eager")  # compiling for one batch of pictures costs more
    with eager, mixed(device):
        sheets = corpora.pixels(held_out.sheets[:count, None], device)
        still = vae.encode(sheets).flatten(2).transpose(1, 2)
        ids, mask = models.gemma.batch([caption(action, random) for action in actions] + [NEGATIVE])
        contexts = models.contexts(ids, mask)
        given = still.repeat(1, reference_frames, 1) if reference_frames else None
        words = contexts[:-1], contexts[-1:].expand(count, -1, -1)
        tokens = sample(models, *words, given, device, steps=steps)
        latents = tokens.transpose(1, 2).unflatten(2, LATENT)
        clips = [to_uint8(vae.decode(latents[i : i + 1])[0]) for i in range(count)]
    rows = []
    for i, clip in enumerate(clips):
        truth, sheet = held_out.clips[i].numpy(), held_out.sheets[i].numpy()
        rows.append(np.concatenate([sheet, truth[45], *clip[[0, 25, 45, 75, 110]]], axis=1))
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
    tables = rope_tables(models.transformer, device)
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
                sequence=Sequence(tuple(part.shape[1] for part in parts), tables),
                timesteps_BS=torch.stack(times, dim=1),
                sigma_B=sigma,
            )
            velocity.append(models.transformer(stream, targets=TOKENS).video_BTC.float())
        x = x + (following - level) * (velocity[1] + guidance * (velocity[0] - velocity[1]))
    return x


def to_uint8(pixels_CFHW: Tensor) -> np.ndarray:
    """(3, F, H, W) in [-1, 1] to (F, H, W, 3) uint8."""
    return ((pixels_CFHW.float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 3, 0).cpu().numpy()


def draw(recipe: Path, held_out: Corpus, device: str, *, steps: int = STEPS) -> list[Path]:
    """Write a picture for each adapter that lies in the recipe's folder."""
    models = Models.build(recipe / "tokenizer", device)
    load_models(models, recipe / "base.safetensors")
    vae = load_codec(codec_file(recipe), device)
    lora.attach(models.transformer, ADAPTER_RANK, joined=True)
    models.transformer.to(device)
    made = []
    for name, frames in FRAMES.items():
        adapter, picture = recipe / f"{name}.safetensors", recipe / f"{name}.png"
        if adapter.exists():
            lora.load_attached(models.transformer, lora.LoRA.open(adapter))
            shown = clips_picture(models, vae, held_out, device, reference_frames=frames, steps=steps)
            shown.save(picture)
            made.append(picture)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recipe", type=Path, help="the folder that the recipe wrote")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--processes", type=int, default=4, help="that render")
    options = parser.parse_args()

    def run() -> None:
        card = torch.device(options.device).index
        held_out = corpora.start(VALIDATION[:COUNT], card=card, processes=options.processes)
        held_out.wait_for(COUNT)
        print(*draw(options.recipe, held_out, options.device), sep="\n")

    finish(run)


if __name__ == "__main__":
    main()
