"""The program's commands, of which only those are imported that the command line names.

Importing this module imports neither torch nor the model's libraries: `castsheet --help` starts at once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import Annotated, NamedTuple

import typer

from castsheet import __version__
from castsheet.machine.edge import DEBUG

_SHEETS, _TRAINING, _MACHINE = "Sheets and clips", "Training", "Models and this machine"


class Command(NamedTuple):
    """A command: its name, the module of `castsheet.cli` that holds it, and where and how the help lists it.

    The help is the first paragraph of its docstring. It is told here once more, so that a list of all
    commands imports none of them.
    """

    name: str
    home: str
    panel: str
    help: str


COMMANDS = (
    Command(
        "demo",
        "make",
        _SHEETS,
        "Make a sheet and a clip with the embedded model: no network, no GPU, no files of your own.",
    ),
    Command("sheet", "make", _SHEETS, "Compose a scene's reference sheet."),
    Command(
        "describe",
        "describe",
        _SHEETS,
        "Describe what a sheet shows: the prompt's first half. Without a model, from what the scene says.",
    ),
    Command(
        "lint",
        "check",
        _SHEETS,
        "Check a sheet and a prompt. Exit code: 0 all well, 1 warnings, 2 errors (with --fix: left).",
    ),
    Command(
        "split",
        "check",
        _SHEETS,
        "Take a ready-made sheet apart: one picture a view, named by its label, freed of text.",
    ),
    Command(
        "generate",
        "make",
        _SHEETS,
        "Make a clip from a scene or a sheet; or several takes of it; or every shot of a list.",
    ),
    Command("choose", "make", _SHEETS, "Make another take the clip, and remove the takes beside it."),
    Command(
        "judge",
        "judge",
        _SHEETS,
        "Judge clips against their sheet. Exit code: 0 all carry it, 1 some do not or cannot tell, 2 error.",
    ),
    Command(
        "elements",
        "views",
        _SHEETS,
        "Keep a library of characters, props and locations, their pictures sorted into views.",
    ),
    Command(
        "studio",
        "studio",
        _SHEETS,
        "Serve the film-maker's page: cast, scenes, sheets, takes, a queue that loses nothing.",
    ),
    Command(
        "pairs",
        "pairs",
        _TRAINING,
        "From raw films to clips with the reference sheets of their casts.",
    ),
    Command(
        "encode",
        "train",
        _TRAINING,
        "Turn clips, sheets and captions into latents and contexts. Run it again to go on.",
    ),
    Command(
        "train",
        "train",
        _TRAINING,
        "Train a reference-sheet adapter. The same command goes on where an interrupted run stopped.",
    ),
    Command(
        "distill",
        "train",
        _TRAINING,
        "Distil a model and its adapters into one that needs few passes: no clips, only sheets and prompts.",
    ),
    Command(
        "inspect",
        "machine",
        _MACHINE,
        "Say what a model file is: kind, family, size, precision, and what a run still needs.",
    ),
    Command(
        "doctor",
        "machine",
        _MACHINE,
        "Look at this machine: what runs here, and what the 22B model still needs.",
    ),
    Command(
        "download",
        "machine",
        _MACHINE,
        "Download the 22B model's files. Run again after an interruption: it continues where it stopped.",
    ),
)


def run(arguments: Sequence[str]) -> int:
    """Carry out a command line.

    Raises:
        SystemExit: a usage error, or the command's own exit code.
        CastsheetError: what the command refuses.
    """
    words = list(_gathered([word for word in arguments if word != DEBUG]))
    app(words)(words)
    return 0


def app(words: Sequence[str]) -> typer.Typer:
    """The application, with those commands whole that the words name, and the others as lines of its help."""
    made = typer.Typer(
        name="castsheet",
        help="Video that keeps its cast: compose a reference sheet, check it, and make clips that follow it.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    made.callback()(_options)
    # A shell that completes a line tells the words elsewhere.
    completing = any(name.startswith("_") and name.endswith("_COMPLETE") for name in os.environ)
    for command in COMMANDS:
        if completing or command.name in words:
            _add(made, command)
        else:
            made.command(command.name, help=command.help, rich_help_panel=command.panel)(_unnamed)
    return made


def _add(made: typer.Typer, command: Command) -> None:
    found_in = import_module(f"castsheet.cli.{command.home}")
    found: Callable[..., None] | typer.Typer = getattr(found_in, command.name)
    if isinstance(found, typer.Typer):
        made.add_typer(found, name=command.name, rich_help_panel=command.panel)
    else:
        made.command(command.name, rich_help_panel=command.panel)(found)


def _unnamed() -> None:
    """Stands for a command that the command line does not name, and so cannot run."""


def _version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
    debug: Annotated[bool, typer.Option(DEBUG, help="Show where in the program an error arose.")] = False,
) -> None:
    """Options of every command."""


def _gathered(arguments: Sequence[str]) -> Iterator[str]:
    """`--strength hero=1.2 lamp=0.7`, or `--strength=hero=1.2 lamp=0.7`, as one value.

    Options of this library take one word each.
    """
    gathered: list[str] = []
    awaits = follows = False  # the option's first value; a further one
    for word in arguments:
        if (awaits or follows) and re.fullmatch(r"[^-=\s][^=\s]*=[\d.eE+-]*", word):
            if awaits:
                gathered.append(word)
            else:
                gathered[-1] += f" {word}"
            awaits, follows = False, True
            continue
        awaits, follows = word == "--strength", word.startswith("--strength=")
        gathered.append(word)
    return iter(gathered)
