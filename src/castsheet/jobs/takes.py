"""`generate --takes N`: makes and judges several takes of one shot, keeps the best, and says why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from castsheet.clip import Clip, clip_files
from castsheet.jobs.watcher import Watcher
from castsheet.judge import report
from castsheet.judge.judge import Judge, Options
from castsheet.judge.judgement import Judgement
from castsheet.judge.reroll import Choice, reroll
from castsheet.machine.outputs import Output
from castsheet.media.page import wrote_page
from castsheet.run import Run

if TYPE_CHECKING:
    from castsheet.jobs.request import Request

Keep = Literal["best", "all"]


def choose(
    make: Callable[[Run], Clip], asked: Run, request: Request, watcher: Watcher
) -> tuple[Clip, dict[str, Path]]:
    """Make takes until one passes, and pick the best.

    Args:
        make: makes the clip of a run.
        asked: the first take; the seeds of further takes count up from its seed.
        request: `keep` "best" stops at the first take that passes; "all" makes every take and saves each
            beside `out`, as NAME.take-SEED.mp4.

    Returns:
        The best take, with the choice in its provenance; and the files written beside it, by role.

    Raises:
        SettingsError: `takes` is not 1 or more.
        OutputError: the disk refused.
    """
    judge, every = Judge(asked.sheet, Options.installed()), request.keep == "all"
    written: dict[str, Path] = {}

    def take(seed: int) -> Clip:
        clip = make(replace(asked, seed=seed))
        if every:
            saved = clip.save(_take_file(request, seed), overwrite=request.overwrite)
            written[f"take {seed}"] = saved.video
        return clip

    def judged(clip: Clip) -> Judgement:
        verdict = judge(clip, f"seed {clip.provenance['seed']}")
        line = f"{verdict.name}: {verdict.verdict} (score {verdict.score:.3f})"
        watcher.said(line, "plain" if verdict.passed else "look")
        return verdict

    choice = reroll(take, judged, seed=asked.seed, takes=request.takes, stop_early=not every)
    watcher.said(f"kept {choice.reason}")
    best = choice.best
    judged_best = [(best.clip, best.judgement)]
    page = report.write(_page_file(request), asked.sheet, judged_best, overwrite=request.overwrite)
    return told(choice), {**written, "judgement": page}


def take_outputs(request: Request) -> list[Output]:
    """What `choose` writes for a filled request, beside the clip."""
    seeds = range(request.seed or 0, (request.seed or 0) + request.takes) if request.keep == "all" else ()
    takes = [output for seed in seeds for output in clip_files(_take_file(request, seed)).outputs]
    return [*takes, Output(_page_file(request), wrote_page)]


def _take_file(request: Request, seed: int) -> Path:
    return request.out.with_suffix(f".take-{seed}.mp4")


def _page_file(request: Request) -> Path:
    return request.out.with_suffix(".judge.html")


def told(choice: Choice) -> Clip:
    """The best take, with the choice in its provenance and therefore in the sidecar."""
    clip = choice.best.clip
    made = [
        {"seed": seed, "score": one.score, "passed": one.passed, "verdict": one.verdict}
        for seed, one in choice.takes
    ]
    record: dict[str, Any] = {"reason": choice.reason, "made": made}
    return replace(clip, provenance={**clip.provenance, "takes": record})
