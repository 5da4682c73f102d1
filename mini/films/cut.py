"""A film in one piece: shots are joined, faults are put in, and the truth is written down.

Legend: F frames, H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from mini.films.script import FilmPlan
from mini.films.shoot import MASK_EVERY, Take

Pixels = NDArray[np.uint8]

DISSOLVE, FADE = 16, 20  # frames
SHORTEST = 8  # frames of a dissolve
WORDS = ("I told you so.", "Where were you?", "It is late.", "Look at that!")


@dataclass(frozen=True)
class Film:
    """A film's frames (F,H,W,3) and what is true of it, as JSON values.

    `masks` are by frame: who covers which pixel, as in `Take.figures`.
    """

    plan: FilmPlan
    frames: Pixels
    truth: dict[str, Any]
    masks: dict[str, Pixels]


def cut(plan: FilmPlan, takes: Sequence[Take]) -> Film:
    """Join the takes of a film's shots, in order."""
    parts: list[Pixels] = []
    shots: list[dict[str, Any]] = []
    transitions: list[dict[str, Any]] = []
    masks: dict[str, Pixels] = {}
    begin = 0
    for number, take in enumerate(takes):
        frames = _with_fault(take)
        kind, length = take.plan.join, FADE
        if number and kind == "dissolve":
            length = min(DISSOLVE, len(parts[-1]), len(frames))
            kind = kind if length >= SHORTEST else "cut"  # a dissolve before has left too little of the shot
        if number and kind != "cut":
            over, first = _join(parts[-1], frames, length, kind)
            cut_off = length if kind == "dissolve" else 0
            parts[-1] = parts[-1][: len(parts[-1]) - cut_off]
            shots[-1]["last"] -= cut_off
            begin -= cut_off
            parts.append(over)
            transitions.append({"kind": kind, "first": begin, "last": begin + len(over)})
            begin += len(over)
            frames, skipped = frames[first:], first
        else:
            skipped = 0
            if number:
                transitions.append({"kind": "cut", "first": begin, "last": begin})
        shots.append(_shot(take, begin, begin + len(frames), skipped))
        masks |= _masks(take, begin - skipped, skipped, len(frames) + skipped)
        parts.append(frames)
        begin += len(frames)
    whole = np.concatenate(parts)
    _over_all(plan, whole)
    truth = {"name": plan.name, "fps": plan.fps, "frames": len(whole), "logo": plan.logo}
    return Film(plan, whole, truth | {"shots": shots, "transitions": transitions}, masks)


def _shot(take: Take, first: int, last: int, skipped: int) -> dict[str, Any]:
    plan = take.plan
    mirrored = -1.0 if plan.fault == "mirror" else 1.0
    cast = [
        {
            "id": act.person.id,
            "costume": act.person.costume,
            "action": act.action,
            "yaw": [round(float(np.degrees(mirrored * yaw))) for yaw in take.yaws[number][skipped:]],
        }
        for number, act in enumerate(plan.acts)
    ]
    found = {"first": first, "last": last, "place": plan.place, "near": plan.near, "pan": plan.pan}
    return found | {"fault": plan.fault, "of": plan.of, "cast": cast}


def _masks(take: Take, begin: int, first: int, last: int) -> dict[str, Pixels]:
    """The masks of a take's frames `first .. last`, by the film's frame; the take's frame 0 is at `begin`."""
    if take.plan.fault == "still":
        return {}
    found = {}
    for number, mask in enumerate(take.figures):
        at = number * MASK_EVERY
        if first <= at < last:
            flipped = take.plan.fault == "mirror"
            found[str(begin + at)] = np.ascontiguousarray(mask[:, ::-1]) if flipped else mask
    return found


def _join(before: Pixels, after: Pixels, length: int, kind: str) -> tuple[Pixels, int]:
    """The frames of a transition, and how many frames of the second shot it took."""
    share = (np.arange(length) + 0.5) / length
    if kind == "dissolve":
        mixed = [
            (one * (1 - s) + other * s + 0.5).astype(np.uint8)
            for one, other, s in zip(before[-length:], after[:length], share, strict=True)
        ]
        return np.stack(mixed), length
    down = [(before[-1] * (1 - s) + 0.5).astype(np.uint8) for s in share]
    up = [(after[0] * s + 0.5).astype(np.uint8) for s in share]
    return np.stack(down + up), 0


def _with_fault(take: Take) -> Pixels:
    frames, fault = take.frames, take.plan.fault
    if fault == "still":
        return np.repeat(frames[len(frames) // 2][None], len(frames), 0)
    if fault == "mirror":
        return np.ascontiguousarray(frames[:, :, ::-1])
    if fault == "blur":
        return np.stack(
            [np.asarray(Image.fromarray(one).filter(ImageFilter.GaussianBlur(4))) for one in frames]
        )
    if fault == "caption":
        words = WORDS[take.plan.place % len(WORDS)]
        return np.stack([_written(one, words, 0.5, 0.88, 0.085) for one in frames])
    return frames


def _written(frame: Pixels, words: str, x: float, y: float, tall: float) -> Pixels:
    image = Image.fromarray(frame)
    height, width = frame.shape[:2]
    ImageDraw.Draw(image).text(
        (x * width, y * height),
        words,
        font=ImageFont.load_default(round(tall * height)),
        fill=(255, 255, 255),
        stroke_width=1,
        stroke_fill=(0, 0, 0),
        anchor="mm",
    )
    return np.asarray(image)


def _over_all(plan: FilmPlan, frames: Pixels) -> None:
    """Bars and a logo, over the whole film."""
    if plan.logo:
        for number, frame in enumerate(frames):
            frames[number] = _written(frame, "MINI", 0.92, 0.06, 0.06)
    bar = round(plan.letterbox * frames.shape[1])
    if bar:
        frames[:, :bar] = frames[:, -bar:] = 0
