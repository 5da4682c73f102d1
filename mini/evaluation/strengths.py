"""What one person's strength does: `python -m mini.evaluation.strengths --bundle BUNDLE --reference still`.

Stories of two people, each with the same noise at every strength of the first person's panels. Measured is
how far everybody's colours lie from the sheet's (mean CIE76 over a person's parts, under the truth's masks),
and how that differs from strength 1. A strength that works brings the first one nearer, and leaves the second
one where they were. Needs the `mini` extra and an EGL driver.

Legend: N stories, P people, R regions.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from castsheet.machine.files import write_text
from mini.evaluation.parts import Floats
from mini.evaluation.stories import Measured, Source, add_source, measured
from mini.script import finish
from mini.story.plot import plot_of

PEOPLE = ("raised", "other")


def distances(takes: Sequence[Measured]) -> NDArray[np.float64]:
    """Mean distance of each of two people's colours from their own: (N,2), NaN where none was seen."""
    apart: Floats = np.stack(
        [np.linalg.norm(one.found[:2] - one.own[:2], axis=-1) for one in takes]
    )  # (N,P,R)
    seen = np.isfinite(apart)
    total = np.where(seen, apart, 0).sum(-1)
    return np.where(seen.any(-1), total / np.maximum(seen.sum(-1), 1), np.nan)


def against(distances_N2: Floats, usual_N2: Floats) -> dict[str, dict[str, float]]:
    """For the raised person and the other: mean distance, and its paired difference with a 95 % interval."""
    found: dict[str, dict[str, float]] = {}
    for column, who in enumerate(PEOPLE):
        change = distances_N2[:, column] - usual_N2[:, column]
        change = change[np.isfinite(change)]
        reach = 1.96 * float(change.std(ddof=1)) / math.sqrt(len(change)) if len(change) > 1 else math.nan
        found[who] = {
            "distance": round(float(np.nanmean(distances_N2[:, column])), 3),
            "change": round(float(change.mean()), 3) if len(change) else math.nan,
            "interval": round(reach, 3),
            "stories": len(change),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=64, help="stories of two people")
    parser.add_argument("--strengths", type=float, nargs="+", default=(0.5, 1.5, 2.0, 3.0), help="beside 1")
    add_source(parser)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    seeds, source = Source.told(options)

    def run() -> None:
        pairs = [seed for seed in seeds if len(plot_of(seed).roles) == 2][: options.count]
        usual = distances(list(measured(source, pairs, options.processes)))
        table: dict[str, Any] = {"1": against(usual, usual)}
        for strength in options.strengths:
            takes = list(measured(replace(source, first_strength=strength), pairs, options.processes))
            table[f"{strength:g}"] = against(distances(takes), usual)
            if options.json is not None:
                write_text(options.json, json.dumps(table, indent=1) + "\n")
        for strength, found in table.items():
            for who, one in found.items():
                print(
                    f"strength {strength:4} {who:7} {one['distance']:6.2f} from the sheet,"
                    f" {one['change']:+.2f} ± {one['interval']:.2f} ({one['stories']} stories)"
                )

    finish(run)


if __name__ == "__main__":
    main()
