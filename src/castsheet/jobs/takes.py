"""`generate --takes N`: several takes of one shot, judged; the best is kept, and why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.markup import escape

from castsheet.clip import Clip
from castsheet.judge import report
from castsheet.judge.judge import Judge
from castsheet.judge.judgement import Judgement
from castsheet.judge.reroll import Choice, Make, reroll
from castsheet.sheet.manifest import Sheet

Keep = Literal["best", "all"]


def choose(
    make: Make, sheet: Sheet, out: Path, seed: int, takes: int, keep: Keep, console: Console
) -> tuple[Clip, dict[str, Path]]:
    """Make takes until one passes, and pick the best.

    Args:
        make: a seed in, a take out.
        keep: "best" stops at the first take that passes; "all" makes every take and saves each beside `out`,
            as NAME.take-SEED.mp4.

    Returns:
        The best take, the choice told in its provenance; and what was written beside it, by role.

    Raises:
        SettingsError: `takes` is not 1 or more.
        OutputError: the disk refused.
    """
    judge = Judge(sheet)
    written: dict[str, Path] = {}

    def kept(take_seed: int) -> Clip:
        clip = make(take_seed)
        if keep == "all":
            written[f"take {take_seed}"] = clip.save(out.with_suffix(f".take-{take_seed}.mp4")).video
        return clip

    def judged(clip: Clip) -> Judgement:
        verdict = judge(clip, f"seed {clip.provenance['seed']}")
        line = f"{verdict.name}: {verdict.verdict} (score {verdict.score:.3f})"
        console.print(escape(line), style=None if verdict.passed else "yellow")
        return verdict

    choice = reroll(kept, judged, seed=seed, takes=takes, stop_early=keep == "best")
    console.print(f"kept {escape(choice.reason)}")
    page = report.write(out.with_suffix(".judge.html"), sheet, [(choice.best.clip, choice.best.judgement)])
    return told(choice), {**written, "judgement": page}


def told(choice: Choice) -> Clip:
    """The best take, with the choice in its provenance, from where it reaches the sidecar."""
    clip = choice.best.clip
    made = [
        {"seed": seed, "score": one.score, "passed": one.passed, "verdict": one.verdict}
        for seed, one in choice.takes
    ]
    record: dict[str, Any] = {"reason": choice.reason, "made": made}
    return replace(clip, provenance={**clip.provenance, "takes": record})
