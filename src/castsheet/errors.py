"""The errors a user can cause. Each says what was wrong and what to do about it."""

from __future__ import annotations


class CastsheetError(Exception):
    """Base of every error that the user's input or machine can cause.

    Args:
        what: what was wrong, and where (file, field, key).
        remedy: what the user can do about it.
    """

    def __init__(self, what: str, *, remedy: str) -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.what}\n  fix: {self.remedy}"

    def __reduce__(self) -> tuple[object, ...]:
        # Pickling keeps an exception's positional arguments only; a worker must send the remedy too.
        return _again, (type(self), self.what, self.remedy)


def _again(kind: type[CastsheetError], what: str, remedy: str) -> CastsheetError:
    return kind(what, remedy=remedy)


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


class CheckpointError(CastsheetError):
    """A model file is damaged, incomplete or of an unknown layout."""


class FamilyError(CastsheetError):
    """Files of different model families (2.3, 2.5, ...) were combined."""


class AdapterError(CastsheetError):
    """A LoRA file is damaged or does not fit the model."""


class TextEncoderError(CastsheetError):
    """The text encoder's folder is incomplete or does not fit the model."""


class OutputError(CastsheetError):
    """A result could not be written (disk full, no permission)."""


class DependencyError(CastsheetError):
    """An optional package is missing."""


class DownloadError(CastsheetError):
    """A download failed, or the licence has not been accepted."""


class NumericsError(CastsheetError):
    """NaN or infinity appeared where finite numbers are needed."""


class EndpointError(CastsheetError):
    """A model's endpoint cannot be reached, refuses the request, or gives an unusable answer."""
