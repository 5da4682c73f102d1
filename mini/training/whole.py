"""All of mini's training in one command, on one GPU or several of one host:

    python -m mini.training.whole --out RECIPE --given mini/second/weights --bundle BUNDLE -- \\
      --stages base latents --processes 15 --skip 13000 --stories 2000 --first 2000 --base-seconds 330

What stands after `--` goes to `mini.training.recipe`. Then come `mini.bundle.pack`, the adapters by
`castsheet train`, `mini.bundle.package`, counts of stories, and pictures. Steps that do not need each other
run beside each other. With `--cards N` the recipe and the first adapter run on N cards together, and of
steps beside each other each has a card of its own. RECIPE/whole.txt says when each began and ended,
RECIPE/STEP.log what it printed. Nothing begins after a step that failed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from castsheet.errors import CheckpointError
from castsheet.train.trainer import ADAPTER
from mini.bundle.pack import FOLDER
from mini.script import finish
from mini.training.stored import BASE, VOCODER

MODES = ("looped", "still")
SOUND = "sound"  # the step beside the recipe, and its folder there
Together = dict[str, list[str]]  # commands by the names of their steps


def steps(options: argparse.Namespace) -> list[Together]:
    """What is run; each entry waits for all of the one before."""
    out, python = str(options.out), [sys.executable, "-m"]
    several = ["torch.distributed.run", "--nproc-per-node", str(options.cards), "-m"]
    on_all = [*python, *several] if options.cards > 1 else python
    given = ["--given", str(options.given)] if options.given else []
    bundle = ["--bundle", str(options.bundle), "--count", str(options.count)]

    def train(begin: list[str], name: str, seconds: float, *more: str) -> list[str]:
        words = [f"seconds={seconds:g}", *more]
        fields = [part for word in words for part in ("--set", word)]
        return [*begin, "castsheet.cli", "train", str(options.out / FOLDER / f"{name}.yaml"), *fields]

    batch = [f"batch={options.sparse_batch}"] if options.sparse_batch else []
    start = f"adapter.start=runs/sparse/{ADAPTER}"
    first = {"recipe": [*on_all, "mini.training.recipe", "--out", out, *given, *options.recipe]}
    if options.vocoder_seconds:
        sounds = ["--processes", "2", "--sounds", "600", "--skip", str(options.vocoder_skip)]
        until = ["--vocoder-steps", "1000000", "--vocoder-seconds", str(options.vocoder_seconds)]
        own = ["--out", str(options.out / SOUND), *given, "--stages", "sound"]
        first[SOUND] = [*python, "mini.training.recipe", *own, *sounds, *until]
    count = [*python, "mini.evaluation.stories", *bundle, "--processes", str(options.processes)]
    return [
        first,
        {"pack": [*python, "mini.bundle.pack", out]},
        {"sparse": train(on_all, "sparse", options.sparse_seconds, *batch)},
        {mode: train(python, mode, options.adapter_seconds, start) for mode in MODES},
        {"collect": [*python, "mini.bundle.pack", out, "--collect"]},
        {"package": [*python, "mini.bundle.package", out, "--out", str(options.bundle)]},
        {
            f"stories-{mode}": [
                *count,
                "--reference",
                mode,
                "--json",
                str(options.out / f"stories-{mode}.json"),
            ]
            for mode in MODES
        },
        {"pictures": [*python, "mini.training.pictures", out]},
    ]


def prepare(recipe: Path) -> None:
    """Take what was begun and no stage went on with as it is, the vocoder that was trained beside the
    recipe, and adapters to start from.
    """
    if (recipe / SOUND / VOCODER).exists():
        shutil.copyfile(recipe / SOUND / VOCODER, recipe / VOCODER)
    for name in (VOCODER, BASE):
        done, begun = recipe / name, recipe / f"begun-{name}"
        if not done.exists() and begun.exists():
            shutil.copyfile(begun, done)
    for mode in MODES:
        earlier, start = recipe / f"begun-{mode}.safetensors", recipe / "start" / f"{mode}.safetensors"
        if earlier.exists() and not start.exists():
            start.parent.mkdir(exist_ok=True)
            shutil.copyfile(earlier, start)


def run(folder: Path, together: Together, begun: float, cards: int = 1) -> None:
    """Run commands beside each other, and wait for all.

    Raises:
        CheckpointError: one failed; the others were ended.
    """
    running = {}
    for number, (name, command) in enumerate(together.items()):
        note(folder, begun, f"{name} begins")
        shared = cards == 1 or len(together) == 1 or name == "recipe"
        own = {} if shared else {"CUDA_VISIBLE_DEVICES": str(number % cards)}
        with (folder / f"{name}.log").open("wb") as log:
            running[name] = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, env=os.environ | own
            )
    try:
        while running:
            for name, process in list(running.items()):
                code = process.poll()
                if code is None:
                    continue
                del running[name]
                note(folder, begun, f"{name} ends" if code == 0 else f"{name} fails with exit code {code}")
                if code:
                    raise CheckpointError(
                        f"{name} failed", remedy=f"read {folder / f'{name}.log'}, then run the same again"
                    )
            time.sleep(0.1)
    finally:
        for process in running.values():
            process.terminate()
            process.wait()


def note(folder: Path, begun: float, text: str) -> None:
    """A line of the log, with the seconds since the beginning."""
    line = f"{time.monotonic() - begun:7.1f} s  {text}"
    print(line, flush=True)
    with (folder / "whole.txt").open("a", encoding="utf-8") as log:
        log.write(line + "\n")


def parsed(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="the recipe's folder")
    parser.add_argument("--bundle", type=Path, required=True, help="where the packaged bundle goes")
    parser.add_argument("--given", type=Path, help="results of stages that are not made again")
    parser.add_argument("--sparse-seconds", type=float, default=150)
    parser.add_argument("--sparse-batch", type=int, help="samples a card; without it as the run file says")
    parser.add_argument("--adapter-seconds", type=float, default=480, help="of looped and still together")
    vocoder = "train the vocoder on so long, beside the recipe: while stories are rendered a card has time"
    parser.add_argument("--vocoder-seconds", type=float, default=0, help=vocoder)
    parser.add_argument("--vocoder-skip", type=int, default=0, help="seeds of sounds it has heard before")
    parser.add_argument("--count", type=int, default=128, help="stories of each adapter that are counted")
    parser.add_argument("--processes", type=int, default=7, help="of each count")
    parser.add_argument("--cards", type=int, default=1, help="of this host that are used")
    parser.add_argument("recipe", nargs="*", help="after --: options of mini.training.recipe")
    return parser.parse_args(words)


def main() -> None:
    options = parsed()

    def work() -> None:
        begun = time.monotonic()
        options.out.mkdir(parents=True, exist_ok=True)
        for number, together in enumerate(steps(options)):
            if number == 1:
                prepare(options.out)
            run(options.out, together, begun, options.cards)

    finish(work)


if __name__ == "__main__":
    main()
