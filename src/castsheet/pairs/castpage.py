"""The cast with pictures: one HTML file without links, to correct `cast.yaml` by."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from castsheet.media.page import data_url, html_page
from castsheet.pairs.cast import Cast, Member
from castsheet.pairs.ledger import Stored

if TYPE_CHECKING:
    from castsheet.pairs.find import Found

_SHOWN = 24  # pictures of one person
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#1d2730}
figure{display:inline-block;margin:.3rem;text-align:center}
figcaption{font:11px monospace;color:#5c6670}
img{height:96px;background:#dde3e8}
section{border-top:1px solid #c8d2da;margin-top:1rem}
.unsure{background:#fff6df}
"""


def cast_page(found: Found, cast: Cast, work: Path) -> str:
    """The page: every person of every title, with a picture of each of their tracks."""
    parts = ["<h1>Who is who</h1>", _words(found)]
    for title, members in cast.items():
        parts.append(f"<h2>{escape(title)}</h2>")
        parts += [_section(one, found, work) for one in members.values()]
    return html_page("Who is who", _STYLE, "\n".join(parts))


def _words(found: Found) -> str:
    counts = found.counts["windows"]
    told = ", ".join(f"{counts[name]} {name}" for name in ("found", "accepted", "rejected", "quarantined"))
    return (
        f"<p>Windows: {told}.</p><p>Edit <code>cast.yaml</code> beside this page: move a track to another "
        "list, give a name, empty <code>unsure</code>. Unsure people are never paired.</p>"
    )


def _section(one: Member, found: Found, work: Path) -> str:
    doubt = f" <em>may also be {escape(', '.join(one.unsure))}</em>" if one.unsure else ""
    name = f" ({escape(one.name)})" if one.name else ""
    pictures = "".join(_picture(track, found, work) for track in one.tracks[:_SHOWN])
    more = f"<p>and {len(one.tracks) - _SHOWN} more</p>" if len(one.tracks) > _SHOWN else ""
    kind = ' class="unsure"' if one.unsure else ""
    return f"<section{kind}><h3>{escape(one.key)}{name}{doubt}</h3>{pictures}{more}</section>"


def _picture(track: str, found: Found, work: Path) -> str:
    picture = thumb(track, found, work)
    source = "" if picture is None else f'<img src="{data_url(picture)}" alt="{escape(track)}">'
    return f"<figure>{source}<figcaption>{escape(track)}</figcaption></figure>"


def thumb(track: str, found: Found, work: Path) -> Image.Image | None:
    """A track's picture; None where its shot is no more."""
    shot, _, number = track.rpartition(".")
    return _stored(shot, f"thumb{number}", found, work)


def still(unit: str, found: Found, work: Path) -> Image.Image | None:
    """A picture of a shot or of a window; None for other units, and where the shot is no more."""
    shot, letter, number = unit.rpartition("w")
    return _stored(shot, f"window{number}", found, work) if letter else _stored(unit, "middle", found, work)


def _stored(shot: str, name: str, found: Found, work: Path) -> Image.Image | None:
    if shot not in found.results:
        return None
    pixels = Stored(work / "results" / "watched" / f"{found.results[shot]}.json").arrays().get(name)
    return None if pixels is None else Image.fromarray(np.ascontiguousarray(pixels))
