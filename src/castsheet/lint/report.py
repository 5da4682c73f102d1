"""The checks' findings as one HTML file: the sheet with every finding drawn on it, and what to do.

The file is self-contained: the picture is inside, and there are no scripts, fonts or links.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from PIL import Image

from castsheet.lint.findings import RULES, Finding, counted, gravest_first
from castsheet.machine.outputs import Output, write_output
from castsheet.media.page import data_url, html_page, wrote_page
from castsheet.sheet.manifest import Panel, Sheet

_PREVIEW_SIDE = 1600  # px; a larger picture would not fit a screen

_STYLE = """
:root { color-scheme: light dark; --error: #d92d20; --warning: #c77700; --info: #2970c9; --line: #8884; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; }
svg { width: 100%; height: auto; display: block; background: #000; border-radius: 6px; }
svg .panel { fill: none; stroke: #fff8; stroke-dasharray: 6 6; }
svg .mark rect { fill-opacity: .12; stroke-width: 3; } svg text { font-weight: 600; fill: #fff; }
svg .error, li.error b { stroke: var(--error); fill: var(--error); color: var(--error); }
svg .warning, li.warning b { stroke: var(--warning); fill: var(--warning); color: var(--warning); }
svg .info, li.info b { stroke: var(--info); fill: var(--info); color: var(--info); }
svg .mark:target rect, svg .mark:hover rect { fill-opacity: .35; }
svg .mark .tag { fill-opacity: 1; }
svg .mark text { stroke: none; fill: #fff; } svg a { cursor: pointer; }
ol { padding-left: 0; list-style: none; }
li { border-left: 4px solid var(--line); padding: .4rem .9rem; margin: .6rem 0; }
li.error { border-color: var(--error); } li.warning { border-color: var(--warning); }
li.info { border-color: var(--info); }
li:target { background: #8882; } small { opacity: .75; } a { color: inherit; } p { margin: .2rem 0; }
""".strip()


def report(sheet: Sheet, findings: Sequence[Finding], *, title: str, done: Sequence[str] = ()) -> str:
    """The HTML text.

    Args:
        title: names the sheet, e.g. its file.
        done: what `fix` did, if it ran.
    """
    listed = gravest_first(findings)
    items = "\n".join(_item(number, one) for number, one in enumerate(listed, 1))
    mended = "".join(f"<li>{escape(step)}</li>" for step in done)
    width, height = sheet.image.size
    body = f"""<h1>{escape(title)}</h1>
<p>{width} x {height} px, {_known(sheet)}.
<strong>{counted(listed) or "All checks passed."}</strong></p>
{_drawing(sheet, listed)}
{f"<h2>Mended</h2><ul>{mended}</ul>" if mended else ""}
<h2>Findings</h2>
<ol>
{items or "<li>None.</li>"}
</ol>"""
    return html_page(f"{title}: checks", _STYLE, body)


def save_report(
    path: Path,
    sheet: Sheet,
    findings: Sequence[Finding],
    *,
    title: str,
    done: Sequence[str] = (),
    overwrite: bool = False,
) -> Path:
    """Write the report, whole or not at all.

    Raises:
        OutputError: a file that Castsheet did not write is there, or the disk refused.
    """
    text = report(sheet, findings, title=title, done=done).encode()
    return write_output(Output(path, wrote_page), lambda file: file.write_bytes(text), overwrite=overwrite)


def _known(sheet: Sheet) -> str:
    if not sheet.panels:
        return "a picture without a manifest"
    return f"{len(sheet.panels)} panels, for clips of {sheet.output[0]} x {sheet.output[1]}"


def _drawing(sheet: Sheet, findings: Sequence[Finding]) -> str:
    """The sheet as an SVG: its panels dashed and named, and each finding's place boxed and numbered."""
    width, height = sheet.image.size
    size = max(14, round(0.018 * height))
    panels = "\n".join(_panel(panel, size) for panel in sheet.panels)
    marks = "\n".join(_mark(number, one, size) for number, one in enumerate(findings, 1) if one.where)
    return (
        f'<svg viewBox="0 0 {width} {height}" font-size="{size}" role="img" aria-label="the sheet">\n'
        f'<image width="{width}" height="{height}" href="{_data_uri(sheet.image)}"/>\n'
        f"{panels}\n{marks}\n</svg>"
    )


def _panel(panel: Panel, size: int) -> str:
    box = panel.box
    return (
        f"<g><title>{escape(panel.element)} ({panel.view})</title>"
        f'<rect class="panel" x="{box.x}" y="{box.y}" width="{box.w}" height="{box.h}"/>'
        f'<text x="{box.x + size // 3}" y="{box.bottom - size // 2}" fill-opacity=".8">'
        f"{escape(panel.element)} · {panel.view}</text></g>"
    )


def _mark(number: int, finding: Finding, size: int) -> str:
    box = finding.where
    if box is None:
        return ""
    kind, side = finding.severity, round(1.5 * size)
    # The number stands above the box: inside it would hide a small one.
    tag = max(0, box.y - side)
    return (
        f'<a href="#finding-{number}"><g class="mark" id="mark-{number}">'
        f"<title>{finding.rule}: {escape(finding.message)}</title>"
        f'<rect class="{kind}" x="{box.x}" y="{box.y}" width="{box.w}" height="{box.h}"/>'
        f'<rect class="{kind} tag" x="{box.x}" y="{tag}" width="{side}" height="{side}"/>'
        f'<text x="{box.x + side / 2}" y="{tag + 1.1 * size:.0f}" text-anchor="middle">'
        f"{number}</text></g></a>"
    )


def _item(number: int, finding: Finding) -> str:
    meaning = RULES[finding.rule].meaning if finding.rule in RULES else ""
    place = f' <a href="#mark-{number}">on the sheet</a>' if finding.where else ""
    return (
        f'<li class="{finding.severity}" id="finding-{number}">'
        f"<p><b>{number}. {finding.rule} {finding.severity}</b> "
        f"<small>{escape(meaning)}</small>{place}</p><p>{escape(finding.message)}</p>"
        f"<p><small>fix: {escape(finding.remedy)}</small></p></li>"
    )


def _data_uri(image: Image.Image) -> str:
    preview = image.convert("RGB")
    preview.thumbnail((_PREVIEW_SIDE, _PREVIEW_SIDE))
    return data_url(preview, quality=88)
