"""The command line: thin commands over the same dataclasses that Python users have.

Importing this package imports neither torch nor the model's libraries. Each command imports what it needs:
`castsheet --help` and `castsheet sheet` start at once.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from castsheet import __version__
from castsheet.cli import check, describe, elements, judge, machine, make, train, views
from castsheet.errors import CastsheetError

app = typer.Typer(
    name="castsheet",
    help="Video that keeps its cast: compose a reference sheet, check it, and make clips that follow it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

sheets = (make.demo, make.sheet, describe.describe, check.lint, check.split)
for command in (*sheets, make.generate, judge.judge):
    app.command(rich_help_panel="Sheets and clips")(command)
elements.app.command()(views.fill)
app.add_typer(elements.app, name="elements", rich_help_panel="Sheets and clips")
for command in (train.encode, train.train):
    app.command(rich_help_panel="Training")(command)
for command in (machine.inspect, machine.doctor, machine.download):
    app.command(rich_help_panel="Models and this machine")(command)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Options before the command."""


def _terminated(*_signal: object) -> NoReturn:
    # An exception lets every temporary file be removed before the program ends.
    sys.exit(128 + signal.SIGTERM)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Entry point. A user's error becomes two lines on stderr and exit code 2; Ctrl-C gives 130.

    Args:
        arguments: the command line without the program's name; None takes the process's own.
    """
    before = signal.signal(signal.SIGTERM, _terminated)
    try:
        app(_gathered(sys.argv[1:] if arguments is None else arguments))
        sys.exit(0)
    except CastsheetError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        _flush()
        signal.signal(signal.SIGTERM, before)


def _gathered(arguments: Sequence[str]) -> list[str]:
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
    return gathered


def _flush() -> None:
    """Write out what is buffered; if the reader has gone (`| head -1`), drop it silently."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # The interpreter flushes once more when it ends; that output must go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
