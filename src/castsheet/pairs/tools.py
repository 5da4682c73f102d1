"""Back ends by name: a name can be sent to another process, a loaded network cannot.

A name is that of an offline back end, `none`, `hub:MODEL` for a model of transformers or a pipeline of
diffusers by folder or cached id, or `endpoint:MODEL@ADDRESS` for one behind an OpenAI-compatible endpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Generic, TypeVar

from castsheet.errors import DependencyError
from castsheet.judge.models import hub_features
from castsheet.judge.protocols import Embedder
from castsheet.machine.endpoint import Endpoint
from castsheet.pairs.asked import (
    AskedCaptioner,
    AskedDetector,
    AskedEmbedder,
    AskedInpainter,
    AskedSegmenter,
    AskedShots,
)
from castsheet.pairs.doubts import Detected, SureFirst, Unlike
from castsheet.pairs.faces import CLOSE, Bodies, BothFaces, FaceVectors, PatientFaces
from castsheet.pairs.holes import Telea
from castsheet.pairs.hub import HubCaptioner, HubDetector, HubInpainter, HubSegmenter
from castsheet.pairs.protocols import Captioner, Detector, Inpainter, Segmenter, ShotDetector
from castsheet.pairs.records import PairsError
from castsheet.pairs.segment import Salient
from castsheet.pairs.shots import PlainShots
from castsheet.pairs.transnet import TransNetShots
from castsheet.sheet.look.faces import CenterFace, FaceDetector
from castsheet.sheet.look.ocr import RapidReader, TextReader
from castsheet.sheet.look.salience import U2Net

T = TypeVar("T")

NONE, SALIENT, READER = "none", "u2netp", "rapidocr"
HUB, ENDPOINT = "hub:", "endpoint:"


@dataclass(frozen=True)
class Choice(Generic[T]):
    """The back ends of one interface.

    Args:
        what: the interface, for messages. offline: by name.
        hub, endpoint: make a back end of a model's id, or of an endpoint; None where there is no such kind.
    """

    what: str
    offline: Mapping[str, Callable[[], T]]
    hub: Callable[[str], T] | None = None
    endpoint: Callable[[Endpoint], T] | None = None

    def of(self, name: str) -> T:
        """The back end of a name.

        Raises:
            PairsError: there is none of this name.
            DependencyError: its package is not installed.
            CheckpointError: the model is not on this machine.
            EndpointError: the address is none.
        """
        if self.hub is not None and name.startswith(HUB):
            return self.hub(name.removeprefix(HUB))
        if self.endpoint is not None and name.startswith(ENDPOINT):
            model, at, base = name.removeprefix(ENDPOINT).rpartition("@")
            if model and at:
                return self.endpoint(Endpoint(base, model))
        if name not in self.offline:
            raise PairsError(f"there is no {self.what} {name!r}", remedy=f"use {' or '.join(self._names())}")
        return self.offline[name]()

    def _names(self) -> list[str]:
        found = list(self.offline)
        found += [f"{HUB}MODEL"] if self.hub else []
        return found + ([f"{ENDPOINT}MODEL@ADDRESS"] if self.endpoint else [])


SURE_FIRST = f"{PlainShots.name}+{TransNetShots.name}"
SHOTS: Choice[ShotDetector] = Choice(
    "shot detector",
    {
        PlainShots.name: PlainShots,
        TransNetShots.name: TransNetShots,
        SURE_FIRST: lambda: SureFirst(Detected(TransNetShots()), SURE_FIRST),
    },
    lambda model: SureFirst(Unlike(hub_features(model), f"{HUB}{model}")),
    lambda endpoint: SureFirst(AskedShots(endpoint)),
)
DETECTORS: Choice[Detector | None] = Choice(
    "detector", {NONE: lambda: None, Bodies.name: Bodies}, HubDetector, AskedDetector
)
SEGMENTERS: Choice[Segmenter | None] = Choice(
    "segmenter",
    {SALIENT: lambda: Salient(U2Net("u2netp")), NONE: lambda: None},
    HubSegmenter,
    AskedSegmenter,
)
EMBEDDERS: Choice[Embedder | None] = Choice(
    "embedder", {NONE: lambda: None, FaceVectors.name: FaceVectors}, hub_features, AskedEmbedder
)
CAPTIONERS: Choice[Captioner | None] = Choice("captioner", {NONE: lambda: None}, HubCaptioner, AskedCaptioner)
INPAINTERS: Choice[Inpainter | None] = Choice(
    "inpainter", {NONE: lambda: None, Telea.name: Telea}, HubInpainter, AskedInpainter
)
FACES: dict[str, Callable[[], FaceDetector | None]] = {
    CenterFace.name: lambda: CenterFace(CLOSE),
    BothFaces.name: BothFaces,
    NONE: lambda: None,
}
READERS: dict[str, Callable[[], TextReader | None]] = {READER: RapidReader, NONE: lambda: None}
"""To add a back end, add an entry: its name stands in cache keys, so a new version needs a new name."""


@cache
def shots_of(name: str) -> ShotDetector:
    """The shot detector of a name; errors as `Choice.of`, here and below."""
    return SHOTS.of(name)


@cache
def detector_of(name: str) -> Detector | None:
    """What finds people by words, or None."""
    return DETECTORS.of(name)


@cache
def segmenter_of(name: str) -> Segmenter | None:
    """What tells subjects from an unknown place, or None."""
    return SEGMENTERS.of(name)


@cache
def embedder_of(name: str) -> Embedder | None:
    """What compares people by more than their colours, or None."""
    return EMBEDDERS.of(name)


@cache
def captioner_of(name: str) -> Captioner | None:
    """What says what happens, or None for the words from the tracks."""
    return CAPTIONERS.of(name)


@cache
def inpainter_of(name: str) -> Inpainter | None:
    """What fills small holes of places, or None."""
    return INPAINTERS.of(name)


@cache
def faces_of(name: str) -> FaceDetector | None:
    """What finds faces, or None; errors as `Choice.of`."""
    return Choice("face detector", FACES).of(name)


@cache
def patient_of(name: str) -> FaceDetector | None:
    """What looks once more where a detector of this name found no face from the front, or None."""
    return PatientFaces() if name in (CenterFace.name, BothFaces.name) else None


@cache
def reader_of(name: str) -> TextReader | None:
    """What reads writing, or None; errors as `Choice.of`."""
    return Choice("text reader", READERS).of(name)


def segmenter_here() -> str:
    """The name of the segmenter that is installed here."""
    try:
        segmenter_of(SALIENT)
    except DependencyError:
        return NONE
    return SALIENT


def inpainter_here() -> str:
    """The name of the inpainter that is installed here."""
    try:
        inpainter_of(Telea.name)
    except DependencyError:
        return NONE
    return Telea.name


def faces_here() -> str:
    """The name of the best face detector that is installed here."""
    for name in (BothFaces.name, CenterFace.name):
        try:
            faces_of(name)
        except DependencyError:
            continue
        return name
    return NONE


def reader_here() -> str:
    """The name of the text reader that is installed here."""
    try:
        reader_of(READER)
    except DependencyError:
        return NONE
    return READER
