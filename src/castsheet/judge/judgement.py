"""What the judge says about a clip: plain values that JSON can hold."""

from __future__ import annotations

from dataclasses import dataclass

from castsheet.judge.assign import Swap
from castsheet.judge.published import FaceSim, Nexus
from castsheet.sheet.box import Kind


@dataclass(frozen=True)
class Problem:
    """Something wrong with a clip.

    Attributes:
        measure: which measure found it: leak, letterbox, coverage, swap, order, copy, motion, text.
        element: the element that has the problem; None if the whole clip has it.
        message: one clause for a human.
        frames: where it is worst.
        grave: whether the clip fails because of it; other problems are remarks.
    """

    measure: str
    element: str | None
    message: str
    frames: tuple[int, ...] = ()
    grave: bool = True


@dataclass(frozen=True)
class LeakReport:
    """Leak over time. Lists have one value a frame; definitions are in `castsheet.judge.leak`."""

    likeness: list[float]
    grid: list[float]
    lines: list[int]
    leaked: list[bool]
    seconds: float
    bars: float


@dataclass(frozen=True)
class ElementReport:
    """One element over the sampled frames.

    Attributes:
        similarity: to its own panels, in 0..1, see `castsheet.judge.colour`.
        present: whether similarity reaches the threshold of its kind. A figure in wrong colours is not
            present: this judge cannot tell somebody else from nobody.
        boxes: (x, y, w, h) in pixels of the clip.
        coverage: share of sampled, not leaked frames in which it is present.
        identity, likeness: median and mean similarity over the same frames.
        tint: median distance of its colours from its panels', see `castsheet.judge.colour`; for ranking.
        margin: median of similarity less the same window's similarity to the nearest other element of its
            kind; None if there is none.
        drift: median identity of the last third less that of the first; negative if looks get lost.
        pasted: median likeness to a panel with its black, see `castsheet.judge.paste`; None for props and
            places, which should look like their panels.
        worst: the sampled frame with the lowest similarity.
    """

    id: str
    kind: Kind
    description: str
    similarity: list[float]
    present: list[bool]
    boxes: list[tuple[int, int, int, int]]
    coverage: float
    identity: float
    likeness: float
    tint: float
    margin: float | None
    drift: float
    pasted: float | None
    worst: int


@dataclass(frozen=True)
class MotionReport:
    """`castsheet.judge.motion`: change from frame to frame, share of still pairs, smoothness,
    share of the picture that shakes."""

    amount: list[float]
    mean: float
    still: float
    smoothness: float | None
    shaking: float


@dataclass(frozen=True)
class TextReport:
    """Stray typography: `castsheet.judge.typography.strokes`, and the lines that a reader found, if any."""

    strokes: float
    lines: list[str] | None


@dataclass(frozen=True)
class Judgement:
    """All measurements of a clip. `castsheet.media.provenance.dump` writes them as JSON.

    Attributes:
        sampled: numbers of the frames in which elements were looked for.
        manifest: whether the sheet's panels were known; otherwise they were found in its picture.
        problems: what is wrong, gravest first.
        score: for ranking takes, in 0..1: the mean of the elements' likeness, each reduced by how far its
            colours are off (to 0 if a colour is no longer the sheet's), times the share of frames without
            leak, halved for every other grave problem but coverage.
    """

    name: str
    width: int
    height: int
    frames: int
    fps: float
    manifest: bool
    sampled: list[int]
    leak: LeakReport
    elements: list[ElementReport]
    swaps: list[Swap]
    motion: MotionReport
    text: TextReport
    faces: FaceSim | None
    features: dict[str, Nexus] | None
    models: list[str]
    problems: list[Problem]
    passed: bool
    score: float
    verdict: str
