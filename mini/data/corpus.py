"""Training data: samples rendered once by many processes, kept as uint8 in host memory."""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mini.data.filling import Filling
from mini.script import one_thread_each
from mini.training.architecture import FRAMES, HEIGHT, WIDTH
from mini.world.motion import ACTIONS

_CLIP_BYTES = FRAMES * HEIGHT * WIDTH * 3
_CARD = "GLCONTEXT_DEVICE_INDEX"  # read by moderngl's context


@dataclass
class Corpus(Filling):
    """Samples of some seeds.

    Attributes:
        clips: (S, 121, 112, 192, 3) uint8. sheets: (S, 112, 192, 3) uint8.
        actions: (S,) index into `ACTIONS`.
    """

    clips: Tensor
    sheets: Tensor
    actions: Tensor

    def _add(self, clip: Tensor, sheet: Tensor, action: int) -> None:
        self.clips[self.ready].copy_(clip)
        self.sheets[self.ready].copy_(sheet)
        self.actions[self.ready] = action
        self.advance(self.ready + 1)


def start(seeds: Sequence[int], *, card: int | None, processes: int) -> Corpus:
    """Begin rendering in the background and return at once. The order of samples is that of `seeds`.

    Args:
        card: number of the graphics card to render on; when None, the driver's first.
    """
    count = len(seeds)
    corpus = Corpus(
        clips=torch.empty(count, FRAMES, HEIGHT, WIDTH, 3, dtype=torch.uint8),
        sheets=torch.empty(count, HEIGHT, WIDTH, 3, dtype=torch.uint8),
        actions=torch.empty(count, dtype=torch.long),
    )
    corpus.fill(lambda: _fill(corpus, list(seeds), processes, card))
    return corpus


def _fill(corpus: Corpus, seeds: list[int], processes: int, card: int | None) -> None:
    shared = Path("/dev/shm")
    where = {} if card is None else {_CARD: str(card)}
    with (
        one_thread_each(**where),
        tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder,
        multiprocessing.get_context("spawn").Pool(processes) as pool,
    ):
        for name in pool.imap(_render, ((seed, folder) for seed in seeds), chunksize=2):
            data = torch.from_file(name, size=_CLIP_BYTES + HEIGHT * WIDTH * 3 + 1, dtype=torch.uint8)
            clip, sheet, action = data.split([_CLIP_BYTES, HEIGHT * WIDTH * 3, 1])
            corpus._add(clip.view(corpus.clips.shape[1:]), sheet.view(corpus.sheets.shape[1:]), int(action))
            Path(name).unlink()


_renderer = None


def _render(job: tuple[int, str]) -> str:
    """In a worker: render one seed into a file of clip, sheet and action bytes."""
    from mini.world.render import Renderer
    from mini.world.stage import sample

    global _renderer
    seed, folder = job
    _renderer = _renderer or Renderer()
    clip, sheet, action = sample(_renderer, seed)
    path = Path(folder) / str(seed)
    tail = np.array([list(ACTIONS).index(action)], np.uint8)
    path.write_bytes(
        np.ascontiguousarray(clip).tobytes() + np.ascontiguousarray(sheet).tobytes() + tail.tobytes()
    )
    return str(path)


def pixels(frames: Tensor, device: str | torch.device) -> Tensor:
    """uint8 (..., F, H, W, 3) to fp32 (..., 3, F, H, W) in [-1, 1] on the device."""
    return frames.to(device).movedim(-1, -4).float() / 127.5 - 1
