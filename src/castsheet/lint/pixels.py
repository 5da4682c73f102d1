"""Sheet rules that read pixels. Most of them also check a bare picture without a manifest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from castsheet.lint.findings import Fault, rule
from castsheet.sheet.box import Box
from castsheet.sheet.look.experts import KnowsPeople
from castsheet.sheet.look.faces import Face, FaceDetector
from castsheet.sheet.look.litert import Body
from castsheet.sheet.look.ocr import TextLine, TextReader
from castsheet.sheet.look.regions import (
    MAX_SEPARATOR,
    colour_distance,
    frame_tone,
    luma,
    perceptual_hash,
    regions,
    separators,
)
from castsheet.sheet.look.salience import Matter
from castsheet.sheet.manifest import Panel, Sheet

Pixels = NDArray[np.uint8]

BLACK = 8  # luma, of 255
DARK = 72  # of 255: the 95th percentile of a panel's lit pixels, at least
_PICTURE = 0.2  # a dark panel with this share of lit pixels is a dark picture, and no black band
SURE_TEXT = 0.8  # the reader's score; folds and twigs that look like letters score less
LIGHT = 64  # camera noise never makes a background this light
MAX_ENLARGED = 1.5  # sheet px per source px; the planner makes a panel no larger than its picture allows
SAME_HASH = 4  # bits of 64
SAME_COLOUR = 12.0  # of 255: two people in one pose hash alike, but their clothes differ


class KnowsFaces(Protocol):
    """Tells one person's faces from another's."""

    def vector(self, rgb: Image.Image, face: Face) -> NDArray[np.float32]:
        """A unit vector (D,) of a face that was found in a picture: one person's lie close to each other."""
        ...


@dataclass(frozen=True)
class Readers:
    """The models that content rules look with; None for one that is not installed."""

    text: TextReader | None = None
    faces: FaceDetector | None = None
    people: KnowsPeople | None = None
    things: Matter | None = None
    who: KnowsFaces | None = None


@dataclass(frozen=True)
class Subject:
    """A sheet under test, with the size (width, height) and latent grid (pixels a token) of conditioning.

    With `readers` None no model looks at the content; rules that need a model are then silent.
    """

    sheet: Sheet
    output: tuple[int, int]
    grid: int
    readers: Readers | None = None

    @cached_property
    def luma(self) -> NDArray[np.uint8]:
        """Luma (H, W) of the sheet."""
        return luma(self.sheet.image)

    @cached_property
    def lines(self) -> list[TextLine]:
        """Lines that are surely text; none without a reader."""
        reader = self.readers.text if self.readers else None
        found = reader.read(self.sheet.image) if reader else []
        sure = [line for line in found if line.score >= SURE_TEXT]
        return [line for line in sure if sum(map(str.isalnum, line.text)) >= 2]

    @cached_property
    def faces(self) -> dict[Panel, tuple[Face, ...]]:
        """Faces in each panel that shows a person or a place, the largest first, in px of the panel."""
        detector = self.readers.faces if self.readers else None
        panels = [panel for panel in self.sheet.panels if detector and panel.kind != "prop"]
        return {panel: detector.find(self.crop(panel.box)) for panel in panels if detector}

    @cached_property
    def bodies(self) -> dict[Panel, Body]:
        """The clearest person on each location's panel that has one, in px of the panel."""
        people = self.readers.people if self.readers else None
        panels = [panel for panel in self.sheet.panels if panel.kind == "location"]
        found = {panel: people.body(self.crop(panel.box)) for panel in panels if people}
        return {panel: body for panel, body in found.items() if body is not None}

    @cached_property
    def standing_out(self) -> dict[Panel, NDArray[np.floating]]:
        """What stands out of each location's panel: a mask (H, W) 0..1 of any size, stretched over it."""
        things = self.readers.things if self.readers else None
        panels = [panel for panel in self.sheet.panels if panel.kind == "location"]
        return {panel: things.mask(self.crop(panel.box)) for panel in panels if things}

    def crop(self, box: Box) -> Image.Image:
        """A part of the sheet."""
        return self.sheet.image.crop(box.corners)

    @property
    def size(self) -> tuple[int, int]:
        return self.sheet.image.size


def _background_luma(subject: Subject) -> NDArray[np.uint8]:
    """Pixels that belong to no picture: outside the panels; on a bare image, lines between pictures."""
    luma_HW = subject.luma
    if subject.sheet.panels:
        unused = np.ones(luma_HW.shape, bool)
        for panel in subject.sheet.panels:
            unused[panel.box.y : panel.box.bottom, panel.box.x : panel.box.right] = False
        return luma_HW[unused]
    parts = [luma_HW[start:stop].ravel() for start, stop in separators(luma_HW)]
    parts += [luma_HW[:, start:stop].ravel() for start, stop in separators(luma_HW.T)]
    if frame_tone(luma_HW) is not None:
        parts += [edge.ravel() for edge in (luma_HW[:2], luma_HW[-2:], luma_HW[:, :2], luma_HW[:, -2:])]
    return np.concatenate(parts) if parts else np.zeros(0, np.uint8)


@rule("S01", "gutters and unused pixels are black", "warning")
def background_is_black(subject: Subject) -> Iterator[Fault]:
    """p95 of the background's luma is 8 or less. On a bare image the background is estimated from full-width
    and full-height lines of one tone; without such lines the rule is silent."""
    pixels = _background_luma(subject)
    if not pixels.size:
        return
    level = float(np.percentile(pixels, 95))
    if level <= BLACK:
        return
    known = bool(subject.sheet.panels)
    what = "gutters and unused pixels" if known else "the lines between and around the pictures (estimated)"
    yield Fault(
        f"{what} reach luma {level:.0f} of 255 (95th percentile, limit {BLACK}): "
        f"light lines show in the video",
        "compose the sheet on black",
        severity="error" if known and level > LIGHT else "warning",
    )


@rule("S03", "the sheet has the shape of the video", "error")
def aspect_matches(subject: Subject) -> Iterator[Fault]:
    """Width/height differs by at most 1 %; more is cropped here, and stretched by other tools."""
    width, height = subject.size
    wanted = subject.output[0] / subject.output[1]
    ratio = (width / height) / wanted
    if abs(ratio - 1) <= 0.01:
        return
    lost = 1 - min(ratio, 1 / ratio)
    yield Fault(
        f"the sheet is {width} x {height} ({width / height:.3f}), the video {subject.output[0]} x "
        f"{subject.output[1]} ({wanted:.3f}): {abs(ratio - 1):.1%} apart (limit 1 %), "
        f"{lost:.1%} of the sheet would be cut off",
        f"compose the sheet for {subject.output[0]} x {subject.output[1]}, or generate at the sheet's shape",
    )


@rule("S04", "the sheet is composed at twice the video's size", "warning")
def composed_large(subject: Subject) -> Iterator[Fault]:
    """Width and height are at least 2 x the output's; smaller sheets keep less detail and show seams."""
    (width, height), (out_w, out_h) = subject.size, subject.output
    if width < 2 * out_w or height < 2 * out_h:
        yield Fault(
            f"the sheet is {width} x {height}, {min(width / out_w, height / out_h):.2f} x the video's size "
            f"(wanted 2 x: {2 * out_w} x {2 * out_h})",
            f"compose at {2 * out_w} x {2 * out_h} from larger pictures",
        )


def brightness(grey_HW: Pixels) -> tuple[float, float]:
    """The 95th percentile and the median of a panel's lit pixels."""
    lit = grey_HW[grey_HW > BLACK]
    if lit.size < 0.02 * grey_HW.size:
        lit = grey_HW.ravel()
    return float(np.percentile(lit, 95)), float(np.percentile(lit, 50))


def _without_dark_pictures(subject: Subject) -> Pixels:
    """The sheet's luma, where a panel that is a dark picture (which is S21's to say) counts as lit."""
    luma_HW = subject.luma.copy()
    for panel in subject.sheet.panels:
        box = panel.box
        part = luma_HW[max(0, box.y) : max(0, box.bottom), max(0, box.x) : max(0, box.right)]
        if part.size and float((part > BLACK).mean()) > _PICTURE and brightness(part)[0] < DARK:
            np.maximum(part, BLACK + 1, out=part)
    return luma_HW


def _black_edge(dark: NDArray[np.bool_]) -> int:
    """How many lines from the start on are dark."""
    return len(dark) if dark.all() else int(np.argmin(dark))


@rule("S05", "no black band along an edge", "warning")
def no_bands(subject: Subject) -> Iterator[Fault]:
    """Black strips over the full width or height: over 3 % of the side a warning, over 6 % an error. The
    model copies them as letterbox bars. A picture that is dark as a whole is none."""
    luma_HW = _without_dark_pictures(subject)
    width, height = subject.size
    rows, columns = (np.percentile(luma_HW, 99, axis=axis) <= BLACK for axis in (1, 0))
    if rows.all():
        yield Fault(f"all {width} x {height} pixels are black", "give the sheet pictures", severity="error")
        return
    top, bottom = _black_edge(rows), _black_edge(rows[::-1])
    left, right = _black_edge(columns), _black_edge(columns[::-1])
    for side, thick, length, box in (
        ("top", top, height, Box(0, 0, width, top)),
        ("bottom", bottom, height, Box(0, height - bottom, width, bottom)),
        ("left", left, width, Box(0, 0, left, height)),
        ("right", right, width, Box(width - right, 0, right, height)),
    ):
        share = thick / length
        if share > 0.03:
            yield Fault(
                f"a black band of {thick} px lies along the {side}: {share:.1%} of {length} "
                f"(warning over 3 %, error over 6 %)",
                "let the pictures fill the sheet: larger panels, or pictures of another shape",
                where=box,
                severity="error" if share > 0.06 else "warning",
            )


def _pictures(subject: Subject) -> list[tuple[str, str | None, Box]]:
    """Name, element and box of each picture: the panels, or the regions of a bare image."""
    if subject.sheet.panels:
        return [(f"{p.element} ({p.view})", p.element, p.box) for p in subject.sheet.panels]
    found = regions(subject.luma)
    width, height = subject.size
    kept = [b for b in found if min(b.w / width, b.h / height) > MAX_SEPARATOR / 3]
    return [(f"picture {i} at x {b.x}, y {b.y}", None, b) for i, b in enumerate(kept, 1)]


@rule("S18", "no two panels show the same picture", "warning")
def no_duplicates(subject: Subject) -> Iterator[Fault]:
    """Perceptual hashes within 4 of 64 bits, and colours alike: the second panel wastes its area."""
    seen: list[tuple[str, Image.Image, NDArray[np.bool_]]] = []
    for name, element, box in _pictures(subject):
        crop = subject.crop(box)
        bits = perceptual_hash(crop)
        if bits is None:
            continue
        distances = ((int((bits != other).sum()), name, image) for name, image, other in seen)
        twins = [
            (distance, twin)
            for distance, twin, image in distances
            if distance <= SAME_HASH and colour_distance(crop, image) <= SAME_COLOUR
        ]
        if twins:
            # One finding for each surplus picture, with the picture that is most like it.
            distance, twin = min(twins)
            share = box.area / (subject.size[0] * subject.size[1])
            yield Fault(
                f"{twin} and {name} show the same picture (hash distance {distance} of 64, "
                f"limit {SAME_HASH}); {share:.1%} of the sheet is wasted",
                "drop one of them, or give it another view",
                where=box,
                element=element,
            )
        seen.append((name, crop, bits))


def larger(panel: Panel, otherwise: str = "or drop another panel") -> str:
    """How a panel gets larger: by importance, unless its picture is enlarged as far as it may be already."""
    if any(source.scale > 0.95 * MAX_ENLARGED for source in panel.sources):
        return (
            f"use a larger picture of {panel.element}: its panel is as large as its pixels allow, so more "
            f"importance would change nothing"
        )
    return f"raise the importance of {panel.element}, {otherwise}"
