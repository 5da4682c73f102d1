"""One page over all shots of a list: each with its clip, the judge's verdict, and a link to its report."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from castsheet.jobs.lockstep import SCRIPT, TONES, Shown, lockstep
from castsheet.jobs.lockstep import STYLE as TAKES
from castsheet.jobs.shotlist import Shot
from castsheet.judge.report import STYLE, sheet_url
from castsheet.media.page import html_page
from castsheet.sheet.manifest import Sheet

_MORE = """
.shots { display:grid; grid-template-columns:repeat(auto-fill,minmax(320px,1fr)); gap:16px;
  align-items:start } .shots section:has(details[open]) { grid-column:1 / -1 } summary { cursor:pointer }
.shots section { margin:0 } video { width:100%; display:block; margin:8px 0; background:#000 }
"""


def page(shots: Sequence[Shot], records: Mapping[str, dict[str, Any] | None], sheet: Sheet) -> bytes:
    """The page's HTML, in the list's order. Clips and reports are linked by relative paths.

    Args:
        records: of every shot by its id; None if the shot is not finished.
    """
    told = [one for one in records.values() if one is not None]
    passed = sum(bool(one["passed"]) for one in told)
    name = html.escape(sheet.path.name if sheet.path else "sheet.png")
    head = (
        f'<div class="top"><img src="{sheet_url(sheet)}" alt="the sheet">'
        f"<div><h1>Shots</h1><p>{len(told)} of {len(shots)} are made, {passed} pass.</p>"
        f'<p class="dim">Sheet {name}.</p>{_table(shots, records)}</div></div>'
    )
    cards = "".join(_card(shot, records[shot.id]) for shot in shots)
    body = f'<main>{head}<div class="shots">{cards}</div></main>{SCRIPT}'
    return html_page("castsheet shots", STYLE + TAKES + _MORE, body).encode()


def _table(shots: Sequence[Shot], records: Mapping[str, dict[str, Any] | None]) -> str:
    """The finished shots by what needs a look first: failures, then low scores."""
    told = [(shot.id, one) for shot in shots if (one := records[shot.id]) is not None]
    told.sort(key=lambda pair: (bool(pair[1]["passed"]), pair[1]["score"]))
    rows = "".join(
        f'<tr><td><a href="#{name}">{name}</a></td><td>{_mark(one)}</td><td>{one["score"]:.3f}</td>'
        f"<td>{one['takes']}</td></tr>"
        for name, one in told
    )
    return f"<table><tr><th>shot, worst first</th><th></th><th>score</th><th>takes</th></tr>{rows}</table>"


def _card(shot: Shot, one: dict[str, Any] | None) -> str:
    if one is None:
        words = html.escape(shot.action or shot.prompt or "")
        return (
            f'<section id="{shot.id}"><h2>{shot.id}</h2><p>{words}</p><p class="mild">not made</p></section>'
        )
    base = f"{shot.id}/{shot.id}"
    return (
        f'<section id="{shot.id}"><h2>{shot.id}</h2><p>{html.escape(one["action"])}</p>'
        f'<video src="{base}.mp4" controls loop muted preload="metadata"></video>'
        f'<p class="{TONES.get(one.get("state", ""), "")}">{html.escape(one["verdict"])}</p>'
        f"{_takes(base, one)}"
        f'<p><a href="{shot.id}/judgement.html">judgement</a> <a href="{base}.contact.png">contact sheet</a> '
        f'<a href="{base}.clip.json">sidecar</a></p></section>'
    )


def _takes(base: str, one: Mapping[str, Any]) -> str:
    """All takes of a shot, folded away; the seed alone where no other take is kept."""
    made = one.get("made") or []
    if len(made) < 2:
        return f'<p class="dim">seed {one["seed"]}, score {one["score"]:.3f}</p>'
    shown = [
        Shown(
            take["seed"],
            f"{base}.take-{take['seed']}.mp4",
            f"{base}.take-{take['seed']}.judge.html",
            take["state"],
            take["score"],
            take["verdict"],
            take["seed"] == one["seed"],
        )
        for take in made
    ]
    return (
        f"<details><summary>{len(made)} takes, seed {one['seed']} is kept</summary>{lockstep(shown)}"
        f"<p><code>castsheet choose {base}.mp4 --seed SEED</code></p></details>"
    )


def _mark(one: Mapping[str, Any]) -> str:
    state = one.get("state") or ("carried" if one["passed"] else "not carried")
    return f'<span class="{TONES.get(state, "")}">{state}</span>'
