"""`generate --takes N`: makes and judges several takes of one shot, keeps them, and says which is best, why.

    walk.mp4 ...                  the best take
    walk.take-7.mp4 ...           every take that was made, with its contact sheet and sidecar
    walk.take-7.judge.html        the judge's page on that take
    walk.takes.html               all takes side by side, playing together

`castsheet choose walk.mp4 --seed 7` (jobs/chosen.py) makes another take the clip and removes the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from castsheet.clip import Clip, clip_files
from castsheet.jobs.lockstep import SCRIPT, STYLE, Shown, lockstep
from castsheet.jobs.saving import save_somewhere, told_of
from castsheet.jobs.watcher import Watcher
from castsheet.judge import report
from castsheet.judge.judge import Judge, Options
from castsheet.judge.judgement import Judgement
from castsheet.judge.reroll import Choice, reroll
from castsheet.machine.outputs import Output, write_output
from castsheet.media.page import html_page, wrote_page
from castsheet.run import Run
from castsheet.sheet.manifest import Sheet

if TYPE_CHECKING:
    from castsheet.jobs.request import Request

Keep = Literal["made", "all", "best"]
"""made: stop at the first take that passes, keep every take that was made. all: make and keep every take.
best: stop at the first take that passes, keep the best only."""

MakeTake = Callable[[Run, str], Clip]  # a run, and which take it is, for progress


def choose(make: MakeTake, asked: Run, request: Request, watcher: Watcher) -> tuple[Clip, dict[str, Path]]:
    """Make takes until one passes, and pick the best.

    Args:
        make: makes the clip of a run; its second argument names the take.
        asked: the first take; the seeds of further takes count up from its seed.
        request: `keep` says whether to stop early, and which takes stay; see `Keep`.

    Returns:
        The best take, with the choice in its provenance; and the files written beside it, by role.

    Raises:
        SettingsError: `takes` is not 1 or more.
        OutputError: no disk takes a take.
    """
    judge, keeps = Judge(asked.sheet, Options.installed()), request.keep != "best"
    written: dict[str, Path] = {}

    def judged(clip: Clip) -> Judgement:
        seed = clip.provenance["seed"]
        verdict = judge(clip, f"seed {seed}")
        line = f"{verdict.name}: {verdict.verdict} (score {verdict.score:.3f})"
        watcher.said(line, "plain" if verdict.passed else "look")
        if keeps:
            file = take_file(request.out, seed)
            saved, elsewhere = save_somewhere(clip, file, overwrite=request.overwrite)
            written[f"take {seed}"] = saved.video
            with told_of(watcher):
                if elsewhere is not None:
                    raise elsewhere
                report.write(page_file(file), asked.sheet, [(clip, verdict)], overwrite=request.overwrite)
        return verdict

    choice = reroll(
        lambda seed: make(replace(asked, seed=seed), take_name(seed - asked.seed, request.takes, seed)),
        judged,
        seed=asked.seed,
        takes=request.takes,
        stop_early=request.keep != "all",
    )
    watcher.said(f"kept {choice.reason}")
    best = choice.best
    judged_best = [(best.clip, best.judgement)]
    # The clip itself is still to be saved, whatever happens to the pages about it.
    with told_of(watcher):
        page = page_file(request.out)
        written["judgement"] = report.write(page, asked.sheet, judged_best, overwrite=request.overwrite)
    if keeps:
        with told_of(watcher):
            written["takes"] = _write_page(request, asked.sheet, choice)
    return told(choice), written


def take_name(number: int, takes: int, seed: int) -> str:
    """What progress calls a take. `number` counts from 0."""
    return f"take {number + 1} of {takes}, seed {seed}"


def take_outputs(request: Request) -> list[Output]:
    """What `choose` writes for a filled request, beside the clip."""
    pages = [page_file(request.out)]
    seeds = range(request.seed or 0, (request.seed or 0) + request.takes) if request.keep != "best" else ()
    files = [take_file(request.out, seed) for seed in seeds]
    pages += [*map(page_file, files), *([takes_page(request.out)] if files else [])]
    clips = [output for file in files for output in clip_files(file).outputs]
    return [*clips, *(Output(page, wrote_page) for page in pages)]


def take_file(clip: Path, seed: int) -> Path:
    """Where the take of a seed lies, beside the clip."""
    return clip.with_suffix(f".take-{seed}.mp4")


def page_file(clip: Path) -> Path:
    """The judge's page on a clip."""
    return clip.with_suffix(".judge.html")


def takes_page(clip: Path) -> Path:
    """The page with all takes of a clip."""
    return clip.with_suffix(".takes.html")


def shown_takes(choice: Choice, name: Callable[[int], str], page: Callable[[int], str]) -> list[Shown]:
    """The takes of a choice for a page.

    Args:
        name, page: the video, and the judge's page, of a seed, relative to the page.
    """
    return [
        Shown(seed, name(seed), page(seed), one.state, one.score, one.verdict, seed == choice.best.seed)
        for seed, one in choice.takes
    ]


def _write_page(request: Request, sheet: Sheet, choice: Choice) -> Path:
    out = request.out
    takes = shown_takes(
        choice,
        lambda seed: take_file(out, seed).name,
        lambda seed: page_file(take_file(out, seed)).name,
    )
    body = (
        f'<main><div class="top"><img src="{report.sheet_url(sheet)}" alt="the sheet">'
        f"<div><h1>{len(takes)} takes</h1><p>The outlined one was kept. To take another:</p>"
        f"<p><code>castsheet choose {out.name} --seed SEED</code></p></div></div>"
        f"{lockstep(takes)}</main>{SCRIPT}"
    )
    text = html_page("castsheet takes", report.STYLE + STYLE, body).encode()
    return write_output(
        Output(takes_page(out), wrote_page),
        lambda file: file.write_bytes(text),
        overwrite=request.overwrite,
    )


def told(choice: Choice) -> Clip:
    """The best take, with the choice in its provenance and therefore in the sidecar."""
    clip = choice.best.clip
    made = [
        {"seed": seed, "score": one.score, "passed": one.passed, "verdict": one.verdict}
        for seed, one in choice.takes
    ]
    record: dict[str, Any] = {"reason": choice.reason, "made": made}
    return replace(clip, provenance={**clip.provenance, "takes": record})
