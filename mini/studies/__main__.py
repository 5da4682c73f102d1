"""`python -m mini.studies NAME ...`: run studies, write their pages. `all` runs every one.

Three steps, which `--only` can part: the sheets (an EGL driver, unless WORK/pictures is there), the clips and
their figures (a GPU, if there is one), the pages (matplotlib). With `--shard I/N` each of N processes does
its own identities; the clips' figures that it writes are one file, `clips-I-of-N.jsonl`.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from castsheet import __version__
from castsheet.errors import SettingsError
from castsheet.loading.source import Source
from castsheet.machine.progress import progress
from castsheet.pipeline import Castsheet
from mini.evaluation.evaluate import open_set
from mini.evaluation.validation import ValidationSet
from mini.script import finish
from mini.studies import journal, report
from mini.studies.designs import BLOCKS, Study, designs, pick
from mini.studies.journal import Journal, Made
from mini.studies.measure import VERSION
from mini.studies.run import Runner
from mini.studies.scenes import Scenes

STEPS = ("sheets", "clips", "pages")
BATCH = {"cuda": 64, "cpu": 1}
PROCESSES = {"cuda": 3, "cpu": 0}
Shard = tuple[int, int]


def run(options: argparse.Namespace) -> list[Path]:
    """Do the steps asked for; returns the pages.

    Raises:
        SettingsError: an unknown study; or clips are missing for a page.
    """
    begun = time.monotonic()
    truths, scenes = open_set(options.count, options.work), Scenes(options.work)
    if options.only == "pages":
        return _pages(options, truths, scenes)
    if options.only == "sheets":
        layout = designs(truths, scenes)
        _sheets([pick(name, layout) for name in _names(options, layout)], _share(options))
        return []
    _clips(options, truths, scenes, begun)
    return [] if options.only == "clips" or options.shard[1] > 1 else _pages(options, truths, scenes)


def _names(options: argparse.Namespace, layout: Mapping[str, object]) -> list[str]:
    return list(layout) if options.names == ["all"] else options.names


def _share(options: argparse.Namespace) -> list[int]:
    """This process's identities. Partners share action and noise; they stay together."""
    number, shards = options.shard
    return [index for index in range(options.count) if index // 2 % shards == number - 1]


def _sheets(studies: Sequence[Study], indices: Sequence[int]) -> None:
    """Make every sheet, so that whoever makes the clips need not wait for them."""
    conditions = [one for study in studies for one in study.conditions]
    with progress("sheets", len(indices) * len(conditions)) as advance:
        for number, index in enumerate(indices):
            for done, condition in enumerate(conditions, 1):
                condition.sheet(index)
                advance(number * len(conditions) + done)


def _clips(options: argparse.Namespace, truths: ValidationSet, scenes: Scenes, begun: float) -> None:
    castsheet = Castsheet.load(options.bundle, device=options.device, dtype=options.dtype)
    source, kind = castsheet.models.source, castsheet.models.device.type
    layout = designs(truths, scenes, source.checkpoint.config.transformer.layers, still=_has_still(source))
    chosen = {name: pick(name, layout) for name in _names(options, layout)}
    number, shards = options.shard
    name = "clips" if shards == 1 else f"clips-{number}-of-{shards}"
    known = [entry for _, entry in journal.read(_folders(options))]
    runner = Runner(
        castsheet,
        truths,
        Journal(_folders(options)[-1] / f"{name}{journal.SUFFIX}", _made(castsheet, options.commit)),
        known,
        size=options.batch or BATCH.get(kind, 1),
        processes=PROCESSES.get(kind, 0) if options.processes is None else options.processes,
        until=begun + options.limit,
    )
    if not runner.make(chosen, _share(options)):
        print(f"stopped after {time.monotonic() - begun:.0f} s; run again to go on", flush=True)


def _pages(options: argparse.Namespace, truths: ValidationSet, scenes: Scenes) -> list[Path]:
    """Write the pages of studies whose clips are all there; then name the others."""
    found = list(journal.read(_folders(options)))
    pages, lacking = [], []
    every = list(designs(truths, scenes))
    for name in _names(options, dict.fromkeys(every)):
        clips = report.newest(found, name)
        made = clips.made[0] if clips.made else None
        layout = designs(truths, scenes, made.blocks if made else BLOCKS, still=bool(made and made.still))
        study = pick(name, layout)
        missing = clips.missing(study, options.count)
        if missing:
            lacking.append(f"{name} lacks {missing} clips")
            continue
        result = report.Result(name, study, clips.rows(study, options.count), truths, _told(clips.made, name))
        pages.append(report.write(result, options.out, clips.strips(study)))
        print(pages[-1], flush=True)
    if lacking:
        raise SettingsError("; ".join(lacking), remedy="run again without --only pages to make them")
    return pages


def _folders(options: argparse.Namespace) -> Sequence[Path]:
    """Where clips' figures are looked for; the last is where they are written."""
    usual = options.work / "clips"
    return [usual] if options.clips in (None, usual) else [usual, options.clips]


def _has_still(source: Source) -> bool:
    return any(adapter.lora.mode == "still" for adapter in source.adapters)


def _made(castsheet: Castsheet, commit: str | None) -> Made:
    models, settings = castsheet.models, castsheet.settings()
    kind = models.device.type
    record = models.source.record(settings)["checkpoint"][0]
    guided = f"{settings.steps} steps, guidance {settings.guidance:g}, STG {settings.stg_scale:g}"
    return Made(
        version=VERSION,
        castsheet=__version__,
        commit=commit or _commit(),
        device=torch.cuda.get_device_name(models.device) if kind == "cuda" else f"{platform.machine()} CPU",
        kind=kind,
        dtype=str(models.dtype).removeprefix("torch."),
        model=models.source.name,
        weights=record.get("sha256", record.get("header_sha256", ""))[:12],
        settings=f"{guided}, adapter {settings.lora_strength:g}",
        blocks=models.source.checkpoint.config.transformer.layers,
        still=_has_still(models.source),
    )


def _told(made: Sequence[Made], name: str) -> str:
    """What made the figures, in two sentences."""
    first = made[0]
    versions, commits, devices = (
        " and ".join(dict.fromkeys(values))
        for values in zip(*((one.castsheet, one.commit, one.device) for one in made), strict=True)
    )
    return (
        f"`python -m mini.studies {name}`, castsheet {versions}, commit {commits}, {devices},"
        f" {first.dtype}. Model {first.model} ({first.weights}); {first.settings}, where the study does not"
        " say otherwise."
    )


def _commit() -> str:
    """The source's commit; "unknown" in an installation."""
    folder = Path(__file__).parent
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=folder, capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or "unknown"


def _shard(text: str) -> Shard:
    number, _, shards = text.partition("/")
    if not (number.isdigit() and shards.isdigit() and 1 <= int(number) <= int(shards)):
        raise argparse.ArgumentTypeError(f"{text}: give I/N with I from 1 to N")
    return int(number), int(shards)


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("names", nargs="+", metavar="NAME", help="a study, or all")
    add("--bundle", default="mini", help="a folder with bundle.json; by default mini")
    add("--count", type=int, default=64, help="identities, an even number")
    add("--only", choices=STEPS, help="one step; by default clips (with their sheets) and pages")
    add("--out", type=Path, default=Path("docs/studies"), help="where pages are written")
    add("--work", type=Path, default=Path("out/studies"), help="sheets, and clips' figures (WORK/clips)")
    add("--clips", type=Path, help="write figures here instead; those in WORK/clips are still known")
    add("--shard", type=_shard, default=(1, 1), metavar="I/N", help="the I-th of N shares of the identities")
    add(
        "--limit", type=float, default=float("inf"), metavar="SECONDS", help="begin nothing that takes longer"
    )
    add("--batch", type=int, help="clips at once; by default 64 on a GPU, 1 on a CPU")
    add("--processes", type=int, help="that measure beside the model; by default 3 with a GPU")
    add("--device", default="auto")
    add("--dtype", default="auto")
    add("--commit", help="of the source, where the copy has no .git")
    options = parser.parse_args(words)
    finish(lambda: run(options))


if __name__ == "__main__":
    main()
