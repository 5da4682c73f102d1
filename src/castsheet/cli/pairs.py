"""`castsheet pairs`: from raw films to a training set, in two steps with a look at the cast between them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from castsheet.cli.settings import size as read_size

pairs = typer.Typer(
    name="pairs",
    help="From raw films to clips with the reference sheets of their casts.",
    no_args_is_help=True,
)

_SHOTS = "plain-1, transnetv2-1.0.5, plain-1+transnetv2-1.0.5 (where the first is not sure)"
_MODELS = "hub:MODEL, endpoint:MODEL@ADDRESS"
Workers = Annotated[int, typer.Option(min=0, max=256, help="Processes; 0 works in this one.")]
RayAddress = Annotated[
    str | None, typer.Option(help="Work on a Ray cluster: its address, auto, or local to start one here.")
]


@pairs.command("find")
def find(
    table: Annotated[Path, typer.Argument(help="CSV with path, title, licence, credit, url, people.")],
    work: Annotated[Path, typer.Option("-o", "--out", help="Folder of the work, kept between runs.")],
    size: Annotated[str, typer.Option(help="Size of the clips, WIDTHxHEIGHT.")] = "768x448",
    frames: Annotated[int, typer.Option(help="Frames of a clip, 8k + 1.")] = 121,
    fps: Annotated[float, typer.Option(help="Frames a second.")] = 24.0,
    shots: Annotated[str, typer.Option(help=f"{_SHOTS}, {_MODELS}.")] = "plain-1",
    detector: Annotated[str, typer.Option(help=f"Finds people by words: none, faces-1, {_MODELS}.")] = "none",
    segmenter: Annotated[
        str | None,
        typer.Option(
            help=f"Cuts out what it finds: u2netp, none, {_MODELS}.",
            show_default="u2netp where it is installed",
        ),
    ] = None,
    embedder: Annotated[
        str, typer.Option(help=f"Settles doubts of colours: none, dlib-resnet-v1, {_MODELS}.")
    ] = "none",
    by_hand: Annotated[
        bool, typer.Option("--by-hand", help="Look for nobody: only boxes in cast.yaml say who is seen.")
    ] = False,
    workers: Workers = 1,
    ray_address: RayAddress = None,
) -> None:
    """Find shots, clips, people and places in films. Then look at cast.html, and correct cast.yaml."""
    from castsheet.cli import show
    from castsheet.machine.progress import progress, stderr_console
    from castsheet.pairs.eyes import Eyes, check_eyes
    from castsheet.pairs.find import Finding, by_rule
    from castsheet.pairs.find import find as run
    from castsheet.pairs.records import Clips
    from castsheet.pairs.tools import faces_here, reader_here, segmenter_here, shots_of

    width, height = read_size(size)
    cut = segmenter_here() if segmenter is None else segmenter
    eyes = Eyes(detector, cut, faces_here(), embedder, reader_here(), by_hand)
    shots_of(shots)
    check_eyes(eyes)
    how = Finding(Clips(width, height, frames, fps), shots, eyes, workers, ray_address)
    console = stderr_console()
    with progress("looking at films", None, console=console) as advance:
        found, cast = run(table, work, how, advance=advance, say=console.print)
    counts = found.counts["windows"]
    people = sum(len(members) for members in cast.values())
    console.print(
        f"{counts['accepted']} of {counts['found']} windows can be used, {people} people in {len(cast)} films"
    )
    for rule, count in by_rule(found.rejects).items():
        console.print(f"  {rule}: {count}")
    show.paths(cast=work / "cast.yaml", page=work / "cast.html")


@pairs.command("make")
def make(
    work: Annotated[Path, typer.Argument(help="The folder that `castsheet pairs find` filled.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the training pairs.")],
    variants: Annotated[int, typer.Option(min=1, max=4, help="Versions of each sheet.")] = 2,
    judge: Annotated[bool, typer.Option(help="Let the judge look at each clip with its sheet.")] = True,
    placeless: Annotated[
        bool, typer.Option("--placeless", help="Let a sheet lack its place, if no clean picture is known.")
    ] = False,
    captioner: Annotated[str, typer.Option(help=f"Says what happens: none, {_MODELS}.")] = "none",
    inpainter: Annotated[
        str | None,
        typer.Option(
            help=f"Fills small holes of places: telea-1, none, {_MODELS}.",
            show_default="telea-1 where OpenCV is installed",
        ),
    ] = None,
    workers: Workers = 1,
    ray_address: RayAddress = None,
) -> None:
    """Make clips with sheets and captions. `castsheet encode DATA/train.csv` goes on from here."""
    from castsheet.cli import show
    from castsheet.machine.progress import progress, stderr_console
    from castsheet.pairs.make import Making, refuse_empty
    from castsheet.pairs.make import make as run
    from castsheet.pairs.tools import captioner_of, inpainter_here, inpainter_of

    fill = inpainter_here() if inpainter is None else inpainter
    captioner_of(captioner)
    inpainter_of(fill)
    console = stderr_console()
    with progress("making pairs", None, console=console) as advance:
        result = run(
            work,
            out,
            Making(variants, judge, workers, ray_address, placeless, captioner, fill),
            advance=advance,
            say=console.print,
        )
    counts = result.counts
    console.print(
        f"{counts['accepted']} pairs of {counts['found']} windows, {counts['rejected']} rejected, "
        f"{counts['quarantined']} quarantined"
    )
    refuse_empty(result)
    show.paths(pairs=out / "pairs.csv", report=out / "report.html")
