"""The run's page: one HTML file without links, with curves as SVG, facts and sample pictures inside."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

from PIL import Image

from castsheet.machine.files import write_text
from castsheet.media.page import data_url, html_page
from castsheet.train.curves import Curve, Point, by_level, series, smooth, thin
from castsheet.train.facts import STYLE, Facts
from castsheet.train.log import read_log

PAGE = "report.html"
_DOTS = 20
_LATEST = 50  # steps that tell how long a step takes
_AGAIN = "<script>setTimeout(() => location.reload(), 20000)</script>"
_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 640, 220, 56, 22
_COLOURS = ("#60a5fa", "#be123c", "#0d9488", "#ca8a04", "#7c3aed")
_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:1400px;padding:0 1rem;color:#1c1c1c}
h1{font-size:1.4rem}h2{font-size:1.05rem;margin:0 0 .3rem}.grid{display:flex;flex-wrap:wrap;gap:1.6rem}
svg{background:#fafafa;border:1px solid #ddd}svg text{font-size:11px;fill:#555}img{max-width:100%}
.key span{margin-right:1em}figure{margin:1rem 0}figcaption{color:#555}
"""


def write_page(folder: Path, facts: Facts, elapsed: float = 0.0, *, done: bool = True) -> Path:
    """Draw `OUTPUT/report.html` from the record and the pictures under `OUTPUT/samples`.

    Args:
        elapsed: seconds of training so far, by the clock that `seconds` of the settings counts.
        done: the run has ended; until then the page loads itself anew now and then.

    Raises:
        OutputError: the disk refused.
    """
    lines = list(read_log(folder))
    train = [line for line in lines if line["kind"] == "train"]
    charts = [
        chart(
            "Loss",
            [
                Curve("each step", thin(series(train, "loss"))),
                Curve("smoothed", thin(smooth(series(train, "loss")))),
            ],
        ),
        chart(
            "Held-out loss",
            [Curve("held out", series([one for one in lines if one["kind"] == "held_out"], "loss"))],
        ),
        chart("Loss by noise level (smoothed)", by_level(train)),
        chart("Gradient norm", [Curve("before clipping", thin(series(train, "gradient_norm")))]),
        chart("Learning rate", [Curve("rate", thin(series(train, "rate")))]),
        chart("Seconds a step", [Curve("seconds", thin(smooth(series(train, "seconds"))))]),
    ]
    step, title = train[-1]["step"] if train else 0, folder.name
    seconds = [line["seconds"] for line in train[-_LATEST:] if "seconds" in line]
    spent = sum(line.get("seconds", 0.0) for line in train)
    told = facts.html(step, seconds, elapsed, spent)
    body = "".join(charts) + f"</div>{told}" + "".join(_picture(path) for path in _pictures(folder))
    state = f"{html.escape(title)}: step {step:,} of {facts.config.steps:,}"
    again = "" if done else _AGAIN
    page = html_page(title, _STYLE + STYLE, f"{again}<h1>{state}</h1><div class=grid>{body}")
    return write_text(folder / PAGE, page)


def chart(title: str, curves: Sequence[Curve]) -> str:
    """Lines over steps as inline SVG; the scale is logarithmic if values span more than two powers of ten."""
    curves = [curve for curve in curves if curve.points]
    if not curves:
        return f"<section><h2>{html.escape(title)}</h2><p>nothing yet</p></section>"
    steps, values = zip(*(point for curve in curves for point in curve.points), strict=True)
    first, last, low, high = min(steps), max(steps), min(values), max(values)
    height = math.log10 if low > 0 and high / low > 100 else float
    across, up = (last - first) or 1, (height(high) - height(low)) or 1

    def place(point: Point) -> str:
        x = _LEFT + (point[0] - first) / across * (_WIDTH - _LEFT - 8)
        y = 8 + (height(high) - height(point[1])) / up * (_HEIGHT - _BOTTOM - 16)
        return f"{x:.1f},{y:.1f}"

    lines, key = "", ""
    for curve, colour in zip(curves, cycle(_COLOURS), strict=False):
        points = " ".join(map(place, curve.points))
        lines += f'<polyline fill="none" stroke="{colour}" stroke-width="1.6" points="{points}"/>'
        if len(curve.points) < _DOTS:  # a line of one point is invisible
            lines += "".join(
                f'<circle r="3" fill="{colour}" cx="{x}" cy="{y}"/>'
                for x, y in (place(point).split(",") for point in curve.points)
            )
        now = f"{html.escape(curve.name)} {curve.points[-1][1]:.4g}"
        key += f'<span style="color:{colour}">{now}</span>'
    labels = (
        f'<text x="4" y="16">{high:.4g}</text><text x="4" y="{_HEIGHT - _BOTTOM - 2}">{low:.4g}</text>'
        f'<text x="{_LEFT}" y="{_HEIGHT - 6}">step {first:,.0f}</text>'
        f'<text x="{_WIDTH - 8}" y="{_HEIGHT - 6}" text-anchor="end">{last:,.0f}</text>'
    )
    return (
        f'<section><h2>{html.escape(title)}</h2><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}">'
        f"{lines}{labels}</svg><div class=key>{key}</div></section>"
    )


def _pictures(folder: Path) -> list[Path]:
    """The newest four pictures of every sample, and its first."""
    found = sorted((folder / "samples").glob("*.png"))
    samples: dict[str, list[Path]] = {}
    for path in found:
        samples.setdefault(path.stem.partition("_")[2], []).append(path)
    return [path for paths in samples.values() for path in dict.fromkeys([*paths[-4:][::-1], paths[0]])]


def _picture(path: Path) -> str:
    with Image.open(path, formats=("PNG",)) as image:
        source = data_url(image, quality=85)
    name = html.escape(path.stem)
    picture = f'<img alt="{name}" src="{source}">'
    return f"<figure>{picture}<figcaption>step {name}</figcaption></figure>"
