"""Commands that teach: encode makes a training set, train makes an adapter from it."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from castsheet.cli.settings import size as read_size


def train(
    config: Annotated[Path, typer.Argument(help="A run's YAML file.")],
    override: Annotated[
        list[str] | None,
        typer.Option("--set", help="FIELD=VALUE over the file's, such as optimiser.name=adamw."),
    ] = None,
) -> None:
    """Train a reference-sheet adapter. The same command goes on where an interrupted run stopped."""
    from castsheet.cli import show
    from castsheet.train.config import join, load_config, read_override
    from castsheet.train.facts import try_command
    from castsheet.train.trainer import train as run

    values: dict = {}
    for text in override or []:
        values = join(values, read_override(text))
    settings = load_config(config, values)
    adapter = run(settings)
    show.paths(adapter=adapter, report=settings.output / "report.html")
    if adapter.is_file():  # only the first of several processes writes it
        sys.stdout.write(f"try it: {try_command(settings, adapter)}\n")


def encode(
    table: Annotated[Path, typer.Argument(help="CSV or JSONL with the columns video, sheet, caption.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the training set.")],
    model: Annotated[str, typer.Option(help="The model that will be trained.")] = "mini",
    text_encoder: Annotated[Path | None, typer.Option(help="A Gemma-3 folder.")] = None,
    size: Annotated[
        str | None, typer.Option(help="Size of the clips, WIDTHxHEIGHT.", show_default="the model's own")
    ] = None,
    frames: Annotated[
        int | None, typer.Option(help="Frames of a clip, 8k + 1.", show_default="the model's own")
    ] = None,
    fps: Annotated[
        float | None, typer.Option(help="Frames a second.", show_default="the model's own")
    ] = None,
    downscale: Annotated[int, typer.Option(help="How many times smaller than the clip the sheet is.")] = 1,
    variants: Annotated[int, typer.Option(help="Versions of each sheet, the plain one included.")] = 1,
    shuffle: Annotated[float, typer.Option(help="Chance that a version's panels change places.")] = 0.0,
    drop: Annotated[float, typer.Option(help="Chance of each panel to be left out of a version.")] = 0.0,
    jitter: Annotated[int, typer.Option(help="Most sheet pixels by which a panel's sides move.")] = 0,
    shard: Annotated[str, typer.Option(help="I/N: this worker's share, I from 0 to N - 1.")] = "0/1",
    official: Annotated[
        bool, typer.Option("--official", help="Write the official trainer's layout, .precomputed.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, fp32 or bf16.")] = "auto",
) -> None:
    """Turn clips, sheets and captions into latents and contexts. Run it again to go on."""
    from castsheet.cli import show
    from castsheet.loading.source import Source
    from castsheet.machine.progress import progress, stderr_console
    from castsheet.settings import preset
    from castsheet.train.data.augment import Augment
    from castsheet.train.data.encode import Encoding, SizeBucket, read_shard, read_table
    from castsheet.train.data.encode import encode as plain
    from castsheet.train.data.precomputed import precompute

    source = Source.open(model, text_encoder)
    usual = preset("card") if source.bundle is None else source.bundle.settings(None)
    width, height = read_size(size) if size is not None else (usual.width, usual.height)
    length, rate = usual.frames if frames is None else frames, usual.fps if fps is None else fps
    job = Encoding(
        source=source,
        out=out,
        bucket=SizeBucket(width, height, length, rate, downscale),
        augment=Augment(variants, shuffle, drop, jitter),
        device=device,
        dtype=dtype,
    )
    run = partial(precompute, folder=table.parent) if official else plain
    share, rows, console = read_shard(shard), read_table(table), stderr_console()
    console.print(job.bucket.describe())
    count = len(rows[share[0] :: share[1]])
    with progress("encoding", count, console=console) as advance:
        made = run(rows, job, shard=share, advance=advance, say=console.print)
    console.print(f"{made} samples made, {count - made} were there")
    show.paths(dataset=out)


_Adapters = Annotated[
    list[str] | None, typer.Option(help="FILE or FILE:STRENGTH, in addition to the model's; repeatable.")
]
_Trained = Annotated[
    Path | None, typer.Option(help="An adapter of `castsheet train`, used as it was trained.")
]
_Recipe = Annotated[str | None, typer.Option(help="The teacher's recipe.", show_default="the model's own")]
_Stages = Annotated[str, typer.Option(help="What is learned: guidance, then falling numbers of steps.")]
_Start = Annotated[Path | None, typer.Option(help="A distilled adapter that the first stage begins with.")]
_Clips = Annotated[int, typer.Option(min=1, max=1000, help="Clips that the teacher makes of each prompt.")]
_Steps = Annotated[
    int | None, typer.Option(min=1, help="Training steps of each stage.", show_default="the preset's")
]
_Fields = Annotated[
    list[str] | None,
    typer.Option("--set", help="FIELD=VALUE of every stage's run, as for `castsheet train`."),
]


def distill(
    sheets: Annotated[Path, typer.Argument(help="A folder of sheets, each beside its NAME.txt of prompts.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the stages, their data and adapters.")],
    model: Annotated[str, typer.Option(help="mini, a folder with bundle.json, or a checkpoint.")] = "mini",
    text_encoder: Annotated[Path | None, typer.Option(help="Gemma-3 folder, or packed Gemma-4 file.")] = None,
    adapter: _Adapters = None,
    trained: _Trained = None,
    preset: _Recipe = None,
    stages: _Stages = "guidance,8,4",
    start: _Start = None,
    clips: _Clips = 1,
    steps: _Steps = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    override: _Fields = None,
    cost: Annotated[bool, typer.Option("--cost", help="Say what it takes, and do nothing.")] = False,
) -> None:
    """Distil a model and its adapters into one that needs few passes: no clips, only sheets and prompts."""
    from castsheet.cli import show
    from castsheet.cli.settings import adapter as read_adapter
    from castsheet.train.config import join, read_override
    from castsheet.train.distil import Distillation, bill, distil
    from castsheet.train.facts import try_command
    from castsheet.train.trainer import ADAPTER

    changes: dict = {}
    for text in override or []:
        changes = join(changes, read_override(text))
    job = Distillation(
        folder=sheets,
        out=out,
        model=model,
        text_encoder=text_encoder,
        adapters=tuple(read_adapter(one) for one in adapter or ()),
        trained=trained,
        preset=preset,
        stages=tuple(one.strip() for one in stages.split(",")),
        start=start,
        clips=clips,
        steps=steps,
        device=device,
        changes=changes,
    )
    if cost:
        sys.stdout.write(f"{bill(job).told()}\n")
        return
    runs = distil(job)
    show.paths(**{run.output.name: run.output / ADAPTER for run in runs})
    if (runs[-1].output / ADAPTER).is_file():  # only the first of several processes writes it
        sys.stdout.write(f"try it: {try_command(runs[-1], runs[-1].output / ADAPTER)}\n")
