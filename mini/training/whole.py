"""All of mini's training in one command, on one GPU or several of one host:

    python -m mini.training.whole --out RECIPE --given mini/second/weights --bundle BUNDLE -- \\
      --stages base latents --processes 15 --skip 13000 --stories 2000 --first 2000 --base-seconds 330

What stands after `--` goes to `mini.training.recipe`. Then come `mini.bundle.pack`, the adapters by
`castsheet train`, `mini.bundle.package`, counts of stories, and pictures. Steps that do not need each other
run beside each other, and the vocoder learns beside all of them until the bundle is put together. With
`--cards N` the recipe and the first adapter run on N cards together, and of steps beside each other each has
a card of its own. With `--seconds N` adapters learn for as long as is left of N. RECIPE/whole.txt says when
each step began and ended, RECIPE/STEP.log what it printed. Nothing begins after a step that failed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from castsheet.errors import CheckpointError
from castsheet.train.trainer import ADAPTER
from mini.bundle.pack import FOLDER
from mini.script import finish
from mini.training.stored import BASE, VOCODER

MODES = ("looped", "still")
SOUND = "sound"  # the step beside the others, and its folder in the recipe's
STARTS, TAIL = 60.0, 60.0  # seconds until a training has read its data and compiled; to collect and package
SPARSE_SHARE = 0.4  # of the time for adapters
LEAST = 20.0  # seconds of an adapter, however late it is
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
    count = [*python, "mini.evaluation.stories", *bundle, "--processes", str(options.processes)]
    return [
        {"recipe": [*on_all, "mini.training.recipe", "--out", out, *given, *options.recipe]},
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


def beside(options: argparse.Namespace) -> Together:
    """What runs beside all of these from the beginning, until the bundle is put together."""
    if not options.vocoder_seconds:
        return {}
    given = ["--given", str(options.given)] if options.given else []
    sounds = ["--processes", "2", "--sounds", "600", "--skip", str(options.vocoder_skip)]
    until = ["--vocoder-steps", "1000000", "--vocoder-seconds", str(options.vocoder_seconds)]
    own = ["--out", str(options.out / SOUND), *given, "--stages", "sound"]
    return {SOUND: [sys.executable, "-m", "mini.training.recipe", *own, *sounds, *until]}


def timed(options: argparse.Namespace, elapsed: float) -> argparse.Namespace:
    """The options with the adapters' seconds, from what is left after `elapsed` of all of them."""
    if options.seconds is None:
        return options
    left = options.seconds - elapsed - TAIL - STARTS
    sparse, both = max(LEAST, (left - STARTS) * SPARSE_SHARE), max(LEAST, left)
    return argparse.Namespace(**vars(options) | {"sparse_seconds": sparse, "adapter_seconds": both})


def prepare(recipe: Path) -> None:
    """Take what was begun and no stage went on with as it is, and adapters to start from."""
    for name in (VOCODER, BASE):
        done, begun = recipe / name, recipe / f"begun-{name}"
        if not done.exists() and begun.exists():
            shutil.copyfile(begun, done)
    for mode in MODES:
        earlier, start = recipe / f"begun-{mode}.safetensors", recipe / "start" / f"{mode}.safetensors"
        if earlier.exists() and not start.exists():
            start.parent.mkdir(exist_ok=True)
            shutil.copyfile(earlier, start)


def take_vocoder(recipe: Path) -> None:
    """Take the vocoder that was trained beside the rest."""
    if (recipe / SOUND / VOCODER).exists():
        shutil.copyfile(recipe / SOUND / VOCODER, recipe / VOCODER)


class Running:
    """Commands that run beside each other. When one fails, or the block is left, all that run are ended.

    Args:
        folder: of the logs. begun: `time.monotonic()` that times are counted from. cards: of this host.
    """

    def __init__(self, folder: Path, begun: float, cards: int = 1) -> None:
        self._folder, self._begun, self._cards = folder, begun, cards
        self._running = dict[str, subprocess.Popen[bytes]]()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self._running.values():
            process.terminate()
            process.wait()

    def start(self, together: Together, *, card: int | None = None) -> None:
        """Begin some; of several each has a card of its own, the first ones first. `card`: for all."""
        for number, (name, command) in enumerate(together.items()):
            note(self._folder, self._begun, f"{name} begins")
            chosen = number % self._cards if len(together) > 1 else card
            own = {} if chosen is None or self._cards == 1 else {"CUDA_VISIBLE_DEVICES": str(chosen)}
            with (self._folder / f"{name}.log").open("wb") as log:
                self._running[name] = subprocess.Popen(
                    command, stdout=log, stderr=subprocess.STDOUT, env=os.environ | own
                )

    def wait(self, names: Iterable[str]) -> None:
        """Until these have ended.

        Raises:
            CheckpointError: one of all that run failed.
        """
        waited = set(names)
        while waited & set(self._running):
            for name, process in list(self._running.items()):
                code = process.poll()
                if code is None:
                    continue
                del self._running[name]
                how = "ends" if code == 0 else f"fails with exit code {code}"
                note(self._folder, self._begun, f"{name} {how}")
                if code:
                    raise CheckpointError(
                        f"{name} failed",
                        remedy=f"read {self._folder / f'{name}.log'}, then run the same again",
                    )
            time.sleep(0.1)


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
    whole = "until the bundle is there: adapters learn for as long as is left"
    parser.add_argument("--seconds", type=float, help=whole)
    vocoder = "train the vocoder on so long, beside the rest: while stories are rendered a card has time"
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
        begun, sound = time.monotonic(), beside(options)
        options.out.mkdir(parents=True, exist_ok=True)
        with Running(options.out, begun, options.cards) as running:
            running.start(sound, card=options.cards - 1)
            for number in range(len(steps(options))):
                together = steps(timed(options, time.monotonic() - begun))[number]
                if "pack" in together:
                    prepare(options.out)
                if "package" in together:
                    running.wait(sound)
                    take_vocoder(options.out)
                running.start(together)
                running.wait(together)

    finish(work)


if __name__ == "__main__":
    main()
