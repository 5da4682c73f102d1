"""Back ends by name: a name can be sent to another process, a loaded network cannot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import TypeVar

from castsheet.errors import DependencyError
from castsheet.pairs.protocols import Segmenter, ShotDetector
from castsheet.pairs.records import PairsError
from castsheet.pairs.segment import Salient
from castsheet.pairs.shots import PlainShots
from castsheet.pairs.transnet import TransNetShots
from castsheet.sheet.look.faces import CenterFace, FaceDetector, installed
from castsheet.sheet.look.salience import U2Net

T = TypeVar("T")

NONE, SALIENT = "none", "u2netp"

SHOTS: dict[str, Callable[[], ShotDetector]] = {
    PlainShots.name: PlainShots,
    TransNetShots.name: TransNetShots,
}
SEGMENTERS: dict[str, Callable[[], Segmenter | None]] = {
    SALIENT: lambda: Salient(U2Net("u2netp")),
    NONE: lambda: None,
}
FACES: dict[str, Callable[[], FaceDetector | None]] = {CenterFace.name: CenterFace, NONE: lambda: None}
"""To add a back end, add an entry: its name stands in cache keys, so a new version needs a new name."""


@cache
def shots_of(name: str) -> ShotDetector:
    """The shot detector of a name; errors as `check_names`."""
    return _known(SHOTS, name, "shot detector")()


@cache
def segmenter_of(name: str) -> Segmenter | None:
    """What tells subjects from an unknown place, or None; errors as `check_names`."""
    return _known(SEGMENTERS, name, "segmenter")()


@cache
def faces_of(name: str) -> FaceDetector | None:
    """What finds faces, or None; errors as `check_names`."""
    return _known(FACES, name, "face detector")()


def check_names(shots: str, segmenter: str, faces: str) -> None:
    """Refuse, before the work, back ends that do not exist or are not installed.

    Raises:
        PairsError: there is none of this name.
        DependencyError: its package is not installed.
    """
    shots_of(shots)
    segmenter_of(segmenter)
    faces_of(faces)


def _known(table: Mapping[str, Callable[[], T]], name: str, what: str) -> Callable[[], T]:
    if name not in table:
        raise PairsError(f"there is no {what} {name!r}", remedy=f"use {' or '.join(table)}")
    return table[name]


def segmenter_here() -> str:
    """The name of the segmenter that is installed here."""
    try:
        segmenter_of(SALIENT)
    except DependencyError:
        return NONE
    return SALIENT


def faces_here() -> str:
    """The name of the face detector that is installed here."""
    return CenterFace.name if installed() else NONE
