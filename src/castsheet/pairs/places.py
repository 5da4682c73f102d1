"""Which shots of a film show one place, and what the place looks like without people: the second heavy stage
of `find`, a pure function of a film that runs in a process of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from castsheet.errors import CastsheetError
from castsheet.pairs.camera import (
    AGREE,
    PICTURES,
    Looked,
    Placed,
    Plate,
    Shift,
    agreement,
    plate_of,
    shift_between,
    speaks_for,
)
from castsheet.pairs.corners import mark_in_corner
from castsheet.pairs.frames import read_frames
from castsheet.pairs.laying import laid_on
from castsheet.pairs.ledger import Made
from castsheet.pairs.protocols import Pixels
from castsheet.pairs.records import Film
from castsheet.pairs.scan import AT_LEAST, working_size
from castsheet.pairs.tools import faces_of
from castsheet.pairs.zoom import Zoomed, located
from castsheet.sheet.look.faces import FaceDetector

MOST_SHOTS = 16
"""Shots that make a plate: more add time and no certainty."""
REPEATED = 0.985
"""Share of alike pixels, in all three pictures, over which one shot is another one again."""
SURELY, TURNED = 0.9, 0.045
"""Share of alike pixels at which a picture surely shows a place, and by how much more must speak for its
mirror image (see `speaks_for`)."""
FEW, LATE = 6, 0.7
"""Shots of a place that one is compared with at last, and the share of alike pixels that it needs then."""
LARGE = 0.15
"""Height of a face, as a share of the picture's, from which on somebody is near."""


def place_film(film: Film, shots: list[list[int]], faces: str = "none") -> Made:
    """Which shots show one place, where their frames lie on it, and the place without people.

    Args:
        faces: name of the face detector, which tells shots that show somebody near: where three of them show
            one person, that person would be a part of the place.

    Returns:
        values: `places`: for each shot its place's number and the corners of its three pictures, or None
            where the camera moves in other ways than sideways; a near shot has the corner on the plate's own
            canvas, and a `zoom`; of a `mirrored` shot, corners are those of its mirror image;
            `plates`: numbers of places that several shots show;
            `mark`: how much stands in a corner of the whole film (see `corners`).
        arrays: plateN, sureN and originN of each of these.
    """
    try:
        pictures = _moments(film, shots)
    except CastsheetError:
        return Made({"places": [None] * len(shots), "plates": [], "mark": 0.0}, {})
    looked = [[Looked(one) for one in three] for three in pictures]
    corners = [_corners(three) for three in looked]
    members: list[list[tuple[int, Shift]]] = []
    placed: list[dict[str, Any] | None] = []
    turned: dict[int, float] = {}
    for number, (three, own) in enumerate(zip(looked, corners, strict=True)):
        if own is None:
            placed.append(None)
            continue
        best: tuple[float, int, Shift] | None = None
        for place, known in enumerate(members):
            for other, corner in (known[0], known[-1])[: len(known)]:
                shift, share = shift_between(looked[other][1], three[1])
                if share >= AGREE and (best is None or share > best[0]):
                    best = share, place, (corner[0] + shift[0], corner[1] + shift[1])
        if best is not None and best[0] < SURELY:
            image = _mirrored(three[1], [(looked[one][1], at) for one, at in members[best[1]]])
            if image is not None:
                members.append([(number, (0, 0))])
                turned[number], (x, y) = image
                place = best[1]
                where = [[x - across, y + down] for across, down in own]
                placed.append({"place": place, "corners": where, "mirrored": True})
                continue
        if best is None:
            members.append([])
            best = 1.0, len(members) - 1, (0, 0)
        _, place, at = best
        members[place].append((number, at))
        placed.append({"place": place, "corners": [[at[0] + x, at[1] + y] for x, y in own]})
    _fit_late(members, looked, corners, placed)
    near = cache(partial(_near, pictures, faces_of(faces)))
    plates = _plates(members, pictures, corners, near)
    if _laid_again(members, looked, corners, placed, plates):
        plates = _plates(members, pictures, corners, near)
    _zoom_in(members, plates, pictures, placed, turned)
    mark = mark_in_corner([[pictures[number][1] for number, _ in every] for every in members if every])
    return Made({"places": placed, "plates": list(plates), "mark": round(mark, 4)}, _arrays(plates))


def _arrays(plates: dict[int, Plate]) -> dict[str, NDArray[Any]]:
    """The pictures of places as the ledger keeps them."""
    arrays: dict[str, NDArray[Any]] = {}
    for place, plate in plates.items():
        arrays[f"plate{place}"], arrays[f"sure{place}"] = plate.picture, plate.sure
        arrays[f"origin{place}"] = np.array(plate.origin)
    return arrays


def _fit_late(
    members: list[list[tuple[int, Shift]]],
    looked: list[list[Looked]],
    corners: list[list[Shift] | None],
    placed: list[dict[str, Any] | None],
) -> None:
    """Shots of small groups that fit other shots of a place than its first and last so far: they move there.

    A shot is compared with few others at first, and which these are depends on the order of shots.
    """
    large = [place for place, every in enumerate(members) if len(every) >= AT_LEAST]
    for place, every in enumerate(members):
        for number, at in [] if place in large else list(every):
            own = corners[number]
            if own is None or "mirrored" in (placed[number] or {}):
                continue
            found = []
            for one in large:
                for other, corner in _spread(members[one], FEW):
                    shift, share = shift_between(looked[other][1], looked[number][1])
                    found.append((share, one, (corner[0] + shift[0], corner[1] + shift[1])))
            if found and max(found)[0] >= LATE:
                _, one, where = max(found)
                every.remove((number, at))
                members[one].append((number, where))
                shown = [[where[0] + x, where[1] + y] for x, y in own]
                placed[number] = {"place": one, "corners": shown}


def _laid_again(
    members: list[list[tuple[int, Shift]]],
    looked: list[list[Looked]],
    corners: list[list[Shift] | None],
    placed: list[dict[str, Any] | None],
    plates: dict[int, Plate],
) -> bool:
    """Every shot laid on the places that are known by now: it moves to where it fits best.

    Shots find their place by one or two others, in which people stand before it; a place has no people.

    Returns:
        Whether any shot has moved.
    """
    changed = False
    for place, every in enumerate(members):
        for number, at in list(every):
            own = corners[number]
            if own is None or "mirrored" in (placed[number] or {}):
                continue
            options = {place: at} if place in plates else dict.fromkeys(plates)
            found = [(*laid_on(looked[number][1], plates[one], near), one) for one, near in options.items()]
            if not found:
                continue
            where, share, one = max(found, key=lambda fit: fit[1])
            if (one, where) == (place, at) or share < LATE:
                continue
            members[place].remove((number, at))
            members[one].append((number, where))
            members[one].sort()
            placed[number] = {"place": one, "corners": [[where[0] + x, where[1] + y] for x, y in own]}
            changed = True
    return changed


def _plates(
    members: list[list[tuple[int, Shift]]],
    pictures: list[list[Pixels]],
    corners: list[list[Shift] | None],
    near: Callable[[int], bool],
) -> dict[int, Plate]:
    """The places without people, of those that enough shots show from far away.

    Args:
        near: whether a shot shows somebody near.
    """
    plates: dict[int, Plate] = {}
    for place, every in enumerate(members):
        known = _different(every, pictures)
        if len(known) >= AT_LEAST:
            known = [one for one in known if not near(one[0])]
        if len(known) < AT_LEAST:
            continue
        plates[place] = plate_of(
            [
                Placed(pictures[number][k], number, _added(corner, corners[number], k))
                for number, corner in _spread(known, MOST_SHOTS)
                for k in range(len(PICTURES))
            ]
        )
    return plates


def _mirrored(one: Looked, others: list[tuple[Looked, Shift]]) -> tuple[float, Shift] | None:
    """How well a picture's mirror image fits the first or last of some others, and where its corner lies;
    None if the picture itself fits them as well.

    Smooth ground and sky fit either way: what fits better mirrored shows the place mirrored.
    """
    image = Looked(np.ascontiguousarray(one.picture[:, ::-1]))
    plain, turned = [], []
    for other, (right, below) in (others[0], others[-1]):
        shift, _ = shift_between(other, one)
        plain.append(speaks_for(other, one, shift))
        (x, y), share = shift_between(other, image)
        turned.append((speaks_for(other, image, (x, y)), share, (right + x, below + y)))
    best = max(turned)
    return best[1:] if best[0] > max(plain) + TURNED else None


def _near(pictures: list[list[Pixels]], faces: FaceDetector | None, number: int) -> bool:
    """Whether a shot shows somebody near; no shot does without a detector of faces."""
    return faces is not None and any(
        face.box.h >= LARGE * picture.shape[0]
        for picture in pictures[number]
        for face in faces.find(Image.fromarray(picture))
    )


def _zoom_in(
    members: list[list[tuple[int, Shift]]],
    plates: dict[int, Plate],
    pictures: list[list[Pixels]],
    placed: list[dict[str, Any] | None],
    turned: dict[int, float],
) -> None:
    """Near shots of a place that others show from farther away: they are laid on its picture.

    A picture of their own, which shows mostly people, is dropped if as many shots show the place from farther
    away. `placed` and `plates` change.

    Args:
        turned: of shots that fit a place better mirrored: how well. Nearer up they must fit as well.
    """
    for place in sorted(range(len(members)), key=lambda one: len(members[one])):
        least = len(members[place]) if place in plates else 0
        wider = [one for one in plates if one != place and len(members[one]) >= least]
        found: dict[int, tuple[int, Zoomed]] = {}
        for number, _ in members[place]:
            fits = [(one, at) for one in wider if (at := located(pictures[number][1], plates[one]))]
            fits = [one for one in fits if one[1][1] >= turned.get(number, 0.0)]
            if fits:
                base, (best, _) = max(fits, key=lambda one: one[1][1])
                found[number] = base, best
        if place in plates and len(found) < len(members[place]):
            continue
        plates.pop(place, None)
        for number, (base, best) in found.items():
            corner = [round(value, 2) for value in best.corner]
            placed[number] = {"place": base, "corners": [corner] * 3, "zoom": round(best.zoom, 4)}


def _added(corner: Shift, own: list[Shift] | None, k: int) -> Shift:
    """Where the k-th picture of a shot lies whose middle one lies at `corner`."""
    x, y = (0, 0) if own is None else own[k]
    return corner[0] + x, corner[1] + y


def _different(known: list[tuple[int, Shift]], pictures: list[list[Pixels]]) -> list[tuple[int, Shift]]:
    """The shots of a place without those that repeat an earlier one: a repeat agrees with itself on
    people."""
    kept: list[tuple[int, Shift]] = []
    for number, corner in known:
        same = (
            all(
                agreement(a, b, (0, 0)) > REPEATED
                for a, b in zip(pictures[number], pictures[other], strict=True)
            )
            for other, _ in kept
        )
        if not any(same):
            kept.append((number, corner))
    return kept


def _spread(known: list[tuple[int, Shift]], most: int) -> list[tuple[int, Shift]]:
    step = max(1, -(-len(known) // most))
    return known[::step]


def _moments(film: Film, shots: list[list[int]]) -> list[list[Pixels]]:
    """Three pictures of each shot, read in one pass."""
    wanted: dict[int, list[tuple[int, int]]] = {}
    for number, (first, last) in enumerate(shots):
        for k, moment in enumerate(PICTURES):
            wanted.setdefault(first + round(moment * (last - 1 - first)), []).append((number, k))
    found: list[list[Pixels]] = [[np.zeros(0, np.uint8)] * len(PICTURES) for _ in shots]
    frames = read_frames(film, size=working_size(film), only=wanted)
    for at, (_, frame) in zip(sorted(wanted), frames, strict=False):
        for number, k in wanted[at]:
            found[number][k] = frame
    return found


def _corners(three: list[Looked]) -> list[Shift] | None:
    """Where a shot's pictures lie, relative to the middle one; None if they do not fit on each other."""
    before, share = shift_between(three[1], three[0])
    after, other = shift_between(three[1], three[2])
    return None if min(share, other) < AGREE else [before, (0, 0), after]
