"""Training data without clips: the teacher makes them from sheets and prompts.

    folder/NAME.png, NAME.json    a sheet and, where it has one, its manifest
    folder/NAME.txt               its prompts, one a line: an action, or a whole two-part prompt
    folder/prompts.txt            the prompts of every sheet without a file of its own

The clips are the teacher's own, sampled with its guidance from seeded noise, as in "Knowledge Distillation in
Iterative Generative Models" (arXiv:2101.02388). Their latents are kept as they come from the sampler: nothing
is decoded and encoded again. A sample is made again only when something that it depends on has changed.

Legend: C channels, F frames, H height, W width.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from castsheet.errors import PromptError
from castsheet.ltx.latents import encode_still, reference_size, to_pixels
from castsheet.machine.outputs import require_space
from castsheet.machine.seeds import generator
from castsheet.machine.text import TextReader
from castsheet.pipeline import Castsheet
from castsheet.prompt import is_two_part, parse
from castsheet.run import Run, run_texts
from castsheet.settings import Settings
from castsheet.sheet.manifest import Sheet
from castsheet.train.data.dataset import DatasetError, header_of, write_sample

PICTURES = (".png", ".jpg", ".jpeg", ".webp")
SHARED = "prompts.txt"
TEXTS = 256  # that are encoded at once; each context takes 8 MiB at full size
_TEXTS = TextReader(DatasetError, "write plain text, one prompt a line")

Advance = Callable[[int, float | None], None]
"""Is told the samples that exist, and the seconds of a sampling step; None where no clip was made."""


@dataclass(frozen=True)
class Lesson:
    """A sheet and one prompt for it: an action, or a whole two-part prompt."""

    name: str
    sheet: Path
    words: str


def read_lessons(folder: Path) -> list[Lesson]:
    """The sheets of a folder with their prompts, in order of their names.

    Raises:
        DatasetError: no sheets, a sheet without prompts, or a text that is not readable.
    """
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES)
    except OSError as error:
        raise DatasetError(f"{folder} cannot be read: {error.strerror}", remedy="name a folder") from error
    if not files:
        raise DatasetError(
            f"{folder} holds no sheets", remedy="make them with `castsheet sheet`, each beside its NAME.txt"
        )
    lessons = []
    for path in files:
        own, shared = path.with_suffix(".txt"), folder / SHARED
        texts = own if own.is_file() else shared
        if not texts.is_file():
            raise DatasetError(f"{path} has no prompts", remedy=f"write {own.name} or {SHARED} beside it")
        prompts = list(_prompts(_TEXTS.text(texts)))
        if not prompts:
            raise DatasetError(f"{texts} holds no prompt", remedy=_TEXTS.remedy)
        lessons += [Lesson(f"{path.stem}-{number}", path, one) for number, one in enumerate(prompts, 1)]
    return lessons


def _prompts(text: str) -> Iterator[str]:
    """The prompts of a text: its lines, or all of it if it is one two-part prompt on several lines."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    try:
        for line in lines:
            if is_two_part(line):
                parse(line)
    except PromptError:
        yield text.strip()
        return
    yield from lines


@dataclass(frozen=True)
class Taught:
    """What the teacher makes.

    Attributes:
        castsheet: the teacher. The data set's folder is where it keeps contexts: samples name them.
        settings: of its runs.
        clips: how many clips of each lesson. With 0 the samples hold sheets and prompts alone, beside latents
            that are zero: objective few-step reads no more.
    """

    castsheet: Castsheet
    settings: Settings
    out: Path
    clips: int

    @property
    def seeds(self) -> range:
        """The numbers of a lesson's samples."""
        return range(max(1, self.clips))


def make_samples(
    lessons: Sequence[Lesson],
    teaching: Taught,
    *,
    shard: tuple[int, int] = (0, 1),
    advance: Advance = lambda *_: None,
) -> int:
    """Make the missing samples of this process's share.

    Args:
        shard: (i, n): every n-th sample from sample i.

    Returns:
        How many samples were made now.

    Raises:
        CastsheetError: a sheet or a prompt is not usable, or the teacher cannot be loaded.
        OutputError: the disk refused.
    """
    asked = [(lesson, number) for lesson in lessons for number in teaching.seeds][shard[0] :: shard[1]]
    runs = {(lesson, number): _run(lesson, number, teaching) for lesson, number in asked}
    teacher = _teacher(teaching)
    stamps = {key: _stamp(run, teacher) for key, run in runs.items()}
    todo = [key for key in asked if header_of(_path(key, teaching)).get("source") != stamps[key]]
    settings = teaching.settings
    require_space(teaching.out, len(todo) * settings.width * settings.height * settings.frames // 16)
    texts = list(dict.fromkeys(text for key in todo for text in run_texts(runs[key])))
    for first in range(0, len(texts), TEXTS):  # before the denoiser: the text encoder is as large
        teaching.castsheet.models.contexts(texts[first : first + TEXTS], audio=False)
    for done, key in enumerate(todo, start=1):
        step_s = _make(key, runs[key], teaching, stamps[key])
        advance(len(asked) - len(todo) + done, step_s)
    return len(todo)


@torch.no_grad()
def _make(key: tuple[Lesson, int], run: Run, teaching: Taught, stamp: str) -> float | None:
    """Write one sample; returns the seconds of a step, if a clip of several was made."""
    castsheet, settings, ends = teaching.castsheet, run.settings, list[float]()
    models = castsheet.models
    grid = models.source.grid(settings)
    if teaching.clips:
        latents = castsheet.latents(run, on_step=lambda *_: ends.append(time.perf_counter()))
    else:
        channels = models.source.checkpoint.config.transformer.in_channels
        latents = torch.zeros(1, channels, grid.frames, grid.height, grid.width)
    picture = run.sheet.conditioning_image(*reference_size(grid, models.source.downscale(settings)))
    references = encode_still(models.vae(), to_pixels(picture).to(models.device), 1)
    tensors = {"latents": latents[0], "references": references}
    write_sample(
        _path(key, teaching),
        {name: tensor.to(torch.bfloat16) for name, tensor in tensors.items()},
        fps=settings.fps,
        context=models.context_path(run.words.text).name,
        augment={},
        source=stamp,
        caption=run.words.text,
        sheet=str(key[0].sheet.absolute()),
        family=models.source.checkpoint.family,
    )
    # The first step may compile.
    return (ends[-1] - ends[0]) / (len(ends) - 1) if len(ends) > 1 else None


def _run(lesson: Lesson, number: int, teaching: Taught) -> Run:
    seed = generator("taught", lesson.name, number).initial_seed()
    sheet = Sheet.load(lesson.sheet)
    return teaching.castsheet.prepare(
        sheet, lesson.words, settings=teaching.settings, seed=seed, check=False, prompt=_whole(lesson.words)
    )


def _whole(words: str) -> str | None:
    return words if is_two_part(words) else None


def _path(key: tuple[Lesson, int], teaching: Taught) -> Path:
    lesson, number = key
    return teaching.out / "samples" / f"{lesson.name}-{number + 1}.safetensors"


def _teacher(teaching: Taught) -> str:
    """What all samples depend on: files and settings; without clips, the settings' size alone."""
    source, settings = teaching.castsheet.models.source, teaching.settings
    run = repr(settings) if teaching.clips else repr(source.grid(settings))
    return json.dumps([source.record(settings), run])


def _stamp(run: Run, teacher: str) -> str:
    """Hash of everything that a sample depends on."""
    parts = [run.sheet.sha256, run.words.text, run.seed, teacher]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
