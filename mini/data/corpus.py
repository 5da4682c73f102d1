"""Training data: stories rendered once by many processes, handed on in the order of their seeds.

Legend: S samples, F frames, H height, W width, A audio samples.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.pool import AsyncResult
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mini.data.emphasis import REGIONS, shares
from mini.data.filling import Filling
from mini.data.showing import on_sheet
from mini.data.styling import FIGURES, QUESTIONS, styles
from mini.data.windows import BEFORE, begin_of, frames_of
from mini.script import one_thread_each
from mini.story import FRAMES, HEIGHT, WIDTH
from mini.story.look import PARTS
from mini.story.plot import Poses
from mini.story.sound import SAMPLES, sound
from mini.training.architecture import LATENT

PROMPTS = 16  # of each sample: a story that has few can be known by its words
NOWHERE = 0  # the region of what no figure covers
_SOUND_BYTES = 2 * SAMPLES * 2
_CARD = "GLCONTEXT_DEVICE_INDEX"  # read by moderngl's context
# Read by the EGL loader and by Mesa's software renderer, which then draws in the calling thread.
_SOFTWARE = {
    "__EGL_VENDOR_LIBRARY_FILENAMES": "/usr/share/glvnd/egl_vendor.d/50_mesa.json",
    "LIBGL_ALWAYS_SOFTWARE": "1",
    "LP_NUM_THREADS": "0",
}


def shapes(frames: int) -> dict[str, tuple[int, ...]]:
    """The arrays of a sample of so many frames, uint8; see `Rendered`."""
    return {
        "clip": (frames, HEIGHT, WIDTH, 3),
        "regions": (frames, HEIGHT, WIDTH),
        "sheet": (HEIGHT, WIDTH, 3),
        "panels": LATENT[1:],
        "styles": (FIGURES, QUESTIONS),
    }


@dataclass(frozen=True)
class Rendered:
    """One story or a window of it, as a worker hands it on.

    Attributes:
        clip: (F,H,W,3) uint8. sheet: (H,W,3) uint8, as the model sees it.
        regions: (F,H,W) uint8; 1 + part + 17 x (number of the figure), 0 where there is none.
        panels: (rows,columns) uint8, of `showing.on_sheet`. styles: uint8, of `styling`.
        sound: (2,A) int16 at 48 kHz; None of a window.
        prompts: several wordings.
    """

    clip: Tensor
    regions: Tensor
    sheet: Tensor
    panels: Tensor
    styles: Tensor
    sound: Tensor | None
    prompts: tuple[str, ...]


@dataclass
class Corpus(Filling):
    """Samples of some seeds, on one device.

    Attributes:
        clips: (S,F,H,W,3) uint8. regions: (S,F,H,W) uint8. sheets: (S,H,W,3) uint8.
        panels, styles: see `Rendered`.
        sounds: (S,2,A) int16. shares: (S,256), what a pixel of each region counts; see `emphasis`.
        prompts: a tuple for each sample that is there.
    """

    clips: Tensor
    regions: Tensor
    sheets: Tensor
    panels: Tensor
    styles: Tensor
    sounds: Tensor
    shares: Tensor
    prompts: list[tuple[str, ...]] = field(default_factory=list)

    @classmethod
    def empty(cls, count: int, device: str | torch.device) -> Corpus:
        """Room for `count` samples: 43 MB each."""
        clips, regions, sheets, panels, styles = (
            torch.empty(count, *shape, dtype=torch.uint8, device=device) for shape in shapes(FRAMES).values()
        )
        sounds = torch.empty(count, 2, SAMPLES, dtype=torch.int16, device=device)
        shares = torch.empty(count, REGIONS, device=device)
        return cls(clips, regions, sheets, panels, styles, sounds, shares)

    def add(self, one: Rendered) -> None:
        """Store the next sample, a whole one."""
        assert one.sound is not None
        self.clips[self.ready].copy_(one.clip)
        self.regions[self.ready].copy_(one.regions)
        self.sheets[self.ready].copy_(one.sheet)
        self.panels[self.ready].copy_(one.panels)
        self.styles[self.ready].copy_(one.styles)
        self.sounds[self.ready].copy_(one.sound)
        self.shares[self.ready].copy_(shares(self.regions[self.ready]))
        self.prompts.append(one.prompts)
        if self.clips.is_cuda:
            torch.cuda.current_stream(self.clips.device).synchronize()
        self.advance(self.ready + 1)

    def story(self, index: int) -> Rendered:
        """One sample, as it came."""
        pictures = self.clips[index], self.regions[index], self.sheets[index]
        told = self.panels[index], self.styles[index], self.sounds[index]
        return Rendered(*pictures, *told, self.prompts[index])

    def __len__(self) -> int:
        return len(self.clips)


def start(seeds: Sequence[int], *, device: str | torch.device, processes: int) -> Corpus:
    """Begin rendering in the background and return at once. The order of samples is that of `seeds`."""
    corpus, place = Corpus.empty(len(seeds), device), torch.device(device)
    stories = Stories(seeds, processes=processes, card=place.index)

    def work() -> None:
        with beside(place):
            for one in stories:
                corpus.add(one)

    corpus.fill(work)
    return corpus


@contextmanager
def beside(device: torch.device) -> Iterator[None]:
    """Inside, this thread's work on a GPU does not queue behind another thread's steps."""
    if device.type != "cuda":
        yield
        return
    with torch.cuda.device(device), torch.cuda.stream(torch.cuda.Stream(device)):
        yield


class Stories:
    """The stories of some seeds, in that order, made by processes that keep ahead of whoever reads them.

    They begin at once.

    Args:
        card: number of the graphics card to render on; when None, the driver's first.
        ahead: how many stories may wait to be read, 43 MB of shared memory each; three a process if less.
        masks_every: see `mini.story.sample.draw`.
        windows: draw a window of each, see `windows`, and make no sound.
        poses: where the sheets' pictures of people are from, see `mini.story.poses`.
        software: draw on the processor by Mesa, whatever cards there are: several times as slow, but a card
            that is being trained on is left alone.
    """

    def __init__(
        self,
        seeds: Sequence[int],
        *,
        processes: int,
        card: int | None,
        ahead: int = 0,
        masks_every: int = 1,
        windows: bool = False,
        software: bool = False,
        poses: Poses = "views",
    ) -> None:
        shared = Path("/dev/shm")
        self._folder = tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None)
        where = _SOFTWARE if software else {} if card is None else {_CARD: str(card)}
        with one_thread_each(**where):
            self._pool = multiprocessing.get_context("spawn").Pool(processes)
        begins = (begin_of(number) if windows else None for number in itertools.count())
        self._frames = len(frames_of(BEFORE)) if windows else FRAMES
        self._jobs = (
            (seed, self._folder.name, masks_every, begin, poses)
            for seed, begin in zip(seeds, begins, strict=False)
        )
        self._waiting = deque[AsyncResult[str]]()
        for _ in range(max(ahead, 3 * processes)):
            self._begin_next()

    def _begin_next(self) -> None:
        for job in itertools.islice(self._jobs, 1):
            self._waiting.append(self._pool.apply_async(_render, (job,)))

    def __iter__(self) -> Iterator[Rendered]:
        with self._folder, self._pool:
            while self._waiting:
                path = Path(self._waiting.popleft().get())
                self._begin_next()
                yield read(path, self._frames)


def sounds(seeds: Sequence[int], *, processes: int) -> Tensor:
    """The sounds (S,2,A) int16 of some stories, without their pictures."""
    with one_thread_each(), multiprocessing.get_context("spawn").Pool(processes) as pool:
        made = [torch.from_numpy(one) for one in pool.imap(sound_of, seeds, chunksize=8)]
    return torch.stack(made)


def sound_of(seed: int) -> NDArray[np.int16]:
    """A story's sound (2,A) at 48 kHz."""
    from mini.story.place import kind_of
    from mini.story.plot import plot_of
    from mini.story.sample import cast

    return as_int16(sound(kind_of(seed), cast(plot_of(seed))[1], seed))


def as_int16(wave: NDArray[np.float32]) -> NDArray[np.int16]:
    return np.round(wave * 32767).astype(np.int16)


_renderer = None


def _render(job: tuple[int, str, int, int | None, Poses]) -> str:
    """In a worker: render one seed into a file."""
    from mini.story.render import Renderer

    global _renderer
    seed, folder, masks_every, begin, poses = job
    _renderer = _renderer or Renderer()
    path = Path(folder) / str(seed)
    write(path, *render(_renderer, seed, masks_every, begin, poses))
    return str(path)


def render(
    renderer: object,
    seed: int,
    masks_every: int = 1,
    begin: int | None = None,
    poses: Poses = "views",
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """A seed's arrays, named as in `Rendered`, and its prompts.

    Args:
        begin: the latent frame with which a window of the story begins, see `windows`; None: all of it.
        poses: where the sheet's pictures of people are from.
    """
    from mini.data.prompts import prompt
    from mini.story.plot import plot_of
    from mini.story.poses import drawing
    from mini.story.render import Renderer
    from mini.story.sample import draw, render_sample, sheet_random

    assert isinstance(renderer, Renderer)
    if begin is None:
        sample = render_sample(renderer, seed, masks_every=masks_every, sheet_of=drawing(poses))
        assert sample is not None  # a clean story always can be told
        plot, sheet, frames = sample.plot, sample.sheet, sample.frames
        parts, figures, heard = sample.parts, sample.figures, {"sound": as_int16(sample.audio)}
    else:
        plot, heard = plot_of(seed), {}
        sheet = drawing(poses)(renderer, plot, sheet_random(seed))
        frames, parts, figures = draw(renderer, plot, frames_of(begin), masks_every=masks_every)
    numbers = np.maximum(figures.astype(np.int16) - 1, 0)
    regions = np.where(figures > 0, 1 + parts + PARTS * numbers, NOWHERE).astype(np.uint8)
    random = np.random.default_rng([seed, 20])
    prompts = tuple(prompt(plot, sheet, random) for _ in range(PROMPTS))
    pictures = {
        "clip": frames,
        "regions": regions,
        "sheet": np.asarray(sheet.conditioning_image(WIDTH, HEIGHT)),
        "panels": on_sheet(sheet, LATENT[1:]),
        "styles": styles(plot),
    }
    return pictures | heard, prompts


def write(path: Path, arrays: dict[str, np.ndarray], prompts: tuple[str, ...]) -> None:
    """A sample as one file: bytes of its arrays, then the prompts."""
    with path.open("wb") as file:
        for name in (*shapes(FRAMES), *(["sound"] if "sound" in arrays else [])):
            file.write(np.ascontiguousarray(arrays[name]).data)
        file.write(json.dumps(prompts).encode())


def read(path: Path, frames: int = FRAMES) -> Rendered:
    """What `write` wrote of so many frames; the file is removed."""
    data = torch.from_file(str(path), size=path.stat().st_size, dtype=torch.uint8)
    path.unlink()
    parts, begin = {}, 0
    for name, shape in shapes(frames).items():
        size = int(np.prod(shape))
        parts[name], begin = data[begin : begin + size].view(shape), begin + size
    heard = None
    if frames == FRAMES:
        heard = data[begin : begin + _SOUND_BYTES].clone().view(torch.int16).view(2, SAMPLES)
        begin += _SOUND_BYTES
    prompts = json.loads(data[begin:].numpy().tobytes())
    return Rendered(**parts, sound=heard, prompts=tuple(prompts))


def pixels(frames: Tensor, device: str | torch.device) -> Tensor:
    """uint8 (..., F, H, W, 3) to fp32 (..., 3, F, H, W) in [-1, 1] on the device."""
    return frames.to(device).movedim(-1, -4).float() / 127.5 - 1
