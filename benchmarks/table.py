"""Render the result files as tables: between markers in Markdown files, or to the screen.

    python benchmarks/table.py                      all results, printed
    python benchmarks/table.py README.md            fills <!-- table NAME --> ... <!-- end --> in the file
    python benchmarks/table.py --check README.md    exit code 1 when the file is not what the results say

NAME is a result file's stem, such as `peers`.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"
MARKER = re.compile(r"(<!-- table (?P<name>[\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
UNITS = {
    "ms": "ms",
    "a_step": "ms a step",
    "first_s": "first call, s",
    "times": "x diffusers",
    "over": "over",
    "share": "share",
    "samples_a_second": "samples a second",
    "without_sum": "ms without the sum",
    "sum_alone": "ms of the sum alone",
    "largest_difference": "largest difference",
    "peak_gib": "peak GiB",
    "rate": "rate",
    "error": "relative error",
}


def render(record: dict[str, Any]) -> str:
    """One result file as a Markdown table, with a line that says where and with what it was measured."""
    rows = [row for row in record["rows"] if any(key in row for key in (*UNITS, "failed"))]
    used = [key for key in UNITS if any(key in row for row in rows)]
    lines = ["| | " + " | ".join(UNITS[key] for key in used) + " |", "|---|" + "---:|" * len(used)]
    for row in rows:
        cells = [_cell(key, row) for key in used]
        if "failed" in row:
            cells = ["does not run here", *[""] * (len(used) - 1)]
        lines.append(f"| {row['row']} | " + " | ".join(cells) + " |")
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items() if version)
    where = f"{record['device']}, {record['size']}, commit {record['commit']}, {record['date']}; {versions}"
    return "\n".join([*lines, "", where]) + "\n"


def _cell(key: str, row: dict[str, Any]) -> str:
    value = row.get(key)
    if value is None:
        return ""
    if key == "rate":
        return f"{value:,.4g} {row['unit']}"
    if value != value:
        return "not known"  # what it is compared with did not run
    if key in ("over", "share"):
        return f"{value:{'+' if key == 'over' else ''}.1%}"
    if key == "times":
        return f"{value:.2f}"
    if key in ("error", "largest_difference"):
        return f"{value:.1e}"
    return f"{value:,.0f}" if value >= 1000 else f"{value:,.4g}"


def fill(text: str, results: Path = RESULTS) -> str:
    """The text with every marked table rendered anew; a marker without results keeps what it holds."""

    def one(match: re.Match[str]) -> str:
        path = results / f"{match['name']}.json"
        if not path.is_file():
            return match[0]
        return match[1] + render(json.loads(path.read_text(encoding="utf-8"))) + match[3]

    return MARKER.sub(one, text)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    if not given.files:
        for path in sorted(given.results.glob("*.json")):
            print(f"## {path.stem}\n\n{render(json.loads(path.read_text(encoding='utf-8')))}")
        return 0
    stale = []
    for path in given.files:
        before = path.read_text(encoding="utf-8")
        after = fill(before, given.results)
        if before != after:
            stale.append(path.name)
            if not given.check:
                path.write_text(after, encoding="utf-8")
    print(f"{'stale' if given.check else 'written'}: {', '.join(stale) or 'none'}")
    return 1 if given.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
