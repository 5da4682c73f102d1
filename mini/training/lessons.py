"""Sheets and prompts of training identities, for `castsheet distill`.

    python -m mini.training.lessons --out DIR
    DIR/000000.png, 000000.json, 000000.txt      the sheet of seed 0, its manifest, its prompt

No clips are rendered: the teacher makes them. Needs the `mini` extra and an EGL driver.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from castsheet.machine.files import write_text
from castsheet.machine.progress import progress
from castsheet.sheet.manifest import Sheet
from mini.script import finish
from mini.story import plot, sample
from mini.story.render import Renderer

SEEDS = 50_000  # training identities lie below


def lesson(renderer: Renderer, seed: int) -> tuple[Sheet, str]:
    """A story's sheet, and its whole prompt."""
    random, story = np.random.default_rng([seed, 23]), plot.plot_of(seed)
    sheet = sample.draw_sheet(renderer, story, random)
    return sheet, sample.caption(story, sheet, random)


def write(folder: Path, count: int) -> None:
    """Draw the sheets of the first `count` seeds.

    Raises:
        ValueError: the count leaves the training identities.
        DependencyError: moderngl or an EGL driver is missing.
        OutputError: the folder cannot be written.
    """
    if not 1 <= count <= SEEDS:
        raise ValueError(f"{count} identities: training has seeds below {SEEDS}")
    renderer = Renderer()
    with progress("drawing sheets", count) as advance:
        for seed in range(count):
            sheet, prompt = lesson(renderer, seed)
            sheet.save(folder / f"{seed:06d}.png")
            write_text(folder / f"{seed:06d}.txt", prompt + "\n")
            advance(seed + 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=256, help="identities, from seed 0")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    finish(lambda: write(options.out, options.count))


if __name__ == "__main__":
    main()
