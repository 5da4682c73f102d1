"""What a step sees: its samples, noise and noise levels, as a function of (seed, step, slot) alone.

A slot is a sample's place in the step's global batch. Each slot has its own generator. Therefore the draws do
not depend on the number or order of processes, or on whether the run was resumed, and no random state is
saved.

Legend: B batch, T target tokens, R reference tokens, C channels, L D context.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import lru_cache
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from castsheet.ltx.latents import patchify
from castsheet.machine.seeds import generator
from castsheet.train.config import ObjectiveConfig
from castsheet.train.data.dataset import Data, Geometry, Pick
from castsheet.train.objective import sigmas_of


@dataclass(frozen=True)
class Batch:
    """Samples of one geometry.

    Attributes:
        slots, names: places in the global batch, and the names of their samples.
        noise_BTC, sigma_B: fp32 draws.
        given_B: samples whose first frame is given clean.
        blank_B: samples whose sheet is left out.
        place: few-step distillation: the student's step that learns.
        frames, reference_frames: the latent frames of clips and references in this batch; None is all.
    """

    slots: tuple[int, ...]
    names: tuple[str, ...]
    geometry: Geometry
    target_BTC: Tensor
    reference_BRC: Tensor
    context_BLD: Tensor
    sigma_B: Tensor
    noise_BTC: Tensor
    given_B: Tensor
    blank_B: Tensor
    mask_BT: Tensor | None
    frames: tuple[int, ...] | None = None
    reference_frames: tuple[int, ...] | None = None
    place: int = 0

    @property
    def begins(self) -> bool:
        """Whether the clips' first latent frame is here: an excerpt may begin later."""
        return self.frames is None or self.frames[0] == 0

    def to(self, device: torch.device) -> Batch:
        """The batch on a device; pinned memory is copied without waiting."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pinned(self) -> Batch:
        """The batch with its host memory pinned: a GPU can read it by itself."""
        return self._each(lambda tensor: tensor if tensor.is_cuda else tensor.pin_memory())

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        values: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        changed = {name: change(value) for name, value in values.items() if isinstance(value, Tensor)}
        return Batch(**values | changed)


@dataclass(frozen=True)
class Draws:
    """The random choices for a batch's samples."""

    picks: tuple[Pick, ...]
    blank_B: Tensor
    given_B: Tensor
    sigma_B: Tensor


@dataclass(frozen=True)
class Sampler:
    """The order of the samples: a new permutation of the data every epoch."""

    seed: int
    samples: int
    global_batch: int

    def index(self, step: int, slot: int) -> int:
        """The sample at a slot of a step (from 0)."""
        epoch, place = divmod(step * self.global_batch + slot, self.samples)
        return int(_permutation(self.seed, epoch, self.samples)[place])


@lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, count: int) -> Tensor:
    return torch.randperm(count, generator=generator(seed, "epoch", epoch))


def draw(
    sources: Sequence[torch.Generator],
    counts: Sequence[tuple[int, int, int]],
    objective: ObjectiveConfig,
    *,
    sigma_tokens: int,
) -> Draws:
    """The random choices for samples, one generator each; settings do not change which numbers are drawn.

    Args:
        counts: a sample's number, and how many references and contexts it has.
    """
    chances_B3 = torch.stack([torch.rand(3, generator=source) for source in sources])
    normal_B = torch.cat([torch.randn(1, generator=source) for source in sources])
    uniform_B2 = torch.stack([torch.rand(2, generator=source) for source in sources])
    picks = []
    for chance, (index, variants, captions) in zip(chances_B3[:, 0].tolist(), counts, strict=True):
        variant = min(int(chance * variants), variants - 1)
        caption = int((chance * variants - variant) * captions)  # the remaining digits of the same number
        picks.append(Pick(index, variant, min(caption, captions - 1)))
    return Draws(
        tuple(picks),
        blank_B=chances_B3[:, 1] < objective.reference_dropout,
        given_B=chances_B3[:, 2] < objective.first_frame_probability,
        sigma_B=sigmas_of(normal_B, uniform_B2[:, 0], uniform_B2[:, 1], sigma_tokens),
    )


def make_batch(
    dataset: Data,
    chosen: Sequence[tuple[int, int]],
    source: Callable[[int | str], torch.Generator],
    objective: ObjectiveConfig,
) -> Batch:
    """Read samples and draw their noise, on the device where the data lies.

    Args:
        chosen: (slot, sample) pairs of one geometry. source: gives the generator of a slot, or of "frames":
            all slots have the same excerpt.

    Raises:
        DatasetError: a file is damaged.
    """
    entries = [dataset.entries[index] for _, index in chosen]
    geometry = entries[0].geometry
    frames, shown = _frames(source("frames"), geometry, objective)
    sources = [source(slot) for slot, _ in chosen]
    counts = [
        (index, entry.variants, dataset.captions(index))
        for (_, index), entry in zip(chosen, entries, strict=True)
    ]
    draws = draw(sources, counts, objective, sigma_tokens=objective.sigma_tokens or geometry.tokens)
    picked = slice(None) if frames is None else slice(frames[0], frames[-1] + 1)
    found = dataset.stack(draws.picks, picked)
    target_BTC = patchify(found.latents_BCFHW)
    return Batch(
        slots=tuple(slot for slot, _ in chosen),
        names=tuple(entry.name for entry in entries),
        geometry=geometry,
        target_BTC=target_BTC,
        reference_BRC=patchify(_shown(found.references_BCfhw, geometry, shown, objective)),
        context_BLD=found.contexts_BLD,
        sigma_B=draws.sigma_B,
        noise_BTC=_noise(target_BTC, sources),
        given_B=draws.given_B,
        blank_B=draws.blank_B,
        mask_BT=None if found.mask_BFHW is None else found.mask_BFHW.flatten(1),
        frames=frames,
        reference_frames=shown,
    )


def _noise(like_BTC: Tensor, sources: Sequence[torch.Generator]) -> Tensor:
    """Normal fp32 noise on the device of `like_BTC`, one generator a sample; a GPU's get the same seeds."""
    noise_BTC = torch.empty(like_BTC.shape, device=like_BTC.device)
    for noise_TC, source in zip(noise_BTC, sources, strict=True):
        own = source
        if like_BTC.device != source.device:
            own = torch.Generator(like_BTC.device).manual_seed(source.initial_seed())
        noise_TC.normal_(generator=own)
    return noise_BTC


def _frames(
    source: torch.Generator, geometry: Geometry, objective: ObjectiveConfig
) -> tuple[tuple[int, ...] | None, tuple[int, ...] | None]:
    """The latent frames of the clips that are learned, and of the references that are shown; None is all."""
    total, excerpt, shown = geometry.clip[0], objective.excerpt, objective.reference_frames
    chosen, given = None, None
    if 0 < excerpt < total:
        first = int(torch.randint(total - excerpt + 1, (), generator=source))
        chosen = tuple(range(first, first + excerpt))
    if 0 < shown < total:
        given = tuple(sorted(torch.randperm(total, generator=source)[:shown].tolist()))
    return chosen, given


def _shown(
    references_BCFHW: Tensor, geometry: Geometry, shown: tuple[int, ...] | None, objective: ObjectiveConfig
) -> Tensor:
    """The references' latent frames that are shown; still ones are repeated as often as needed."""
    if references_BCFHW.shape[2] == 1:
        looped = geometry.clip[0] if objective.reference == "looped" else 1
        return references_BCFHW.expand(-1, -1, looped if shown is None else len(shown), -1, -1)
    return references_BCFHW if shown is None else references_BCFHW[:, :, list(shown)]


def feed(
    make: Callable[[int], list[Batch]], first: int, end: int, *, ahead: int = 2
) -> Iterator[list[Batch]]:
    """`make(step)` for steps first .. end - 1, computed by threads while the device is busy."""
    with ThreadPoolExecutor(ahead) as pool:
        steps = iter(range(first, end))
        waiting = [pool.submit(make, step) for step in islice(steps, ahead)]
        try:
            while waiting:
                batches = waiting.pop(0).result()
                waiting += [pool.submit(make, step) for step in islice(steps, 1)]
                yield batches
        finally:
            for future in waiting:
                future.cancel()
