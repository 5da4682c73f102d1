"""Commands that teach: encode makes a training set, train makes an adapter from it."""

from __future__ import annotations

import sys
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
    from castsheet.train.data.encode import encode as run

    source = Source.open(model, text_encoder)
    usual = preset("card") if source.bundle is None else source.bundle.settings(None)
    width, height = read_size(size) if size is not None else (usual.width, usual.height)
    job = Encoding(
        source=source,
        out=out,
        bucket=SizeBucket(
            width,
            height,
            usual.frames if frames is None else frames,
            usual.fps if fps is None else fps,
            downscale,
        ),
        augment=Augment(variants, shuffle, drop, jitter),
        device=device,
        dtype=dtype,
    )
    share, rows, console = read_shard(shard), read_table(table), stderr_console()
    console.print(job.bucket.describe())
    count = len(rows[share[0] :: share[1]])
    with progress("encoding", count, console=console) as advance:
        made = run(rows, job, shard=share, advance=advance, say=console.print)
    console.print(f"{made} samples made, {count - made} were there")
    show.paths(dataset=out)
