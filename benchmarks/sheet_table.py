"""Write the measured parts of docs/sheets.md from benchmarks/results: python benchmarks/sheet_table.py"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

from castsheet.machine.files import write_atomic

ROOT = Path(__file__).parent.parent
RESULTS, PAGE = ROOT / "benchmarks" / "results", ROOT / "docs" / "sheets.md"


def evidence() -> str:
    """What the compiler made of ten character sheets, a film, and 50 scenes of both."""
    found = json.loads((RESULTS / "sheet_evidence.json").read_text())
    lint = json.loads((RESULTS / "sheet_lint.json").read_text())
    summary, people = found["summary"], found["people"].values()
    doubted = sum(any("both look" in text for text in one["contradictions"]) for one in people)
    warned = ", ".join(f"{rule} {count}" for rule, count in lint["sheets_with_a_warning_of"].items())
    return "\n".join(
        [
            "| | |",
            "|---|---|",
            f"| sheets split into their 8 views | {summary['split_into_8']} of 10 |",
            f"| all eight labels read | {summary['all_labels_read']} of 10 |",
            f"| faces found where there is one (heads and figures, not backs) | {summary['faces_found']} |",
            f"| faces seen on backs | {summary['faces_on_backs']} |",
            f"| sheets on which left and right show the same side, reported | {doubted} |",
            f"| finished sheets without an error of the checks | {summary['sheets_without_error']} of "
            f"{summary['sheets']} |",
            f"| errors on {lint['sheets']} good sheets (seeds {lint['seeds']}) | {len(lint['errors'])} |",
            f"| of these, without a warning | {lint['sheets_without_a_warning']} |",
            f"| sheets with a warning, by rule | {warned} |",
            "",
            f"Commits {found['commit']} and {lint['commit']}; {found['machine']}.",
        ]
    )


def speed() -> str:
    """Cold and cached."""
    found = json.loads((RESULTS / "sheet_speed.json").read_text())
    rows = []
    for name in ("cold", "cached"):
        one = found[name]
        rows.append(f"| {name} | {one['wall_s']:.1f} s | {one['cpu_s']:.1f} s | {one['peak_gib']:.2f} GiB |")
    told = f"Commit {found['commit']}; {found['machine']}; load average {found['load_average']}."
    return "\n".join(["| | wall | CPU | peak memory |", "|---|---|---|---|", *rows, "", told])


def main() -> None:
    """Replace what stands between the page's marks."""
    text = PAGE.read_text(encoding="utf-8")
    for name, made in (("evidence", evidence()), ("speed", speed())):
        mark = rf"(<!-- {name} -->\n).*?(<!-- end -->)"
        text = re.sub(mark, lambda found, made=made: f"{found[1]}{made}\n{found[2]}", text, flags=re.DOTALL)
    write_atomic(PAGE, lambda out: save(out, text))


def save(path: Path, text: str) -> None:
    """Write text as UTF-8."""
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_known_args()  # --help says what it does
    main()
