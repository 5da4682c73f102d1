"""Run hostile cases and print a table: `python -m tools.attack`. `docs/reliability.md` holds the counts."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch

# Children are forked with all this in memory.
import castsheet.authoring.fix
import castsheet.authoring.library
import castsheet.authoring.split
import castsheet.jobs.shots
import castsheet.judge.judge
import castsheet.lint.report
import castsheet.train.data.encode
import castsheet.train.trainer  # noqa: F401
from tests.doubles.killed import run
from tests.doubles.killed_work import build
from tools.attack import files, library, machine, tensors, texts, values
from tools.attack.case import Case, faults

CASES: list[Case] = [
    *(texts.CASES + files.CASES + tensors.CASES + values.CASES),
    *(machine.CASES + library.CASES),
]


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line, run the cases, and print what is wrong and a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=[], help="groups, or parts of names")
    parser.add_argument("--every", type=int, default=1, help="leave out all but every n-th case")
    parser.add_argument("--say", action="store_true", help="show what each case says")
    parser.add_argument("--json", type=Path, help="write the counts here too")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    os.umask(0o022)
    right: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    chosen = [one for one in CASES if _asked(one, given.only)][:: given.every]
    with tempfile.TemporaryDirectory() as name:
        good = _good(Path(name))
        for case in chosen:
            found, said = faults(case, good, Path(name) / "work")
            if given.say:
                sys.stdout.write(f"  {case.group}: {case.name[:80]}: {said[:300]!r}\n")
            (wrong if found else right)[case.group] += 1
            for fault in found:
                sys.stdout.write(f"{case.group}: {case.name}: {fault}\n")
                sys.stdout.flush()
    rows = {group: (right[group], wrong[group]) for group in dict.fromkeys(one.group for one in chosen)}
    for group, (fine, bad) in {**rows, "all": (right.total(), wrong.total())}.items():
        sys.stdout.write(f"| {group} | {fine + bad} | {fine} | {bad} |\n")
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return 1 if wrong.total() else 0


def _asked(case: Case, words: Sequence[str]) -> bool:
    return not words or case.group in words or any(word in case.name for word in words)


def _good(place: Path) -> Path:
    """The good files, and a library with one element that a scene uses."""
    good = build(place / "good")
    for words in (
        ("elements", "add", "hero", "front.png", "--quality", "plain", "--view", "front", "--library", "lib"),
        ("elements", "scene", "used.yaml", "hero", "--library", "lib"),
    ):
        ended = run(words, good)
        assert ended.code == 0, ended.said
    return good


if __name__ == "__main__":
    sys.exit(main())
