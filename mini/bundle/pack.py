"""Hand mini's base and its encoded clips to the product's trainer: `python -m mini.bundle.pack RECIPE`.

The recipe (`mini.training.recipe`) has rendered and encoded the clips and trained codec, sound, text
encoder and base. Here they become what `castsheet train` reads, in RECIPE/train:

    mini.safetensors       the base in the official layout
    packed.safetensors     all clips and sheets, with contexts of several wordings of every story
    sparse.yaml            then looped.yaml and still.yaml, which go on from its adapter

Then, on one GPU, or on N with `torchrun --nproc-per-node N -m castsheet.cli train ...`:

    castsheet train RECIPE/train/sparse.yaml
    castsheet train RECIPE/train/looped.yaml
    castsheet train RECIPE/train/still.yaml
    python -m mini.bundle.pack RECIPE --collect      the adapters to where `mini.bundle.package` reads
    python -m mini.training.pictures RECIPE            looped.png and still.png

`--set seconds=N` ends a run after so long, its rate come to its end. Where RECIPE/start holds the adapters of
an earlier bundle (`mini.bundle.unpack`), `looped` and `still` go on from those, and `sparse` can be left out.

Legend: S samples, N tokens, E wordings of a sample, M all wordings, L tokens of one, D a context's width.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from castsheet.errors import CheckpointError
from castsheet.train.data.packed import write_packed
from castsheet.train.log import LOG, read_log
from castsheet.train.trainer import ADAPTER
from mini.bundle.package import CHECKPOINT, write_base
from mini.data.latents import TOKENS, Latents, real
from mini.script import finish
from mini.training.architecture import FPS, LATENT
from mini.training.stored import BASE, header_of, load_models
from mini.training.train_flow import Models

FOLDER = "train"
WORDINGS = 8  # of a story's, that are kept: each context takes 0.2 MB

STEPS = 6_000  # at most; a run that `seconds` end goes through the same rate in its time


def _rate(start: float, most: float, end: float) -> dict[str, Any]:
    """A rate that rises in a fortieth of the run, and falls to its end."""
    rise = STEPS // 40
    return {
        "rate": [{"until": rise, "start": start, "end": most}, {"until": STEPS, "start": most, "end": end}]
    }


# What each adapter does otherwise than `preset: mini`, in the order of training. Few of the reference's
# frames are a cheap sample of the whole, and excerpts of many clips one of whole clips.
PHASES: dict[str, dict[str, Any]] = {
    "sparse": {
        "batch": 384,
        "steps": STEPS,
        "objective": {"reference_frames": 2, "excerpt": 4, "sigma_tokens": 3 * TOKENS},
        "optimiser": _rate(2e-5, 2e-3, 6e-4),
    },
    "looped": {
        "start": "sparse",
        "steps": STEPS,
        "objective": {"sigma_tokens": 2 * TOKENS},
        "optimiser": _rate(1e-5, 1e-3, 2e-5),
    },
    "still": {
        "start": "sparse",
        "batch": 128,
        "steps": STEPS,
        "objective": {"reference": "still", "sigma_tokens": 2 * TOKENS},
        "optimiser": _rate(5e-6, 5e-4, 1e-5),
    },
}


def pack(recipe: Path, latents: Sequence[Latents], models: Models, *, each: int = WORDINGS) -> Path:
    """Write all of it; returns the folder.

    Args:
        latents: of every process that encoded.
        each: wordings of each sample that are kept.

    Raises:
        CheckpointError: the recipe is not done with codec, sound and base.
        OutputError: the disk refused.
    """
    out = recipe / FOLDER
    out.mkdir(exist_ok=True)
    write_base(recipe, out)
    prompts_SEL = torch.cat([one.prompts[: one.ready, :each] for one in latents])
    lengths_SE = torch.cat([one.lengths[: one.ready, :each] for one in latents])
    firsts_S = torch.arange(len(prompts_SEL)) * each
    weights_SN = torch.cat([one.weights[: one.ready].cpu() for one in latents])
    write_packed(
        out,
        cells(torch.cat([one.clips[: one.ready].cpu() for one in latents])),
        cells(torch.cat([one.sheets[: one.ready].cpu() for one in latents]))[:, None],
        contexts(models, prompts_SEL.flatten(0, 1), lengths_SE.flatten()),
        torch.stack([firsts_S, firsts_S + each], dim=1),
        fps=FPS,
        weights_AFHW=weights_SN.unflatten(1, LATENT),
        weighing_S=torch.arange(len(weights_SN)),
    )
    for name in PHASES:
        text = yaml.safe_dump(run_file(recipe, name), sort_keys=False)
        (out / f"{name}.yaml").write_text(text, encoding="utf-8")
    return out


def run_file(recipe: Path, name: str) -> dict[str, Any]:
    """What an adapter's run file says; it goes on from that of the bundle the recipe began with, if any."""
    values = dict(PHASES[name])
    before = values.pop("start", None)
    head = {"preset": "mini", "model": CHECKPOINT, "data": ".", "output": f"runs/{name}"}
    earlier = f"{name if before else 'looped'}.safetensors"
    if (recipe / "start" / earlier).exists():
        return head | values | {"adapter": {"start": f"../start/{earlier}"}}
    return head | values | ({"adapter": {"start": f"runs/{before}/{ADAPTER}"}} if before else {})


def cells(tokens_SNC: Tensor) -> Tensor:
    """(S,C,F,H,W) of tokens in the order frame, row, column."""
    frames = tokens_SNC.shape[1] // (LATENT[1] * LATENT[2])
    return tokens_SNC.transpose(1, 2).unflatten(2, (frames, *LATENT[1:])).contiguous()


@torch.no_grad()
def contexts(models: Models, prompts_ML: Tensor, lengths_M: Tensor) -> Tensor:
    """Contexts (M,L,D) of tokenised prompts for the pictures, bf16 on the CPU."""
    device = next(models.transformer.parameters()).device
    made = []
    for start in range(0, len(prompts_ML), 64):
        ids = prompts_ML[start : start + 64].long().to(device)
        mask = real(lengths_M[start : start + 64].to(device))
        made.append(models.contexts(ids, mask)[0].bfloat16().cpu())
    return torch.cat(made)


def collect(recipe: Path) -> None:
    """Copy the trained adapters beside the recipe's other results, and their losses as NAME.txt.

    Raises:
        CheckpointError: one that is needed is not trained yet.
    """
    for name in PHASES:
        folder = recipe / FOLDER / "runs" / name
        if name == "sparse" and (recipe / "start").exists() and not folder.exists():
            continue
        if not (folder / ADAPTER).is_file():
            raise CheckpointError(
                f"{folder / ADAPTER} is not there", remedy=f"castsheet train {recipe / FOLDER / name}.yaml"
            )
        shutil.copyfile(folder / ADAPTER, recipe / f"{name}.safetensors")
        if (folder / LOG).is_file():
            (recipe / f"{name}.txt").write_text(losses(name, folder), encoding="utf-8")


def losses(name: str, run: Path) -> str:
    """A run's mean losses of 100 steps each, as the recipe's log has those of its stages."""
    lines, window, elapsed, step = list[str](), list[float](), 0.0, 0
    for line in read_log(run):
        if line["kind"] != "train":
            continue
        elapsed, step = elapsed + line["seconds"], line["step"]
        window.append(line["loss"])
        if len(window) == 100:
            mean = sum(window) / len(window)
            lines.append(f"{elapsed:7.1f} s  adapter {name} step {step} loss {mean:.4f}")
            window.clear()
    lines.append(f"{elapsed:7.1f} s  adapter {name} done after {step} steps")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recipe", type=Path, help="the folder that the recipe wrote")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--collect", action="store_true", help="copy the trained adapters back instead")
    options = parser.parse_args()

    def run() -> None:
        if options.collect:
            collect(options.recipe)
            return
        files = sorted(options.recipe.glob("latents-*.safetensors"))
        if not files:
            raise CheckpointError(
                f"{options.recipe} holds no latents",
                remedy="run python -m mini.training.recipe --out FOLDER first",
            )
        base = options.recipe / BASE
        models = Models.build(options.recipe / "tokenizer", options.device, header_of(base))
        load_models(models, base)
        print(pack(options.recipe, [Latents.load(files, "cpu")], models))

    finish(run)


if __name__ == "__main__":
    main()
