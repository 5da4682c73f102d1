"""What a step sees: which samples, which noise, which noise level, as a function of (seed, step, slot) alone.

A slot is a sample's place in the step's global batch. Every draw of a slot comes from a generator of its own,
so that it does not matter how many processes share the slots, in which order, or whether the run was resumed:
there is no random state to save.

Legend: B batch, T target tokens, R reference tokens, C channels, L D context.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import lru_cache
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from castsheet.reference import patchify
from castsheet.train.config import ObjectiveConfig
from castsheet.train.dataset import Dataset, Geometry, Sample
from castsheet.train.objective import sample_sigmas


@dataclass(frozen=True)
class Batch:
    """Samples of one geometry.

    Attributes:
        slots, names: places in the global batch, and whose samples they are.
        noise_BTC, sigma_B: fp32 draws.
        given_B: whose first frame is given clean.
        blank_B: whose sheet is left out.
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

    def to(self, device: torch.device) -> Batch:
        """The same on a device, without waiting for it where the memory is pinned."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pinned(self) -> Batch:
        """The same in memory that a GPU can read by itself."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        values: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        changed = {name: change(value) for name, value in values.items() if isinstance(value, Tensor)}
        return Batch(**values | changed)


@dataclass(frozen=True)
class Draw:
    """One sample's random choices."""

    variant: int
    blank: bool
    given: bool
    sigma: float
    noise_TC: Tensor


@dataclass(frozen=True)
class Sampler:
    """Which sample lies at which place: a new permutation of the data every epoch."""

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


def generator(*parts: int | str) -> torch.Generator:
    """A CPU generator whose stream belongs to these parts."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


def draw(
    source: torch.Generator, tokens: int, channels: int, variants: int, objective: ObjectiveConfig
) -> Draw:
    """A sample's choices; every generator is asked the same questions whatever the settings."""
    chances = torch.rand(3, generator=source).tolist()
    return Draw(
        variant=min(int(chances[0] * variants), variants - 1),
        blank=chances[1] < objective.reference_dropout,
        given=chances[2] < objective.first_frame_probability,
        sigma=float(sample_sigmas(1, tokens, generator=source)),
        noise_TC=torch.randn(tokens, channels, generator=source),
    )


def make_batch(
    dataset: Dataset,
    chosen: Sequence[tuple[int, int]],
    source: Callable[[int], torch.Generator],
    objective: ObjectiveConfig,
) -> Batch:
    """Read samples and draw their noise.

    Args:
        chosen: (slot, sample) pairs of one geometry. source: the generator of a slot.

    Raises:
        DatasetError: a file is damaged.
    """
    samples = [dataset.load(index) for _, index in chosen]
    entries = [dataset.entries[index] for _, index in chosen]
    geometry = entries[0].geometry
    draws = [
        draw(source(slot), geometry.tokens, entry.channels, entry.variants, objective)
        for (slot, _), entry in zip(chosen, entries, strict=True)
    ]
    references = [one.references_KCfhw[choice.variant] for one, choice in zip(samples, draws, strict=True)]
    frames = geometry.clip[0] if objective.reference == "looped" else 1
    return Batch(
        slots=tuple(slot for slot, _ in chosen),
        names=tuple(entry.name for entry in entries),
        geometry=geometry,
        target_BTC=patchify(torch.stack([one.latents_CFHW for one in samples])),
        reference_BRC=patchify(torch.stack([_last(one, frames) for one in references])),
        context_BLD=torch.stack([one.context_LD for one in samples]),
        sigma_B=torch.tensor([choice.sigma for choice in draws]),
        noise_BTC=torch.stack([choice.noise_TC for choice in draws]),
        given_B=torch.tensor([choice.given for choice in draws]),
        blank_B=torch.tensor([choice.blank for choice in draws]),
        mask_BT=_masks(samples),
    )


def _last(reference_CFHW: Tensor, frames: int) -> Tensor:
    """A still of `frames` latent frames; a moving reference stays as it is."""
    still = reference_CFHW.shape[1] == 1
    return reference_CFHW.expand(-1, frames, -1, -1) if still else reference_CFHW


def _masks(samples: Sequence[Sample]) -> Tensor | None:
    if all(one.mask_FHW is None for one in samples):
        return None
    ones = torch.ones(samples[0].latents_CFHW.shape[1:])
    return torch.stack(
        [(ones if one.mask_FHW is None else one.mask_FHW.float()).flatten() for one in samples]
    )


def feed(
    make: Callable[[int], list[Batch]], first: int, end: int, *, ahead: int = 2
) -> Iterator[list[Batch]]:
    """`make(step)` for steps first .. end - 1, worked out by a thread while the device is busy."""
    with ThreadPoolExecutor(1) as pool:
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
