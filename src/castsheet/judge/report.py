"""The report: one self-contained HTML page over one clip or many, without network, fonts or foreign scripts.

Pictures are embedded: the sheet, a strip of frames, and for every element its panels beside its worst frames.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from castsheet.clip import Clip
from castsheet.judge.judgement import Judgement
from castsheet.judge.reroll import STATES
from castsheet.judge.rows import THUMB, TONES, element_row, picture_url, pictures, timeline
from castsheet.judge.verdict import JOLTS, LIKENESS, LIMITS, SCENE, SHAKING
from castsheet.machine.outputs import Output, write_output
from castsheet.media.page import html_page, wrote_page
from castsheet.sheet.manifest import Sheet

WORST = 3
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
0 } .good { color:var(--good) } .bad { color:var(--bad) } .mild { color:var(--mild) } .unsure {
color:#c3c6cc } .row { display:grid; grid-template-columns:190px minmax(0,1fr); gap:14px; padding:12px 0;
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


def write(
    path: Path, sheet: Sheet, judged: Sequence[tuple[Clip, Judgement]], *, overwrite: bool = False
) -> Path:
    """Write the page; whole or not at all.

    Raises:
        OutputError: a file that Castsheet did not write is there, or the disk refused.
    """
    text = page(sheet, judged).encode()
    return write_output(Output(path, wrote_page), lambda file: file.write_bytes(text), overwrite=overwrite)


def page(sheet: Sheet, judged: Sequence[tuple[Clip, Judgement]]) -> str:
    """The page's HTML."""
    told = [judgement for _, judgement in judged]
    passed = sum(judgement.passed for judgement in told)
    unsure = sum(judgement.state == "cannot tell" for judgement in told)
    name = html.escape(sheet.path.name if sheet.path else "the sheet")
    panels = (
        f"{len(sheet.panels)} panels known from its manifest"
        if sheet.panels
        else "no manifest: panels were found"
    )
    head = (
        f'<div class="top"><img src="{sheet_url(sheet)}" alt="the sheet">'
        "<div><h1>Did the cast carry over?</h1>"
        f"<p>{_counted(passed, unsure, len(told))}</p>"
        f'<p class="dim">Sheet {name}, {sheet.image.width} x {sheet.image.height}; {panels}.</p>'
        f"{_overview(told)}</div></div>"
    )
    body = "".join(_clip(sheet, clip, one, number) for number, (clip, one) in enumerate(judged))
    return html_page("castsheet judge", STYLE, f"<main>{head}{body}</main>")


def _counted(passed: int, unsure: int, count: int) -> str:
    """How many clips carry the cast, in words."""
    if count == 1:
        return "This clip does." if passed else "The judge cannot tell." if unsure else "This clip does not."
    tail = f" The judge cannot tell of {unsure}." if unsure else ""
    return f"{passed} of {count} clips do.{tail}"


def _overview(told: Sequence[Judgement]) -> str:
    if len(told) < 2:
        return ""
    order = sorted(range(len(told)), key=lambda n: (-STATES.index(told[n].state), -told[n].score))
    rows = "".join(
        f'<tr><td><a href="#clip{n}">{html.escape(told[n].name)}</a></td><td>{_mark(told[n])}</td>'
        f"<td>{told[n].score:.3f}</td></tr>"
        for n in order
    )
    return f'<div class="scroll"><table><tr><th>clip</th><th></th><th>score</th></tr>{rows}</table></div>'


def _mark(one: Judgement) -> str:
    return f'<span class="{TONES[one.state]}">{one.state}</span>'


def _clip(sheet: Sheet, clip: Clip, one: Judgement, number: int) -> str:
    kind = TONES[one.state]
    size = f"{one.frames} frames, {one.width} x {one.height}, {one.fps:g} fps; score {one.score:.3f}"
    shown = np.linspace(0, one.frames - 1, min(STRIP, one.frames)).round().astype(int)
    strip = "".join(f'<img src="{picture_url(clip.frames[at], THUMB)}" alt="frame {at}">' for at in shown)
    problems = "".join(
        f'<li class="{"bad" if problem.grave else "mild"}">{html.escape(problem.message)}</li>'
        for problem in one.problems
    )
    elements = "".join(element_row(sheet, clip, one, element) for element in one.elements)
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
    hung = {find.frame: find.box for find in one.leak.finds if find.likeness >= LIMITS[find.of]}
    hung = hung if any(problem.measure in ("leak", "copy") for problem in one.problems) else {}
    words = f"{one.leak.seconds:.2f} s of the whole sheet" if leaked else ""
    words = ", ".join([*filter(None, [words]), *(["a part of it in the picture"] if hung else [])])
    state = f'<span class="bad">{words}</span>' if words else '<span class="good">none seen</span>'
    text = (
        f"<h3>the sheet in the picture</h3><p>{state}</p><p class='dim'>whole sheet: likeness at most "
        f"{max(values):.2f}<br>its panels were searched at every size and place</p>"
    )
    shown = pictures(clip, worst, {}) + pictures(clip, list(hung), hung)
    return f'<div class="row"><div>{text}</div><div>{chart}{shown}</div></div>'


def _motion(one: Judgement) -> str:
    top = max([*one.motion.amount, 1.0])
    values = [value / top for value in one.motion.amount]
    chart = timeline(list(range(len(values))), values, one.frames, None, above_is_bad=False, flags=[])
    moved = one.motion
    own = "the scene moves by itself" if moved.scene > SCENE else "only the camera moves, or nothing"
    shakes = moved.shaking >= SHAKING and moved.jolts >= JOLTS
    numbers = (
        f"{own}<br>stands still for {moved.frozen} frames at most"
        f"<br>the picture {'shakes' if shakes else 'does not shake'}"
        f"<br>light jumps by {moved.flicker:.1%} a frame"
    )
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


def sheet_url(sheet: Sheet) -> str:
    """The sheet as a data URL, 768 px wide at most."""
    return picture_url(np.asarray(sheet.image.convert("RGB")), 768)
