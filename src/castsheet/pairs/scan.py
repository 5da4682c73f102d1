"""The heavy stages of `find`, each a pure function of a film or of a shot; they run in processes of their
own.

1. `cut_film`: a film's frames in a stream, small: when each is shown, and where shots begin and end.
2. `place_film`: three pictures of each shot: which shots show one place, and what it looks like without
people. 3. `watch_shot`: all frames of a shot: its windows with their measures, and who is seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
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
)
from castsheet.pairs.corners import mark_in_corner
from castsheet.pairs.drawn import Drawn, followed, others
from castsheet.pairs.eyes import Eyes, every_of, subjects_of
from castsheet.pairs.frames import read_frames
from castsheet.pairs.ledger import Made
from castsheet.pairs.protocols import SMALL, Change, Pixels
from castsheet.pairs.quality import measured
from castsheet.pairs.records import Clips, Film
from castsheet.pairs.subjects import EVERY, Seen, follow, track_of, vector_of
from castsheet.pairs.tools import embedder_of, faces_of, segmenter_of, shots_of
from castsheet.pairs.zoom import located
from castsheet.sheet.look.faces import FaceDetector

GUARD = 6
"""Frames at both ends of a shot that no window shows."""
WORKING = 384
"""px of width at which subjects and places are looked for."""
THUMB = 96
APART = 60
"""Frames of a clip from one window to the next, at least."""
AT_LEAST = 3
"""Shots that a plate needs: two may show one person in one place."""
MOST_SHOTS = 16
"""Shots that make a plate: more add time and no certainty."""
REPEATED = 0.985
"""Share of alike pixels, in all three pictures, over which one shot is another one again."""
SURELY, TURNED = 0.9, 0.05
"""Share of alike pixels at which a picture surely shows a place, and by how much its mirror image must fit
better."""
LARGE = 0.15
"""Height of a face, as a share of the picture's, from which on somebody is near."""


def cut_film(film: Film, detector: str) -> Made:
    """When a film's frames are shown, and its shots between transitions; or why it cannot be read."""
    times, small = [], []
    try:
        for time, frame in read_frames(film, size=SMALL):
            times.append(time)
            small.append(frame)
    except CastsheetError as error:
        if len(small) < 2:
            return Made({"error": error.what}, {})
        # What was decoded before the damage is good.
    if len(small) < 2:
        return Made({"error": "it has no frames"}, {})
    changes = shots_of(detector).changes(np.stack(small))
    shots = between(changes, len(small))
    values = {"shots": shots, "changes": [[one.first, one.last] for one in changes], "frames": len(small)}
    return Made(values, {"times": np.array(times)})


def between(changes: list[Change], count: int) -> list[list[int]]:
    """First and end frames of the shots between transitions."""
    edges = [0, *(edge for one in changes for edge in (one.first, one.last)), count]
    return [[a, b] for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a >= 2]


def working_size(film: Film) -> tuple[int, int]:
    """Width and height at which a film is looked at: even numbers, never larger than the film."""
    width = min(WORKING, film.size[0]) // 2 * 2
    return width, max(2, round(film.size[1] * width / film.size[0] / 2) * 2)


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
            if image[0] > best[0] + TURNED:
                members.append([(number, (0, 0))])
                turned[number] = image[0]
                (x, y), place = image[1], best[1]
                where = [[x - across, y + down] for across, down in own]
                placed.append({"place": place, "corners": where, "mirrored": True})
                continue
        if best is None:
            members.append([])
            best = 1.0, len(members) - 1, (0, 0)
        _, place, at = best
        members[place].append((number, at))
        placed.append({"place": place, "corners": [[at[0] + x, at[1] + y] for x, y in own]})
    plates = _plates(members, pictures, corners, faces_of(faces))
    _zoom_in(members, plates, pictures, placed, turned)
    arrays: dict[str, NDArray[Any]] = {}
    for place, plate in plates.items():
        arrays[f"plate{place}"], arrays[f"sure{place}"] = plate.picture, plate.sure
        arrays[f"origin{place}"] = np.array(plate.origin)
    mark = mark_in_corner([[pictures[number][1] for number, _ in every] for every in members])
    return Made({"places": placed, "plates": list(plates), "mark": round(mark, 4)}, arrays)


def _plates(
    members: list[list[tuple[int, Shift]]],
    pictures: list[list[Pixels]],
    corners: list[list[Shift] | None],
    faces: FaceDetector | None,
) -> dict[int, Plate]:
    """The places without people, of those that enough shots show from far away."""
    plates: dict[int, Plate] = {}
    for place, every in enumerate(members):
        known = _different(every, pictures)
        if len(known) >= AT_LEAST and faces is not None:
            known = [one for one in known if not _near(pictures[one[0]], faces)]
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


def _mirrored(one: Looked, others: list[tuple[Looked, Shift]]) -> tuple[float, Shift]:
    """How well a picture's mirror image fits the first or last of some others, and where its corner lies.

    Smooth ground and sky fit either way: what fits better mirrored shows the place mirrored.
    """
    image = Looked(np.ascontiguousarray(one.picture[:, ::-1]))
    found = []
    for other, corner in (others[0], others[-1]):
        shift, share = shift_between(other, image)
        found.append((share, (corner[0] + shift[0], corner[1] + shift[1])))
    return max(found)


def _near(three: list[Pixels], faces: FaceDetector) -> bool:
    """Whether a shot shows somebody near."""
    return any(
        face.box.h >= LARGE * picture.shape[0]
        for picture in three
        for face in faces.find(Image.fromarray(picture))
    )


def _zoom_in(
    members: list[list[tuple[int, Shift]]],
    plates: dict[int, Plate],
    pictures: list[list[Pixels]],
    placed: list[dict[str, Any] | None],
    turned: dict[int, float],
) -> None:
    """Near shots of a place that more shots show from farther away: they are laid on its picture, and their
    own, which shows mostly people, is dropped. `placed` and `plates` change.

    Args:
        turned: of shots that fit a place better mirrored: how well. Nearer up they must fit as well.
    """
    for place in sorted(range(len(members)), key=lambda one: len(members[one])):
        wider = [one for one in plates if len(members[one]) > len(members[place])]
        for number, _ in members[place]:
            found = [(one, at) for one in wider if (at := located(pictures[number][1], plates[one]))]
            found = [one for one in found if one[1][1] >= turned.get(number, 0.0)]
            if not found:
                break
            base, (best, _) = max(found, key=lambda one: one[1][1])
            corner = [round(value, 2) for value in best.corner]
            placed[number] = {"place": base, "corners": [corner] * 3, "zoom": round(best.zoom, 4)}
        else:
            plates.pop(place, None)


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


def watch_shot(
    film: Film,
    shot: str,
    span: list[int],
    times: NDArray[np.float64],
    clips: Clips,
    place: dict[str, Any] | None,
    plate: Plate | None,
    eyes: Eyes,
    drawn: Sequence[Drawn] = (),
) -> Made:
    """The windows of a shot, and who is seen in it.

    Args:
        span: first and end frame. times: of all frames of the film, seconds.
        place: where the shot's pictures lie; plate: what the place looks like, on one canvas with them.
        eyes: the names of the back ends that look (see `tools`).
        drawn: boxes that a person drew on frames of the shot; a box on a frame that is missing shows nothing.
    """
    try:
        frames = _span(film, span, times)
    except CastsheetError as error:
        return Made({"error": error.what}, {})
    last = span[0] + len(frames)
    windows = [
        measured(shot, number, chosen, frames[np.array(chosen) - span[0]])
        for number, chosen in enumerate(windows_of(span[0], last, times, clips))
    ]
    seen, told, ghosts = subjects_of(frames, span[0], film, place, plate, eyes)
    lines = follow(seen, frames.shape[2]) if windows or len(frames) > 2 * EVERY else []
    hands = [one for one in drawn if span[0] <= one.frame < last]
    cutter, every = segmenter_of(eyes.segmenter) if hands else None, every_of(film)
    by_hand = [followed(frames, span[0], one, film.size, cutter, every) for one in hands]
    lines = [*others(lines, by_hand), *by_hand]
    owners = [""] * (len(lines) - len(hands)) + [one.owner for one in hands]
    arrays: dict[str, NDArray[Any]] = {}
    for number, line in enumerate(lines):
        for k, one in enumerate(line):
            arrays[f"mask{number}.{k}"] = np.packbits(one.mask)
        arrays[f"thumb{number}"] = _thumb(frames, span[0], line)
    arrays["middle"] = _small(frames[len(frames) // 2])
    for window in windows:
        middle = window.frames[len(window.frames) // 2]
        arrays[f"window{window.number}"] = _small(frames[middle - span[0]])
    embedder = embedder_of(eyes.embedder)
    tracks = [
        asdict(track_of(shot, number, line, vector_of(frames, span[0], line, embedder), owner))
        for number, (line, owner) in enumerate(zip(lines, owners, strict=True))
    ]
    size = [int(frames.shape[2]), int(frames.shape[1])]
    values = {"windows": [asdict(one) for one in windows], "tracks": tracks, "by": told, "size": size}
    values["ghosts"] = ghosts
    return Made(values, arrays)


def windows_of(first: int, last: int, times: NDArray[np.float64], clips: Clips) -> list[tuple[int, ...]]:
    """The film's frames that each window of a shot shows: by their times, so that any rate becomes the
    clips'."""
    low, high = first + GUARD, last - 1 - GUARD
    if high <= low:
        return []
    room = times[high] - times[low] - clips.seconds
    if room < -1e-6:
        return []
    count = 1 + int(max(0.0, room) * clips.fps / APART)
    starts = [
        times[low] + room * (k + 0.5) / count if count > 1 else times[low] + room / 2 for k in range(count)
    ]
    offsets = np.arange(clips.frames) / clips.fps
    return [
        tuple(int(at) for at in np.searchsorted(times, start + offsets + 1e-4, side="right") - 1)
        for start in starts
    ]


def _span(film: Film, span: list[int], times: NDArray[np.float64]) -> Pixels:
    """The frames of a span at the working size; fewer if the film ends early."""
    wanted = span[1] - span[0]
    found = []
    for _, frame in read_frames(film, start=float(times[span[0]]), size=working_size(film)):
        found.append(frame)
        if len(found) == wanted:
            break
    return np.stack(found)


def _small(frame: Pixels) -> Pixels:
    """A frame for pages, THUMB px high."""
    height, width = frame.shape[:2]
    return np.asarray(Image.fromarray(frame).resize((max(1, round(width * THUMB / height)), THUMB)))


def _thumb(frames: Pixels, first: int, line: list[Seen]) -> Pixels:
    """The track's largest whole sight, THUMB px high."""
    best = max(line, key=lambda one: (not one.edge, one.face > 0, one.area))
    box = best.box
    part = Image.fromarray(frames[best.frame - first][box.y : box.bottom, box.x : box.right])
    return np.asarray(part.resize((max(1, round(part.width * THUMB / part.height)), THUMB)))
