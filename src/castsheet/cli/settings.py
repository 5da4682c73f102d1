"""Dataclasses as command-line options: `Settings` and `Loading`, derived from what their fields say."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from castsheet.errors import SettingsError, shown
from castsheet.settings import Settings
from castsheet.settings.kinds import About, described

MIN_SIDE, MAX_SIDE = 16, 8192
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace files that Castsheet did not write, and inputs.")
]
PANEL = "Settings (they override the scene, the model's bundle and the preset)"


def with_options(**groups: type[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Replace parameters of a command by one option for every field of a dataclass.

    Args:
        groups: the dataclass of each parameter. The command gets a dictionary of the values that were given
            on the command line, by field name.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command, eval_str=True)
        own = [parameter for name, parameter in signature.parameters.items() if name not in groups]
        options = [
            _option(name, about, panel=PANEL if of is Settings else None)
            for of in groups.values()
            for name, about in described(of).items()
        ]

        @functools.wraps(command)
        def wrapped(**values: Any) -> None:
            given = {group: _given(described(of), values) for group, of in groups.items()}
            command(**values, **given)

        # Typer reads signature and annotations; those that wraps() copied belong to the inner command.
        parameters = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in (*own, *options)]
        wrapped.__dict__.pop("__wrapped__")
        wrapped.__dict__["__signature__"] = signature.replace(parameters=parameters)
        wrapped.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return wrapped

    return decorate


def _given(known: Mapping[str, About], values: dict[str, Any]) -> dict[str, Any]:
    """Take the fields' values out of a command's; those that were given are read."""
    taken = {name: values.pop(name) for name in known}
    return {name: known[name].kind.from_option(one) for name, one in taken.items() if one is not None}


def _option(name: str, about: About, panel: str | None) -> inspect.Parameter:
    told = about.help if about.kind.option is bool else f"{about.help} ({about.kind.allowed})"
    option = typer.Option(help=told, rich_help_panel=panel, show_default=False)
    annotation = Annotated[about.kind.option | None, option]  # type: ignore[name-defined]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def size(text: str) -> tuple[int, int]:
    """Read WIDTHxHEIGHT.

    Raises:
        SettingsError: the text is not WIDTHxHEIGHT, or a side is out of range.
    """
    width, cross, height = text.lower().partition("x")
    sides = [int(side) if side.strip().isdecimal() and len(side) < 20 else 0 for side in (width, height)]
    if not (cross and all(MIN_SIDE <= side <= MAX_SIDE for side in sides)):
        raise SettingsError(
            f"size {shown(text)} is not WIDTHxHEIGHT, from {MIN_SIDE} to {MAX_SIDE} px each",
            remedy="write it as 768x448",
        )
    return sides[0], sides[1]


def adapter(text: str) -> tuple[Path, float | None]:
    """Read FILE or FILE:STRENGTH. A colon without a number after it belongs to the file's name."""
    file, colon, strength = text.rpartition(":")
    if colon:
        try:
            return Path(file), float(strength)
        except ValueError:
            pass
    return Path(text), None
