"""The report: one self-contained HTML page over one clip or many, without network, fonts or foreign scripts.

Pictures are embedded: the sheet, a strip of frames, and for every element its panels beside its worst frames.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from castsheet.clip import Clip
from castsheet.judge.cast import Pixels
from castsheet.judge.judgement import ElementReport, Judgement
from castsheet.judge.verdict import LIKENESS, PRESENT
from castsheet.machine.files import write_text
from castsheet.media.page import data_url, html_page
from castsheet.sheet.manifest import Sheet

THUMB = 240  # px wide: frames on the page
WORST = 3
CHART = (640, 46)  # units of a timeline's drawing
STRIP = 8  # frames in the strip under a clip's title

STYLE = """
:root { color-scheme: dark; --back:#16171a; --card:#1f2125; --line:#33363c; --text:#e2e3e5; --dim:#9a9da3;
  --good:#57c27d; --bad:#ef6f6c; --mild:#e8b04b; --ink:#7aa7f0 }
* { box-sizing: border-box } body { margin:0; background:var(--back); color:var(--text);
  font:15px/1.5 system-ui, sans-serif } main { max-width:1120px; margin:0 auto; padding:28px 20px 60px }
h1 { font-size:22px; margin:0 0 4px } h2 { font-size:18px; margin:0; overflow-wrap:anywhere }
h3 { font-size:15px; margin:0 0 6px } p { margin:4px 0 } .dim { color:var(--dim) }
.top { display:flex; gap:20px; flex-wrap:wrap; align-items:flex-start; margin-bottom:20px }
.top img { width:384px; max-width:100%; border:1px solid var(--line) } .top div { flex:1 1 320px }
section { background:var(--card); border:1px solid var(--line); border-radius:8px; padding:18px; margin:18px
0 } .good { color:var(--good) } .bad { color:var(--bad) } .mild { color:var(--mild) }
.row { display:grid; grid-template-columns:190px minmax(0,1fr); gap:14px; padding:12px 0;
  border-top:1px solid var(--line) } .row > * { min-width:0 }
.strip { display:flex; gap:4px; margin:12px 0; overflow:hidden } .strip img { flex:1 1 0; min-width:0;
width:0 } .pics { display:flex; gap:10px; flex-wrap:wrap; margin-top:8px } figure { margin:0 }
figure img { display:block; height:112px; width:auto; max-width:100%; border:1px solid var(--line) }
figcaption { font-size:12px; color:var(--dim) } svg { width:100%; height:auto; display:block;
background:#16171a } table { border-collapse:collapse; width:100% } td, th { text-align:left; padding:5px
10px 5px 0;
  border-top:1px solid var(--line); vertical-align:top } th { color:var(--dim); font-weight:normal } a {
  color:var(--ink) }
.scroll { overflow-x:auto } ul { margin:6px 0; padding-left:20px }
@media (max-width:640px) { .row { grid-template-columns:1fr } }
"""


def write(path: Path, sheet: Sheet, judged: Sequence[tuple[Clip, Judgement]]) -> Path:
    """Write the page; whole or not at all.

    Raises:
        OutputError: the disk refused.
    """
    text = page(sheet, judged)
    return write_text(path, text)


def page(sheet: Sheet, judged: Sequence[tuple[Clip, Judgement]]) -> str:
    """The page's HTML."""
    told = [judgement for _, judgement in judged]
    passed = sum(judgement.passed for judgement in told)
    name = html.escape(sheet.path.name if sheet.path else "the sheet")
    panels = (
        f"{len(sheet.panels)} panels known from its manifest"
        if sheet.panels
        else "no manifest: panels were found"
    )
    head = (
        f'<div class="top"><img src="{sheet_url(sheet)}" alt="the sheet">'
        "<div><h1>Did the cast carry over?</h1>"
        f"<p>{passed} of {len(told)} clips pass.</p>"
        f'<p class="dim">Sheet {name}, {sheet.image.width} x {sheet.image.height}; {panels}.</p>'
        f"{_overview(told)}</div></div>"
    )
    body = "".join(_clip(sheet, clip, one, number) for number, (clip, one) in enumerate(judged))
    return html_page("castsheet judge", STYLE, f"<main>{head}{body}</main>")


def _overview(told: Sequence[Judgement]) -> str:
    if len(told) < 2:
        return ""
    order = sorted(range(len(told)), key=lambda n: (not told[n].passed, -told[n].score))
    rows = "".join(
        f'<tr><td><a href="#clip{n}">{html.escape(told[n].name)}</a></td><td>{_mark(told[n])}</td>'
        f"<td>{told[n].score:.3f}</td></tr>"
        for n in order
    )
    return f'<div class="scroll"><table><tr><th>clip</th><th></th><th>score</th></tr>{rows}</table></div>'


def _mark(one: Judgement) -> str:
    return '<span class="good">passes</span>' if one.passed else '<span class="bad">fails</span>'


def _clip(sheet: Sheet, clip: Clip, one: Judgement, number: int) -> str:
    kind = "good" if one.passed else "bad"
    size = f"{one.frames} frames, {one.width} x {one.height}, {one.fps:g} fps; score {one.score:.3f}"
    shown = np.linspace(0, one.frames - 1, min(STRIP, one.frames)).round().astype(int)
    strip = "".join(f'<img src="{picture_url(clip.frames[at], THUMB)}" alt="frame {at}">' for at in shown)
    problems = "".join(
        f'<li class="{"bad" if problem.grave else "mild"}">{html.escape(problem.message)}</li>'
        for problem in one.problems
    )
    elements = "".join(_element(sheet, clip, one, element) for element in one.elements)
    return (
        f'<section id="clip{number}"><h2>{html.escape(one.name)}</h2>'
        f'<p class="{kind}">{html.escape(one.verdict)}</p>'
        f'<p class="dim">{size}</p><div class="strip">{strip}</div>'
        f"{f'<ul>{problems}</ul>' if problems else ''}{_leak(clip, one)}"
        f"{elements}{_motion(one)}{_rest(one)}</section>"
    )


def _leak(clip: Clip, one: Judgement) -> str:
    values = one.leak.likeness
    chart = timeline(
        list(range(one.frames)), values, one.frames, LIKENESS, above_is_bad=True, flags=one.leak.leaked
    )
    leaked = [at for at, flag in enumerate(one.leak.leaked) if flag]
    worst = sorted(leaked, key=lambda at: -values[at])[:WORST]
    state = (
        f'<span class="bad">{one.leak.seconds:.2f} s</span>' if leaked else '<span class="good">none</span>'
    )
    text = f"<h3>leak</h3><p>{state}</p><p class='dim'>likeness to the sheet, at most {max(values):.2f}</p>"
    return f'<div class="row"><div>{text}</div><div>{chart}{_pictures(clip, worst, {})}</div></div>'


def _element(sheet: Sheet, clip: Clip, one: Judgement, element: ElementReport) -> str:
    chart = timeline(
        one.sampled,
        element.similarity,
        one.frames,
        PRESENT[element.kind],
        above_is_bad=False,
        flags=one.leak.leaked,
    )
    order = np.argsort(element.similarity, kind="stable")[:WORST]
    worst = {one.sampled[i]: element.boxes[i] for i in sorted(order)}
    whole = np.asarray(sheet.image.convert("RGB"))
    panels = "".join(
        _figure(whole[panel.box.y : panel.box.bottom, panel.box.x : panel.box.right], f"{panel.view} panel")
        for panel in sheet.panels_of(element.id)
    )
    margin = "" if element.margin is None else f"<br>margin to the next {element.margin:+.2f}"
    good = "good" if element.coverage >= 0.5 else "bad"
    text = (
        f'<h3>{html.escape(element.id)}</h3><p class="{good}">in {element.coverage:.0%} of the frames</p>'
        f'<p class="dim">{element.kind}<br>identity {element.identity:.2f}{margin}'
        f"<br>drift {element.drift:+.2f}<br>colours off by {element.tint:.1f}</p>"
    )
    pictures = f'<div class="pics">{panels}</div>{_pictures(clip, list(worst), worst)}'
    return f'<div class="row"><div>{text}</div><div>{chart}{pictures}</div></div>'


def _motion(one: Judgement) -> str:
    top = max([*one.motion.amount, 1.0])
    values = [value / top for value in one.motion.amount]
    chart = timeline(list(range(len(values))), values, one.frames, None, above_is_bad=False, flags=[])
    smooth = "not defined" if one.motion.smoothness is None else f"{one.motion.smoothness:.2f}"
    shares = f"shaking {one.motion.shaking:.0%}<br>still {one.motion.still:.0%}"
    numbers = f"smoothness {smooth}<br>{shares}<br>full height is {top:.1f}"
    text = f"<h3>motion</h3><p class='dim'>{numbers}</p>"
    return f'<div class="row"><div>{text}</div><div>{chart}</div></div>'


def _rest(one: Judgement) -> str:
    rows = [("black bars", f"{one.leak.bars:.0%}"), ("text-like strokes", f"{one.text.strokes:.2f}")]
    if one.text.lines is not None:
        rows.append(("text read", ", ".join(one.text.lines) or "none"))
    if one.faces is not None:
        published = "no face" if one.faces.published is None else f"{one.faces.published:.3f}"
        rows.append(("FaceSim as published", published))
        rows += [
            (f"FaceSim corrected, {name}", f"{value:.3f}") for name, value in one.faces.corrected.items()
        ]
    for name, nexus in (one.features or {}).items():
        published = "unseen" if nexus.published is None else f"{nexus.published:.3f}"
        rows.append((f"NexusScore, {name}", f"as published {published}, corrected {nexus.corrected:.3f}"))
    if one.models:
        rows.append(("models", ", ".join(one.models)))
    cells = "".join(f"<tr><th>{html.escape(a)}</th><td>{html.escape(b)}</td></tr>" for a, b in rows)
    return f'<div class="row"><h3>also</h3><table>{cells}</table></div>'


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


def _pictures(clip: Clip, frames: Sequence[int], boxes: dict[int, tuple[int, int, int, int]]) -> str:
    """Frames as figures, with the element's box if there is one."""
    figures = []
    for at in frames:
        picture = Image.fromarray(clip.frames[at])
        if at in boxes:
            x, y, w, h = boxes[at]
            thick = max(1, picture.width // 192)
            ImageDraw.Draw(picture).rectangle((x, y, x + w - 1, y + h - 1), outline="#ffffff", width=thick)
        figures.append(_figure(np.asarray(picture), f"frame {at}, {at / clip.fps:.2f} s"))
    return f'<div class="pics">{"".join(figures)}</div>' if figures else ""


def _figure(picture: Pixels, words: str) -> str:
    image = f'<img src="{picture_url(picture, THUMB)}" alt="{words}">'
    return f"<figure>{image}<figcaption>{words}</figcaption></figure>"


def sheet_url(sheet: Sheet) -> str:
    """The sheet as a data URL, 768 px wide at most."""
    return picture_url(np.asarray(sheet.image.convert("RGB")), 768)


def picture_url(picture: Pixels, width: int) -> str:
    """A picture as a data URL, `width` px wide at most."""
    image = Image.fromarray(picture)
    if image.width > width:
        image = image.resize(
            (width, max(1, round(image.height * width / image.width))), Image.Resampling.LANCZOS
        )
    return data_url(image)
