"""A pass of LTX-2.5 beside one of LTX-2.3, at the trained bucket, in one process on the same card.

    python -m benchmarks.families --out RESULTS [--tiny]

The families' denoisers differ by 96 biases and one vector that is added to 336 rows: both passes should take
the same time. Both models are on the card at once and take turns, so that neither has the cooler chip.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from dataclasses import replace
from pathlib import Path

from benchmarks.common import Bench, open_bench, random_transformer, timed, video_stream
from castsheet.ltx.family import FAMILIES
from castsheet.ltx.speed.fast import make_fast
from castsheet.ltx.speed.kernels import attention_kernels

SIGMA = 0.7
ROUNDS = 4
NAMES = [name for name, family in FAMILIES.items() if family.runs]


def passes(bench: Bench, *, fp8: bool) -> None:
    """A row for each family, the newer one with its time against the older one's."""
    kind = "fp8" if fp8 else "bf16"
    config, targets = bench.size.config.video_only(), bench.size.tokens
    times: dict[str, list[float]] = {name: [] for name in NAMES}
    with bench.attempt(f"passes, {kind}"), attention_kernels(bench.device):
        models = {
            name: make_fast(
                random_transformer(replace(config, family=name), bench.device, bench.dtype, fp8=fp8)
            )
            for name in NAMES
        }
        video = video_stream(bench, config, SIGMA)
        for _ in range(ROUNDS):
            for name, model in models.items():
                found = timed(bench, lambda model=model: model(video, targets=targets))
                times[name].append(found["ms"])
        medians = {name: statistics.median(found) for name, found in times.items()}
        first = medians[NAMES[0]]
        for name, median in medians.items():
            rounds = times[name]
            bench.add(
                f"{FAMILIES[name].title} pass, {kind}",
                ms=median,
                min=min(rounds),
                max=max(rounds),
                over=median / first - 1,
            )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent / "results")
    parser.add_argument("--commit", default=None, help="where the copy has no .git")
    parser.add_argument("--tiny", action="store_true", help="a toy model on the CPU")
    given = parser.parse_args()
    bench = open_bench("families", given.out, mode="tiny" if given.tiny else "full", commit=given.commit)
    for fp8 in (False, True):
        passes(bench, fp8=fp8)
    return 0


if __name__ == "__main__":
    sys.exit(main())
