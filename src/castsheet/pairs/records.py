"""What the stages hand on: small records of numbers and texts. Pictures are files beside them.

Times are seconds from a film's start; boxes are pixels of the film's picture.
"""

from __future__ import annotations

from dataclasses import dataclass

from castsheet.elements import View
from castsheet.errors import CastsheetError
from castsheet.sheet.box import Box

RULES = {
    "R00": "no licence that allows training, or nothing on the people in it",
    "R01": "cannot be read",
    "R02": "the picture is smaller than the clips",
    "R03": "fewer than 20 frames a second",
    "R10": "the shot is shorter than a clip between its guards",
    "R30": "nothing moves",
    "R31": "blurred, against the film's own sharpness",
    "R32": "too dark, too bright or without contrast",
    "R33": "frames are repeated",
    "R34": "writing stands over the picture",
    "R35": "a mark stands in a corner of the whole film",
    "R36": "the film has shown it before, as it is or mirrored",
    "R37": "somebody takes another one's place: a transition that no detector saw",
    "R40": "no subject",
    "R41": "more subjects than a sheet should hold",
    "R42": "a subject is too small or too large",
    "R43": "a subject is cut off by the frame for half of the time or more",
    "R44": "a subject is lost for a part of the time",
    "R45": "somebody may stand where the place is not known",
    "R50": "somebody is not seen in any other shot",
    "R51": "nobody is sure who somebody is",
    "R60": "no view of somebody's face outside the clip, or no close one of whom the clip shows near",
    "R61": "no whole view outside the clip of somebody whom it shows whole",
    "R63": "all views of somebody are too much like the clip",
    "R70": "no clean picture of the place",
    "R80": "the sheet has errors",
    "R90": "the caption has errors",
    "R91": "the caption does not name somebody of the clip",
    "R92": "the caption says how somebody looks",
    "R95": "a panel comes from the clip",
    "R96": "a panel is nearly a part of the clip",
    "R97": "the judge does not find an element in the clip",
}
"""Why a unit can be left out, by rule."""


class PairsError(CastsheetError):
    """A table of films, a work folder or a cast file is not usable."""


@dataclass(frozen=True)
class Reject:
    """A unit that was left out: at which stage, by which rule, with which value against which limit."""

    unit: str
    rule: str
    value: str
    limit: str = ""


@dataclass(frozen=True)
class Film:
    """A film of the table that can be read.

    Args:
        people: consent, synthetic or none: what the user says of the people in it.
        sha256: of the file. size: width and height in px, without bars. fps: what the file says; frames have
            times of their own.
        bars: px of black at the left and the right, and above and below; they are cropped away.
    """

    path: str
    title: str
    licence: str
    credit: str
    url: str
    people: str
    sha256: str
    size: tuple[int, int]
    fps: float
    bars: tuple[int, int] = (0, 0)

    @property
    def id(self) -> str:
        """Names the film's content in results."""
        return self.sha256[:12]


@dataclass(frozen=True)
class Clips:
    """What clips shall be like: width and height in px, frames (8k + 1), frames a second."""

    width: int = 768
    height: int = 448
    frames: int = 121
    fps: float = 24.0

    def __post_init__(self) -> None:
        sides = self.width >= 64 and self.height >= 64 and self.width % 32 == 0 and self.height % 32 == 0
        if not (sides and self.frames % 8 == 1 and 9 <= self.frames <= 1001 and 1 <= self.fps <= 120):
            raise PairsError(
                f"no training with clips of {self.width}x{self.height}, {self.frames} frames at {self.fps:g}",
                remedy="use sides that are multiples of 32, 8k + 1 frames, and 24 frames a second",
            )

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.width, self.height

    @property
    def seconds(self) -> float:
        """From the first frame to the last."""
        return (self.frames - 1) / self.fps


@dataclass(frozen=True)
class Shot:
    """Frames `first` to before `last` of a film, without the transitions at both ends."""

    film: str
    number: int
    first: int
    last: int

    @property
    def id(self) -> str:
        """Film and number."""
        return f"{self.film}-{self.number:04d}"


@dataclass(frozen=True)
class Sight:
    """A subject in one frame of a film.

    Args:
        box: px of the picture that was looked at. area: px that it covers. edge: it touches the frame's edge.
        yaw: degrees that its face is turned; None where no face was seen. face: the face's height in px.
        view: what it shows of the subject, where a person drew its box and said so.
    """

    frame: int
    box: Box
    area: int
    edge: bool
    yaw: float | None = None
    face: int = 0
    view: View | None = None


@dataclass(frozen=True)
class Track:
    """One subject through a shot.

    Args:
        number: from 0, in the order in which they appear.
        colours: part colours as a flat histogram, the mean over the track (see `looks`).
        vector: what an embedder sees in it, of unit length; () without one.
        owner: key of whom it shows, where a person drew its box; "" where it was found.
    """

    shot: str
    number: int
    sights: tuple[Sight, ...]
    colours: tuple[float, ...]
    vector: tuple[float, ...] = ()
    owner: str = ""

    @property
    def id(self) -> str:
        """Shot and number."""
        return f"{self.shot}.{self.number}"


@dataclass(frozen=True)
class Window:
    """A clip that might become a pair: the frames of the film that it shows, one for each of its own.

    Args:
        still, sharp, repeats, strokes: measures of `quality`. luma: mean and spread.
        rolls: strokes that roll up or down together, as credits do.
        words: what a text reader reads in it, if strokes look like letters; None if nobody read.
    """

    shot: str
    number: int
    frames: tuple[int, ...]
    still: float
    sharp: float
    repeats: float
    strokes: float
    luma: tuple[float, float]
    rolls: float = 0.0
    words: str | None = None

    @property
    def id(self) -> str:
        """Shot and number."""
        return f"{self.shot}w{self.number}"
