"""Which view of a character a picture shows: by face, figure and file name, with an honest "unsure"."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from castsheet.elements import View
from castsheet.errors import DependencyError, ImageError
from castsheet.media.pictures import load_image
from castsheet.sheet.box import Box
from castsheet.sheet.look.faces import FRONTAL_YAW, Face, FaceDetector, subject
from castsheet.sheet.look.matting import Quality, cut_out
from castsheet.sheet.look.regions import bounds
from castsheet.sheet.look.salience import Matter

# A standing adult's face (brow to chin) is 1/10 to 1/12 of the height; in a portrait it is 1/5 and more.
FACE_SHARE = 0.19
SIDE_YAW = 55.0
# A figure this many times as high as wide is a person standing, arms down.
_STANDING = 2.0
SURE = 0.6
_HINTS: dict[View, str] = {
    "three-quarter": "threequarter threequarters 34 3q 3quarter quarter",
    "back": "back rear behind backside",
    "side": "side profile left right sideview",
    "detail": "detail details hand hands shoe shoes texture macro tattoo scar jewellery",
    "face": "face head portrait closeup headshot selfie",
    "front": "front frontal body full fullbody posture",
}


@dataclass(frozen=True)
class Guess:
    """A picture's view.

    Args:
        confidence: 0..1; below `SURE` the user should look.
        reason: what speaks for the view, and against it.
        face: the subject's face, if one was found; px of the picture looked at.
    """

    view: View
    confidence: float
    reason: str
    face: Face | None = None

    @property
    def unsure(self) -> bool:
        """Whether the user should look at the picture."""
        return self.confidence < SURE


@dataclass(frozen=True)
class Look:
    """A picture prepared for sorting: RGBA, whether its subject stands free, and a remark on that."""

    image: Image.Image
    free: bool
    note: str = ""


def look_at(
    path: Path, *, quality: Quality = "auto", matter: Matter | None = None, cache: Path | None = None
) -> Look:
    """Cut the subject out if the tools for it are installed, else take the picture as it is.

    Raises:
        ImageError: the picture cannot be read.
    """
    picture = load_image(path)
    try:
        cut = cut_out(path, quality=quality, matter=matter, cache=cache)
    except (DependencyError, ImageError) as error:
        return Look(picture, False, f"not cut out: {error.what}")
    return Look(cut.image, True, cut.note)


def name_hint(path: Path) -> View | None:
    """The view that a file's name tells, or None: `hero_back.jpg`, `Ann-3-4.png`, `full body left`."""
    text = re.sub(r"3[\s_./-]?4|three[\s_-]?quarters?", " threequarter ", path.stem.lower())
    text = re.sub(r"close[\s_-]?up", "closeup", re.sub(r"([a-z])(\d)", r"\1 \2", text))
    words = set(re.split(r"[^a-z0-9]+", text))
    return next((view for view, hints in _HINTS.items() if words & set(hints.split())), None)


def guess_view(look: Look, path: Path, detector: FaceDetector | None, *, pick: int | None = None) -> Guess:
    """The view of a character's picture.

    Args:
        path: only its name is read here.
        detector: None if none is installed; then the figure's shape and the name decide.
        pick: which face is the subject's, counted from the left, from 1.

    Raises:
        ImageError: there are several faces, and none is clearly the subject's.
    """
    hint = name_hint(path)
    seen = _by_shape(look) if detector is None else _by_face(look, path, detector, pick)
    if hint is None:
        return seen
    if hint == seen.view:
        return Guess(hint, min(1.0, seen.confidence + 0.25), f"{seen.reason}; so says the name", seen.face)
    if seen.unsure or hint == "detail":
        return Guess(hint, 0.7, f"by the name; {seen.reason}", seen.face)
    return Guess(seen.view, 0.45, f"{seen.reason}, but the name says {hint}", seen.face)


def _by_face(look: Look, path: Path, detector: FaceDetector, pick: int | None) -> Guess:
    flat = Image.new("RGB", look.image.size, (160, 160, 160))
    flat.paste(look.image, mask=look.image.getchannel("A"))
    face = subject(detector.find(flat), str(path), pick=pick)
    if face is None:
        return _without_face(look)
    figure = _figure(look)
    share = face.box.h / figure.h
    turned, sure = abs(face.yaw), 0.6 + 0.35 * face.score
    told = f"face {face.box.h} px high, {share:.0%} of the figure, turned {turned:.0f} degrees"
    if share >= FACE_SHARE:
        if turned > SIDE_YAW:
            return Guess("detail", 0.5, f"a head in profile; {told}", face)
        return Guess("face", sure - (0.2 if turned > FRONTAL_YAW else 0), told, face)
    if not look.free and share > 0.6 * FACE_SHARE:
        sure -= 0.25  # between portrait and whole figure, and nobody knows how far the figure reaches
    nearest = min(abs(turned - FRONTAL_YAW), abs(turned - SIDE_YAW))
    sure -= 0.35 * max(0.0, 1 - nearest / 8)
    view: View = "front" if turned <= FRONTAL_YAW else "three-quarter" if turned <= SIDE_YAW else "side"
    return Guess(view, sure, told, face)


def _without_face(look: Look) -> Guess:
    shape = _by_shape(look)
    if look.free and shape.view == "front":
        # A back, or else a drawn person, a mask or an animal: the detector knows only human faces.
        return Guess("back", 0.5, f"no human face; {shape.reason}")
    return Guess("detail", 0.4, f"no face; {shape.reason}")


def _by_shape(look: Look) -> Guess:
    figure = _figure(look)
    tall = figure.h / figure.w
    if not look.free:
        return Guess("front", 0.3, "the subject could not be told from its background")
    if tall >= _STANDING:
        return Guess("front", 0.4, f"a standing figure, {tall:.1f} times as high as wide")
    if tall > 0.7:
        return Guess("face", 0.3, f"a compact shape, {tall:.1f} times as high as wide")
    return Guess("detail", 0.3, f"a wide shape, {tall:.1f} times as high as wide")


def _figure(look: Look) -> Box:
    """The subject's place: the visible part of a free subject, else the whole picture."""
    seen = bounds(np.asarray(look.image.getchannel("A")) > 96) if look.free else None
    return seen or Box(0, 0, *look.image.size)


def one_of_several(path: Path, detector: FaceDetector | None, pick: int) -> tuple[Image.Image, Guess]:
    """The person with a face of a group picture: all of the picture's height, halfway to the neighbours.

    Args:
        pick: which face, counted from the left, from 1.

    Raises:
        ImageError: there is no such face.
        DependencyError: no detector is installed.
    """
    if detector is None:
        raise DependencyError(
            "--face needs a face detector", remedy='pip install "castsheet[faces]", or crop the picture'
        )
    picture = load_image(path)
    faces = detector.find(picture.convert("RGB"))
    face = subject(faces, str(path), pick=pick)
    assert face is not None  # a face that is picked is there, or `subject` raised
    middles = sorted(one.box.x + one.box.w / 2 for one in faces)
    own = face.box.x + face.box.w / 2
    left = max((middle for middle in middles if middle < own), default=-own)
    right = min((middle for middle in middles if middle > own), default=2 * picture.width - own)
    x0, x1 = max(0, round((left + own) / 2)), min(picture.width, round((own + right) / 2))
    part = picture.crop((x0, 0, x1, picture.height))
    below = picture.height - face.box.y + 0.5 * face.box.h
    share = face.box.h / max(1.0, below)
    told = f"face {pick} of {len(faces)}, {share:.0%} of what the picture shows of the person"
    turned = abs(face.yaw)
    if share >= FACE_SHARE:
        return part, Guess("face", 0.8, told, face)
    view: View = "front" if turned <= FRONTAL_YAW else "three-quarter" if turned <= SIDE_YAW else "side"
    return part, Guess(view, 0.7, told, face)
