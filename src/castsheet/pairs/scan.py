"""Two of the three heavy stages of `find`, pure functions that run in processes of their own.

1. `cut_film`: a film's frames in a stream, small: when each is shown, and where shots begin and end.
2. `places.place_film`: which shots show one place, and what it looks like without people.
3. `watch_shot`: all frames of a shot: its windows with their measures, and who is seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from castsheet.errors import CastsheetError
from castsheet.pairs.breaks import parts, unseen
from castsheet.pairs.camera import Plate
from castsheet.pairs.drawn import Drawn, followed, others
from castsheet.pairs.eyes import Eyes, every_of, subjects_of
from castsheet.pairs.frames import read_frames
from castsheet.pairs.ledger import Made
from castsheet.pairs.protocols import SMALL, Change, Pixels
from castsheet.pairs.quality import lettered, measured, read
from castsheet.pairs.records import Clips, Film, Window
from castsheet.pairs.repeats import strip_of
from castsheet.pairs.subjects import EVERY, Seen, evened, follow, second_look, track_of, vector_of
from castsheet.pairs.tools import embedder_of, patient_of, reader_of, segmenter_of, shots_of
from castsheet.sheet.look.ocr import TextReader

GUARD = 6
"""Frames at both ends of a shot that no window shows."""
WORKING = 384
"""px of width at which subjects and places are looked for."""
LEGIBLE = 768
"""px of width at least of a picture that is read: readers miss letters of few px."""
THUMB = 96
APART = 60
"""Frames of a clip from one window to the next, at least."""
BRIEFLY = 0.25  # share of the looks at a shot: who is seen in more, and in no track, is somebody all the same
AT_LEAST = 3
"""Shots that a plate needs: two may show one person in one place."""


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
    stacked = np.stack(small)
    changes = shots_of(detector).changes(stacked)
    shots = between(changes, len(small))
    values = {"shots": shots, "changes": [[one.first, one.last] for one in changes], "frames": len(small)}
    return Made(values, {"times": np.array(times), "strip": strip_of(stacked)})


def between(changes: list[Change], count: int) -> list[list[int]]:
    """First and end frames of the shots between transitions."""
    edges = [0, *(edge for one in changes for edge in (one.first, one.last)), count]
    return [[a, b] for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a >= 2]


def working_size(film: Film) -> tuple[int, int]:
    """Width and height at which a film is looked at: even numbers, never larger than the film."""
    width = min(WORKING, film.size[0]) // 2 * 2
    return width, max(2, round(film.size[1] * width / film.size[0] / 2) * 2)


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
    fits = bool(windows_of(span[0], last, times, clips))
    every = every_of(film) if fits else every_of(film) // 2
    seen, told, ghosts = subjects_of(frames, span[0], every, place, plate, eyes)
    lines = _lines(frames, span[0], seen, eyes) if fits or len(frames) > 2 * EVERY else []
    whole = parts(span[0], last, unseen(frames, span[0], lines) if fits else [])
    windows = _windows(film, shot, frames, span[0], whole, times, clips, eyes)
    hands = [one for one in drawn if span[0] <= one.frame < last]
    cutter = segmenter_of(eyes.segmenter) if hands else None
    by_hand = [followed(frames, span[0], one, film.size, cutter, every_of(film)) for one in hands]
    lines = [*others(lines, by_hand), *by_hand]
    owners = [""] * (len(lines) - len(hands)) + [one.owner for one in hands]
    embedder = embedder_of(eyes.embedder)
    tracks = [
        asdict(track_of(shot, number, line, vector_of(frames, span[0], line, embedder), owner))
        for number, (line, owner) in enumerate(zip(lines, owners, strict=True))
    ]
    size = [int(frames.shape[2]), int(frames.shape[1])]
    values: dict[str, Any] = {
        "windows": [asdict(one) for one in windows],
        "tracks": tracks,
        "by": told,
        "size": size,
        "longest": max((end - begin for begin, end in whole), default=0),
        "ghosts": ghosts,
        "stray": not lines and sum(map(bool, seen)) > BRIEFLY * len(seen),
    }
    return Made(values, _pictures(frames, span[0], lines, windows))


def _windows(
    film: Film,
    shot: str,
    frames: Pixels,
    first: int,
    whole: Sequence[tuple[int, int]],
    times: NDArray[np.float64],
    clips: Clips,
    eyes: Eyes,
) -> list[Window]:
    """The windows of a shot's parts, those that may hold letters with what is read there.

    Args:
        whole: parts of the shot between transitions that no detector saw.
    """
    chosen = [one for begin, end in whole for one in windows_of(begin, end, times, clips)]
    windows = [
        measured(shot, number, one, frames[np.array(one) - first]) for number, one in enumerate(chosen)
    ]
    reader = reader_of(eyes.reader)
    if reader is None:
        return windows
    return [_read(one, film, times, reader) if lettered(one) else one for one in windows]


def _pictures(
    frames: Pixels, first: int, lines: list[list[Seen]], windows: Sequence[Window]
) -> dict[str, NDArray[Any]]:
    """The masks of a shot's tracks, and small pictures of tracks and windows."""
    arrays: dict[str, NDArray[Any]] = {}
    for number, line in enumerate(lines):
        for k, one in enumerate(line):
            arrays[f"mask{number}.{k}"] = np.packbits(one.mask)
        arrays[f"thumb{number}"] = _thumb(frames, first, line)
    arrays["middle"] = _small(frames[len(frames) // 2])
    for window in windows:
        middle = window.frames[len(window.frames) // 2]
        arrays[f"window{window.number}"] = _small(frames[middle - first])
    return arrays


def _lines(frames: Pixels, first: int, seen: list[list[Seen]], eyes: Eyes) -> list[list[Seen]]:
    """Who is seen in a shot, followed through it, with all that a whole track tells of each sight."""
    patient = patient_of(eyes.faces)
    lines = follow(seen, frames.shape[2])
    return [evened(frames, first, second_look(frames, first, line, patient)) for line in lines]


def _read(window: Window, film: Film, times: NDArray[np.float64], reader: TextReader) -> Window:
    """A window with what is read in its middle picture, at the film's own size; small ones are enlarged."""
    middle = float(times[window.frames[len(window.frames) // 2]])
    picture = Image.fromarray(next(read_frames(film, start=middle))[1])
    larger = max(1, -(-LEGIBLE // picture.width))
    picture = picture.resize((picture.width * larger, picture.height * larger), Image.Resampling.LANCZOS)
    return read(window, [np.asarray(picture)], reader)


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
