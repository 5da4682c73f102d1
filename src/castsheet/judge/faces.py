"""Faces decide people: each member's face against the sheet's, frame by frame, where it is seen and whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from castsheet.judge.assign import assign
from castsheet.judge.cast import Pixels
from castsheet.judge.protocols import Detection, Detector, Embedder, Vectors, cosine, crop
from castsheet.sheet.box import Box
from castsheet.sheet.manifest import Sheet

SMALLEST = 27  # px high with the room around it: smaller faces are anybody's
TURNED = 38.0  # degrees: faces that are turned farther are not compared
STRAIGHT = 20.0  # degrees: a face turned farther may confirm somebody, it denies nobody
# A drawn animal's head that the detector takes for a face: found less surely, and its vector is shorter.
# Ten people that a generator drew give 0.81 or more and 1.47 or more, a drawn rabbit 0.67 and 1.33 at most.
SURE, LONG = 0.75, 1.4
WHOLE = 0.12  # of the box: a face with more of it out of the frame lacks its chin or brow


@dataclass(frozen=True)
class FaceView:
    """A member's face in one frame: its number, the cosine to the sheet, and where, (x, y, w, h) in the
    clip."""

    frame: int
    likeness: float
    box: tuple[int, int, int, int]


@dataclass(frozen=True)
class FaceReport:
    """A member's face over the frames that were looked at.

    Attributes:
        views: one for each frame in which the face was assigned to the member.
        likeness: median cosine over `views`; None where the face was never seen whole.
        margin: median of that cosine less the one to the nearest other member; None with one member.
        coverage: share of the frames with a view. Backs of heads are no absence: it is a count, not a fault.
        straight: `likeness` over the views that look straight at us; None where there is none.
    """

    views: list[FaceView]
    likeness: float | None
    margin: float | None
    coverage: float
    straight: float | None


class FaceWitness:
    """The faces of a sheet's characters, ready to be compared.

    Args:
        sheet: with a manifest. detector, embedder: of faces.
    """

    def __init__(self, sheet: Sheet, detector: Detector, embedder: Embedder) -> None:
        self._detector, self._embedder = detector, embedder
        self._known = self._of_sheet(sheet)

    @property
    def known(self) -> tuple[str, ...]:
        """Members whose face the sheet shows; a puppet's is none."""
        return tuple(self._known)

    def _of_sheet(self, sheet: Sheet) -> dict[str, Vectors]:
        whole = np.asarray(sheet.image.convert("RGB"))
        found: dict[str, list[Vectors]] = {}
        others = {note.id for note in sheet.elements if not note.human}
        for panel in sheet.panels:
            if panel.kind != "character" or panel.element in others:
                continue
            picture = crop(whole, panel.box)
            faces = [one for one in self._detector.detect(picture) if abs(one.turned) <= TURNED]
            if panel.view == "face":
                faces = faces[:1]
            vectors = self._embedder.embed([crop(picture, one.box) for one in faces])
            mine = [v for one, v in zip(faces, vectors, strict=True) if _human(one, v)]
            if mine:
                found.setdefault(panel.element, []).append(np.stack(mine))
        return {name: np.concatenate(mine) for name, mine in found.items()}

    def look(self, frames_FHWC: Pixels, numbers: Sequence[int]) -> dict[str, FaceReport]:
        """A report on every member whose face the sheet shows."""
        names = list(self._known)
        views: dict[str, list[FaceView]] = {name: [] for name in names}
        margins: dict[str, list[float]] = {name: [] for name in names}
        straight: dict[str, list[float]] = {name: [] for name in names}
        for at in numbers if names else ():
            frame = frames_FHWC[at]
            faces = [one for one in self._detector.detect(frame) if _comparable(one, frame)]
            if not faces:
                continue
            vectors = self._embedder.embed([crop(frame, one.box) for one in faces])
            human = [number for number, one in enumerate(faces) if _human(one, vectors[number])]
            if not human:
                continue
            faces, vectors = [faces[number] for number in human], vectors[human]
            alike_NM = np.stack([cosine(vectors, self._known[name]).max(axis=1) for name in names], axis=1)
            for face, person in assign(alike_NM):
                name, value = names[person], float(alike_NM[face, person])
                box = faces[face].box
                views[name].append(FaceView(at, round(value, 4), (box.x, box.y, box.w, box.h)))
                if abs(faces[face].turned) <= STRAIGHT:
                    straight[name].append(value)
                if len(names) > 1:
                    margins[name].append(value - float(np.delete(alike_NM[face], person).max()))
        return {name: _report(views[name], margins[name], straight[name], len(numbers)) for name in names}


def _human(face: Detection, vector: NDArray[np.float32]) -> bool:
    """Whether it is a face that the embedder knows, not an animal's head or a bit of stone."""
    return face.score >= SURE or float(np.linalg.norm(vector)) >= LONG


def _comparable(face: Detection, frame_HWC: Pixels) -> bool:
    """Whether a face is large enough, inside the frame and turned towards us."""
    height, width = frame_HWC.shape[:2]
    box = face.box
    inside = Box(max(box.x, 0), max(box.y, 0), 0, 0)
    w, h = min(box.right, width) - inside.x, min(box.bottom, height) - inside.y
    return box.h >= SMALLEST and w * h >= (1 - WHOLE) * box.w * box.h and abs(face.turned) <= TURNED


def _report(views: list[FaceView], margins: list[float], straight: list[float], looked: int) -> FaceReport:
    likeness = _median([one.likeness for one in views])
    return FaceReport(views, likeness, _median(margins), len(views) / max(looked, 1), _median(straight))


def _median(values: list[float]) -> float | None:
    return round(float(np.median(values)), 4) if values else None
