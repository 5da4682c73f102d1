"""Three states of an element: carried, not carried, cannot tell. A false "carried" is the worst mistake here.

The bands lie around thresholds that were chosen on the tuning half of the outside set (docs/judge.md): what
is clearly above is carried, what is clearly below is not, and what lies between stays with whoever looks at
the page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from castsheet.judge.colour import REACH
from castsheet.judge.evidence import Glimpse, better_half
from castsheet.judge.faces import FaceReport
from castsheet.judge.judgement import State
from castsheet.sheet.box import Kind

PRESENT: dict[Kind, float] = {"character": 0.664, "prop": 0.64, "location": 0.75}
COVERAGE = 0.5  # an element that is there for less of the clip is missing


@dataclass(frozen=True)
class Band:
    """At `carried` and above it is there, below `absent` it is not."""

    absent: float
    carried: float

    def state(self, value: float) -> State:
        """Which of the three a value is in."""
        if value >= self.carried:
            return "carried"
        return "not carried" if value < self.absent else "cannot tell"


FACE = Band(0.935, 0.943)  # cosine of dlib's vectors; strangers share about 0.8
FIGURE = Band(0.58, 0.80)
GROUND = Band(0.50, 0.76)
FIGURE_LOOKS = Band(0.31, 0.69)  # colours and networks together
# Of somebody with a face, who may turn the back: a figure that the sheet does not show denies nobody.
PERSON_LOOKS = Band(0.1, 0.69)
GROUND_LOOKS = Band(0.33, 0.76)
PROP = Band(0.64, 0.75)  # colours only, from rendered clips
PROP_LOOKS = Band(0.31, 0.69)
CLOTHES = 0.5  # a figure less like the sheet's wears something else
FACE_COVERAGE = 0.15  # of the frames: a face that is seen in fewer says nothing of the rest
MARGIN = 0.0  # a face that is more like another member's is the other member's
ALIKE = (0.85, 0.97)  # cosines of faces that count as nothing and as all in the score


def band_of(kind: Kind, glimpses: Sequence[Glimpse]) -> Band:
    """The band of what was looked at: of colours and networks together, or of colours alone."""
    networks = bool(glimpses) and all(one.looks is not None for one in glimpses)
    if kind == "location":
        return GROUND_LOOKS if networks else GROUND
    if kind == "prop":
        return PROP_LOOKS if networks else PROP
    return FIGURE_LOOKS if networks else FIGURE


@dataclass(frozen=True)
class Held:
    """What is known of one element.

    Attributes:
        likeness, coverage: of its colours, see `castsheet.judge.colour`.
        glimpses: of its figure or its ground; None where no network told figures from grounds.
        face: None where faces were not compared. faceless: whether it is known that there is no face
            to compare: the sheet shows none, or the scene says that this is no human being.
    """

    kind: Kind
    likeness: float
    coverage: float
    glimpses: list[Glimpse] | None
    face: FaceReport | None
    faceless: bool

    @property
    def figure(self) -> float | None:
        """Its figure or its ground: with networks over the better half of what was looked at, else the mean
        of its colours; None where that was not looked at."""
        return better_half(self.glimpses) if self.glimpses and self.networks else self.colours

    @property
    def networks(self) -> bool:
        """Whether networks looked too."""
        return bool(self.glimpses) and all(one.looks is not None for one in self.glimpses or ())

    @property
    def colours(self) -> float | None:
        """Mean likeness of its figure's or ground's colours alone."""
        return float(np.mean([one.likeness for one in self.glimpses])) if self.glimpses else None


@dataclass(frozen=True)
class Finding:
    """An element's state, why, what was compared, and what was not."""

    state: State
    why: str
    compared: tuple[str, ...]
    missing: tuple[str, ...]


def find(name: str, held: Held) -> Finding:
    """The state of one element."""
    if held.kind == "location":
        return _of_place(name, held)
    return _of_prop(name, held) if held.kind == "prop" else _of_person(name, held)


def _of_prop(name: str, held: Held) -> Finding:
    if held.networks:
        state, why = _by_body(name, held)
        if state == "not carried" and held.coverage >= COVERAGE:
            # What tells figures from their ground misses a small thing; its colours are seen everywhere.
            state, why = "cannot tell", f"the colours of {name} are there, but nothing of its shape was found"
        return Finding(state, why, ("shape and colours",), ())
    state = PROP.state(held.likeness)
    state = "not carried" if held.coverage < COVERAGE else state
    return Finding(state, _words(name, state, "its colours are"), ("colours",), ("shape",))


def _of_place(name: str, held: Held) -> Finding:
    if held.figure is None:
        # By colours alone most photographs of another place pass: they may deny a place, not confirm it.
        state: State = "not carried" if held.coverage < COVERAGE else "cannot tell"
        why = _words(name, state, "only colours were compared, and they are")
        return Finding(state, why, ("colours",), ("the place without its people",))
    state = band_of(held.kind, held.glimpses or []).state(held.figure)
    why = _words(name, state, "the place without its people is")
    return Finding(state, why, ("the place without its people",), ())


def _of_person(name: str, held: Held) -> Finding:
    face = held.face
    seen = face is not None and face.likeness is not None and face.coverage >= FACE_COVERAGE
    body = "figure" if held.figure is not None else "colours"
    if seen:
        assert face is not None
        return _by_face(name, held, face, (body, "face"))
    state, why = _by_body(name, held)
    if held.faceless or state == "not carried":
        missing = () if held.faceless else ("face",)
        return Finding(state, why, (body,), missing)
    lacks = "faces were not compared" if face is None else "no face is seen whole and near enough"
    like = "figure" if held.networks else "colours"
    there = f"somebody with {name}'s {like} is there" if state == "carried" else f"{name} may be there"
    return Finding("cannot tell", f"{there}, but {lacks}", (body,), ("face",))


def _by_face(name: str, held: Held, face: FaceReport, compared: tuple[str, ...]) -> Finding:
    assert face.likeness is not None
    state = FACE.state(face.likeness)
    if face.margin is not None and face.margin < MARGIN:
        return Finding("not carried", f"{name} has another member's face", compared, ())
    if state == "not carried" and (face.straight is None or FACE.state(face.straight) != "not carried"):
        return Finding("cannot tell", f"the face taken for {name}'s is turned away", compared, ())
    if state == "not carried":
        return Finding(state, f"{name} has another face", compared, ())
    if state == "cannot tell":
        return Finding(state, f"the face of {name} may be somebody else's", compared, ())
    if _dressed_otherwise(held):
        return Finding(state, f"the face is {name}'s, in other clothes as it seems", ("face",), ())
    return Finding(state, f"the face is {name}'s", compared, ())


def _dressed_otherwise(held: Held) -> bool:
    """Whether the figure of somebody with the right face is not the sheet's."""
    if held.networks and held.figure is not None and held.figure < FIGURE_LOOKS.absent:
        return True
    return held.colours is not None and held.colours < CLOTHES


def _by_body(name: str, held: Held) -> tuple[State, str]:
    if held.figure is None:
        state: State = "not carried" if held.coverage < COVERAGE else "cannot tell"
        return state, _words(name, state, "only colours were compared, and they are")
    band = band_of(held.kind, held.glimpses or [])
    if held.networks and held.kind == "character" and not held.faceless:
        band = PERSON_LOOKS
    state = band.state(held.figure)
    what = "thing" if held.kind == "prop" else "figure"
    assert held.glimpses is not None
    margins = [one.margin for one in held.glimpses if one.margin is not None]
    if state == "carried" and margins and float(np.median(margins)) < 0:
        return "cannot tell", f"the {what} taken for {name} is more like another member"
    return state, _words(name, state, f"the {what} is")


def _words(name: str, state: State, what: str) -> str:
    told = {
        "carried": f"{what} the sheet's",
        "not carried": f"nothing like {name} is there for half of the clip",
        "cannot tell": f"{what} not clearly the sheet's",
    }
    return told[state]


def worth(held: Held, tint: float) -> float:
    """What an element adds to the score, in 0..1: its face where it was compared, else figure and colours."""
    colours = held.likeness * max(0.0, 1 - tint / REACH)
    body = colours if held.figure is None else (colours + held.figure) / 2
    if held.face is None or held.face.likeness is None or held.face.coverage < FACE_COVERAGE:
        return body
    low, high = ALIKE
    face = min(max((held.face.likeness - low) / (high - low), 0.0), 1.0)
    return 0.8 * face + 0.2 * body
