"""One table of the settings that a preset holds, as command-line options."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from castsheet.errors import SettingsError

PANEL = "Settings (they override the scene, the model's bundle and the preset)"


@dataclass(frozen=True)
class Setting:
    """How a preset's field is given on the command line: as `type`, turned into its value by `read`."""

    type: type
    help: str
    read: Callable[[Any], Any] = lambda value: value


def _whole_numbers(text: str) -> tuple[int, ...]:
    return tuple(_number(part, int, text) for part in text.replace(",", " ").split())


def _decimals(text: str) -> tuple[float, ...]:
    return tuple(_number(part, float, text) for part in text.replace(",", " ").split())


def _strengths(text: str) -> dict[str, float]:
    from castsheet.sampling.strength import parse_strengths

    return parse_strengths(text.replace(",", " ").split())


def _number(part: str, kind: Callable[[str], Any], text: str) -> Any:
    try:
        return kind(part)
    except ValueError as error:
        raise SettingsError(f"{text!r}: {part!r} is not a number", remedy="list numbers: 28,29") from error


# Names are the fields of castsheet.settings.Preset; that module is not imported, for it needs torch.
SETTINGS: dict[str, Setting] = {
    "width": Setting(int, "Pixels of the clip."),
    "height": Setting(int, "Pixels of the clip."),
    "frames": Setting(int, "Frames of the clip, 8k + 1."),
    "fps": Setting(float, "Frames a second."),
    "steps": Setting(int, "Sampling steps."),
    "sigmas": Setting(str, "Noise levels used as they are, such as 1,0.99,0.9,0.4,0.", _decimals),
    "schedule": Setting(str, "Where the schedule is evaluated: official, target or diffusers."),
    "guidance": Setting(float, "Guidance by the prompt; 1 switches it off."),
    "stg_scale": Setting(float, "Spatio-temporal guidance; 0 switches it off."),
    "stg_blocks": Setting(str, "Blocks that it perturbs, such as 29 or 28,29.", _whole_numbers),
    "rescale": Setting(float, "Share of the guided prediction's spread that is taken back, 0 to 1."),
    "modality_scale": Setting(float, "Guidance between picture and sound; 1 switches it off."),
    "audio_guidance": Setting(float, "Guidance by the prompt for the sound."),
    "lora_strength": Setting(float, "Strength of adapters that were given none."),
    "reference": Setting(str, "looped or still: the sheet in every latent frame, or in one; as trained."),
    "reference_strength": Setting(float, "1 shows the sheet clean; less shows it with noise."),
    "reference_every": Setting(int, "Reuse the sheet's rows over so many steps; 1: exact, more: faster."),
    "strength": Setting(str, "Of single elements: hero=1.2 backpack=0.7; 1 is usual.", _strengths),
    "first_frame_crf": Setting(int, "Compression that a first frame goes through, as in training; 0: none."),
    "negative_prompt": Setting(str, "What guidance steers away from."),
    "prompt_format": Setting(str, "prose, inline or markdown."),
    "audio": Setting(bool, "Make sound too; the model must have it."),
}


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Replace the parameter `settings: dict` of a command by one option for every setting.

    The command gets those that were given on the command line, by field name.
    """
    signature = inspect.signature(command, eval_str=True)
    own = [parameter for name, parameter in signature.parameters.items() if name != "settings"]
    options = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[
                setting.type | None,
                typer.Option(help=setting.help, rich_help_panel=PANEL, show_default=False),
            ],
        )
        for name, setting in SETTINGS.items()
    ]

    @functools.wraps(command)
    def wrapped(**values: Any) -> None:
        given = {name: values.pop(name) for name in SETTINGS}
        chosen = {name: SETTINGS[name].read(value) for name, value in given.items() if value is not None}
        command(**values, settings=chosen)

    # Typer reads the signature and the annotations; what wraps() copied describes the inner command.
    parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in (*own, *options)]
    wrapped.__dict__.pop("__wrapped__")
    wrapped.__dict__["__signature__"] = signature.replace(parameters=parameters)
    wrapped.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return wrapped


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
