"""Render the result files as tables: between markers in Markdown files, or to the screen.

    python benchmarks/table.py                      all results, printed
    python benchmarks/table.py README.md            fills <!-- table NAME --> ... <!-- end --> in the file
    python benchmarks/table.py --check README.md    exit code 1 when the file is not what the results say

NAME is a result file's stem, such as `video`; or `floor`, which sets the passes' kernels of `kernels` (bf16)
and `strength` (fp8) against the rates of `ceilings`.
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
    "least": "ms at the ceiling",
    "a_step": "ms a step",
    "first_s": "first call, s",
    "times": "x diffusers",
    "times_read": "x safetensors",
    "times_joint": "x its audio-video pass",
    "speed_up": "x one process",
    "over": "over",
    "share": "share",
    "samples_a_second": "samples a second",
    "without_sum": "ms without the sum",
    "sum_alone": "ms of the sum alone",
    "largest_difference": "largest difference",
    "peak_gib": "peak GiB",
    "rate": "rate",
    "error": "relative error",
    "identity": "identity",
    "action": "action",
    "judge": "judge's score",
    "passes": "passes",
    "faster": "x exact",
    "load_s": "loading, s",
    "text_s": "text, s",
    "reference_s": "sheet, s",
    "sampling_s": "denoising, s",
    "decode_s": "decoding, s",
    "whole": "in all, s",
    "plan": "plan",
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
    if isinstance(value, str):
        return value
    if key == "rate":
        return f"{value:,.4g} {row['unit']}"
    if value != value:
        return "not known"  # what it is compared with did not run
    if key in ("over", "share", "identity"):
        return f"{value:{'+' if key == 'over' else ''}.1%}"
    if key in ("times", "times_joint", "speed_up"):
        return f"{value:.2f}"
    if key in ("error", "largest_difference"):
        return f"{value:.1e}"
    return f"{value:,.0f}" if value >= 1000 else f"{value:,.4g}"


def fill(text: str, results: Path = RESULTS) -> str:
    """The text with every marked table rendered anew; a marker without results keeps what it holds."""

    def one(match: re.Match[str]) -> str:
        table = floor(results) if match["name"] == "floor" else rendered(results, match["name"])
        return match[0] if table is None else match[1] + table + match[3]

    return MARKER.sub(one, text)


def rendered(results: Path, name: str) -> str | None:
    """One result file as a table; None where there is none."""
    record = _read(results, name)
    return None if record is None else render(record)


# TFLOP of a video-only pass over 5376 target and 5376 reference tokens, by the group of kernels that does it.
LINEAR, ATTENTION, TEXT = 242.0, 91.0, 8.7
# TB that its fused kernels must read and write: 48 blocks of the sums in benchmarks/block.py.
COPY = "copy within the device"
FUSED = "norm, modulation, rope, GELU, quantising"
MOVED = {"bf16": 0.101, "fp8": 0.125}


def floor(results: Path) -> str | None:
    """How far each pass's kernels are from what their work takes at the rates of `ceilings`.

    Memory differs most between cards: bytes are set against the copy that `block` timed on the pass's card.
    """
    rates, own = _read(results, "ceilings"), _read(results, "block")
    if rates is None:
        return None
    lines, passes = list[str](), list[dict[str, Any]]()
    for kind, name in {"bf16": "kernels", "fp8": "strength"}.items():
        record = _read(results, name)
        if record is None or not (spent := by_group(record["rows"], kind)):
            continue
        rows = rates["rows"]
        if own is not None and own["device"] == record["device"]:
            rows = [*rows, *(row for row in own["rows"] if row["row"] == COPY)]
        if not (least := least_ms(rows, kind)):
            continue
        passes.append(record)
        for group, ms in sorted(spent.items(), key=lambda item: -item[1]):
            at_ceiling = least.get(group, 0.0)
            lines.append(f"| {kind}: {group} | {at_ceiling:,.0f} | {ms:,.0f} | {ms - at_ceiling:+,.0f} |")
        total, bottom = sum(spent.values()), sum(least.values())
        lines.append(
            f"| {kind}: all | {bottom:,.0f} | {total:,.0f} | {total - bottom:+,.0f} ({total / bottom:.2f}x) |"
        )
    if not lines:
        return None
    head = ["| | ms at the ceiling | ms | above |", "|---|---:|---:|---:|"]
    made = "; ".join(dict.fromkeys(_made(one) for one in (rates, *passes)))
    return "\n".join([*head, *lines, "", f"{rates['size']}; ceilings and passes: {made}"]) + "\n"


def _made(record: dict[str, Any]) -> str:
    return f"{record['device']}, commit {record['commit']}"


def least_ms(rows: list[dict[str, Any]], kind: str) -> dict[str, float]:
    """Milliseconds of a pass's work at the measured rates; empty where a rate is missing."""
    end = ", product alone" if kind == "fp8" else ""
    layers = ("q, k and v", "attention out", "feed-forward in", "feed-forward out")
    names = [f"{kind} {layer}{end}" for layer in layers]
    products = [row for row in rows if row["row"] in names and "rate" in row]
    attention = [row["rate"] for row in rows if row["row"].startswith("attention, ") and "rate" in row]
    if len(products) < len(names) or not attention:
        return {}
    # The layers' own mix: all their work over all their time.
    work = sum(row["rate"] * row["ms"] for row in products)
    rate = work / sum(row["ms"] for row in products)
    least = {"products": LINEAR / rate * 1e3, "attention": (ATTENTION + TEXT) / max(attention) * 1e3}
    for row in rows:
        if row["row"] == COPY and "rate" in row:
            least[FUSED] = MOVED[kind] / row["rate"] * 1e3
    return least


def by_group(rows: list[dict[str, Any]], kind: str) -> dict[str, float]:
    """Milliseconds of a profiled pass by group of kernels."""
    start = f"{kind} pass: "
    return {row["row"].removeprefix(start): row["ms"] for row in rows if row["row"].startswith(start)}


def _read(results: Path, name: str) -> dict[str, Any] | None:
    path = results / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


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
