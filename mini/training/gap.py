"""How much a base and its adapters know by heart: `python -m mini.training.gap RECIPE --seen FIRST`.

Losses of stories that they learnt from beside those of unseen ones, at four noise levels, without a sheet
and with each adapter and its sheet. Where the base has learnt looks by heart from a story's words, an adapter
that trains on the same stories has no reason to read the sheet. Needs the `mini` extra and an EGL driver.

Legend: S samples.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from castsheet.ltx.adapters import lora
from castsheet.train.objective import Given, flow_losses
from mini.data.corpus import Stories
from mini.data.latents import SHEET_TOKENS, TOKENS, Encoders, Latents, encode
from mini.script import finish
from mini.training.architecture import ADAPTER_RANK
from mini.training.optimise import mixed
from mini.training.pictures import FRAMES
from mini.training.positions import rope_tables
from mini.training.stored import BASE, codec_file, header_of, load_audio_vae, load_codec, load_models
from mini.training.train_flow import Models
from mini.world import VALIDATION

LEVELS = (0.9, 0.7, 0.5, 0.3)
TOGETHER = 4  # samples


@torch.no_grad()
def losses(models: Models, latents: Latents, device: str, *, reference_frames: int = 0) -> list[float]:
    """Mean velocity error of pictures at each of `LEVELS`, with the same noise and wording at every call.

    Args:
        reference_frames: latent frames of the sheet beside the clip; 0 for none.
    """
    tables = rope_tables(models.transformer.config, device).first(TOKENS + reference_frames * SHEET_TOKENS)
    found = []
    with torch.random.fork_rng(devices=[device] if device.startswith("cuda") else []), mixed(device):
        for level in LEVELS:
            every = []
            for begin in range(0, latents.ready, TOGETHER):
                chosen = torch.arange(begin, min(begin + TOGETHER, latents.ready), device=device)
                torch.manual_seed(begin)
                ids, mask, _ = latents.words(chosen)
                target = latents.clips[chosen].float()
                sheet = latents.sheets[chosen].float().repeat(1, reference_frames, 1)
                given = Given(
                    target,
                    models.contexts(ids, mask)[0],
                    tables,
                    sheet if reference_frames else None,
                    marked=SHEET_TOKENS,
                )
                noise, sigmas = torch.randn_like(target), torch.full((len(chosen),), level, device=device)
                weights = latents.weights[chosen]
                every.append(flow_losses(models.transformer, given, sigmas, noise, mask_BN=weights))
            found.append(torch.cat(every).mean().item())
    return found


def encoded(recipe: Path, models: Models, seeds: Sequence[int], device: str, processes: int) -> Latents:
    """Latents of stories that are rendered for it."""
    codec, audio = load_codec(codec_file(recipe), device), load_audio_vae(recipe, device)
    latents = Latents.empty(len(seeds), device)
    stories = Stories(seeds, processes=processes, card=torch.device(device).index)
    encode(Encoders(codec, audio, models.gemma), stories, latents)
    latents.wait_for(len(seeds))
    return latents


def compare(recipe: Path, seen: Sequence[int], device: str, processes: int) -> None:
    """Print the losses of as many unseen stories as of `seen` ones.

    Raises:
        CheckpointError: a file of the recipe is missing or damaged.
        DependencyError: moderngl or an EGL driver is missing.
    """
    base = recipe / BASE
    models = Models.build(recipe / "tokenizer", device, header_of(base))
    load_models(models, base)
    unseen = VALIDATION[100 : 100 + len(seen)]
    both = {
        name: encoded(recipe, models, seeds, device, processes)
        for name, seeds in (("seen", seen), ("unseen", unseen))
    }
    print("noise:", *LEVELS)
    for name, latents in both.items():
        _told(f"base, {name}", losses(models, latents, device))
    lora.attach(models.transformer, ADAPTER_RANK, joined=True)
    models.transformer.to(device)
    for mode, frames in FRAMES.items():
        adapter = recipe / f"{mode}.safetensors"
        if adapter.exists():
            lora.load_attached(models.transformer, lora.LoRA.open(adapter))
            for name, latents in both.items():
                _told(f"{mode}, {name}", losses(models, latents, device, reference_frames=frames))


def _told(what: str, found: Sequence[float]) -> None:
    print(f"{what}:", *(f"{loss:.3f}" for loss in found), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recipe", type=Path, help="the folder that the recipe wrote")
    parser.add_argument("--seen", type=int, required=True, help="first seed of the stories learnt from")
    parser.add_argument("--count", type=int, default=12, help="stories of each kind")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--processes", type=int, default=2, help="that render")
    options = parser.parse_args()
    seen = range(options.seen, options.seen + options.count)
    finish(lambda: compare(options.recipe, seen, options.device, options.processes))


if __name__ == "__main__":
    main()
