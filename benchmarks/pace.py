"""What a run may leave out: time saved beside what it costs, and which forms no other beats.

    python -m benchmarks.pace --count 8 --out DIR                   mini: identity by ground truth and judge
    python -m benchmarks.pace --count 8 --forms exact brisk fast    some forms only
    python -m benchmarks.all --only pace pace-full --out DIR        all of mini's; at full size, on a GPU

Every form makes the same validation identities' clips with the same noise. `identity` is the share of
colours that lie nearer to the sheet that was given, all groups together; `action` is judged from the
motion; `judge` is the mean score of `castsheet judge`. `passes` counts those of a clip, and `ms` is its
denoising. A form is on the front if no other is both faster and as good in identity, action and judge. At
full size the weights are random: seconds count there, and how far x0 moves from the exact run's, step by
step from the exact run's states.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.clip import clocked, denoiser_of, grid_of, make_run
from benchmarks.common import ROOT, Bench, open_bench, relative
from benchmarks.identity import away, clip_of, score
from castsheet.clip import Clip
from castsheet.judge.judge import Judge, Options
from castsheet.ltx.speed.kernels import attention_kernels
from castsheet.ltx.speed.tabulated import tabulated
from castsheet.pipeline import Castsheet
from castsheet.sampling.denoiser import Denoiser
from castsheet.sampling.guidance import Pace
from castsheet.sampling.samplers import euler
from castsheet.sampling.schedule import sigmas
from castsheet.sampling.state import draw
from castsheet.settings import preset
from castsheet.settings.paces import EXACT, PACES
from mini.evaluation.takes import Takes
from mini.evaluation.validation import ValidationSet
from mini.script import finish

COUNT = 64
FORMS: dict[str, dict[str, Any]] = {
    **{name: {"pace": name} for name in PACES},
    "guidance every 2": {"guidance_every": 2},
    "guidance every 3": {"guidance_every": 3},
    "guidance at 0.3 to 1": {"guidance_interval": [0.3, 1.0]},
    "guidance at 0 to 0.95": {"guidance_interval": [0.0, 0.95]},
    "sheet every 2": {"reference_every": 2},
    "sheet every 3": {"reference_every": 3},
    "blocks at 0.05": {"residual_threshold": 0.05},
    "blocks at 0.1": {"residual_threshold": 0.1},
    "blocks at 0.2": {"residual_threshold": 0.2},
    "guidance every 2, sheet every 3": {"guidance_every": 2, "reference_every": 3},
    "brisk, blocks at 0.1": {"pace": "brisk", "residual_threshold": 0.1},
    "fast, blocks at 0.1": {"pace": "fast", "residual_threshold": 0.1},
}
WARM = 3  # steps before a form is timed: with and without guidance, with and without the sheet's rows
GOOD = ("identity", "action", "judge")


def pace(
    bench: Bench,
    *,
    count: int | None = None,
    forms: Sequence[str] = tuple(FORMS),
    load: Callable[..., Castsheet] = Castsheet.load,
    model: str = "mini",
) -> None:
    """All forms on mini's validation identities, and which of them are on the front."""
    truths = ValidationSet.load()
    count = (COUNT if bench.mode == "full" else 2) if count is None else count
    castsheet = load(model, device=str(bench.device))
    exact: list[list[Tensor]] = []
    for name in dict.fromkeys([EXACT, *forms]):
        with bench.attempt(name):
            takes = Takes(castsheet, truths, bench.output, FORMS[name])
            made = [clip_of(takes, index) for index in range(count)]
            seen = [x0 for _, x0 in made]
            exact = exact or seen
            clips = [clip for clip, _ in made]
            found = score(truths, clips)
            bench.add(name, **_totals(takes, clips), **found, error=away(seen, exact))
    front = [row["row"] for row in on_front([row for row in bench.rows if "failed" not in row])]
    bench.add("the front", forms=", ".join(front), identities=count)


def _totals(takes: Takes, clips: Sequence[Clip]) -> dict[str, float]:
    """Means over the clips: milliseconds, passes, the judge's score."""
    seconds = [clip.provenance["timings_s"]["sampling"] for clip in clips]
    passes = [clip.provenance["work"]["passes"] for clip in clips]
    reused = [clip.provenance["work"].get("blocks reused", 0) for clip in clips]
    scores = [
        Judge(takes.sheet("sheet", index), Options.installed())(clip).score
        for index, clip in enumerate(clips)
    ]
    count = len(clips)
    return {
        "ms": 1e3 * sum(seconds) / count,
        "passes": sum(passes) / count,
        "blocks_reused": sum(reused) / count,
        "judge": sum(scores) / count,
    }


def on_front(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows that no other row beats: faster, and as good by every measure."""

    def beats(a: dict[str, Any], b: dict[str, Any]) -> bool:
        return a["ms"] < b["ms"] and all(a[name] >= b[name] for name in GOOD)

    return [row for row in rows if not any(beats(other, row) for other in rows)]


@torch.no_grad()
def full(bench: Bench) -> None:
    """Every form at full size in fp8: a clip's steps at the exact run's states, and how far x0 moves."""
    model, track, contexts = make_run(bench, "fp8")
    levels, grid = sigmas(bench.size.steps), grid_of(bench)
    exact = denoiser_of(bench, model, track, contexts)
    seen: list[tuple[Tensor, Tensor, int, Tensor]] = []

    def watched(x: Tensor, sigma: Tensor, step: int) -> Tensor:
        seen.append((x, sigma, step, exact(x, sigma, step)))
        return seen[-1][3]

    with tabulated(model, levels), attention_kernels(bench.device):
        start = draw(exact, grid, 0, None, 1.0).to(bench.device)
        euler(watched, start, levels)  # compiles
        usual = clocked(bench, lambda: euler(exact, start, levels))
        bench.add(EXACT, ms=usual * 1e3, steps=bench.size.steps, passes=exact.work["passes"] / 2)
        for name, changes in FORMS.items():
            if name == EXACT:
                continue
            with bench.attempt(name):
                one = _paced(exact, preset("card", **changes))
                for x, sigma, step, _ in seen[:WARM]:
                    one(x, sigma, step)  # compiles
                one.work.clear()
                outputs: list[Tensor] = []

                def again(one: Denoiser = one, outputs: list[Tensor] = outputs) -> None:
                    outputs.extend(one(x, sigma, step) for x, sigma, step, _ in seen)

                seconds = clocked(bench, again)
                errors = [relative(got, x0) for got, (*_, x0) in zip(outputs, seen, strict=True)]
                found = {"ms": seconds * 1e3, "faster": usual / seconds}
                found |= {"error": sum(errors) / len(errors), "largest": max(errors)}
                bench.add(name, **found, passes=one.work["passes"], blocks_reused=one.work["blocks reused"])


def _paced(exact: Denoiser, settings: Any) -> Denoiser:
    """The same denoiser with a run's approximations."""
    return Denoiser(
        exact.transformer,
        exact.video,
        exact.audio,
        exact.positive,
        exact.negative,
        exact.weights,
        reference_every=settings.reference_every,
        pace=Pace(settings.guidance_every, settings.guidance_interval),
        residual_threshold=settings.residual_threshold,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=COUNT, help="identities, an even number")
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=tuple(FORMS), metavar="FORM")
    parser.add_argument("--model", default="mini", help="mini, or a bundle of its size")
    parser.add_argument("--out", type=Path, default=ROOT / "results")
    parser.add_argument("--full", action="store_true", help="time at full size instead, on a GPU")
    given = parser.parse_args()
    begun = time.perf_counter()

    def run() -> None:
        bench = open_bench("pace-full" if given.full else "pace", given.out)
        if given.full:
            full(bench)
            return
        bench.size = replace(bench.size, name=given.model)
        with torch.no_grad():
            pace(bench, count=given.count, forms=given.forms, model=given.model)
        print(f"{time.perf_counter() - begun:.0f} s")

    finish(run)


if __name__ == "__main__":
    main()
