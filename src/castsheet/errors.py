"""The errors a user can cause. Each says what was wrong and what to do about it."""

from __future__ import annotations

import reprlib

_LONGEST = 2000


class CastsheetError(Exception):
    """Base of every error that the user's input or machine can cause.

    Args:
        what: what was wrong, and where (file, field, key).
        remedy: what the user can do about it.

    Both may quote what stood in a file: they are kept as `printable` text.
    """

    def __init__(self, what: str, *, remedy: str) -> None:
        super().__init__(what)
        self.what = printable(what)
        self.remedy = printable(remedy)

    def __str__(self) -> str:
        return f"{self.what}\n  fix: {self.remedy}"

    def __reduce__(self) -> tuple[object, ...]:
        # Pickling keeps an exception's positional arguments only; a worker must send the remedy too.
        return _again, (type(self), self.what, self.remedy)


def _again(kind: type[CastsheetError], what: str, remedy: str) -> CastsheetError:
    return kind(what, remedy=remedy)


def printable(text: str) -> str:
    """The text as a terminal may get it: control characters and halves of characters as escapes.

    Of more than 2,000 letters the middle is left out.
    """
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 2 :]}"
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() or one == "\n" else one.encode("unicode_escape").decode() for one in text
    )


def is_whole_text(text: str) -> bool:
    """Whether UTF-8 can hold the text: no byte that was no UTF-8, no half of a character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class _Short(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother = 3, 80, 80
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = 5

    def repr_int(self, x: int, _level: int) -> str:
        # Python refuses to write out a number of thousands of digits.
        return repr(x) if x.bit_length() < 128 else f"a number of about {x.bit_length() * 3 // 10} digits"

    def repr_float(self, x: float, _level: int) -> str:
        return repr(x)


def shown(value: object) -> str:
    """A value as a message quotes it: like `repr`, but long ones are cut, however large they are."""
    return _SHORT.repr(value)


_SHORT = _Short()


class SceneError(CastsheetError):
    """A scene file or an element in it is not usable."""


class ImageError(CastsheetError):
    """A picture cannot be read, or is too small or too large to use."""


class SheetError(CastsheetError):
    """A sheet or its manifest is damaged or contradicts itself."""


class LayoutError(CastsheetError):
    """No layout exists for the panels asked for."""


class PromptError(CastsheetError):
    """A prompt lacks a half, or contains what it must not."""


class LintRefused(CastsheetError):
    """The checks found an error, and the user did not ask to go on anyway."""


class SettingsError(CastsheetError):
    """A size, frame count, step count or other setting is out of range."""


class MemoryLimitError(SettingsError):
    """The memory of the machine, or of its card, is too small for what was asked."""


class NestingError(CastsheetError):
    """Something in the input is nested more deeply than the program can follow."""


class CheckpointError(CastsheetError):
    """A model file is damaged, incomplete or of an unknown layout."""


class FamilyError(CastsheetError):
    """Files of different model families (2.3, 2.5, ...) were combined."""


class AdapterError(CastsheetError):
    """A LoRA file is damaged or does not fit the model."""


class TextEncoderError(CastsheetError):
    """The text encoder's folder is incomplete or does not fit the model."""


class FileError(CastsheetError):
    """A file may not be looked at, or its disk does not answer."""


class OutputError(CastsheetError):
    """A result could not be written (disk full, no permission)."""


class DependencyError(CastsheetError):
    """A package is missing, or fails while it is imported."""


class DownloadError(CastsheetError):
    """A download failed, or the licence has not been accepted."""


class NumericsError(CastsheetError):
    """NaN or infinity appeared where finite numbers are needed."""


class EndpointError(CastsheetError):
    """A model's endpoint cannot be reached, refuses the request, or gives an unusable answer."""
