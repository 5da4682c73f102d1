"""FaceSim and NexusScore of OpenS2V-Eval, as published and as corrected, with the models that are installed.

The published numbers were made with particular networks (ArcFace and CurricularFace; GME-Qwen2-VL and
YOLO-World). With other networks the definitions are the same, but the values are not comparable: a report
names its models. Definitions: Yuan et al., "OpenS2V-Nexus", 2025, and its evaluation code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from castsheet.judge.assign import assign
from castsheet.judge.cast import Pixels
from castsheet.judge.protocols import Detection, Detector, Embedder, Vectors, cosine, crop

FRAMES = 32
CONFIDENCE = 0.6  # NexusScore ignores detections below
TEXT_GATE = 0.3  # and detections whose crop fits the element's words less

TextMatch = Callable[[Pixels], float]  # cosine of a crop and the element's description


@dataclass(frozen=True)
class FaceSim:
    """FaceSim of a clip; see `face_sim`.

    Attributes:
        published: None if no frame has a face.
        corrected, coverage: by element; coverage is the share of frames in which its face was assigned.
        margin: by element, similarity to its own panel less that to the nearest other; None if there is none.
    """

    published: float | None
    corrected: dict[str, float]
    coverage: dict[str, float]
    margin: dict[str, float | None]


def evenly(count: int, wanted: int = FRAMES) -> list[int]:
    """Up to `wanted` frame numbers, evenly spread, first and last included."""
    return sorted({round(at) for at in np.linspace(0, count - 1, min(count, wanted))})


def face_sim(
    frames_FHWC: Pixels, faces: Mapping[str, Pixels], detector: Detector, embedder: Embedder
) -> FaceSim:
    """FaceSim.

    Published: the mean cosine of the largest face of up to 32 frames with the reference. Cosines below zero
    count as zero, and frames without a face or with a zero are left out. With several references the best of
    each frame counts (the definition knows one only). Range 0..1. Blind to: absence (one good frame beats 32
    decent ones), everybody but the largest face, swaps.

    Corrected: in each frame all faces are assigned to all references one to one, with the largest sum of
    cosines. An element without a face scores 0 in that frame. The mean is over all frames. Range 0..1. Blind
    to: backs of heads, which count as absence: read it beside `coverage`.

    Args:
        frames_FHWC: uint8 RGB.
        faces: the face panel's pixels, by element.
    """
    names, sampled = list(faces), evenly(len(frames_FHWC))
    references = embedder.embed([faces[name] for name in names])
    largest: list[float] = []
    own: dict[str, list[float]] = {name: [] for name in names}
    margins: dict[str, list[float]] = {name: [] for name in names}
    for at in sampled:
        frame = frames_FHWC[at]
        found = detector.detect(frame)
        if not found:
            continue
        similar_NM = cosine(embedder.embed([crop(frame, one.box) for one in found]), references)
        biggest = max(range(len(found)), key=lambda n: found[n].box.area)
        largest.append(max(0.0, float(similar_NM[biggest].max())))
        for face, person in assign(similar_NM):
            own[names[person]].append(max(0.0, float(similar_NM[face, person])))
            if len(names) > 1:
                others = np.delete(similar_NM[face], person).max()
                margins[names[person]].append(float(similar_NM[face, person] - others))
    kept = [value for value in largest if value != 0]
    return FaceSim(
        published=float(np.mean(kept)) if kept else None,
        corrected={name: sum(own[name]) / len(sampled) for name in names},
        coverage={name: len(own[name]) / len(sampled) for name in names},
        margin={name: float(np.mean(margins[name])) if margins[name] else None for name in names},
    )


@dataclass(frozen=True)
class Nexus:
    """NexusScore of one element. Attributes: see `nexus_score`; `seen` is the share of frames with a
    detection."""

    published: float | None
    corrected: float
    seen: float


def nexus_score(
    frames_FHWC: Pixels, panel: Pixels, detector: Detector, embedder: Embedder, fits: TextMatch | None = None
) -> Nexus:
    """NexusScore of one element.

    Published: of up to 32 frames, the detections with confidence over 0.6 (and, if `fits` is given, a text
    match over 0.3); the mean cosine of their crops with the panel, divided once more by their number. None
    without detections. A subject seen in more frames therefore scores lower: an artefact of the published
    code, kept here because numbers must be comparable.
    Corrected: each frame's most similar detection, 0 without any; the mean over all sampled frames. Range
    -1..1. Blind to: which of two similar things it is.
    """
    reference: Vectors = embedder.embed([panel])
    sampled = evenly(len(frames_FHWC))
    every: list[float] = []
    best: list[float] = []
    for at in sampled:
        crops = _kept(frames_FHWC[at], detector.detect(frames_FHWC[at]), fits)
        values = cosine(embedder.embed(crops), reference)[:, 0].tolist() if crops else []
        every += values
        if values:
            best.append(max(values))
    return Nexus(
        published=float(np.mean(every)) / len(every) if every else None,
        corrected=sum(best) / len(sampled),
        seen=len(best) / len(sampled),
    )


def _kept(frame_HWC: Pixels, found: Sequence[Detection], fits: TextMatch | None) -> list[NDArray[np.uint8]]:
    crops = [crop(frame_HWC, one.box) for one in found if one.score > CONFIDENCE]
    return crops if fits is None else [one for one in crops if fits(one) > TEXT_GATE]
