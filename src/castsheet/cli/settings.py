"""The settings of a run as command-line options, derived from the fields of `castsheet.settings.Settings`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from castsheet.errors import SettingsError
from castsheet.settings import About, Settings, described

PANEL = "Settings (they override the scene, the model's bundle and the preset)"


def with_settings(command: Callable[..., None], settings: type[Settings] = Settings) -> Callable[..., None]:
    """Replace the parameter `settings: dict` of a command by one option for every setting.

    The command gets the settings that were given on the command line, by field name.
    """
    known = described(settings)
    signature = inspect.signature(command, eval_str=True)
    own = [parameter for name, parameter in signature.parameters.items() if name != "settings"]
    options = [_option(name, about) for name, about in known.items()]

    @functools.wraps(command)
    def wrapped(**values: Any) -> None:
        given = {name: value for name in known if (value := values.pop(name)) is not None}
        command(**values, settings={name: known[name].kind.from_option(one) for name, one in given.items()})

    # Typer reads the signature and the annotations; what wraps() copied describes the inner command.
    parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in (*own, *options)]
    wrapped.__dict__.pop("__wrapped__")
    wrapped.__dict__["__signature__"] = signature.replace(parameters=parameters)
    wrapped.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return wrapped


def _option(name: str, about: About) -> inspect.Parameter:
    told = about.help if about.kind.option is bool else f"{about.help} ({about.kind.allowed})"
    option = typer.Option(help=told, rich_help_panel=PANEL, show_default=False)
    annotation = Annotated[about.kind.option | None, option]  # type: ignore[name-defined]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def size(text: str) -> tuple[int, int]:
    """Read WIDTHxHEIGHT.

    Raises:
        SettingsError: not of that form.
    """
    width, cross, height = text.lower().partition("x")
    if not (cross and width.strip().isdecimal() and height.strip().isdecimal()):
        raise SettingsError(f"size {text!r} is not WIDTHxHEIGHT", remedy="write it as 768x448")
    return int(width), int(height)


def adapter(text: str) -> tuple[Path, float | None]:
    """Read FILE or FILE:STRENGTH; a colon that no number follows belongs to the file's name."""
    file, colon, strength = text.rpartition(":")
    if colon:
        try:
            return Path(file), float(strength)
        except ValueError:
            pass
    return Path(text), None
