"""The planner against the square-root grid and justified rows, on 200 random element sets.

    python benchmarks/sheet_layout.py            writes benchmarks/results/sheet_layout.json and .svg

Set k is drawn from `random.Random(k)`: 2 to 10 panels, characters with close-up and turnaround (one to four
figures, which the planner may wrap), props and locations of mixed shapes, importance 1 or 2. All layouts get
the same pictures, weights, canvas (1536x896) and gutter (16 px).

The grid has ceil(sqrt(n)) columns, as the usual sheet builders do, pictures contained in equal cells.
Justified rows are filled in order, every row scaled to the full width, with the number of rows that covers
most, scaled down to fit. Only the planner may crop (locations) and wrap turnarounds.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import random
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from castsheet.machine.files import write_atomic
from castsheet.sheet.box import Kind, PanelView
from castsheet.sheet.plan.layout import MAX_CROP, VIEW_WEIGHT, Layout, plan
from castsheet.sheet.plan.worth import PanelShape, PanelWish

RESULTS = Path(__file__).parent / "results"
SEEDS = range(200)
WIDTH, HEIGHT, GUTTER = 1536, 896, 16
BAR = 1.35


@dataclass(frozen=True)
class Measure:
    """Shares of the canvas; `cropped` is of the pictures' own area."""

    weighted: float
    black: float
    smallest: float
    cropped: float


def wish(name: str, kind: Kind, view: PanelView, aspects: list[float], importance: float) -> PanelWish:
    """A panel with its usual shape first."""
    slack = 1 - MAX_CROP if view == "place" else 1.0
    return PanelWish(
        element=name,
        kind=kind,
        view=view,
        aspect=aspects[0],
        min_aspect=aspects[0] * slack,
        max_aspect=aspects[0] / slack,
        weight=VIEW_WEIGHT[view] * importance,
        variants=tuple(PanelShape(aspect) for aspect in aspects[1:]),
    )


def element_set(seed: int) -> list[PanelWish]:
    """A random scene of 2 to 10 panels."""
    draw = random.Random(seed)
    wanted = draw.randint(2, 10)
    found: list[PanelWish] = []
    while len(found) < wanted:
        kind = draw.choices(["character", "prop", "location"], [0.45, 0.35, 0.2])[0]
        name, importance = f"{kind}{len(found)}", draw.choice([1.0, 1.0, 2.0])
        if kind == "character" and wanted - len(found) >= 2:
            figures, one = draw.randint(1, 4), draw.uniform(0.28, 0.5)
            aspects = [figures * one] + ([figures * one / 4] if figures % 2 == 0 else [])
            found.append(wish(name, "character", "face", [draw.uniform(0.65, 1.2)], importance))
            found.append(wish(name, "character", "turnaround", aspects, importance))
        elif kind == "location":
            found.append(wish(name, "location", "place", [draw.choice([1.33, 1.5, 1.78, 2.4])], importance))
        else:
            found.append(wish(name, "prop", "product", [math.exp(draw.uniform(-1.1, 1.1))], importance))
    return found


def measured(wishes: list[PanelWish], areas: list[float], cropped: float = 0.0) -> Measure:
    """Measures of pictures that cover these areas (px)."""
    total, canvas = sum(one.weight for one in wishes), WIDTH * HEIGHT
    return Measure(
        weighted=sum(one.weight * area for one, area in zip(wishes, areas, strict=True)) / total / canvas,
        black=1 - sum(areas) / canvas,
        smallest=min(areas) / canvas,
        cropped=cropped,
    )


def grid(wishes: list[PanelWish]) -> Measure:
    """ceil(sqrt(n)) columns of equal cells, pictures contained."""
    columns = math.ceil(math.sqrt(len(wishes)))
    rows = math.ceil(len(wishes) / columns)
    w, h = (WIDTH - GUTTER * (columns - 1)) // columns, (HEIGHT - GUTTER * (rows - 1)) // rows
    # Whole pixels, as in any picture.
    return measured(wishes, [min(w, round(h * one.aspect)) * min(h, round(w / one.aspect)) for one in wishes])


def justified(wishes: list[PanelWish]) -> Measure:
    """Pictures in order, in rows of the full width; the number of rows that covers most."""
    found = []
    for count in range(1, len(wishes) + 1):
        target = sum(one.aspect for one in wishes) / count
        rows: list[list[PanelWish]] = [[]]
        for one in wishes:
            held = sum(other.aspect for other in rows[-1])
            if rows[-1] and held + one.aspect / 2 > target and len(rows) < count:
                rows.append([])
            rows[-1].append(one)
        heights = [(WIDTH - GUTTER * (len(row) - 1)) / sum(one.aspect for one in row) for row in rows]
        fit = min(1.0, (HEIGHT - GUTTER * (len(rows) - 1)) / sum(heights))
        areas = [
            round(one.aspect * height * fit) * round(height * fit)
            for row, height in zip(rows, heights, strict=True)
            for one in row
        ]
        found.append(measured(wishes, areas))
    return min(found, key=lambda one: one.black)


def planned(wishes: list[PanelWish], layout: Layout) -> Measure:
    """The planner's result, measured by the same function as the others."""
    return measured(wishes, [float(box.area) for box in layout.boxes], layout.score.cropped)


def main() -> int:
    """Run all sets; exit code 1 when the bar is missed."""
    rows, started = [], time.process_time()
    for seed in SEEDS:
        wishes = element_set(seed)
        begun = time.process_time()
        layout = plan(wishes, gutter=GUTTER)
        seconds = time.process_time() - begun
        ours, squares, plain = planned(wishes, layout), grid(wishes), justified(wishes)
        rows.append(
            {
                "seed": seed,
                "panels": len(wishes),
                "elements": len({one.element for one in wishes}),
                "plan": asdict(ours),
                "grid": asdict(squares),
                "rows": asdict(plain),
                "gap": layout.score.gap,
                "shared_cells": layout.score.shared_cells,
                "over_grid": ours.weighted / squares.weighted,
                "over_rows": ours.weighted / plain.weighted,
                "cpu_s": seconds,
            }
        )
    summary = _summary(rows)
    result = {**_where(), "cpu_s": round(time.process_time() - started, 1), "summary": summary, "sets": rows}
    text = json.dumps(_rounded(result), indent=1) + "\n"
    _save(RESULTS / "sheet_layout.json", text)
    _save(RESULTS / "sheet_layout.svg", _plot(rows))
    sys.stdout.write(_table(summary))
    return 0 if summary["over_grid"]["median"] >= BAR and summary["over_grid"]["min"] >= 1 else 1


def _summary(rows: list[dict]) -> dict:
    found: dict = {}
    for name in ("over_grid", "over_rows", "gap", "shared_cells", "cpu_s"):
        values = sorted(row[name] for row in rows)
        found[name] = {"min": values[0], "median": median(values), "max": values[-1]}
    for method in ("plan", "grid", "rows"):
        found[method] = {key: median(row[method][key] for row in rows) for key in rows[0][method]}
    return found


def _table(summary: dict) -> str:
    lines = [
        "| medians of 200 sets | weighted area | black | smallest panel | crop |",
        "|---|---|---|---|---|",
    ]
    for method, name in (("plan", "castsheet"), ("rows", "justified rows"), ("grid", "square-root grid")):
        one = summary[method]
        cells = [f"{one[key]:.3f}" for key in ("weighted", "black", "smallest", "cropped")]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    for name in ("over_grid", "over_rows", "gap", "cpu_s"):
        one = summary[name]
        lines.append(f"\n{name}: min {one['min']:.3f}, median {one['median']:.3f}, max {one['max']:.3f}")
    return "\n".join(lines) + "\n"


def _plot(rows: list[dict]) -> str:
    """Weighted area over the grid's, sets sorted, as SVG."""
    width, height, left, bottom = 720, 320, 50, 40
    top = max(2.5, *(row["over_grid"] for row in rows), *(row["over_rows"] for row in rows))

    def y(value: float) -> float:
        return height - bottom - value / top * (height - bottom - 20)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
        ' font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for tick in [step / 2 for step in range(int(top * 2) + 1)]:
        parts.append(
            f'<line x1="{left}" x2="{width - 10}" y1="{y(tick):.1f}" y2="{y(tick):.1f}" stroke="#ddd"/>'
            f'<text x="{left - 8}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>'
        )
    over = {
        "castsheet": (sorted(row["over_grid"] for row in rows), "#1b6ca8"),
        "justified rows": (sorted(row["over_grid"] / row["over_rows"] for row in rows), "#d08020"),
        "square-root grid": ([1.0] * len(rows), "#888888"),
        "bar": ([BAR] * len(rows), "#c03030"),
    }
    for number, (name, (values, colour)) in enumerate(over.items()):
        points = " ".join(
            f"{left + i / (len(values) - 1) * (width - left - 10):.1f},{y(value):.1f}"
            for i, value in enumerate(values)
        )
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{left + 12}" y="{34 + 16 * number}" fill="{colour}">{name}</text>')
    parts.append(
        f'<text x="{width / 2}" y="{height - 12}" text-anchor="middle">'
        "200 element sets, each curve sorted: weighted panel area over the square-root grid's</text></svg>"
    )
    return "\n".join(parts) + "\n"


def _where() -> dict:
    root = Path(__file__).parent.parent
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=root, capture_output=True, text=True, check=False
    )
    return {
        "commit": commit.stdout.strip() or "unknown",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "seeds": f"{SEEDS.start} to {SEEDS.stop - 1}",
    }


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value


def _save(path: Path, text: str) -> None:
    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    write_atomic(path, write)


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_known_args()  # --help says what it does
    sys.exit(main())
