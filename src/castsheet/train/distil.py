"""`castsheet distill`: from a model, its adapters and a folder of sheets and prompts to a fast adapter.

    OUTPUT/data/         clips that the teacher made, with sheets and contexts (data/taught.py)
    OUTPUT/guidance/     a run of `castsheet train`: guidance is learned; one pass a step
    OUTPUT/steps-8/      a run that begins with the adapter before: eight steps
    OUTPUT/steps-4/      four steps; its teacher is the student of eight

Each part is resumable, and one that is done is not begun again. A part is a run as `castsheet train` makes
it: with its page, checkpoints, and rules for several processes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from castsheet.errors import AdapterError, SettingsError
from castsheet.loading.options import Loading
from castsheet.loading.source import Source
from castsheet.ltx.adapters.lora_file import RECIPE, LoRA
from castsheet.machine.device import pick_device
from castsheet.machine.marks import Kind, owned
from castsheet.machine.outputs import nobody
from castsheet.machine.processes import World, started, world
from castsheet.machine.progress import progress, stderr_console
from castsheet.machine.text import TextReader
from castsheet.pipeline import Castsheet
from castsheet.run import make_weights
from castsheet.settings import Settings, override
from castsheet.train.config import Config, join, make_config
from castsheet.train.data.encode import DATA
from castsheet.train.data.taught import Lesson, Taught, make_samples, read_lessons
from castsheet.train.presets import PRESETS
from castsheet.train.teaching import Cost
from castsheet.train.trainer import ADAPTER, train

GUIDANCE = "guidance"
STAGES = (GUIDANCE, "8", "4")
SUBSTEPS = 4  # of a guided teacher, or of a student of guidance, in each step
FOLDER = Kind("a distillation", nobody)
_FILES = TextReader(AdapterError, "delete the stage's folder, and run the command again")


@dataclass(frozen=True)
class Distillation:
    """A whole job.

    Attributes:
        folder: sheets and prompts; see data/taught.py. out: the folder that is filled.
        model, text_encoder, adapters, trained: the teacher's files; see `Source.open`.
        preset: of the teacher's runs; None is the model's own. settings: over the preset's.
        stages: "guidance" or numbers of steps, in order.
        start: a distilled adapter that the first stage begins with.
        clips: of each sheet and prompt, for the stage "guidance".
        steps: of each stage's training; None is the preset's.
        changes: fields of every stage's run, over those that this module sets.
    """

    folder: Path
    out: Path
    model: str = "mini"
    text_encoder: Path | None = None
    adapters: tuple[tuple[Path, float | None], ...] = ()
    trained: Path | None = None
    preset: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    stages: tuple[str, ...] = STAGES
    start: Path | None = None
    clips: int = 1
    steps: int | None = None
    device: str = "auto"
    changes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        counts = [int(one) if one.isdecimal() else 0 for one in self.stages if one != GUIDANCE]
        falling = (
            0 not in counts
            and counts == sorted(set(counts), reverse=True)
            and GUIDANCE not in self.stages[1:]
        )
        if not self.stages or not falling:
            raise SettingsError(
                f"stages {', '.join(self.stages)}",
                remedy=f"list falling numbers of steps, perhaps after {GUIDANCE}: {','.join(STAGES)}",
            )

    @property
    def source(self) -> Source:
        """The teacher's files."""
        trained = None if self.trained is None else (self.trained, None)
        return Source.open(self.model, self.text_encoder, self.adapters, trained=trained)

    def teacher_settings(self, source: Source) -> Settings:
        """The settings of the teacher's runs: picture alone."""
        return override(source.settings(self.preset), {**self.settings, "audio": False})

    @property
    def data(self) -> Path:
        """The stages' data set."""
        return self.out / "data"

    @property
    def taught_clips(self) -> int:
        """How many clips the teacher makes of each lesson; objective few-step needs none."""
        return self.clips if self.stages[0] == GUIDANCE else 0

    def configs(self, settings: Settings) -> list[Config]:
        """The stages' runs; each begins with the adapter of the one before.

        Raises:
            SettingsError: a field is wrong, or a stage's steps do not divide those of the one before.
        """
        configs, start, before = list[Config](), self.start, None
        for stage in self.stages:
            learns: dict[str, Any] = {"kind": GUIDANCE}
            if stage != GUIDANCE:
                substeps = _substeps(int(stage), start, before)
                learns, before = {"kind": "few-step", "steps": int(stage), "substeps": substeps}, int(stage)
            configs.append(self._config(stage, start, {**learns, "reference": settings.reference}))
            start = configs[-1].output / ADAPTER
        return configs

    def _config(self, stage: str, start: Path | None, objective: Mapping[str, Any]) -> Config:
        base = "mini" if self.model == "mini" else "quick"
        usual = PRESETS[base]
        steps = usual["steps"] if self.steps is None else self.steps
        teacher = {
            "adapters": {str(file): strength for file, strength in self.adapters},
            "trained": self.trained and str(self.trained),
            "preset": self.preset,
            "settings": dict(self.settings),
            "student": stage != GUIDANCE and start is not None,
        }
        values = {
            "preset": base,
            "model": self.model,
            "text_encoder": self.text_encoder and str(self.text_encoder),
            "data": str(self.data),
            "output": str(self.out / (stage if stage == GUIDANCE else f"steps-{stage}")),
            "device": self.device,
            "steps": steps,
            "objective": objective,
            "teacher": teacher,
            "adapter": {"start": start and str(start)},
            "optimiser": {"rate": _rate(usual, steps)},
        }
        return make_config(join(values, self.changes))


@dataclass(frozen=True)
class Bill:
    """What a job takes on each process, at most.

    Attributes:
        lines: one for the clips, where they are made, and one for each stage. passes: through the model.
    """

    lines: tuple[str, ...]
    passes: float

    @classmethod
    def of(
        cls, job: Distillation, lessons: int, settings: Settings, configs: Sequence[Config], processes: int
    ) -> Bill:
        """The bill of a job with so many lessons."""
        guided, lines, total = _guided(settings), list[str](), 0.0
        if clips := -(-lessons * job.taught_clips // processes):
            total = clips * settings.all_steps * guided
            lines.append(
                f"clips: {clips:,} of {settings.all_steps} guided steps, as long as {total:,.0f} passes"
            )
        for config in configs:
            taught = Cost.of(config.objective, 1 if config.teacher.student else guided)
            samples = config.batch * config.accumulation
            lines.append(f"{config.output.name}: {taught.told(config.steps, samples)}")
            total += config.steps * samples * taught.passes
        return cls(tuple(lines), total)

    def told(self) -> str:
        """The bill, for people."""
        return "\n".join([*self.lines, f"in all as long as {self.passes:,.0f} passes, less what is done"])

    def hours(self, seconds: float) -> str:
        """The time that it means, if a pass takes so many seconds; for people."""
        return f"a pass takes {seconds:.2f} s here: in all about {self.passes * seconds / 3600:.1f} h"


def bill(job: Distillation) -> Bill:
    """What a job costs in this process, without doing any of it.

    Raises:
        CastsheetError: an input is not usable.
    """
    settings = job.teacher_settings(job.source)
    return Bill.of(job, len(read_lessons(job.folder)), settings, job.configs(settings), started())


def distil(job: Distillation, console: Console | None = None) -> list[Config]:
    """Make the clips, then carry out the stages.

    Returns:
        The stages' runs, in order; each has its adapter in its folder.

    Raises:
        CastsheetError: an input is not usable; or see `castsheet.train.trainer.train`.
        SystemExit: SIGTERM came during a stage; a checkpoint was written.
    """
    console = console or stderr_console()
    lessons, source = read_lessons(job.folder), job.source
    settings = job.teacher_settings(source)
    configs = job.configs(settings)
    with world(pick_device(job.device)) as where:
        costs = Bill.of(job, len(lessons), settings, configs, where.size)
        _say(where, console, costs.told())
        with owned(job.out, FOLDER, console.print, wait=False) if where.main else nullcontext():
            where.wait()  # the others find the folder marked
            _make_data(job, lessons, Castsheet.open(*_teacher(job, source, where)), costs, where, console)
            for config in configs:
                if _is_done(config):
                    _say(where, console, f"{config.output.name}: done")
                else:
                    _say(where, console, f"{config.output.name}: {config.output}")
                    train(config, console)
    return configs


def _teacher(job: Distillation, source: Source, where: World) -> tuple[Source, Loading, torch.device]:
    return source, Loading(job.device, cache_dir=job.data), where.device


def _make_data(
    job: Distillation,
    lessons: Sequence[Lesson],
    castsheet: Castsheet,
    costs: Bill,
    where: World,
    console: Console,
) -> None:
    """The stages' data set; this process makes its share. The first clip tells how long a pass takes."""
    settings = job.teacher_settings(castsheet.models.source)
    teaching, told = Taught(castsheet, settings, job.data, job.taught_clips), False
    share = (where.rank, where.size)
    count = len(range(where.rank, len(lessons) * len(teaching.seeds), where.size))
    what = "making clips" if job.taught_clips else "encoding"
    with (
        owned(job.data, DATA, console.print, part=f"share {where.rank} of {where.size}"),
        progress(what, count, console=console) as advance,
    ):

        def made(done: int, step_s: float | None) -> None:
            nonlocal told
            advance(done)
            if step_s is not None and not told:
                _say(where, console, costs.hours(step_s / _guided(settings)))
                told = True

        make_samples(lessons, teaching, shard=share, advance=made)
    where.wait()


def _guided(settings: Settings) -> int:
    """Passes of a guided step, at most: passes may share their first blocks."""
    return 1 + len(make_weights(settings).video.scales)


def _say(where: World, console: Console, text: str) -> None:
    if where.main:
        console.print(text)


def _is_done(config: Config) -> bool:
    """Whether a stage was carried out to its end with these very settings."""
    adapter, written = config.output / ADAPTER, config.output / "config.json"
    if not (adapter.is_file() and written.is_file()):
        return False
    if _FILES.json(written) != config.model_dump(mode="json"):
        return False
    recipe = _FILES.parse_json(LoRA.open(adapter).metadata[RECIPE], f"{adapter}, {RECIPE}")
    return recipe["steps"] == config.steps


def _substeps(steps: int, start: Path | None, before: int | None) -> int:
    """The teacher's steps in each step of the student.

    Args:
        start: the student that a stage begins with. before: the steps of the stage before, if it counts any.

    Raises:
        SettingsError: the teacher's steps are no multiple of the student's.
        AdapterError: the start is not there.
    """
    if before is None and start is not None and start.is_file():
        distilled = LoRA.open(start).distilled
        levels = None if distilled is None else distilled.settings.get("sigmas")
        before = None if levels is None else len(levels) - 1
    if before is None:
        return SUBSTEPS
    if before % steps:
        raise SettingsError(
            f"{steps} steps from a student of {before}",
            remedy=f"choose a number of steps that divides {before}",
        )
    return before // steps


def _rate(usual: Mapping[str, Any], steps: int) -> list[dict[str, float]]:
    """The preset's learning rate, stretched to so many steps."""
    ramps, whole = usual["optimiser"]["rate"], usual["steps"]
    ends = {max(1, round(ramp["until"] * steps / whole)): ramp for ramp in ramps}
    return [{**ramp, "until": end} for end, ramp in ends.items()]
