"""All networks that are here, asked about one picture: the joint mask, and what they know of the person."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from castsheet.errors import DependencyError
from castsheet.sheet.look.agree import disputed, fitted, joined
from castsheet.sheet.look.doubts import Seen, losses
from castsheet.sheet.look.edges import estimate_backdrop, key, together
from castsheet.sheet.look.faces import FaceDetector, installed_detector
from castsheet.sheet.look.litert import Body, People
from castsheet.sheet.look.overlooked import decided, restored
from castsheet.sheet.look.salience import Matter, U2Net, around
from castsheet.sheet.look.weights import there

Array = NDArray[np.float32]

# A person counts as the picture's subject if at least this share of it is taken for the subject as well.
_SUBJECT = 0.3
_SURE = 0.5
# Of 1: what a first look thinks this likely is looked at more closely.
_FAINT = 0.3
_SMALL = 320
# The side at which the finder looks: a third of the time of its own 320, and the close look is as good.
_FINDER = 192


class KnowsPeople(Protocol):
    """Who is a person, and where the body's points lie. Tests use a double."""

    @property
    def name(self) -> str:
        """Names model and version, for cache keys."""

    def body(self, rgb: Image.Image) -> Body | None:
        """The clearest person; None if none is found."""


@dataclass(frozen=True)
class Found:
    """A mask (H, W) 0..1 at any size, stretched over the picture, and what else was seen."""

    mask: Array
    seen: Seen


@dataclass(frozen=True)
class Experts:
    """Networks that look at a picture together.

    Args:
        things: finds what stands out.
        finder: a smaller network that says where `things` shall look, together with `people`.
        people: knows persons; None leaves them to the others.
        faces: finds faces, for doubts alone.
    """

    things: Matter
    finder: U2Net | None = None
    people: KnowsPeople | None = None
    faces: FaceDetector | None = None

    @property
    def name(self) -> str:
        """Names them all, for cache keys."""
        parts = (self.finder, self.things, self.people)
        return "+".join(one.name for one in parts if one is not None)

    def look(self, rgb: Image.Image) -> Found:
        """The joint mask."""
        body, faces = together(
            lambda: self.people.body(rgb) if self.people else None,
            lambda: self.faces.find(rgb) if self.faces else (),
        )
        things = self._things(rgb, body)
        if body is not None and not _is_subject(body, things):
            body = None
        if body is None:
            return Found(things, Seen(faces))
        seen = Seen(faces, body, disputed(rgb.size, things, body.mask))
        # Joined masks are coarser: only what the salience network loses is worth that.
        lost = losses(fitted(things, rgb.size), seen)
        return Found(joined(rgb, things, body.mask) if lost else things, seen)

    def _things(self, rgb: Image.Image, body: Body | None) -> Array:
        if self.finder is None or not isinstance(self.things, U2Net):
            return self.things.mask(rgb)
        coarse, network = self.finder.glance(rgb), self.things
        found = fitted(coarse, (_SMALL, _SMALL)) > _FAINT
        person = body.mask if body is not None and _is_subject(body, coarse) else None
        if person is not None:
            found |= fitted(person, (_SMALL, _SMALL)) > _SURE
        box = around(found, rgb.size)
        if box is None:
            return coarse
        close = network.within(rgb, box)
        close = restored(rgb, coarse, close, lambda: _whole(rgb, network), person)
        return close if person is None else decided(rgb, coarse, close, person)


def watched(rgb: Image.Image, mask: Array, people: KnowsPeople | None, faces: FaceDetector | None) -> Seen:
    """What is known of a picture whose mask they did not make, so that they can doubt it."""
    body = None if people is None else people.body(rgb)
    if body is not None and not _is_subject(body, mask):
        body = None
    apart = None if body is None else disputed(rgb.size, mask, body.mask)
    return Seen(() if faces is None else faces.find(rgb), body, apart)


@dataclass(frozen=True)
class Alone:
    """One network that cuts alone, and those that say afterwards what of a person its mask lacks.

    Args:
        things: cuts.
        people, faces: know persons and faces, for doubts alone.
    """

    things: Matter
    people: KnowsPeople | None = None
    faces: FaceDetector | None = None

    @property
    def name(self) -> str:
        """Names them, for cache keys."""
        return "+".join(one.name for one in (self.things, self.people) if one is not None)

    def look(self, rgb: Image.Image) -> Found:
        """The network's own mask, as it is."""
        mask = self.things.mask(rgb)
        return Found(mask, watched(rgb, mask, self.people, self.faces))


def _whole(rgb: Image.Image, network: U2Net) -> Array:
    """The subject of the whole picture, by a plain background's colour or the large network's glance."""
    backdrop = estimate_backdrop(rgb)
    return network.glance(rgb) if backdrop is None else key(rgb, backdrop)


def _is_subject(body: Body, things: Array) -> bool:
    person = fitted(body.mask, (_SMALL, _SMALL))
    shared = float(np.minimum(person, fitted(things, (_SMALL, _SMALL))).sum())
    return body.score > _SURE and shared >= _SUBJECT * max(float(person.sum()), 1.0)


@cache
def installed_experts() -> Experts:
    """The networks that are here, loaded once a process.

    Raises:
        DependencyError: not one network of things is here.
    """
    people, faces = installed_people(), installed_detector()
    if not there("u2net.onnx"):
        return Experts(U2Net("u2netp"), None, people, faces)
    # The small network tells where something is as well as the large one, in an eighth of the time.
    finder = U2Net("u2netp", side=_FINDER) if there("u2netp.onnx") else None
    return Experts(U2Net("u2net"), finder, people, faces)


@cache
def installed_people() -> People | None:
    """The networks that know people; None where the runtime or a file is missing."""
    if importlib.util.find_spec("ai_edge_litert") is None:
        return None
    try:
        return People()
    except DependencyError:
        return None


def installed_things() -> U2Net | None:
    """The small network of what stands out; None where the runtime or its file is missing."""
    try:
        return U2Net("u2netp")
    except DependencyError:
        return None


def named(quality: str) -> str:
    """A way to cut with the networks that it means here, for cache keys: more may be added later."""
    if quality == "none":
        return quality
    known = ("u2netp.onnx", "u2net.onnx") if quality == "auto" else ()
    files = [name for name in (*known, "pose_landmark_full.tflite") if there(name)]
    runtimes = ["litert"] if importlib.util.find_spec("ai_edge_litert") else []
    return " ".join([quality, *files, *runtimes])
