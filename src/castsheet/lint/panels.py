"""Checks of a composed sheet. `lint_sheet` runs every S rule; rules that need the manifest pass a bare image.

Thresholds come from the adapter's model card and from what users of such sheets measured; each rule's
docstring says what it demands.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import combinations
from statistics import median

from castsheet.lint import content, cutouts, pixels, places  # noqa: F401 - their rules join on import
from castsheet.lint.findings import Fault, Finding, family, rule
from castsheet.lint.pixels import MAX_ENLARGED, Readers, Subject, larger
from castsheet.sheet.box import Box
from castsheet.sheet.manifest import Sheet

GUTTER = (0.008, 0.02)  # of the short side
MIN_PANEL_AREA = 0.04
MIN_LEAD = 1.5  # largest character over the median prop
# Share of a latent cell that the lesser of two elements covers: from here on the token is a mixture.
_MIXED = 0.25
DEFAULT_OUTPUT = (768, 448)
DEFAULT_GRID = 32  # pixels a latent token of the full-size model


def lint_sheet(
    sheet: Sheet,
    *,
    output: tuple[int, int] | None = None,
    grid: int | None = None,
    readers: Readers | None = None,
) -> list[Finding]:
    """Run every sheet rule.

    Args:
        sheet: what to check; a bare image has no panels and is checked by its pixels only.
        output: width and height of the video; default: the size that the sheet was composed for.
        grid: pixels a latent token at that size; default: the one that the sheet was laid out for, or 32.
        readers: models that read text and find faces. With None, rules that need a model are silent; with
            `Readers()` they say that they did not look.
    """
    # Nobody knows what a bare picture was composed for: it is checked for the full-size model.
    output = output or (sheet.output if sheet.panels else DEFAULT_OUTPUT)
    told = sheet.layout.get("grid")
    known = told if type(told) is int and told > 0 else DEFAULT_GRID
    subject = Subject(sheet, output, grid or known, readers)
    return [finding for check in family("S") for finding in check(subject)]


def _gap(a: Box, b: Box) -> tuple[int, Box] | None:
    """Distance of two boxes that face each other across a straight gutter, and that gutter's box.

    Negative if they overlap; None if they do not face each other (they meet at a corner at most).
    """
    left, right = (a, b) if a.x <= b.x else (b, a)
    upper, lower = (a, b) if a.y <= b.y else (b, a)
    shared_x = min(a.right, b.right) - max(a.x, b.x)
    shared_y = min(a.bottom, b.bottom) - max(a.y, b.y)
    if shared_x > 0 and shared_y > 0:
        return -min(shared_x, shared_y), Box(right.x, lower.y, shared_x, shared_y)
    if shared_y > 0:
        return right.x - left.right, Box(left.right, lower.y, right.x - left.right, shared_y)
    if shared_x > 0:
        return lower.y - upper.bottom, Box(right.x, upper.bottom, shared_x, lower.y - upper.bottom)
    return None


def _neighbours(boxes: Sequence[Box]) -> Iterator[tuple[int, int, int, Box]]:
    """Yields (i, j, gap in px, box of the gap) for every pair of neighbouring panels."""
    for (i, a), (j, b) in combinations(enumerate(boxes), 2):
        gap = _gap(a, b)
        if gap and not any(gap[1].overlaps(c) for k, c in enumerate(boxes) if k not in (i, j)):
            yield i, j, *gap


def _rooms(sheet: Sheet) -> list[Box]:
    """The room of each panel if the layout records it; else the box that the picture covers.

    A picture that is shown whole may leave black in its room. That black is not a gutter.
    """
    cells = sheet.layout.get("cells")
    boxes = [panel.box for panel in sheet.panels]
    if not isinstance(cells, list) or len(cells) != len(boxes):
        return boxes
    whole = all(isinstance(cell, list) and [type(side) for side in cell] == [int] * 4 for cell in cells)
    return [Box(*cell) for cell in cells] if whole else boxes


@rule("S06", "a gutter parts the panels", "warning")
def gutters_are_kept(subject: Subject) -> Iterator[Fault]:
    """0.8 to 2 % of the sheet's short side, and a pixel of rounding; none, or an overlap, is an error."""
    short = min(subject.size)
    low, high = (share * short for share in GUTTER)
    panels = subject.sheet.panels
    narrow = [one for one in _neighbours([p.box for p in panels]) if one[2] < low - 1]
    wide = [one for one in _neighbours(_rooms(subject.sheet)) if one[2] > high + 1]
    for i, j, gap, where in (*narrow, *wide):
        names = f"{panels[i].element} ({panels[i].view}) and {panels[j].element} ({panels[j].view})"
        what = f"{names} overlap by {-gap} px" if gap < 0 else f"{gap} px ({gap / short:.1%}) part {names}"
        yield Fault(
            f"{what} (wanted {low:.0f} to {high:.0f} px: 0.8 to 2 % of the short side)",
            f"compose again with a gutter of {round((low + high) / 2)} px",
            where=where if gap > 0 else None,
            severity="error" if gap <= 0 else "warning",
        )


def _cells(box: Box, subject: Subject) -> tuple[int, int, int, int]:
    """Latent cells [x0, x1) x [y0, y1) that a panel reaches at conditioning size (filled, centre-cropped)."""
    left, top, right, bottom = subject.sheet.seen(box, subject.output)
    slack = 0.25  # a quarter of a pixel in a cell is rounding, not content

    def span(start: float, stop: float, length: int) -> tuple[int, int]:
        first = math.floor((start + slack) / subject.grid)
        last = math.ceil((stop - slack) / subject.grid)
        return max(first, 0), min(last, math.ceil(length / subject.grid))

    x0, x1 = span(left, right, subject.output[0])
    y0, y1 = span(top, bottom, subject.output[1])
    return x0, y0, x1, y1


@rule("S07", "no two elements share a latent cell", "warning")
def cells_are_not_shared(subject: Subject) -> Iterator[Fault]:
    """Where a token's square holds two elements, the model reads one mixture of both. A cell in which one of
    them covers less than a quarter is told as a remark: the other rules that token."""
    planned = isinstance(subject.sheet.layout.get("cells"), list)
    for a, b in combinations(subject.sheet.panels, 2):
        if a.element == b.element:
            continue
        (ax0, ay0, ax1, ay1), (bx0, by0, bx1, by1) = _cells(a.box, subject), _cells(b.box, subject)
        columns, rows = range(max(ax0, bx0), min(ax1, bx1)), range(max(ay0, by0), min(ay1, by1))
        if not columns or not rows:
            continue
        shared = len(columns) * len(rows)
        lesser = max(
            min(_cover(panel.box, subject, column, row) for panel in (a, b))
            for column in columns
            for row in rows
        )
        yield Fault(
            f"{a.element} ({a.view}) and {b.element} ({b.view}) share {shared} latent "
            f"{'cell' if shared == 1 else 'cells'} of {subject.grid} px at "
            f"{subject.output[0]} x {subject.output[1]}; the lesser of them covers {lesser:.0%} of a cell at "
            f"most "
            f"(a quarter is a mixture)",
            "the planner found no layout without it: leave a panel out, or choose another --output size"
            if planned
            else "let the gutter lie on the grid: castsheet lint --fix lays the sheet out anew",
            where=b.box,
            element=b.element,
            severity="warning" if lesser >= _MIXED else "info",
        )


def _cover(box: Box, subject: Subject, column: int, row: int) -> float:
    """The share of a latent cell that a panel covers."""
    left, top, right, bottom = subject.sheet.seen(box, subject.output)
    x, y, side = column * subject.grid, row * subject.grid, subject.grid
    across = min(right, x + side) - max(left, x)
    down = min(bottom, y + side) - max(top, y)
    return max(0.0, across) * max(0.0, down) / side**2


@rule("S08", "two to eight panels", "info")
def panel_count(subject: Subject) -> Iterator[Fault]:
    """The adapter was trained on sheets of about 6 to 8 panels; more than 8 is a warning."""
    count = len(subject.sheet.panels)
    if count > 8:
        yield Fault(
            f"{count} panels (usual: 2 to 8): each gets {1 / count:.0%} of the sheet at most on average",
            "drop what the action does not need, or split the scene",
            severity="warning",
        )
    elif count == 1:
        yield Fault(
            "1 panel (usual: 2 to 8): all that the action shows besides it is made up by the model",
            "add a location or a prop where its looks matter",
        )


@rule("S09", "panels have the size that they need", "warning")
def area_is_shared_well(subject: Subject) -> Iterator[Fault]:
    """The largest character holds 1.5 x the median prop or more; no panel less than 4 % of the sheet."""
    total = subject.size[0] * subject.size[1]
    area: dict[str, int] = {}
    for panel in subject.sheet.panels:
        area[panel.element] = area.get(panel.element, 0) + panel.box.area
        if panel.box.area < MIN_PANEL_AREA * total:
            yield Fault(
                f"{panel.element} ({panel.view}) holds {panel.box.area / total:.1%} of the sheet (limit 4 %)",
                larger(panel),
                where=panel.box,
                element=panel.element,
            )
    kinds = {p.element: p.kind for p in subject.sheet.panels}
    people = [e for e in area if kinds[e] == "character"]
    props = [e for e in area if kinds[e] == "prop"]
    if not people or not props:
        return
    lead = max(people, key=lambda e: area[e])
    ratio = area[lead] / median(area[e] for e in props)
    if ratio < MIN_LEAD:
        yield Fault(
            f"the largest character, {lead}, holds {ratio:.2f} x the median prop's area "
            f"(wanted {MIN_LEAD} x)",
            larger(
                max(subject.sheet.panels_of(lead), key=lambda p: p.box.area), "or lower that of the props"
            ),
            element=lead,
        )


@rule("S11", "each character has a face and a body", "error")
def characters_are_covered(subject: Subject) -> Iterator[Fault]:
    """A close-up of the face and a whole figure; with neither an error, with one of them a warning. A
    figure from one side alone is a remark."""
    panels = subject.sheet.panels
    if not panels:
        return
    people = {e.id for e in subject.sheet.elements if e.kind == "character"}
    people |= {p.element for p in panels if p.kind == "character"}
    for person in sorted(people):
        views = {p.view for p in panels if p.element == person}
        if "face" not in views and "turnaround" not in views:
            yield Fault(
                f"{person} has no face and no body panel (views: {', '.join(sorted(views)) or 'none'})",
                f"give {person} a `face` and a `front` picture",
                element=person,
            )
        elif "face" not in views:
            yield Fault(
                f"{person} has no close-up of the face: the video shows the type, not the person",
                f"give {person} a `face` picture",
                element=person,
                severity="warning",
            )
        elif "turnaround" not in views:
            yield Fault(
                f"{person} has no whole figure: clothes and build are made up by the model",
                f"give {person} a `front` picture, better also `side` and `back`",
                element=person,
                severity="warning",
            )
        else:
            yield from _few_views(person, subject)


def _few_views(person: str, subject: Subject) -> Iterator[Fault]:
    """A whole figure from one side alone: a remark, because a clip may never show the others. Only a sheet
    that Castsheet laid out tells how many pictures a panel shows."""
    if "score" not in subject.sheet.layout:
        return
    figures = [p for p in subject.sheet.panels_of(person) if p.view == "turnaround"]
    if sum(len(p.sources) for p in figures) == 1:
        yield Fault(
            f"{person} is shown from one side only: the others are made up by the model when {person} turns",
            f"add `side` and `back` pictures: castsheet elements add {person} PICTURES, or elements fill "
            f"{person}",
            where=figures[0].box,
            element=person,
            severity="info",
        )


@rule("S13", "figures are whole", "warning")
def figures_are_whole(subject: Subject) -> Iterator[Fault]:
    """No figure is cut by its picture's edge. A close-up may end at the shoulders, not through the hair."""
    parts = {"top": "head", "bottom": "feet", "left": "left side", "right": "right side"}
    for panel in subject.sheet.panels:
        if panel.kind != "character":
            continue
        asked = ("top",) if panel.view == "face" else tuple(parts)
        for source in panel.sources:
            cut = [side for side in asked if side in source.clipped]
            if cut:
                yield Fault(
                    f"{panel.element} ({panel.view}): the figure in {source.path} touches the "
                    f"{', '.join(cut)} edge, so {', '.join(parts[s] for s in cut)} may be cut off",
                    f"use a picture of {panel.element} with room around the figure",
                    where=panel.box,
                    element=panel.element,
                )


@rule("S16", "pictures are not blown up", "warning")
def sources_are_large_enough(subject: Subject) -> Iterator[Fault]:
    """No source is enlarged more than 1.5 x onto the sheet."""
    for panel in subject.sheet.panels:
        for source in panel.sources:
            if source.scale > 1.01 * MAX_ENLARGED:  # the planner's limit plus a pixel of rounding
                yield Fault(
                    f"{source.path} is enlarged {source.scale:.2f} x for {panel.element} ({panel.view}) "
                    f"(limit {MAX_ENLARGED} x)",
                    f"use a picture at least {source.scale:.1f} x as large",
                    where=panel.box,
                    element=panel.element,
                )
