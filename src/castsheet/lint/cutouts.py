"""Sheet rules about cut-outs and single pictures: losses, left-overs, light, sharpness, clothes, frames.

What a cut-out lost is known when the sheet is composed, because the networks saw the whole picture then; the
manifest keeps it. Everything else is read from the panels. Limits lie between the faulty and the good
sheets of `tests/lint/test_lint_cutouts.py`; each docstring says what its rule cannot see.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from castsheet.lint.findings import Fault, Severity, rule
from castsheet.lint.pixels import BLACK, DARK, Subject, brightness
from castsheet.lint.tones import chroma
from castsheet.sheet.box import Box
from castsheet.sheet.look.components import boxes_of
from castsheet.sheet.look.faces import Face
from castsheet.sheet.look.regions import luma
from castsheet.sheet.manifest import Panel

Pixels = NDArray[np.floating]

# Kinds of `doubts.Doubt` by rule.
_LOSSES = ("head", "hair", "hands", "feet", "person")
_GRAVE = ("head", "hands", "feet")
# Of 255: pixels above this are lit; the median of a panel's lit pixels.
_LIT, _PALE = 20, 244
# A loose piece: more than this share of the panel's lit pixels, and px; and within which share it is dust.
_PIECE, _LEAST_PIECE = 0.004, 60
# A panel's edge: how deep it is looked at, as a share of the short side, and how much of it must be lit.
_RING, _FRAMED = 0.015, 0.9
# The step over two pixels, of the local range of light, at the steepest hundredth of all places: less is out
# of focus or blown up. Toys and fur have few sharp places, and those stay; blur takes all.
_SHARP, _STEEPEST = 0.38, 99
_RANGE, _LEAST_EDGES = 24, 200
# Shared colours of clothes below a face, close up and on the figure.
_SAME_CLOTHES = 0.22
# Shared colours of what surrounds a person and the place.
_SAME_PLACE = 0.85
_MOST_FRAMED = 0.5


def _faults(subject: Subject, panel: Panel) -> list[tuple[str, str, str]]:
    """Picture, kind and words of what is known of a panel's cut-outs; a damaged entry says nothing."""
    table = subject.sheet.layout.get("faults")
    if not isinstance(table, dict):
        return []
    found = []
    for source in panel.sources:
        told = table.get(source.path)
        for line in told if isinstance(told, list) else ():
            kind, parted, words = str(line).partition(": ")
            if parted:
                found.append((source.path, kind, words))
    return found


@rule("S19", "cut-outs keep head, hair, hands and feet", "warning")
def cutouts_are_whole(subject: Subject) -> Iterator[Fault]:
    """No part that the networks of persons saw in the picture lies outside the cut-out. Known for pictures
    that were cut out by all networks; hands that hide in pockets or behind a back are not looked for."""
    for panel in subject.sheet.panels:
        close = panel.view == "face"
        for path, kind, words in _faults(subject, panel):
            if kind not in _LOSSES or (close and kind in ("hands", "feet", "person")):
                continue
            yield Fault(
                f"{panel.element} ({panel.view}): in the cut-out of {path} {words}",
                _LOOK.format(name=panel.element),
                where=panel.box,
                element=panel.element,
                severity="warning" if kind in _GRAVE or kind == "hair" else "info",
            )


_LOOK = (
    "look at the panel (of an element in the library: castsheet elements show {name} --cutouts); then draw "
    "its mask (PICTURE.mask.png beside it), or use another picture or another --cut"
)


@rule("S20", "cut-outs keep no background", "warning")
def cutouts_are_clean(subject: Subject) -> Iterator[Fault]:
    """No loose pieces beside a figure on black, by the cut-out's own alpha or by the panel's pixels, and no
    dim veil around it. The rule does not see background that touches the figure and is as bright."""
    for panel in subject.sheet.panels:
        told = [
            (path, kind, words)
            for path, kind, words in _faults(subject, panel)
            if kind in ("background", "disputed")
        ]
        for path, kind, words in told:
            severity: Severity = "warning" if kind == "background" else "info"
            yield Fault(
                f"{panel.element} ({panel.view}): in the cut-out of {path} {words}",
                _LOOK.format(name=panel.element),
                where=panel.box,
                element=panel.element,
                severity=severity,
            )
        if panel.kind == "location" or any(kind == "background" for _, kind, _ in told):
            continue
        for box in _loose(subject, panel):
            yield Fault(
                f"{panel.element} ({panel.view}): a piece of {box.w} x {box.h} px lies apart from the figure",
                _LOOK.format(name=panel.element),
                where=box,
                element=panel.element,
            )


def _loose(subject: Subject, panel: Panel) -> list[Box]:
    """Pieces of a free-standing character's panel that are no figure, in px of the sheet."""
    if panel.kind != "character":
        return []  # a prop may well be of several pieces
    grey = luma(subject.crop(panel.box))
    lit = grey > 2 * BLACK
    if lit.mean() > 0.85:
        return []
    pieces = sorted(boxes_of(lit, reach=2), key=lambda one: -one[1])
    count = max(1, len(panel.sources)) if panel.view == "turnaround" else 1
    total = sum(size for _, size in pieces)
    loose = [box for box, size in pieces[count:] if size > max(_LEAST_PIECE, _PIECE * total)]
    return [Box(panel.box.x + box.x, panel.box.y + box.y, box.w, box.h) for box in loose[:3]]


@rule("S21", "pictures are neither dark nor burnt out", "warning")
def pictures_are_lit(subject: Subject) -> Iterator[Fault]:
    """The brightest twentieth of a panel's pixels reaches luma 72 of 255, and half of them stays below 244.
    Night scenes that are meant trip it too: the model cannot read looks from them either."""
    for panel in subject.sheet.panels:
        top, middle = brightness(luma(subject.crop(panel.box)))
        if top < DARK:
            yield Fault(
                f"{panel.element} ({panel.view}) is dark: its bright parts reach luma {top:.0f} of 255 "
                f"(least {DARK})",
                f"use a picture of {panel.element} in light, or brighten it",
                where=panel.box,
                element=panel.element,
            )
        elif middle > _PALE:
            yield Fault(
                f"{panel.element} ({panel.view}) is burnt out: half of it is above luma {middle:.0f} of 255 "
                f"(limit {_PALE})",
                f"use a picture of {panel.element} with less light",
                where=panel.box,
                element=panel.element,
            )


@rule("S22", "pictures are sharp", "warning")
def pictures_are_sharp(subject: Subject) -> Iterator[Fault]:
    """A panel holds detail finer than two pixels of the size that the model sees. Flat drawings and toys
    without detail say nothing, and are not judged."""
    for panel in subject.sheet.panels:
        measured = _sharpness(subject, panel)
        if measured is not None and measured < _SHARP:
            yield Fault(
                f"{panel.element} ({panel.view}) is blurred: its steepest edges rise by {measured:.0%} of "
                f"the "
                f"local range in two pixels (least {_SHARP:.0%})",
                f"use a sharper or larger picture of {panel.element}",
                where=panel.box,
                element=panel.element,
            )


def _sharpness(subject: Subject, panel: Panel) -> float | None:
    """How steep a panel's edges are at conditioning size: the step over two pixels as a share of the local
    range of light, at the steepest of all places with a range; None for a panel without edges inside
    the figure."""
    crop = subject.crop(panel.box)
    scale = max(subject.output[0] / subject.size[0], subject.output[1] / subject.size[1])
    size = max(1, round(crop.width * scale)), max(1, round(crop.height * scale))
    if min(size) < 24:
        return None
    grey = np.asarray(crop.convert("L").resize(size, Image.Resampling.BOX), np.float32)
    span = _extreme(grey, 4, np.maximum) - _extreme(grey, 4, np.minimum)
    # The black ground's edge is the cut-out's, not the picture's.
    seen = (_extreme(grey, 5, np.minimum) > 2 * BLACK) & (span > _RANGE)
    if seen.sum() < _LEAST_EDGES:
        return None
    step = np.zeros_like(grey)
    step[:, 1:-1] = np.abs(grey[:, 2:] - grey[:, :-2])
    step[1:-1] = np.maximum(step[1:-1], np.abs(grey[2:] - grey[:-2]))
    return float(np.percentile(step[seen] / span[seen], _STEEPEST))


def _extreme(grey: Pixels, reach: int, of: np.ufunc) -> Pixels:
    """The largest or least of the (2 reach + 1) squared pixels around each (height, width), by doubling."""
    for axis in (0, 1):
        grey = np.pad(grey, [(reach, reach) if axis == side else (0, 0) for side in (0, 1)], mode="edge")
        width, wanted = 1, 2 * reach + 1
        while width < wanted:
            step = min(width, wanted - width)
            count = grey.shape[axis] - step
            grey = of(grey.take(range(count), axis), grey.take(range(step, step + count), axis))
            width += step
    return grey


@rule("S23", "close-up and figure wear the same clothes", "warning")
def clothes_agree(subject: Subject) -> Iterator[Fault]:
    """What lies below the face has the same colours close up as on the figure. Needs a face on both panels,
    and clothes of one look: a coat that is open on one picture and closed on the other may trip it."""
    for person in dict.fromkeys(p.element for p in subject.sheet.panels if p.kind == "character"):
        below = []
        for panel in subject.sheet.panels_of(person):
            faces = [face for face in subject.faces.get(panel, ()) if abs(face.yaw) < 40]
            if faces:
                tones = _below(subject, panel, max(faces, key=lambda one: one.box.h))
                if tones is not None:
                    below.append((panel, tones))
        close = [one for one in below if one[0].view == "face"]
        figures = [one for one in below if one[0].view == "turnaround"]
        if not close or not figures:
            continue
        shared = float(np.minimum(close[0][1], figures[0][1]).sum())
        if shared < _SAME_CLOTHES:
            yield Fault(
                f"the close-up of {person} and the figure share {shared:.0%} of the colours below the face "
                f"(least {_SAME_CLOTHES:.0%}): they wear different clothes, and the video may take either",
                f"use pictures of {person} in one outfit, or drop the close-up: it is then cropped from the "
                f"figure",
                where=close[0][0].box,
                element=person,
            )


def _below(subject: Subject, panel: Panel, face: Face) -> Pixels | None:
    """Colours of the strip below a face; None where the panel ends before."""
    box = face.box
    top, bottom = box.y + 1.35 * box.h, box.y + 2.1 * box.h
    strip = Box(round(box.x - 0.35 * box.w), round(top), round(1.7 * box.w), max(1, round(bottom - top)))
    crop = subject.crop(panel.box)
    x0, y0, x1, y1 = max(0, strip.x), strip.y, min(crop.width, strip.right), min(crop.height, strip.bottom)
    if x1 - x0 < 6 or y1 - y0 < 4:
        return None
    pixels = np.asarray(crop.convert("RGB").crop((x0, y0, x1, y1))).reshape(-1, 3)
    return chroma(pixels[pixels.max(axis=1) > _LIT])


@rule("S24", "people and things stand free, not in frames", "warning")
def panels_are_not_framed(subject: Subject) -> Iterator[Fault]:
    """At most half of a sheet's panels are filled to their edges. Where every panel is a framed picture,
    clips came out as split screens (2 of 5 measured by a user, none where figures were cut out on black)."""
    panels = subject.sheet.panels
    if len(panels) < 2:
        return
    framed = [panel for panel in panels if _is_framed(subject, panel)]
    unfree = [panel for panel in framed if panel.kind != "location"]
    if len(framed) <= _MOST_FRAMED * len(panels) or not unfree:
        return
    for panel in unfree:
        yield Fault(
            f"{panel.element} ({panel.view}) fills its panel to the edges, as {len(framed)} of {len(panels)} "
            f"panels do: the video may come out as a split screen",
            f"cut {panel.element} out: compose with --cut auto, or give the picture a mask",
            where=panel.box,
            element=panel.element,
        )


def _is_framed(subject: Subject, panel: Panel) -> bool:
    grey = luma(subject.crop(panel.box))
    depth = max(2, round(_RING * min(grey.shape)))
    sides = (grey[:depth], grey[-depth:], grey[:, :depth], grey[:, -depth:])
    return sum(float((side > 2 * BLACK).mean()) > _FRAMED for side in sides) >= 3


@rule("S25", "no panel shows the scene already", "warning")
def scenes_are_not_shown(subject: Subject) -> Iterator[Fault]:
    """No character's panel keeps surroundings that look like the sheet's place: a panel that already shows
    the wanted scene is copied into the video as a picture. Known by colours: it needs a location on the
    sheet."""
    places = [
        (panel, _tones(subject.crop(panel.box))) for panel in subject.sheet.panels if panel.kind == "location"
    ]
    for panel in subject.sheet.panels:
        if panel.kind != "character" or not _is_framed(subject, panel):
            continue
        around = _tones(_surroundings(subject.crop(panel.box)))
        for place, tones in places:
            if around is None or tones is None:
                continue
            shared = float(np.minimum(around, tones).sum())
            if shared > _SAME_PLACE:
                yield Fault(
                    f"{panel.element} ({panel.view}) stands in surroundings that share {shared:.0%} of their "
                    f"colours "
                    f"with {place.element} (limit {_SAME_PLACE:.0%}): the panel shows the scene already",
                    f"cut {panel.element} out: compose with --cut auto, or give the picture a mask",
                    where=panel.box,
                    element=panel.element,
                )
                break


def _surroundings(crop: Image.Image) -> Image.Image:
    """The left and right fifth of a picture, side by side: what is around the person in its middle."""
    strip = max(1, crop.width // 5)
    both = Image.new("RGB", (2 * strip, crop.height))
    both.paste(crop.crop((0, 0, strip, crop.height)), (0, 0))
    both.paste(crop.crop((crop.width - strip, 0, crop.width, crop.height)), (strip, 0))
    return both


def _tones(image: Image.Image) -> Pixels | None:
    pixels = np.asarray(image.convert("RGB").resize((64, 64), Image.Resampling.BOX)).reshape(-1, 3)
    return chroma(pixels[pixels.max(axis=1) > _LIT])
