"""Who is seen in a shot: against a picture of its place, or by networks where the place is not known.

Legend: F frames, H height, W width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from castsheet.pairs.camera import Looked, Plate, Shift, corner_at, shift_between
from castsheet.pairs.protocols import Detector, Floats, Pixels, Segmenter
from castsheet.pairs.records import Film
from castsheet.pairs.segment import Ground, against
from castsheet.pairs.subjects import EVERY, LEAST, Mask, Seen, sights_of
from castsheet.pairs.tools import detector_of, embedder_of, faces_of, reader_of, segmenter_of
from castsheet.pairs.zoom import Zoomed, shown

SURE = 0.8
"""Share of a frame whose place must be known before subjects are told from it."""
CROWDED = 0.65
"""Share of the frame: if more differs from the plate, the plate is not of this picture."""
FEW = 20
"""Looks at a shot: of a longer one networks see every second."""
PEOPLE = ("a person",)
"""What an open-set detector is asked for."""


@dataclass(frozen=True)
class Eyes:
    """The names of the back ends that look at shots (see `tools`).

    Args:
        by_hand: nobody is looked for: who is seen is what boxes in `cast.yaml` say.
    """

    detector: str = "none"
    segmenter: str = "none"
    faces: str = "none"
    embedder: str = "none"
    reader: str = "none"
    by_hand: bool = False


def check_eyes(eyes: Eyes) -> None:
    """Refuse, before the work, back ends that do not exist or are not installed; errors as `Choice.of`."""
    detector_of(eyes.detector)
    segmenter_of(eyes.segmenter)
    faces_of(eyes.faces)
    embedder_of(eyes.embedder)
    reader_of(eyes.reader)


def subjects_of(
    frames: Pixels,
    first: int,
    every: int,
    place: dict[str, Any] | None,
    plate: Plate | None,
    eyes: Eyes,
) -> tuple[list[list[Seen]], str, list[int]]:
    """The subjects of every few frames, what told them from their place, and the frames in which somebody
    may stand where the place is not known.

    Args:
        first: the film's number of the first of the frames. every: frames from one look to the next.
    """
    if eyes.by_hand:
        return [], "hand", []
    at = list(range(0, len(frames), every))
    told = "plate"
    masks: list[tuple[Mask, Mask | None]] = []
    if place is not None and plate is not None:
        masks += _told_from(plate, place, frames, at)
    if len(masks) < len(at):
        told, at = f"{eyes.detector} {eyes.segmenter}", at[:: 1 if len(at) <= FEW else 2]
        covered = _covered(frames[at], detector_of(eyes.detector), segmenter_of(eyes.segmenter))
        if covered is None:
            return [], "nothing", []
        masks = [(one > 0.5, None) for one in covered]
    faces = faces_of(eyes.faces)
    found = [
        sights_of(first + k, frames[k], mask, faces, unsure, every_face=number % 2 == 0)
        for number, (k, (mask, unsure)) in enumerate(zip(at, masks, strict=True))
    ]
    # What stands where the place is not known may be anybody.
    ghosts = [
        first + k
        for k, (mask, unsure) in zip(at, masks, strict=True)
        if unsure is not None and (mask & unsure).mean() > LEAST
    ]
    return found, told, ghosts


def _told_from(plate: Plate, place: dict[str, Any], frames: Pixels, at: list[int]) -> list[tuple[Mask, Mask]]:
    """Who stands before a plate in some frames of a shot, and where that is not known; fewer than asked for
    where the plate is of no use."""
    masks: list[tuple[Mask, Mask]] = []
    if "zoom" in place:
        picture, sure = shown(plate, Zoomed(tuple(place["corners"][1]), place["zoom"]), frames.shape[2:0:-1])
        ground = Ground(picture, blurred=True)
        for k in at:
            mask = _before(frames[k], ground, sure, near=True)
            if mask is None:
                break
            masks.append(mask)
        return masks
    size = frames.shape[2], frames.shape[1]
    turn = slice(None, None, -1 if "mirrored" in place else 1)
    still = bool(np.ptp(np.array(place["corners"]), 0).max() <= 1)
    known: tuple[Shift, Ground, Mask] | None = None
    for k in at:
        frame = np.ascontiguousarray(frames[k][:, turn])
        x, y = corner_at(k / max(1, len(frames) - 1), place["corners"])
        corner = round(x), round(y)
        if not still:
            corner = _aligned(frame, plate, corner)
        if known is None or known[0] != corner:
            picture, sure = plate.at(corner, size)
            known = corner, Ground(picture), sure
        mask = _before(frame, *known[1:])
        if mask is None:
            break
        masks.append((mask[0][:, turn], mask[1][:, turn]))
    return masks


def every_of(film: Film) -> int:
    """Frames of a film from one look to the next: as long as six of 24 a second."""
    return max(1, round(EVERY * film.fps / 24))


def _covered(frames: Pixels, detector: Detector | None, segmenter: Segmenter | None) -> Floats | None:
    """Where subjects are, by networks; None without any. A detector alone tells boxes."""
    if detector is None:
        return None if segmenter is None else segmenter.cover(frames)
    found = np.zeros(frames.shape[:3], np.float32)
    for number, frame in enumerate(frames):
        boxes = [one.box for one in detector.find(frame, PEOPLE)]
        if segmenter is not None and boxes:
            found[number] = segmenter.within(frame, boxes).max(axis=0)
            continue
        for box in boxes:
            found[number, box.y : box.bottom, box.x : box.right] = 1
    return found


def _aligned(frame: Pixels, plate: Plate, corner: Shift) -> Shift:
    """Where the corner of a moving camera's frame lies, by the frame itself."""
    picture, sure = plate.at(corner, (frame.shape[1], frame.shape[0]))
    if sure.mean() < SURE:
        return corner
    (x, y), _ = shift_between(Looked(picture), Looked(frame), wide=False)
    return corner[0] + x, corner[1] + y


def _before(frame: Pixels, ground: Ground, sure: Mask, *, near: bool = False) -> tuple[Mask, Mask] | None:
    """Who stands before a ground, and where it is not known; None where it is of no use."""
    if sure.mean() < SURE:
        return None
    mask = against(frame, ground) & (True if near else sure)
    return None if mask.mean() > CROWDED else (mask, ~sure)
