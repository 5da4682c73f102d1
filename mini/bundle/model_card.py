"""Mini's model card, filled from what its recipe logged, with the loss curves as a picture."""

from __future__ import annotations

import math
import re
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from mini.training.architecture import ADAPTER_RANK, BLOCKS, FPS, FRAMES, HEAD_WIDTH, HEADS, HEIGHT, WIDTH

_LOSS = re.compile(r"\bs {2}(?P<stage>.+?),? step (?P<step>\d+) loss (?P<loss>[\d.]+)")
_FACT = re.compile(
    r"\bs {2}(?P<fact>(?:codec, |sound, |words of |base, what is known|encoded \d+ |\w+ goes on|"
    r".* done after |\d+ of \d+ stories).*)"
)

Curves = dict[str, list[tuple[int, float]]]

_CARD = """---
license: apache-2.0
---
# Mini

A toy of the LTX-2.3 architecture that follows reference sheets, made by Castsheet so that its whole path,
from pictures to an MP4, runs on any machine. {width}x{height}, {frames} frames, {fps:g} a second, with
sound. It knows one or two people, up to two props and a painted place, and nine actions: standing, waving,
jumping, turning round, walking to either side, lifting a prop and carrying it to either side. It is of no
use beyond tests, demonstrations and teaching.

| File | What it is |
|---|---|
| `mini.safetensors` | denoiser ({blocks} blocks, width {dim}), connectors, VAEs, vocoder; official names |
| `gemma/` | Gemma-3 architecture, 3 layers of width 128, own tokenizer; nobody else's weights |
| `mini-ic-lora.safetensors` | the reference-sheet adapter, rank {rank}; `reference_downscale_factor` 1 |
| `mini-ic-lora-still.safetensors` | the same with the sheet in one latent frame; `reference_mode` still |
| `bundle.json` | size, steps, guidance, STG block, adapter strength |

## Licence and data

The weights are Apache-2.0. They were trained from random numbers on rendered pictures and synthesised sound
only: a linear body
model derived from MakeHuman's CC0 base mesh and targets, clothes by colour, simple props and painted
places, all drawn from seeds below 50,000. Validation identities have seeds 100,000-149,999, test
identities 200,000-249,999. No photograph, no person's likeness, no downloaded weights. Half of the
captions' descriptions carry appearance words drawn at random, so that looks can come from the
sheet alone.

## Training

    python -m mini.training.whole --out RECIPE --bundle BUNDLE        all of these, one after the other:
    python -m mini.training.recipe --out RECIPE                       sound, words, codec, base, latents
    python -m mini.bundle.pack RECIPE                                 what the trainer reads
    castsheet train RECIPE/train/sparse.yaml                          then looped.yaml and still.yaml
    python -m mini.bundle.pack RECIPE --collect
    python -m mini.training.pictures RECIPE
    python -m mini.bundle.package RECIPE
    python -m mini.evaluation.stories --bundle mini --json stories.json

{facts}

`audio` is the sound's VAE, `codec` the pictures', `decoder` its second half alone, every part of the cast
weighing alike. A large model knows much that a toy never meets: whom a name means, who is who in a picture.
Mini's base is taught it. `words` teaches the text encoder which of the sheet's elements a name means; while
`base` learns, linear readers ask of words whom they name, and of the tokens of clips and of sheets whom they
show and what that one looks like. The readers are thrown away. A sheet is never beside a clip there: only
the adapters see both. Pictures do not hear the sound, which follows them. `sparse`
shows the adapter excerpts of clips beside 2 of the static sheet's 16 latent frames, `looped` whole clips
beside all of them, `still` whole clips beside one.

![Loss of every stage](loss.png)

{losses}
{pictures}
## Limits

Hands, faces and small patterns are soft. Three people on a sheet, other actions, other sizes and real
photographs are outside of what it was trained on. It must not be taken for what the 22B model can do.
"""

_PICTURES = {
    "codec": "Unseen clips and sheets through the VAE: truth and reconstruction in turn.",
    "limbs": "Where limbs move most, enlarged: truth above reconstruction.",
    "sound": "Log-mels of unseen sounds: true, through the VAE, and what the vocoder makes of either.",
    "base": "Without a reference: sheet, truth and frames that nothing but the caption guides.",
    "looped": "With the sheet, unseen identities: sheet, a frame of the truth, frames of the sample.",
    "still": "The same with the sheet held in one latent frame.",
}


def write_card(recipe: Path, folder: Path) -> None:
    """Write MODEL_CARD.md, loss.png and the recipe's sample pictures into a bundle's folder.

    A recipe without a log gives a card that says so.
    """
    logs = [recipe / f"{name}.txt" for name in ("log", "sparse", "looped", "still")]
    text = "".join(log.read_text(encoding="utf-8") for log in logs if log.is_file())
    curves = read_losses(text)
    plot(curves).save(folder / "loss.png", format="PNG", optimize=True)
    shown = []
    for name, caption in _PICTURES.items():
        drawn = [recipe / f"{name}{end}" for end in (".jpg", ".png")]
        source = next((one for one in drawn if one.is_file()), None)
        if source is not None:
            with Image.open(source) as picture:
                # As PNG, samples would take megabytes of the bundle's budget.
                picture.convert("RGB").save(folder / f"{name}.jpg", quality=82)
            shown.append(f"![{caption}]({name}.jpg)\n\n*{caption}*\n")
    facts = [f"- {found['fact'].strip()}" for found in _FACT.finditer(text)]
    ends = [
        f"| {stage} | {len(points)} | {points[0][1]:.4f} | {points[-1][1]:.4f} |"
        for stage, points in curves.items()
    ]
    head = "| Stage | Points logged | First loss | Last loss |\n|---|---|---|---|\n"
    card = _CARD.format(
        width=WIDTH,
        height=HEIGHT,
        frames=FRAMES,
        fps=FPS,
        blocks=BLOCKS,
        dim=HEADS * HEAD_WIDTH,
        rank=ADAPTER_RANK,
        facts="\n".join(facts) or "The recipe's log was not kept.",
        losses=head + "\n".join(ends) + "\n" if ends else "",
        pictures="\n".join(shown),
    )
    (folder / "MODEL_CARD.md").write_text(card, encoding="utf-8")


def read_losses(log: str) -> Curves:
    """(step, loss) of every stage of a recipe's log, in order."""
    curves: Curves = {}
    for found in _LOSS.finditer(log):
        curves.setdefault(found["stage"], []).append((int(found["step"]), float(found["loss"])))
    return curves


_INK = ((62, 124, 196), (214, 96, 60), (70, 150, 90), (150, 90, 170), (120, 120, 120))
_SIZE, _LEFT, _RIGHT, _TOP, _BOTTOM = (900, 420), 70, 20, 20, 40


def plot(curves: Curves) -> Image.Image:
    """All curves in one picture: loss on a logarithmic axis over the share of the stage that is done."""
    picture = Image.new("RGB", _SIZE, "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(13)
    losses = [max(loss, 1e-6) for points in curves.values() for _, loss in points]
    if not losses:
        draw.text((_LEFT, _TOP), "no losses were logged", font=font, fill="black")
        return picture
    low, high = math.floor(math.log10(min(losses)) * 2) / 2, math.ceil(math.log10(max(losses)) * 2) / 2
    high = max(high, low + 0.5)
    right, bottom = _SIZE[0] - _RIGHT, _SIZE[1] - _BOTTOM

    def place(share: float, loss: float) -> tuple[float, float]:
        up = (math.log10(max(loss, 1e-6)) - low) / (high - low)
        return _LEFT + share * (right - _LEFT), bottom - up * (bottom - _TOP)

    for tick in range(round((high - low) * 2) + 1):
        level = 10 ** (low + tick / 2)
        y = place(0, level)[1]
        draw.line((_LEFT, y, right, y), fill=(225, 225, 225))
        draw.text((_LEFT - 8, y), f"{level:.2g}", font=font, fill="black", anchor="rm")
    for number, (stage, points) in enumerate(curves.items()):
        ink = _INK[number % len(_INK)]
        last = points[-1][0]
        line = [place(step / last, loss) for step, loss in points]
        draw.line(line if len(line) > 1 else [*line, *line], fill=ink, width=2)
        label = f"{stage} ({last} steps)"
        draw.text((right - 4, _TOP + 18 * number), label, font=font, fill=ink, anchor="ra")
    draw.text(((_LEFT + right) / 2, bottom + 12), "share of the stage", font=font, fill="black", anchor="ma")
    return picture
