"""A denoiser with its adapter, and the one step that improves it. Everything else of a run is bookkeeping.

One optimiser step, on every process alike:
    losses of this process's slots of the global batch -> sum of gradients over processes
    -> stop if a loss is not finite -> clip -> set the rate of this step -> AdamW

Legend: B batch, T tokens, G slots of the global batch.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from castsheet.ltx.adapters.lora import attach, keep_start, load_attached
from castsheet.ltx.adapters.lora_file import LoRA
from castsheet.ltx.model.dit import Transformer
from castsheet.ltx.model.rope import Rope
from castsheet.ltx.speed.kernels import attention_kernels
from castsheet.machine.heap import give_back_large
from castsheet.machine.processes import World
from castsheet.machine.seeds import generator
from castsheet.train.batches import Batch
from castsheet.train.config import Config, ObjectiveConfig
from castsheet.train.data.dataset import Geometry
from castsheet.train.distillation import few_step_losses, guidance_losses
from castsheet.train.memory.bucket import Bucket
from castsheet.train.memory.distributed import GradientSum, divide, same_start
from castsheet.train.memory.fitting import Fit, fit, free_bytes, require_room
from castsheet.train.memory.host import Leaving
from castsheet.train.memory.keeping import (
    ROOMS,
    Keep,
    expected_peak,
    frozen_part,
    held_bytes,
    kept_bytes,
    plan,
    prepare,
)
from castsheet.train.objective import Given, flow_losses
from castsheet.train.optimiser import make_optimiser, moment_bytes, moments_note, set_rate
from castsheet.train.teaching import Teaching

# On a CPU: bytes of the process itself, and work in parts of what one whole block keeps: where blocks are
# computed again, and where all keep what they need. Measured on mini: batch 1 takes 1.18 GiB of 1.2 that are
# expected, batch 2 in three parts 1.64 of 1.8, batch 8 in two parts 4.57 of 5.2.
RUNNING, WORKING, KEEPING = 620 << 20, 2.8, 0.5


def lighter(config: Config) -> str:
    """Settings with which a run needs less memory; those that cost least time come first."""
    base, ways = config.base, list[str]()
    if base.weights != "fp8":
        ways.append("--set base.weights=fp8")
    if base.recompute != "all" or not base.offload:
        ways.append("--set base.recompute=all --set base.offload=true")
    if not base.stream:
        ways.append("--set base.stream=true, which keeps the base in host memory")
    if not base.shard:
        ways.append("--set base.shard=true, on several cards")
    return "try " + "; or ".join(ways or ["a smaller rank, or smaller or shorter clips"])


class NotFiniteError(Exception):
    """The step was not made. `slots` are those whose loss is not finite; all if the gradient is not."""

    def __init__(self, what: str, slots: Sequence[int]) -> None:
        super().__init__(what)
        self.what, self.slots = what, slots


@dataclass(frozen=True)
class Outcome:
    """The results of a step over all processes.

    Attributes:
        stopping: whether any process was asked to stop. elapsed: seconds by the first process's clock.
    """

    losses_G: Tensor
    sigmas_G: Tensor
    gradient_norm: float
    stopping: bool
    elapsed: float


class Learner:
    """A transformer with an adapter attached, and the optimiser that trains the adapter.

    Attributes:
        parameters: all trained numbers, one flat tensor a block.
        averages: the running mean of each parameter, in the same order; empty without a running mean.
        keeps: what each block keeps for the backward pass.
        rows: samples that are taken at once: the settings' batch, or the part of it that fits the memory.
        expected_bytes: the most that a step needs on the device. free_bytes: what was free there.
    """

    def __init__(
        self,
        transformer: Transformer,
        config: Config,
        where: World,
        rope: Callable[[Batch], Rope],
        blank: Mapping[Geometry, Tensor],
        first: Callable[[int], Batch],
        teaching: Teaching | None = None,
    ) -> None:
        """Attach the adapter and make the model ready, in place.

        Args:
            transformer: the base in its final form, on the device; in host memory if it will be sharded or
                streamed.
            rope: rotary tables of a batch's tokens.
            blank: the tokens of a black sheet, if sheets are left out.
            first: a batch like all others, of so many samples, to measure what is kept.
            teaching: the teacher, if the adapter is distilled.

        Raises:
            AdapterError: the model lacks a target, or the start file does not fit.
            DependencyError: the optimiser's package is not installed.
            SettingsError: not even one sample at a time fits the host's memory.
        """
        self.transformer, self.config, self.where = transformer, config, where
        self.rope, self.blank = rope, blank
        self.global_batch = config.global_batch(where.size)
        _attach(transformer, config)
        self.teaching = teaching
        self.teacher = None if teaching is None else teaching.teacher(transformer)
        self.buckets = _buckets(transformer, where)
        self.parameters = [bucket.whole for bucket in self.buckets]
        same_start(self.parameters, where.size)
        self.averages = [one.detach().clone() for one in self.parameters if config.optimiser.average]
        self.optimiser = make_optimiser(self.parameters, config.optimiser)
        leaving = Leaving(where.device) if config.base.offload else None
        self.gradients = GradientSum(self.buckets, where.size, leaving)
        if config.base.stream or (config.base.shard and where.size > 1):
            trained = [part for bucket in self.buckets for part in bucket.parts]
            divide(transformer, trained, where, on_host=config.base.stream)
        if where.device.type == "cpu":
            give_back_large()
        self.free_bytes = free_bytes(where.device, where.size)
        self.keeps, fitted = self._choose_keeps(first)
        self.rows, self.expected_bytes = fitted.rows, fitted.expected_bytes

    @property
    def memory_note(self) -> str:
        """What a step is expected to need, what is free, and how the batch was divided to fit."""
        batch = self.config.batch
        free = "" if self.free_bytes is None else f" of {self.free_bytes / 2**30:.1f} GiB that are free"
        told = f"expected peak {self.expected_bytes / 2**30:.1f}{free or ' GiB'}"
        told += moments_note(self.config.optimiser, sum(one.numel() for one in self.parameters))
        if self.rows == batch:
            return told
        return f"{told}; the batch of {batch} is taken {self.rows} at a time to fit: equal up to rounding"

    def step(
        self,
        batches: Sequence[Batch],
        rate: float,
        *,
        number: int = 0,
        stop: bool = False,
        elapsed: float = 0.0,
    ) -> Outcome:
        """One optimiser step on this process's share of the global batch.

        Args:
            batches: one for each accumulation. rate: learning rate. number: of the step, from 0.
            stop: whether this process was asked to stop. elapsed: seconds by this process's clock.

        Raises:
            NotFiniteError: a loss or the gradient is not finite; parameters and optimiser are as before.
        """
        where, count = self.where, self.global_batch
        seen = torch.zeros(2 * count + 2, dtype=torch.float64, device=where.device)
        seen[-2], seen[-1] = float(stop), elapsed if where.main else 0.0
        for turn, batch in enumerate(batches, start=1):
            first, end = batch.slots[0], batch.slots[-1] + 1  # a process's slots of a turn are neighbours
            sigma_B, losses_B = self.sigmas(batch), self.losses(batch)
            self.gradients.on = turn == len(batches)
            (losses_B.sum() / count).backward()
            seen[first:end] = losses_B.detach()
            seen[count + first : count + end] = sigma_B.to(where.device, non_blocking=True)
        self.gradients.finish()
        norm = self._norm()
        # The host waits for the device only here, before the optimiser changes anything.
        *numbers, size = torch.cat([where.sum(seen), norm.double()[None]]).cpu().split([count, count, 2, 1])
        losses_G, sigmas_G, others = numbers
        slots = (~losses_G.isfinite()).nonzero().flatten().tolist()
        if slots:
            raise NotFiniteError("the loss", slots)
        if not size.isfinite():
            raise NotFiniteError("the gradient", range(count))
        set_rate(self.optimiser, rate)
        # Gradients in host memory come one bucket at a time; AdamW leaves parameters without one alone.
        offload = self.config.base.offload
        for some in [[bucket] for bucket in self.buckets] if offload else [self.buckets]:
            self._update(some, norm)
        self._average(number)
        return Outcome(losses_G, sigmas_G, float(size), bool(others[0] > 0), float(others[1]))

    def _norm(self) -> Tensor:
        """The norm of all gradients."""
        norms = [bucket.norm for bucket in self.buckets if bucket.norm is not None]
        if norms:
            return torch.linalg.vector_norm(torch.stack(norms))
        return nn.utils.get_total_norm([bucket.gradient for bucket in self.buckets])

    def _update(self, buckets: Sequence[Bucket], norm: Tensor) -> None:
        for bucket in buckets:
            bucket.open()
        limit = self.config.optimiser.max_gradient_norm
        nn.utils.clip_grads_with_norm_([bucket.whole for bucket in buckets], limit, norm)
        self.optimiser.step()
        for bucket in buckets:
            bucket.close()

    @torch.no_grad()
    def _average(self, number: int) -> None:
        if self.averages:
            # The mean forgets the first steps soon; else it would lag behind for long.
            keep = min(self.config.optimiser.average, (1 + number) / (10 + number))
            torch._foreach_lerp_(self.averages, [one.detach() for one in self.parameters], 1 - keep)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside the block the adapter has its running mean, if there is one: to write or sample it."""
        trained = [one.detach().clone() for one in self.parameters if self.averages]
        self._put(self.averages)
        try:
            yield
        finally:
            self._put(trained)

    @torch.no_grad()
    def _put(self, values: Sequence[Tensor]) -> None:
        for parameter, value in zip(self.parameters, values, strict=False):
            parameter.copy_(value)

    def losses(self, batch: Batch) -> Tensor:
        """Loss of every sample (B,) fp32."""
        device, objective = self.where.device, self.config.objective
        batch = batch.to(device)
        reference_BRC = batch.reference_BRC
        if objective.reference_dropout:
            blank_RC = self.blank[batch.geometry][: reference_BRC.shape[1]]  # its frames are all equal
            reference_BRC = torch.where(batch.blank_B[:, None, None], blank_RC, reference_BRC)
        frame_tokens = math.prod(batch.geometry.clip[1:])
        with attention_kernels(device):
            given = Given(
                batch.target_BTC,
                batch.context_BLD,
                self.rope(batch),
                reference_BRC=reference_BRC.to(batch.target_BTC.dtype),
                first_frame_tokens=frame_tokens if objective.first_frame_probability else 0,
                given_B=batch.given_B,
                marked=marked_tokens(batch, objective),
            )
            return self._objective(batch, given)

    def sigmas(self, batch: Batch) -> Tensor:
        """The noise level (B,) at which each sample learns."""
        if self.teaching is None or self.teaching.levels is None:
            return batch.sigma_B
        return self.teaching.levels[batch.place * self.config.objective.substeps].expand(len(batch.slots))

    def _objective(self, batch: Batch, given: Given) -> Tensor:
        model, teacher, mask_BN = self.transformer, self.teacher, batch.mask_BT
        if teacher is None or self.teaching is None:
            return flow_losses(model, given, batch.sigma_B, batch.noise_BTC, mask_BN=mask_BN)
        if self.teaching.levels is None:
            return guidance_losses(model, teacher, given, batch.sigma_B, batch.noise_BTC, mask_BN=mask_BN)
        return few_step_losses(
            model,
            teacher,
            given,
            batch.noise_BTC,
            self.teaching.levels,
            batch.place,
            substeps=self.config.objective.substeps,
            mask_BN=mask_BN,
        )

    def _choose_keeps(self, first: Callable[[int], Batch]) -> tuple[tuple[Keep, ...], Fit]:
        """Decide what blocks keep and how many samples are taken at once; replace their forward passes."""
        base, batch = self.config.base, self.config.batch
        on_gpu = self.where.device.type == "cuda"
        sample = first(batch if on_gpu else 1)
        tokens = sample.target_BTC.shape[1] + sample.reference_BRC.shape[1]
        weight = self.transformer.patchify_proj.weight
        row_bytes = tokens * len(weight) * weight.element_size()
        measured = batch if on_gpu else 1  # samples in the batch that is measured
        block = functools.cache(lambda: self._block_bytes(sample) / measured)

        def keeps(rows: int) -> tuple[Keep, ...]:
            on_device = 0 if base.offload else rows * row_bytes
            layers = len(self.transformer.transformer_blocks)
            return plan(base, layers, on_device, lambda: round(rows * block()))

        trained = sum(one.numel() for one in self.parameters)
        weights = [*self.transformer.parameters(), *self.averages]
        held = held_bytes(weights, self.where.device)
        if base.stream and on_gpu:
            frozen = frozen_part(self.transformer.transformer_blocks[0])
            held += ROOMS * held_bytes(frozen, torch.device("cpu"))
        held += moment_bytes(self.config.optimiser, trained)

        def expected(rows: int) -> int:
            if on_gpu:
                return expected_peak(keeps(rows), held, trained, rows * row_bytes, offload=base.offload)
            return self._expected_on_host(
                keeps(rows), held + 4 * trained, round(rows * block()), rows * row_bytes
            )

        fitted = fit(batch, expected, self.free_bytes)
        if not on_gpu:
            require_room(fitted, self.free_bytes, lighter(self.config))
        chosen = keeps(fitted.rows)
        prepare(self.transformer, chosen, compiled=self._compiled, offload=base.offload)
        return chosen, fitted

    @staticmethod
    def _expected_on_host(keeps: Sequence[Keep], held: int, block_bytes: int, input_bytes: int) -> int:
        """The most bytes that a step needs on a CPU, where what a block keeps is measured, not computed."""
        whole = sum(keep is Keep.ALL for keep in keeps)
        others = (len(keeps) - whole) * input_bytes * 2
        working = KEEPING if whole == len(keeps) else WORKING
        return RUNNING + held + others + round((whole + working) * block_bytes)

    def _block_bytes(self, batch: Batch) -> int:
        """What the first block keeps for the backward pass of this batch, if it recomputes nothing."""
        blocks, seen = self.transformer.transformer_blocks, list[tuple]()
        hook = blocks[0].register_forward_pre_hook(lambda _, given: seen.append(given))
        with torch.no_grad():
            self.losses(batch)
        hook.remove()
        prepare(self.transformer, [Keep.ALL] * len(blocks), compiled=self._compiled, offload=False)
        x, *others = seen[0]
        with attention_kernels(self.where.device):
            return kept_bytes(lambda: blocks[0](x.clone().requires_grad_(), *others), self.where.device)

    @property
    def _compiled(self) -> bool:
        chosen = self.config.base.compile
        return self.where.device.type == "cuda" if chosen is None else chosen


def _attach(transformer: Transformer, config: Config) -> None:
    """Attach the configured adapter, with a file's numbers where it starts from one."""
    adapter, source = config.adapter, generator(config.seed, "adapter")
    attach(transformer, adapter.rank, adapter.alpha, adapter.targets, generator=source, joined=adapter.joined)
    if adapter.start is not None:
        load_attached(transformer, LoRA.open(adapter.start))
    if config.teacher.student:
        keep_start(transformer)


def _buckets(transformer: Transformer, where: World) -> list[Bucket]:
    """One flat tensor for each block that trains."""
    buckets: list[Bucket] = []
    for block in transformer.transformer_blocks:
        if parts := [one for one in block.parameters() if one.requires_grad]:
            buckets.append(Bucket(parts, where.device))
            buckets[-1].watch(block)
    # The first block's input needs a gradient like all others: one compiled graph then serves all blocks.
    transformer.transformer_blocks[0].register_forward_pre_hook(_wanting_gradient)
    return buckets


def marked_tokens(batch: Batch, objective: ObjectiveConfig) -> int:
    """How many leading tokens of the clips are marked: those of the first latent frame, if it is there."""
    return math.prod(batch.geometry.clip[1:]) if objective.marker and batch.begins else 0


def _wanting_gradient(_: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
    if torch.is_grad_enabled():
        given[0].requires_grad_()
    return given
