"""The parts of the judge's page: an element's row, timelines, pictures.

An element's row shows what was looked at beside the panel, at one height: where it was seen best, and where
worst.
"""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from castsheet.clip import Clip
from castsheet.judge.cast import Pixels
from castsheet.judge.judgement import ElementReport, Judgement, State
from castsheet.judge.protocols import crop
from castsheet.judge.states import ALIKE, FACE, PRESENT, band_of
from castsheet.media.page import data_url
from castsheet.sheet.box import Box
from castsheet.sheet.manifest import Sheet

THUMB = 240  # px wide: frames on the page
CHART = (640, 46)  # units of a timeline's drawing
SHOWN = 2  # crops of the best and of the worst frames
TONES: dict[State, str] = {"carried": "good", "not carried": "bad", "cannot tell": "unsure"}

Spot = tuple[int, float, tuple[int, int, int, int]]


def element_row(sheet: Sheet, clip: Clip, one: Judgement, element: ElementReport) -> str:
    """One element: its state and why, what was compared and what not, and the crops that were looked at."""
    spots, threshold = _spots(one, element)
    course, limit = _course(element) or (spots, threshold)
    chart = timeline(
        [at for at, _, _ in course],
        [value for _, value, _ in course],
        one.frames,
        limit,
        above_is_bad=False,
        flags=one.leak.leaked,
    )
    missing = f"<br><b>not compared: {', '.join(element.missing)}</b>" if element.missing else ""
    # Where figures were compared, colours that are somewhere in the frame only confuse.
    seen = f"<br>its colours are in {element.coverage:.0%} of the frames"
    colours = seen if element.glimpses is None else ""
    face = ""
    if element.face is not None and element.face.likeness is not None:
        face = (
            f"<br>face alike by {element.face.likeness:.3f} (the sheet's from {FACE.carried:.3f} on, "
            f"somebody else's below {FACE.absent:.3f}), seen in {element.face.coverage:.0%} of the looks"
        )
    text = (
        f'<h3>{html.escape(element.id)}</h3><p class="{TONES[element.state]}">{element.state}</p>'
        f"<p>{html.escape(element.why)}</p>"
        f'<p class="dim">{element.kind}<br>compared: {", ".join(element.compared)}'
        f"{missing}{face}{colours}</p>"
    )
    panels = [
        (panel.view, crop(np.asarray(sheet.image.convert("RGB")), panel.box))
        for panel in sheet.panels_of(element.id)
    ]
    shown = "".join(figure(picture, f"the sheet: {view}") for view, picture in panels)
    looked = _crops(clip, spots, "seen")
    if element.face is not None and element.face.views:
        views = [(view.frame, view.likeness, view.box) for view in element.face.views]
        looked += _crops(clip, views, "face")
    return (
        f'<div class="row"><div>{text}</div><div>{chart}<div class="pics">{shown}{looked}</div></div></div>'
    )


def _spots(one: Judgement, element: ElementReport) -> tuple[list[Spot], float]:
    """Frame, likeness and box of every look at an element, and from where on it is carried."""
    if element.glimpses:
        spots = [(seen.frame, seen.value, seen.box) for seen in element.glimpses]
        return spots, band_of(element.kind, element.glimpses).carried
    every = zip(one.sampled, element.similarity, element.boxes, strict=True)
    return list(every), PRESENT[element.kind]


def _course(element: ElementReport) -> tuple[list[Spot], float] | None:
    """What the line shows where a face decides: its likeness, from what strangers share to the same face."""
    if element.face is None or "face" not in element.compared:
        return None
    low, high = ALIKE

    def share(value: float) -> float:
        return (value - low) / (high - low)

    views = [(view.frame, share(view.likeness), view.box) for view in element.face.views]
    return sorted(views), share(FACE.carried)


def _crops(clip: Clip, spots: Sequence[Spot], what: str) -> str:
    """The best and the worst looks, cut out of their frames."""
    order = sorted(spots, key=lambda spot: -spot[1])
    chosen = [("best", spot) for spot in order[:1]]
    chosen += [("worst", spot) for spot in order[max(1, len(order) - SHOWN + 1) :]]
    return "".join(
        figure(
            crop(clip.frames[at], Box(*box)),
            f"{what}, {which}: frame {at}, {at / clip.fps:.2f} s, {value:.2f}",
        )
        for which, (at, value, box) in chosen
    )


def timeline(
    at: Sequence[int],
    values: Sequence[float],
    frames: int,
    threshold: float | None,
    *,
    above_is_bad: bool,
    flags: Sequence[bool],
) -> str:
    """A timeline as SVG: values in 0..1 over frames, threshold dashed, bad points and leaked frames red.

    Args:
        at: frame number of each value.
        flags: leaked frames, shaded.
    """
    width, height = CHART
    last = max(frames - 1, 1)

    def x(frame: float) -> float:
        return round(4 + (width - 8) * frame / last, 1)

    def y(value: float) -> float:
        return round(height - 3 - (height - 6) * min(max(value, 0.0), 1.0), 1)

    shade = "".join(
        f'<rect x="{x(n - 0.5)}" y="0" width="{round((width - 8) / last, 1)}" '
        f'height="{height}" fill="#ef6f6c44"/>'
        for n, flag in enumerate(flags)
        if flag
    )
    line = " ".join(f"{x(frame)},{y(value)}" for frame, value in zip(at, values, strict=True))
    parts = [shade, f'<polyline points="{line}" fill="none" stroke="#7aa7f0" stroke-width="1.6"/>']
    if threshold is not None:
        level = y(threshold)
        parts.append(
            f'<path d="M0 {level}H{width}" stroke="#9a9da3" stroke-dasharray="4 4" stroke-width="0.8"/>'
        )
        bad = [(f, v) for f, v in zip(at, values, strict=True) if (v >= threshold) == above_is_bad]
        parts += [f'<circle cx="{x(f)}" cy="{y(v)}" r="2.4" fill="#ef6f6c"/>' for f, v in bad]
    return f'<svg viewBox="0 0 {width} {height}" role="img">{"".join(parts)}</svg>'


def pictures(clip: Clip, frames: Sequence[int], boxes: dict[int, tuple[int, int, int, int]]) -> str:
    """Frames as figures, with the element's box if there is one."""
    figures = []
    for at in frames:
        picture = Image.fromarray(clip.frames[at])
        if at in boxes:
            x, y, w, h = boxes[at]
            thick = max(1, picture.width // 192)
            ImageDraw.Draw(picture).rectangle((x, y, x + w - 1, y + h - 1), outline="#ffffff", width=thick)
        figures.append(figure(np.asarray(picture), f"frame {at}, {at / clip.fps:.2f} s"))
    return f'<div class="pics">{"".join(figures)}</div>' if figures else ""


def figure(picture: Pixels, words: str) -> str:
    """A picture with a line under it."""
    image = f'<img src="{picture_url(picture, THUMB)}" alt="{words}">'
    return f"<figure>{image}<figcaption>{words}</figcaption></figure>"


def picture_url(picture: Pixels, width: int) -> str:
    """A picture as a data URL, `width` px wide at most."""
    image = Image.fromarray(picture)
    if image.width > width:
        image = image.resize(
            (width, max(1, round(image.height * width / image.width))), Image.Resampling.LANCZOS
        )
    return data_url(image)
