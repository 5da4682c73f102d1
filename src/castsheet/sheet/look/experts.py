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
from castsheet.sheet.look.doubts import LOSSES, Seen, doubts
from castsheet.sheet.look.faces import FaceDetector, installed_detector
from castsheet.sheet.look.litert import Body, People
from castsheet.sheet.look.salience import Matter, U2Net
from castsheet.sheet.look.weights import there

Array = NDArray[np.float32]

# A person counts as the picture's subject if at least this share of it is taken for the subject as well.
_SUBJECT = 0.3
_SURE = 0.5
_SMALL = 320


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
        things: they find what stands out; several are averaged.
        people: knows persons; None leaves them to the others.
        faces: finds faces, for doubts alone.
    """

    things: tuple[Matter, ...]
    people: KnowsPeople | None = None
    faces: FaceDetector | None = None

    @property
    def name(self) -> str:
        """Names them all, for cache keys."""
        return "+".join([*(one.name for one in self.things), *([self.people.name] if self.people else [])])

    def look(self, rgb: Image.Image) -> Found:
        """The joint mask."""
        masks = [one.mask(rgb) for one in self.things]
        things = masks[0] if len(masks) == 1 else _mean(masks)
        body = self.people.body(rgb) if self.people else None
        if body is not None and not _is_subject(body, things):
            body = None
        faces = self.faces.find(rgb) if self.faces else ()
        if body is None:
            return Found(things, Seen(faces))
        seen = Seen(faces, body, disputed(rgb.size, things, body.mask))
        # Joined masks are coarser: only what the salience network loses is worth that.
        lost = any(doubt.kind in LOSSES for doubt in doubts(fitted(things, rgb.size), seen))
        return Found(joined(rgb, things, body.mask) if lost else things, seen)


def _mean(masks: list[Array]) -> Array:
    return np.asarray(np.mean([fitted(mask, (_SMALL, _SMALL)) for mask in masks], axis=0), np.float32)


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
    # Averaged with u2netp, u2net did no better on pictures of known truth.
    large = there("u2net.onnx")
    return Experts((U2Net("u2net" if large else "u2netp"),), installed_people(), installed_detector())


@cache
def installed_people() -> People | None:
    """The networks that know people; None where the runtime or a file is missing."""
    if importlib.util.find_spec("ai_edge_litert") is None:
        return None
    try:
        return People()
    except DependencyError:
        return None


def named(quality: str) -> str:
    """A way to cut with the networks that it means here, for cache keys: "auto" changes when one is added."""
    if quality != "auto":
        return quality
    files = [name for name in ("u2netp.onnx", "u2net.onnx", "pose_landmark_full.tflite") if there(name)]
    runtime = importlib.util.find_spec("ai_edge_litert") is not None
    return " ".join(["auto", *files, "litert" if runtime else ""])
