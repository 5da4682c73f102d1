"""What a printed label means, which picture it belongs to, and whether the picture agrees.

"Left" is the subject's left turned to the camera, so that the nose points to the left of the picture.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from castsheet.elements import View
from castsheet.lint.findings import Fault
from castsheet.sheet.box import Box
from castsheet.sheet.look.faces import FaceDetector
from castsheet.sheet.look.ocr import TextLine

Facing = Literal["front", "three-quarter", "left", "right", "side", "back"]
Extent = Literal["head", "body"]

# Readers lose spaces ("FullBodyFront"), so words are searched anywhere. These hold a word by accident.
_OTHER_WORDS = re.compile(r"back\s*(pack|ground|story|drop)|front(ier|al lobe)|bright|upright|copyright")
_FACING: tuple[tuple[Facing, re.Pattern[str]], ...] = (
    ("three-quarter", re.compile(r"three[\s-]*quarter|3\s*/\s*4|¾|\b34\b")),
    ("back", re.compile(r"back|rear|behind")),
    ("left", re.compile(r"left")),
    ("right", re.compile(r"right")),
    ("side", re.compile(r"side|profile")),
    ("front", re.compile(r"front")),
)
_EXTENT: tuple[tuple[Extent, re.Pattern[str]], ...] = (
    ("body", re.compile(r"body|posture|figure|standing|full[\s-]*length")),
    ("head", re.compile(r"face|facial|head|portrait|close[\s-]*up|expression")),
)
_REACH = 0.2  # of a picture's height: the largest distance of its label
_SKIN_MORE = 0.15  # of the middle of the head: a back shows less skin than a front, never so much more
_SKIN_LEAD = 0.05  # of the head's width, between the middle of its skin and its own


@dataclass(frozen=True)
class Label:
    """The text beside a picture, and what it says about the picture; None for what it does not say."""

    text: str
    facing: Facing | None = None
    extent: Extent | None = None

    @property
    def slug(self) -> str:
        """The label as a file name's part."""
        if self.facing is None:
            return re.sub(r"[^a-z0-9]+", "-", self.text.lower()).strip("-") or "unnamed"
        return f"{self.extent}-{self.facing}" if self.extent else self.facing


def read_label(text: str) -> Label:
    """The meaning of a label, e.g. "Full Body Left" -> a body, turned left."""
    plain = _OTHER_WORDS.sub(" ", text.lower())
    facing = next((name for name, words in _FACING if words.search(plain)), None)
    extent = next((name for name, words in _EXTENT if words.search(plain)), None)
    return Label(text.strip(), facing, extent)


def element_view(label: Label) -> View | None:
    """The view that an element files a picture under. Heads seen from the side or behind are details."""
    if label.extent == "head":
        return "face" if label.facing in ("front", "three-quarter", None) else "detail"
    if label.facing in ("left", "right"):
        return "side"
    views: dict[Facing, View] = {
        "front": "front",
        "back": "back",
        "side": "side",
        "three-quarter": "three-quarter",
    }
    return None if label.facing is None else views[label.facing]


def assign(boxes: Sequence[Box], lines: Sequence[TextLine]) -> list[Label | None]:
    """The label of each picture: the nearest line below, above or inside, one line for each picture.

    A line that names an extent but no direction ("FACE ANGLES:") is the heading of the pictures below it,
    down to the next heading. The smaller distance over all pictures decides if labels lie below or above.
    """
    meant = [read_label(line.text) for line in lines]
    headings = [
        (line.box.y, m.extent) for line, m in zip(lines, meant, strict=True) if m.extent and not m.facing
    ]
    several = len(headings) < len(boxes)  # "Face", "Body" below each picture are labels, not headings
    usable = [i for i, m in enumerate(meant) if not (several and m.extent and not m.facing)]
    best: list[tuple[int, float, dict[int, int]]] = []
    for below in (True, False):
        pairs = sorted(
            (_distance(box, lines[i].box, below=below), b, i)
            for b, box in enumerate(boxes)
            for i in usable
            if _distance(box, lines[i].box, below=below) <= _REACH * box.h
        )
        taken: dict[int, int] = {}
        for _, b, i in pairs:
            if b not in taken and i not in taken.values():
                taken[b] = i
        total = sum(_distance(boxes[b], lines[i].box, below=below) for b, i in taken.items())
        best.append((-len(taken), total, taken))
    chosen = min(best, key=lambda one: one[:2])[2]
    labels: list[Label | None] = []
    for b, box in enumerate(boxes):
        if b not in chosen:
            labels.append(None)
            continue
        label = meant[chosen[b]]
        over = [extent for y, extent in sorted(headings) if y < box.y] if several else []
        labels.append(Label(label.text, label.facing, label.extent or (over[-1] if over else None)))
    return labels


def _distance(box: Box, line: Box, *, below: bool) -> float:
    """From the picture's edge to a line that is centred somewhere over its width; 0 inside; else infinite."""
    middle = line.x + line.w / 2
    if not box.x <= middle < box.right:
        return float("inf")
    y = line.y + line.h / 2
    if box.y <= y < box.bottom:
        return 0.0
    gap = y - box.bottom if below else box.y - y
    return gap if gap >= 0 else float("inf")


# Whether the picture agrees ------------------------------------------------------------------------------


def contradictions(
    parts: Sequence[tuple[Box, Label | None, Image.Image]], faces: FaceDetector | None = None
) -> Iterator[Fault]:
    """Labels that contradict their pictures, as far as faces, skin and outline show it.

    It sees two opposite sides that look the same way, a side that looks against its label, more skin in the
    middle of a head's back than of its front, and a whole body that fills its picture like a head. Without a
    detector it knows the direction of heads only, by the place of their skin. It sees nothing else, and
    nothing of people without visible skin or on a busy ground.

    Args:
        faces: tells directions surely, also those of standing figures.
    """
    seen = [(box, label, _look(image, label, faces)) for box, label, image in parts if label is not None]
    yield from _sides(seen)
    yield from _backs(seen)
    for box, label, look in seen:
        if label.extent == "body" and look is not None and look.fills and look.shape < 1.0:
            yield Fault(
                f"{label.text!r}: the figure is {look.shape:.2f} x as tall as wide and leaves the picture "
                f"below, so it is no whole body",
                "file it as a face or a detail",
                where=box,
            )


@dataclass(frozen=True)
class _Look:
    """The figure in a picture: its face's direction (+ right), the share of skin in the middle of its head
    (heads only), height over width, and whether the picture's lower edge cuts most of its width."""

    turn: float | None
    skin: float | None
    shape: float
    fills: bool


Seen = Sequence[tuple[Box, Label, _Look | None]]


def _sides(seen: Seen) -> Iterator[Fault]:
    for extent in ("head", "body", None):
        sides = {
            label.facing: (box, label, look.turn)
            for box, label, look in seen
            if label.extent == extent and label.facing in ("left", "right") and look is not None
        }
        turns = {facing: turn for facing, (_, _, turn) in sides.items() if turn is not None}
        if len(turns) == 2 and (turns["left"] > 0) == (turns["right"] > 0):
            direction = "right" if turns["left"] > 0 else "left"
            wrong = sides["left" if direction == "right" else "right"]
            yield Fault(
                f"{sides['left'][1].text!r} and {sides['right'][1].text!r} both look to the {direction} "
                f"of the picture: one of them shows the wrong side",
                "use one of them, and render or photograph the other side",
                where=wrong[0],
            )
            continue
        for facing, turn in turns.items():
            looks = "right" if turn > 0 else "left"
            if looks != facing:
                box, label, _ = sides[facing]
                yield Fault(
                    f"{label.text!r} looks to the {looks} of the picture",
                    "swap the labels if they mean the side turned to the camera",
                    where=box,
                    severity="info",
                )


def _backs(seen: Seen) -> Iterator[Fault]:
    for extent in ("head", "body", None):
        ends = {
            label.facing: (box, label, look.skin)
            for box, label, look in seen
            if label.extent == extent and label.facing in ("front", "back") and look and look.skin is not None
        }
        if len(ends) < 2:
            continue
        box, label, skin = ends["back"]
        if skin > ends["front"][2] + _SKIN_MORE:
            yield Fault(
                f"{label.text!r} shows more skin in the middle of the head ({skin:.0%}) than "
                f"{ends['front'][1].text!r} ({ends['front'][2]:.0%}): it looks like a face",
                "swap the two labels",
                where=box,
            )


def _look(image: Image.Image, label: Label, faces: FaceDetector | None) -> _Look | None:
    """A figure's face, outline and skin; None if it does not stand out from its ground."""
    shrink = max(1.0, max(image.size) / 256)
    size = (max(8, round(image.width / shrink)), max(8, round(image.height / shrink)))
    rgb = np.asarray(image.convert("RGB").resize(size, Image.Resampling.BOX), np.float32)
    mask = np.abs(rgb - _backdrop(rgb)).max(axis=2) > 32
    rows, columns = np.flatnonzero(mask.mean(axis=1) > 0.02), np.flatnonzero(mask.mean(axis=0) > 0.02)
    if rows.size < 8 or columns.size < 8 or mask.mean() > 0.95:
        return None
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    shape = float((bottom - top) / (right - left))
    fills = bool(mask[-2:].mean() > 0.5)
    yaw = _yaw(image, faces)
    if label.extent == "body":  # its head is too small to trust the colour of skin
        return _Look(yaw, None, shape, fills)
    head = slice(top, top + max(4, round(0.6 * (bottom - top))))
    skin = _skin(rgb[head]) & mask[head]
    across = np.flatnonzero(mask[head].any(axis=0))
    third = across.size // 3
    centre = skin[:, across[third] : across[-third]] if third else skin
    turn = yaw if yaw is not None else _skin_side(skin, mask[head])
    return _Look(turn, float(centre.mean()), shape, fills)


def _yaw(image: Image.Image, faces: FaceDetector | None) -> float | None:
    """Degrees to the picture's right of the largest face; None if there is none or it looks at us."""
    found = faces.find(image.convert("RGB")) if faces else ()
    return found[0].yaw if found and not found[0].frontal else None


def _skin_side(skin: NDArray[np.bool_], mask: NDArray[np.bool_]) -> float | None:
    """The shift of a head's skin from its middle, in widths of the head, + right; None if undecided."""
    columns = np.flatnonzero(mask.any(axis=0))
    if not columns.size or skin.sum() < 0.04 * mask.sum():
        return None
    offset = float((np.nonzero(skin)[1].mean() - np.nonzero(mask)[1].mean()) / (columns[-1] + 1 - columns[0]))
    return offset if abs(offset) > _SKIN_LEAD else None


def _backdrop(rgb_HWC: NDArray[np.float32]) -> NDArray[np.float32]:
    """The ground behind a figure: a plane of light fitted to the picture's upper and side borders.

    It is fitted twice, the second time without the pixels that the figure covers.
    """
    height, width = rgb_HWC.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    terms = np.stack([np.ones_like(x), x / width, y / height, (y / height) ** 2], axis=-1)
    border = np.zeros((height, width), bool)
    border[:3], border[:, :3], border[:, -3:] = True, True, True
    kept, colours = terms[border], rgb_HWC[border]
    near = np.abs(colours - np.median(colours, axis=0)).max(axis=1) < 60
    for _ in range(2):
        plane = np.linalg.lstsq(kept[near], colours[near], rcond=None)[0]
        near = np.abs(kept @ plane - colours).max(axis=1) < 24
        if near.sum() < 16:
            break
    return (terms @ plane).astype(np.float32)


def _skin(rgb_HWC: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Pixels with the hue of skin, of any tone (D. Chai, K. N. Ngan, 1999: a range of Cb and Cr)."""
    r, g, b = rgb_HWC[..., 0], rgb_HWC[..., 1], rgb_HWC[..., 2]
    cb = 128 - 0.168736 * r - 0.331264 * g + 0.5 * b
    cr = 128 + 0.5 * r - 0.418688 * g - 0.081312 * b
    bright = r > 48
    return (cb >= 77) & (cb <= 127) & (cr >= 135) & (cr <= 175) & bright
