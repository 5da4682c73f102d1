"""What the judge says about a clip: plain values that JSON can hold."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from castsheet.judge.assign import Swap
from castsheet.judge.evidence import Glimpse
from castsheet.judge.faces import FaceReport
from castsheet.judge.fields import Find
from castsheet.judge.published import FaceSim, Nexus
from castsheet.sheet.box import Kind

State = Literal["carried", "not carried", "cannot tell"]


@dataclass(frozen=True)
class Problem:
    """Something wrong with a clip.

    Attributes:
        measure: which measure says so: leak, letterbox, coverage, drift, tint, swap, order,
            copy, motion, flicker, text.
        element: whose problem it is; None where it is the whole clip's.
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
    """Leak over time. Lists have one value a frame; definitions are in `castsheet.judge.leak`.
    `finds` are the best places of panels, see `castsheet.judge.search`."""

    likeness: list[float]
    grid: list[float]
    lines: list[int]
    leaked: list[bool]
    seconds: float
    bars: float
    finds: list[Find] = field(default_factory=list)


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
        margin: median of similarity less what the same window is to the nearest other element of its kind;
        None
            when there is none.
        drift: median identity of the last third less that of the first; negative when looks get lost.
        pasted: likeness of the best find of one of its panels, see `castsheet.judge.search`.
        worst: the sampled frame with the lowest similarity.
        glimpses: its figure, or the ground of a place, in the frames that were looked at; None where no
            network
            told figures from grounds.
        face: None where faces were not compared.
        state, why: the verdict on this element, and its reason, one clause.
        compared, missing: what was looked at, and what ought to have been and was not.
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
    glimpses: list[Glimpse] | None
    face: FaceReport | None
    state: State
    why: str
    compared: tuple[str, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True)
class MotionReport:
    """`castsheet.judge.motion`: change from frame to frame, share of still pairs, smoothness,
    share of the picture that shakes, longest stretch without change, jolts, flicker, the scene's own
    motion."""

    amount: list[float]
    mean: float
    still: float
    smoothness: float | None
    shaking: float
    frozen: int
    jolts: float
    flicker: float
    scene: float


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
        state: carried where every element is and nothing is grave; not carried where an element is not or
            something is grave; else cannot tell. passed: whether the state is carried.
        score: for ranking takes, in 0..1: mean over elements of their faces, figures and colours, as far as
            they
            were compared, times the share of frames without leak, halved for every other grave problem but
            coverage.
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
    state: State
    passed: bool
    score: float
    verdict: str
