"""Calibrate the judge on rendered clips: `python -m mini.judged.calibration`.

The first identities choose the thresholds, those after them give the figures; none is in both parts.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from castsheet.clip import Clip
from castsheet.errors import SettingsError
from castsheet.judge.cast import Pixels
from castsheet.judge.judge import Judge
from castsheet.judge.judgement import Judgement
from castsheet.machine.files import write_atomic, write_text
from castsheet.machine.progress import progress
from mini.judged.cases import Case, cases
from mini.judged.thresholds import Calibration, calibrate
from mini.script import finish
from mini.world.render import Renderer

Record = dict[str, object]
REMARKS = ("text", "drift")  # faults that the verdict remarks on and does not fail a clip by
SHOWN_AT = (2, 16, 29)  # frames of a failure's picture

# Which measure answers for which fault. Larger values mean a worse clip.
FAULTS: dict[str, str] = {
    "leak": "likeness",
    "leak at 0.6": "likeness",
    "leak at 0.35": "likeness",
    "leak, zoomed": "lines",
    "letterbox": "bars",
    "wrong person": "unlike",
    "wrong colours": "tint",
    "drift": "drifting",
    "person missing": "unlike",
    "prop missing": "prop unlike",
    "wrong place": "place unlike",
    "swap": "swaps",
    "panel pasted": "pasted",
    "frozen": "still",
    "jitter": "shaking",
    "text": "strokes",
}


def values(judged: Judgement) -> dict[str, float]:
    """Every measure of a clip as one number that grows with the fault."""
    by_kind: dict[str, list[float]] = {}
    for one in judged.elements:
        by_kind.setdefault(one.kind, []).append(1 - one.identity)
    return {
        "likeness": max(judged.leak.likeness),
        "grid": max(judged.leak.grid),
        "lines": float(max(judged.leak.lines)),
        "bars": judged.leak.bars,
        "unlike": max(by_kind["character"]),
        "prop unlike": max(by_kind["prop"]),
        "place unlike": max(by_kind["location"]),
        "tint": max(one.tint for one in judged.elements if one.kind == "character"),
        "drifting": max(-one.drift for one in judged.elements if one.kind == "character"),
        "swaps": float(len(judged.swaps)),
        "pasted": max(one.pasted for one in judged.elements if one.pasted is not None),
        "still": judged.motion.still,
        "shaking": judged.motion.shaking,
        "strokes": judged.text.strokes,
    }


def record(number: int, case: Case, judged: Judgement) -> Record:
    """One clip's line: truth, values, verdict, and how many frames were called leaked rightly and wrongly."""
    truth = case.faulty_F if case.fault.startswith("leak") else case.faulty_F & False
    told = judged.leak.leaked
    return {
        "number": number,
        "fault": case.fault,
        "values": values(judged),
        "failed": judged.state == "not carried",
        "verdict": judged.verdict,
        "leaked": [int(truth.sum()), sum(bool(a and b) for a, b in zip(told, truth, strict=True))],
        "unleaked": [int((~truth).sum()), sum(bool(a and not b) for a, b in zip(told, truth, strict=True))],
    }


def misjudged(fault: str, judgement: Judgement) -> bool:
    """Whether the verdict is wrong: a clean clip fails, or a faulty one passes."""
    return fault not in REMARKS and (judgement.state == "not carried") == (fault == "clean")


def strip(case: Case) -> Pixels:
    """A failure's picture: the sheet and three frames (H, 4 W, 3)."""
    height, width = case.frames.shape[1:3]
    sheet = np.asarray(case.sheet.conditioning_image(width, height))
    return np.concatenate([sheet, *case.frames[list(SHOWN_AT)]], axis=1)


def judged(
    numbers: Sequence[int],
    make: Callable[[int, bool], Iterable[Case]],
    failures: list[tuple[Record, Pixels]] | None = None,
) -> list[Record]:
    """Judge every case of every number, with one person and with two; wrong verdicts go to `failures`."""
    found = []
    rounds = [(number, duo) for number in numbers for duo in (False, True)]
    with progress(f"numbers {numbers[0]} to {numbers[-1]}", len(rounds)) as advance:
        for done, (number, duo) in enumerate(rounds, 1):
            judge: Judge | None = None
            for case in make(number, duo):
                judge = judge or Judge(case.sheet)
                told = judge(Clip(case.frames, 24.0))
                found.append(record(number, case, told))
                if failures is not None and misjudged(case.fault, told):
                    failures.append((found[-1], strip(case)))
            advance(done)
    return found


def failure_table(failures: Sequence[tuple[Record, Pixels]]) -> str:
    """The wrong verdicts as a table, in the order of the rows of their picture."""
    lines = ["| row | number | fault | verdict |", "|---|---|---|---|"]
    for row, (one, _) in enumerate(failures, 1):
        lines.append(f"| {row} | {one['number']} | {one['fault']} | {one['verdict']} |")
    return "\n".join(lines) + "\n"


def table(chosen: Sequence[Record], held_out: Sequence[Record]) -> dict[str, Calibration]:
    """Calibration of every fault's measure: thresholds from `chosen`, figures from `held_out`."""
    found = {}
    for fault, measure in FAULTS.items():
        first, second = (
            ([_value(one, measure) for one in half if one["fault"] == fault] for half in (chosen, held_out)),
            (
                [_value(one, measure) for one in half if one["fault"] == "clean"]
                for half in (chosen, held_out)
            ),
        )
        faulty, clean = tuple(first), tuple(second)
        found[fault] = calibrate((faulty[0], faulty[1]), (clean[0], clean[1]))
    return found


def _value(one: Record, measure: str) -> float:
    held = one["values"]
    assert isinstance(held, dict)
    return float(held[measure])


def markdown(found: dict[str, Calibration], held_out: Sequence[Record]) -> str:
    """The table of the docs. The last column counts verdicts at the thresholds that the package ships."""
    lines = [
        "| fault | measure | AUC | threshold | detected | false alarms | verdict fails |",
        "|---|---|---|---|---|---|---|",
    ]
    for fault, one in found.items():
        rates = f"{one.detected:.0%} of {one.faulty} | {one.false_alarms:.0%} of {one.clean}"
        measure = f"{FAULTS[fault]} | {one.auc:.3f} | {one.threshold:.3f}"
        lines.append(f"| {fault} | {measure} | {rates} | {_failing(held_out, fault)} |")
    lines.append(f"| none (clean) | all | | | | | {_failing(held_out, 'clean')} |")
    return "\n".join(lines) + "\n"


def frames_told(records: Sequence[Record]) -> str:
    """How many frames were called leaked rightly, as a sentence."""
    counts = (np.array([one[name] for one in records], int) for name in ("leaked", "unleaked"))
    (leaked, right), (other, wrong) = (rows.sum(axis=0) for rows in counts)
    return (
        f"Frame by frame, leak was told rightly in {right:,} of {leaked:,} leaked held-out frames and in"
        f" {other - wrong:,} of {other:,} others.\n"
    )


def _failing(records: Sequence[Record], fault: str) -> str:
    verdicts = [bool(one["failed"]) for one in records if one["fault"] == fault]
    return f"{sum(verdicts)}/{len(verdicts)}"


def calibrated(pairs: int, held_out: int, out: Path) -> None:
    """Render, judge, write the table; beside it every clip's values as JSON, and the failures' picture.

    Raises:
        SettingsError: a part has no number.
        DependencyError: moderngl or an EGL driver is missing.
        OutputError: the disk refused.
    """
    if min(pairs, held_out) < 1:
        raise SettingsError(f"--pairs {pairs}, --held-out {held_out}", remedy="give 1 or more of each")
    renderer = Renderer()

    def make(number: int, duo: bool) -> Iterable[Case]:
        return cases(renderer, number, duo=duo)

    first = judged(range(pairs), make)
    failures: list[tuple[Record, Pixels]] = []
    second = judged(range(pairs, pairs + held_out), make, failures)
    text = json.dumps([*first, *second], indent=0) + "\n"
    write_text(out.with_suffix(".json"), text)
    if failures:
        picture = Image.fromarray(np.concatenate([shown for _, shown in failures]))
        write_atomic(out.with_suffix(".jpg"), lambda path: picture.save(path, quality=88))
    parts = markdown(table(first, second), second), frames_told(second), failure_table(failures)
    write_text(out, "\n".join(parts))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=24, help="numbers that choose thresholds")
    parser.add_argument("--held-out", type=int, default=24, help="numbers after those, for the figures")
    parser.add_argument("--out", type=Path, default=Path("out/judge-calibration.md"))
    asked = parser.parse_args()
    finish(lambda: calibrated(asked.pairs, asked.held_out, asked.out))
    print(asked.out)


if __name__ == "__main__":
    main()
