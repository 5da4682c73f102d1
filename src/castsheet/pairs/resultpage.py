"""The result as one page: pairs with sheet and clip side by side, and what was left out, by rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from castsheet.media.page import data_url, html_page
from castsheet.media.video import read_video
from castsheet.pairs.records import RULES, Reject

_MOST = 60  # pairs with pictures: a page of thousands would not open
_LISTED = 40  # rejects of one rule
_FRAMES = 4
_WIDTH = 280
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:80rem;padding:0 1rem;color:#1d2730}
article{border-top:1px solid #c8d2da;padding:.8rem 0}
img{height:150px;margin-right:4px;vertical-align:top}
pre{white-space:pre-wrap;font:13px/1.4 monospace}
img.still{height:64px}
td,th{text-align:left;padding:.1rem .8rem .1rem 0}
"""


@dataclass(frozen=True)
class Card:
    """A pair as the page shows it."""

    id: str
    clip: Path
    sheet: NDArray[np.uint8]
    caption: str
    part: str


def result_page(
    cards: Sequence[Card],
    rejects: Sequence[Reject],
    summary: Mapping[str, Any],
    still: Callable[[str], Image.Image | None],
) -> str:
    """The page.

    Args:
        still: a small picture of a unit that was left out, where there is one.
    """
    body = ["<h1>Pairs</h1>", _numbers(summary), "<h2>Accepted</h2>"]
    body += [_card(one) for one in cards[:_MOST]]
    if len(cards) > _MOST:
        body.append(f"<p>and {len(cards) - _MOST} more, in pairs.csv</p>")
    body.append("<h2>Left out</h2>")
    for rule in sorted({one.rule for one in rejects}):
        mine = [one for one in rejects if one.rule == rule]
        body.append(f"<h3>{escape(rule)}: {escape(RULES.get(rule, 'see below'))} ({len(mine)})</h3>")
        body.append(_table(mine[:_LISTED], still))
    return html_page("Pairs", _STYLE, "\n".join(body))


def _numbers(summary: Mapping[str, Any]) -> str:
    rows = []
    for name in ("films", "windows", "pairs"):
        counts = summary[name]
        cells = "".join(f"<td>{counts[key]}</td>" for key in ("found", "accepted", "rejected", "quarantined"))
        rows.append(f"<tr><th>{name}</th>{cells}</tr>")
    head = "<tr><th></th><th>found</th><th>accepted</th><th>rejected</th><th>quarantined</th></tr>"
    return f"<table>{head}{''.join(rows)}</table>"


def _card(one: Card) -> str:
    frames = read_video(one.clip)[0]
    at = np.linspace(0, len(frames) - 1, _FRAMES).round().astype(int)
    pictures = [Image.fromarray(np.ascontiguousarray(one.sheet)), *(Image.fromarray(frames[k]) for k in at)]
    shown = "".join(f'<img src="{data_url(_small(picture))}" alt="">' for picture in pictures)
    head = f"<h3>{escape(one.id)} <small>{escape(one.part)}</small></h3>"
    return f"<article>{head}{shown}<pre>{escape(one.caption)}</pre></article>"


def _small(picture: Image.Image) -> Image.Image:
    return picture.resize((_WIDTH, max(1, round(picture.height * _WIDTH / picture.width))))


def _table(rejects: Sequence[Reject], still: Callable[[str], Image.Image | None]) -> str:
    rows = "".join(
        f"<tr><td>{_still(still(one.unit))}</td><td>{escape(one.unit)}</td>"
        f"<td>{escape(one.value)}</td><td>{escape(one.limit)}</td></tr>"
        for one in rejects
    )
    return f"<table><tr><th></th><th>unit</th><th>value</th><th>limit</th></tr>{rows}</table>"


def _still(picture: Image.Image | None) -> str:
    return "" if picture is None else f'<img class="still" src="{data_url(picture)}" alt="">'
