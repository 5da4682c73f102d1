"""Sheet rules about what the pictures show: text, faces, backs, hands, bystanders, distinct people.

A rule that needs a model asks the subject's readers for it; if the model is missing, the rule says that it
did not look. The other rules use colours and outlines. Each docstring says what its rule can and cannot see.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from castsheet.lint.findings import Fault, rule
from castsheet.lint.pixels import BLACK, Subject, larger
from castsheet.lint.tones import chroma
from castsheet.sheet.box import Box
from castsheet.sheet.look.components import boxes_of
from castsheet.sheet.look.faces import FRONTAL_YAW
from castsheet.sheet.look.ocr import grown
from castsheet.sheet.look.regions import luma
from castsheet.sheet.manifest import Panel

Pixels = NDArray[np.floating]

MARK = 64  # luma of a mark on black that no compression explains
MARK_AREA = 24  # px
MIN_FACE_TOKENS, GOOD_FACE_TOKENS = 2.0, 3.5  # latent tokens that a face is high; 3.5 x 32 px = 112 px
SAME_OBJECT = 0.7  # correlation of a prop with a place on a character's panel
_APART, _CONTRAST = 30.0, 2.0  # of 255: colours of one object in two pictures; a factor of its contrast
_THERE = 0.7  # of 1: so much of a thing that is held is seen
_SEARCH_SIDE = 192  # px of a panel's longer side when a prop is looked for on it
_TONE = 0.05  # of 1: a thing whose pixels vary by less is of one tone
_LEAST_TEMPLATE = 12  # px; smaller pictures of a prop match anything
ALIKE, DISAGREE = 0.9, 0.2  # shared part of two figures' colours
_SAME_HUES = 0.6  # shared hues of one figure in two lights
# The cosine of two faces: 100 pairs of photos of one of ten people have 0.924 or more. Smaller faces are
# anybody's, and drawn animals' heads are found less surely.
ONE_PERSON = 0.915
_LARGE_FACE, _THIS_WAY, _SURE_FACE = 80, 38.0, 0.75
_FREE = 0.15  # a figure stands free if at least this share of its panel is black
_BACK = re.compile(r"(?<![a-z])(?:back|rear|behind)(?![a-z])", re.IGNORECASE)
_HOLDS = re.compile(
    r"\b(?:hold(?:s|ing)|carr(?:ies|ying)|grip(?:s|ping)|wield(?:s|ing)|clutch(?:es|ing)"
    r"|in (?:his|her|their|one|both) hands?)\b",
    re.IGNORECASE,
)


def not_checked(what: str, extra: str) -> Fault:
    """A remark that a rule did not look, for want of a model."""
    return Fault(f"not checked: {what}", f'pip install "castsheet[{extra}]"', severity="info")


def _panel_at(subject: Subject, box: Box) -> Panel | None:
    return next((panel for panel in subject.sheet.panels if panel.box.overlaps(box)), None)


@rule("S02", "no text, captions or logos", "warning")
def no_text(subject: Subject) -> Iterator[Fault]:
    """Pixels show marks on the black between the panels; a reader finds text anywhere. Neither sees logos
    without letters inside a picture."""
    said: list[Box] = []
    for line in subject.lines:
        panel = _panel_at(subject, line.box)
        said.append(line.box)
        yield Fault(
            f"the sheet reads {line.text!r}{f' in {panel.element} ({panel.view})' if panel else ''} "
            f"(score {line.score:.2f}): lettering shows up in the video",
            "take the text off, or use a picture without it",
            where=line.box,
            element=panel.element if panel else None,
        )
    for box in _marks(subject):
        if not any(box.overlaps(other) for other in said):
            yield Fault(
                f"a mark of {box.w} x {box.h} px lies outside the panels, at x {box.x}, y {box.y}",
                "blacken what lies outside the panels",
                where=box,
            )
    if subject.readers and subject.readers.text is None:
        yield not_checked("text inside the pictures", "ocr")


def _marks(subject: Subject) -> list[Box]:
    """Bright things outside all panels, the letters of a line together. Rule S01 reports a light ground."""
    if not subject.sheet.panels:
        return []
    outside = np.ones(subject.luma.shape, bool)
    for panel in subject.sheet.panels:
        box = grown(panel.box, 2, subject.size)
        outside[box.y : box.bottom, box.x : box.right] = False
    if not outside.any() or np.percentile(subject.luma[outside], 95) > MARK:
        return []
    bright = outside & (subject.luma > MARK)
    return [box for box, count in boxes_of(bright, reach=8) if count >= MARK_AREA] if bright.any() else []


@rule("S10", "faces are large enough to be recognised", "warning")
def faces_are_large(subject: Subject) -> Iterator[Fault]:
    """A character's largest face is 2 latent tokens high or more at conditioning size (64 px for the full
    model), better 3.5 (112 px, as face recognition needs), and the close-up looks at us. Without a detector
    the rule sees only close-ups that are themselves too low. If no face is found (drawings), it says so.
    Of who is no human being nothing is asked."""
    (width, height), (out_w, out_h) = subject.size, subject.output
    scale = max(out_w / width, out_h / height)
    least, good = MIN_FACE_TOKENS * subject.grid, GOOD_FACE_TOKENS * subject.grid
    looked = subject.readers is not None and subject.readers.faces is not None
    puppets = {note.id for note in subject.sheet.elements if not note.human}
    for person in dict.fromkeys(p.element for p in subject.sheet.panels if p.kind == "character"):
        if person in puppets:
            continue
        panels = subject.sheet.panels_of(person)
        found = [(face.box.h * scale, panel) for panel in panels for face in subject.faces.get(panel, ())]
        closeups = [(panel.box.h * scale, panel) for panel in panels if panel.view == "face"]
        if looked and not found:
            yield Fault(
                f"no face of {person} was found (it may be drawn, hidden, or turned away)",
                f"look whether the sheet shows the face of {person} from the front",
                element=person,
                severity="info",
            )
        yield from _turned_away(person, subject)
        tallest = max(found or closeups, key=lambda one: one[0], default=None)
        if tallest is None or tallest[0] >= (good if found else least):
            continue
        pixels, panel = tallest
        what = "largest face" if found else "close-up"
        yield Fault(
            f"{person}'s {what} is {pixels:.0f} px high at {out_w} x {out_h} "
            f"(least {least:.0f}, good {good:.0f})",
            f"give {person} a closer `face` picture, or {larger(panel, 'or give it fewer views')}",
            where=panel.box,
            element=person,
            severity="warning" if pixels < least else "info",
        )
    if subject.readers and not looked and any(p.kind == "character" for p in subject.sheet.panels):
        yield not_checked("the size of faces", "faces")


def _turned_away(person: str, subject: Subject) -> Iterator[Fault]:
    """A close-up whose face is turned: the model must invent the other half of the face."""
    for panel in (p for p in subject.sheet.panels_of(person) if p.view == "face"):
        faces = subject.faces.get(panel, ())
        if faces and not faces[0].frontal:
            yield Fault(
                f"the close-up of {person} is turned by {abs(faces[0].yaw):.0f} degrees "
                f"(frontal is up to {FRONTAL_YAW:.0f})",
                f"give {person} a `face` picture that looks into the camera",
                where=panel.box,
                element=person,
                severity="info",
            )


@rule("S12", "a back view does not pass for a second person", "info")
def back_views(subject: Subject) -> Iterator[Fault]:
    """A back view leaks into videos as another figure when no close-up of the face binds it, or when it
    stands right beside the front. Known by the sources' names ("hero-back.png") and by printed labels."""
    for panel in subject.sheet.panels:
        if panel.kind != "character" or panel.view == "face":
            continue
        backs = [bool(_BACK.search(source.path.rsplit("/", 1)[-1])) for source in panel.sources]
        labelled = any(_BACK.search(line.text) and line.box.overlaps(panel.box) for line in subject.lines)
        if not (any(backs) or labelled):
            continue
        faceless = all(other.view != "face" for other in subject.sheet.panels_of(panel.element))
        # The row runs front, three-quarter, side, back: of two figures the back stands beside the front.
        beside = len(backs) == 2 and backs[1]
        if faceless or beside:
            why = "no close-up of the face is on the sheet" if faceless else "it stands beside the front"
            yield Fault(
                f"{panel.element} is shown from behind, and {why}: "
                f"the back may appear in the video as a second figure",
                f"add a {'`face`' if faceless else '`side`'} picture of {panel.element}, "
                f"or leave the back out when the action never shows it",
                where=panel.box,
                element=panel.element,
            )


@rule("S14", "characters' hands are empty", "warning")
def hands_are_empty(subject: Subject) -> Iterator[Fault]:
    """A thing held on the sheet stays in the hand throughout the video. The rule sees descriptions of this,
    and, by correlation, a prop of the sheet that a character's panel shows in the same pose and light. It
    does not see props that are turned, half covered or of one tone, or things that are no element."""
    for note in subject.sheet.elements:
        word = _HOLDS.search(note.description) if note.kind == "character" else None
        if word:
            yield Fault(
                f"{note.id} is described with {word.group()!r}: what it holds stays in the hand",
                "use pictures with empty hands, and give the thing an element of its own",
                element=note.id,
            )
    people = [p for p in subject.sheet.panels if p.kind == "character"]
    for prop in (p for p in subject.sheet.panels if p.kind == "prop"):
        for person in people:
            thing, scene = subject.crop(prop.box), subject.crop(person.box)
            likeness, where = _find(thing, scene)
            if likeness >= SAME_OBJECT and _same_tones(thing, scene.crop(where.corners)):
                place = Box(person.box.x + where.x, person.box.y + where.y, where.w, where.h)
                yield Fault(
                    f"{prop.element} is seen on {person.element}'s panel too (correlation {likeness:.2f}, "
                    f"limit {SAME_OBJECT})",
                    f"use a picture of {person.element} without {prop.element}",
                    where=place,
                    element=person.element,
                )


def _find(thing: Image.Image, scene: Image.Image) -> tuple[float, Box]:
    """The best masked correlation of a thing on black with any place of a scene, and that place in scene px.

    Normalised cross-correlation by FFT (J. P. Lewis, 1995), with the thing's own outline as the mask and
    heights from 8 to 60 % of the scene's.
    """
    nothing = Box(0, 0, 1, 1)
    box = thing.convert("L").point(lambda value: 255 * (value > 16)).getbbox()
    if box is None:
        return 0.0, nothing
    thing = thing.convert("RGB").crop(box)
    shrink = max(1.0, max(scene.size) / _SEARCH_SIDE)
    size = (max(1, round(scene.width / shrink)), max(1, round(scene.height / shrink)))
    field = np.asarray(scene.convert("RGB").resize(size, Image.Resampling.BOX), np.float32) / 255
    best = (0.0, nothing)
    for share in np.geomspace(0.08, 0.6, 12):
        h = round(share * size[1])
        w = round(h * thing.width / thing.height)
        if min(w, h) < _LEAST_TEMPLATE or w > size[0] or h > size[1]:
            continue
        small = np.asarray(thing.resize((w, h), Image.Resampling.BOX), np.float32) / 255
        score, x, y = _correlate(field, small)
        if score > best[0]:
            place = Box(round(x * shrink), round(y * shrink), round(w * shrink), round(h * shrink))
            best = (score, place)
    return best


def _same_tones(thing: Image.Image, place: Image.Image) -> bool:
    """Whether a thing on black and a place where its pattern was found agree in colour and contrast, and the
    place is no black ground: some part of a face, or an elbow's outline, correlates with any smooth toy."""
    box = thing.convert("L").point(lambda value: 255 * (value > 16)).getbbox()
    rgb = thing.convert("RGB").crop(box).resize(place.size, Image.Resampling.BOX)
    one, other = np.asarray(rgb, np.float32), np.asarray(place.convert("RGB"), np.float32)
    mask = one.max(axis=2) > 16
    one, other = one[mask], other[mask]
    contrast = float(other.std(axis=0).mean()) / max(float(one.std(axis=0).mean()), 1.0)
    apart = float(np.abs(one.mean(axis=0) - other.mean(axis=0)).max())
    lit = float((other.max(axis=1) > 16).mean())
    return apart < _APART and 1 / _CONTRAST < contrast < _CONTRAST and lit > _THERE


def _correlate(field_HWC: Pixels, thing_HWC: Pixels) -> tuple[float, int, int]:
    """The best score, and its x and y. Each channel's mean is subtracted: the thing's pattern counts, and not
    its colour, which any coat may have."""
    mask = thing_HWC.max(axis=2) > 16 / 255
    count = float(mask.sum())
    pattern = (thing_HWC - thing_HWC[mask].mean(axis=0)) * mask[..., None]
    floor = 3 * count * _TONE**2
    spread = float((pattern**2).sum())
    if spread < floor:  # a thing of one tone would fit any edge
        return 0.0, 0, 0
    shape = field_HWC.shape[:2]

    def slide(values_HW: Pixels, kernel_HW: Pixels) -> Pixels:
        product = np.fft.rfft2(values_HW) * np.conj(np.fft.rfft2(kernel_HW, shape))
        return np.fft.irfft2(product, shape)[: shape[0] - len(mask) + 1, : shape[1] - mask.shape[1] + 1]

    kernel = mask.astype(np.float32)
    planes = [field_HWC[..., c] for c in range(3)]
    agree = sum(slide(plane, pattern[..., c]) for c, plane in enumerate(planes))
    sums = sum(slide(plane, kernel) ** 2 for plane in planes)
    energy = slide((field_HWC**2).sum(axis=2), kernel) - sums / count
    score = np.asarray(agree / np.sqrt(np.maximum(energy, floor) * spread))
    y, x = np.unravel_index(int(score.argmax()), score.shape)
    return float(score[y, x]), int(x), int(y)


@rule("S17", "people differ, and each agrees with itself", "warning")
def people_are_distinct(subject: Subject) -> Iterator[Fault]:
    """Two characters share less than 90 % of their colours; figures of one character share 20 % or more; no
    panel of a character shows more faces than it has pictures; one character's faces are one person's.

    Figures that stand free on black are compared by colours alone: two people in one uniform count as alike,
    and one person in two outfits as two. Sun and shade, which change lightness and leave the hue, do not.
    Faces are compared where they are large and look this way, and where a network for it is installed.
    """
    yield from _of_two_faces(subject)
    for panel, faces in subject.faces.items():
        if panel.kind == "character" and len(faces) > max(1, len(panel.sources)):
            yield Fault(
                f"{panel.element} ({panel.view}) shows {len(faces)} faces in "
                f"{max(1, len(panel.sources))} pictures: somebody else is in them",
                f"use pictures of {panel.element} alone, or crop or mask them",
                where=panel.box,
                element=panel.element,
            )
    tones: dict[str, Pixels] = {}
    for panel in (p for p in subject.sheet.panels if p.kind == "character" and p.view == "turnaround"):
        figures = _figures(subject.crop(panel.box), len(panel.sources))
        if not figures:
            continue
        colours = [_colours(figure) for figure in figures]
        tones.setdefault(panel.element, np.mean(colours, axis=0))
        pairs = [
            (float(np.minimum(a, b).sum()), i, j) for (i, a), (j, b) in combinations(enumerate(colours, 1), 2)
        ]
        shared, i, j = min(pairs, default=(1.0, 0, 0))
        if shared < DISAGREE and not _one_in_another_light(figures[i - 1], figures[j - 1]):
            yield Fault(
                f"figures {i} and {j} of {panel.element} share {shared:.0%} of their colours "
                f"(least {DISAGREE:.0%}): they look like two people, or two outfits",
                f"use pictures of {panel.element} in one outfit and one light",
                where=panel.box,
                element=panel.element,
            )
    for first, second in combinations(tones, 2):
        shared = float(np.minimum(tones[first], tones[second]).sum())
        if shared > ALIKE:
            yield Fault(
                f"{first} and {second} share {shared:.0%} of their colours (limit {ALIKE:.0%}): "
                f"the video may mix them up",
                "give one of them another colour of clothes or hair, and say so in both descriptions",
                where=subject.sheet.panels_of(second)[0].box,
                element=second,
            )


def _of_two_faces(subject: Subject) -> Iterator[Fault]:
    """Characters two of whose faces are not one person's."""
    who = subject.readers.who if subject.readers else None
    if who is None:
        return
    known: dict[str, list[tuple[Panel, NDArray[np.float32]]]] = {}
    for panel, faces in subject.faces.items():
        if panel.kind != "character":
            continue
        picture = subject.crop(panel.box).convert("RGB")
        clear = (one for one in faces if one.box.h >= _LARGE_FACE and abs(one.yaw) <= _THIS_WAY)
        seen = [(panel, who.vector(picture, one)) for one in clear if one.score >= _SURE_FACE]
        known.setdefault(panel.element, []).extend(seen)
    for name, seen in known.items():
        pairs = ((float(a @ b), one, other) for (one, a), (other, b) in combinations(seen, 2))
        like, one, other = min(pairs, key=lambda pair: pair[0], default=(1.0, None, None))
        if other is not None and one is not None and like < ONE_PERSON:
            yield Fault(
                f"the faces of {name} ({one.view}, {other.view}) look like two people's: "
                f"likeness {like:.2f} (least {ONE_PERSON:.2f})",
                f"use pictures of one person for {name}, and make the other one a character of their own",
                where=other.box,
                element=name,
            )


def _one_in_another_light(one: Image.Image, other: Image.Image) -> bool:
    """Whether two figures have the same hues in the same shares."""
    hues = []
    for figure in (one, other):
        pixels = np.asarray(figure.convert("RGB")).reshape(-1, 3)
        tones = chroma(pixels[pixels.max(axis=1) > 2 * BLACK])
        if tones is None:
            return False
        hues.append(tones.reshape(4, 100).sum(axis=0))
    return float(np.minimum(*hues).sum()) >= _SAME_HUES


def _figures(image: Image.Image, count: int) -> list[Image.Image]:
    """The figures of a turnaround on black, separated by black columns; empty if nothing separates them."""
    grey = luma(image)
    if (grey <= BLACK).mean() < _FREE:
        return []
    lit = (grey > 2 * BLACK).any(axis=0)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], lit, [False]]).astype(np.int8)))
    spans = [(int(a), int(b)) for a, b in edges.reshape(-1, 2) if b - a >= 0.02 * image.width]
    if len(spans) != max(1, count):
        return [image] if count <= 1 else []
    return [image.crop((left, 0, right, image.height)) for left, right in spans]


def _colours(image: Image.Image) -> Pixels:
    """Shares of a figure's colours in 8 x 8 x 8 cells of RGB, blurred to allow for light; they sum to 1."""
    rgb = np.asarray(image.convert("RGB")).reshape(-1, 3)
    lit = rgb[rgb.max(axis=1) > 2 * BLACK]
    cells = np.ravel_multi_index(tuple((lit // 32).T), (8, 8, 8))
    table = np.bincount(cells, minlength=512).reshape(8, 8, 8).astype(np.float64)
    for axis in range(3):
        padded = np.pad(table, [(1, 1) if a == axis else (0, 0) for a in range(3)], mode="edge")
        low, middle, high = (padded.take(range(s, s + 8), axis=axis) for s in range(3))
        table = (low + 2 * middle + high) / 4
    return table / max(1.0, float(table.sum()))
