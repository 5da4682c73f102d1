"""Mini as LTX-2.5: `python -m mini.training.newer RECIPE --out NEWER` on one GPU.

The base of a recipe's folder loses the biases of its feed-forward, gets a marker of zeros, and is trained on
from the latents that the recipe encoded. The families differ in the denoiser alone: codec, captions and clips
stay. NEWER then goes the way of any recipe (mini/bundle/pack.py); its adapters go on from those of RECIPE.

    python -m mini.training.recipe --out RECIPE                       the base, and the stories as latents
    python -m mini.training.newer RECIPE --out NEWER
    python -m mini.bundle.pack NEWER
    castsheet train NEWER/train/looped.yaml; castsheet train NEWER/train/still.yaml
    python -m mini.bundle.pack NEWER --collect
    python -m mini.bundle.package NEWER --out mini-2.5
"""

from __future__ import annotations

import argparse
import math
import re
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from castsheet.errors import CheckpointError
from castsheet.machine.processes import World, world
from mini.data.latents import Latents
from mini.script import finish
from mini.training.optimise import Budget
from mini.training.stored import BASE, in_family, load_models, models_state, save
from mini.training.train_flow import Models, train_base

FAMILY = "ltx-2.5"
_GONE = re.compile(r"transformer\.transformer_blocks\.\d+\.ff\.net\..*\.bias")
_MARKER = "transformer.keyframes_abs_pos_embedding"
_KEPT = (
    "codec.safetensors",
    "decoder.safetensors",
    "audio.safetensors",
    "vocoder.safetensors",
    "tokenizer",
    "start",
)


def newer_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A base's tensors without the biases of the video feed-forward, and with a marker of zeros."""
    width = len(state["transformer.patchify_proj.bias"])
    kept = {name: tensor for name, tensor in state.items() if not _GONE.fullmatch(name)}
    return kept | {_MARKER: torch.zeros(1, width)}


def convert(recipe: Path, out: Path) -> Path:
    """Write the untrained newer base and copy what stays; returns the base's file.

    Raises:
        CheckpointError: the recipe has no base or no latents.
    """
    base, latents = recipe / BASE, sorted(recipe.glob("latents-*.safetensors"))
    if not base.is_file() or not latents:
        raise CheckpointError(
            f"{recipe} lacks a base or latents",
            remedy="run python -m mini.training.recipe --out RECIPE first",
        )
    out.mkdir(parents=True, exist_ok=True)
    for source in [*(recipe / name for name in _KEPT if (recipe / name).exists()), *latents]:
        target = out / source.name
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            shutil.copyfile(source, target)
    if not (out / "start").exists():  # of a recipe that has trained its adapters itself
        (out / "start").mkdir()
        for one in ("looped", "still"):
            if (recipe / f"{one}.safetensors").exists():
                shutil.copyfile(recipe / f"{one}.safetensors", out / "start" / f"{one}.safetensors")
    first = out / "converted.safetensors"
    save(newer_state(load_file(base)), first)
    return first


def train(recipe: Path, out: Path, budget: Budget, *, batch: int, where: World, rate: float = 5e-4) -> None:
    """Convert the base and train it on; `NEWER/base.safetensors` is written when it is done."""
    begun = time.monotonic()

    def log(text: str) -> None:
        line = f"{time.monotonic() - begun:7.1f} s  {text}"
        print(line, flush=True)
        with (out / "log.txt").open("a", encoding="utf-8") as handle:
            handle.write(line + "\n")

    first = convert(recipe, out)
    device = str(where.device)
    torch.manual_seed(42)
    torch.set_float32_matmul_precision("high")
    models = Models.build(out / "tokenizer", device, in_family(FAMILY))
    load_models(models, first)
    latents = Latents.load(sorted(out.glob("latents-*.safetensors")), device)
    train_base(models, latents, budget, batch=batch, where=where, log=log, rate=rate)
    save(models_state(models), out / BASE)
    marker = models.transformer.get_parameter("keyframes_abs_pos_embedding")
    log(f"the marker's standard deviation is {marker.detach().std().item():.2e}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recipe", type=Path, help="a folder that mini.training.recipe wrote")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=math.inf, help="end earlier")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rate", type=float, default=5e-4)
    options = parser.parse_args()

    def run() -> None:
        with world(torch.device(options.device)) as where:
            budget = Budget(options.steps, options.seconds)
            rest = {"batch": options.batch, "where": where, "rate": options.rate}
            train(options.recipe, options.out, budget, **rest)

    finish(run)


if __name__ == "__main__":
    main()
