"""The training loop: batches in, an adapter out, and a record of what happened.

The step itself is in learner.py.

Legend: G slots of the global batch.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NoReturn

import torch
from rich.console import Console
from torch import Tensor

from castsheet.errors import NumericsError
from castsheet.loading.placement import enough_memory, working_dtype
from castsheet.ltx.adapters.lora import attached_state
from castsheet.ltx.adapters.lora_file import write
from castsheet.machine.device import pick_device
from castsheet.machine.files import write_text
from castsheet.machine.marks import owned
from castsheet.machine.outputs import require_space
from castsheet.machine.processes import World, world
from castsheet.machine.progress import progress, stderr_console
from castsheet.machine.seeds import generator
from castsheet.train import checkpoint
from castsheet.train.batches import Batch, Sampler, feed, make_batch
from castsheet.train.conditioning import Tables, blank_sheets
from castsheet.train.config import Config
from castsheet.train.data.dataset import Data, Geometry
from castsheet.train.facts import Facts
from castsheet.train.learner import Learner, NotFiniteError, lighter
from castsheet.train.leaving import LeftError, Wish, leave_between, noted
from castsheet.train.log import Log
from castsheet.train.metadata import describe
from castsheet.train.opening import opened_base, opened_data, opened_gallery
from castsheet.train.report import write_page
from castsheet.train.schedule import Clock, place, rate_at
from castsheet.train.teaching import Teaching

_BYTES = 16  # of a checkpoint, for each number that is trained: its value, two moments, and for users
ADAPTER = "adapter.safetensors"

News = Callable[[int, int], bool]
"""Is told the steps done and the steps in all before each step; True stops the run, as SIGTERM does."""


def train(config: Config, console: Console | None = None, news: News = lambda *_: False) -> Path:
    """Train an adapter, from the newest checkpoint in the output folder; `news` hears of each step.

    Returns:
        The finished adapter, `OUTPUT/adapter.safetensors`.

    Raises:
        SettingsError, DatasetError, CheckpointError, AdapterError, DependencyError: before training starts.
        SettingsError: the GPU's memory ran out; the message says what needs less.
        NumericsError: a loss or gradient is not finite; the message names the sample.
        OutputError: the disk refused; the last good checkpoint stays.
        SystemExit: SIGTERM or Ctrl-C came, or `news` said so; a checkpoint was written.
    """
    device, group = pick_device(config.device), config.base.stream
    with world(device, group=group) as where, enough_memory(lighter(config)):
        console = console or stderr_console()
        with _own(config.output, where, console):
            trainer = Trainer(config, where, console, news)
            with noted() as wish:
                return trainer.run(wish)


@contextmanager
def _own(folder: Path, where: World, console: Console) -> Iterator[None]:
    """The run's folder, for one run at a time; the first process holds it for all."""
    if not where.main:
        yield
        return
    with owned(folder, checkpoint.RUN, console.print, wait=False):
        yield


class Trainer:
    """One run on one process.

    Attributes:
        step: optimiser steps done. elapsed: seconds of training without compiling, by the first process's
            clock.
    """

    def __init__(
        self,
        config: Config,
        where: World,
        console: Console,
        news: News = lambda *_: False,
    ) -> None:
        self.config, self.where, self.console, self.news = config, where, console, news
        self.wish = Wish()
        self.source = Teaching.open(config)
        self.data, self.held_out = opened_data(config.data, config, self.source, where), None
        if config.held_out is not None:
            self.held_out = opened_data(config.held_out, config, self.source, where)
        self.dtype = working_dtype(config.base.weights, where.device)
        model, objective = self.source.checkpoint, config.objective
        # Both need the text encoder, so they come before the large weights.
        self.teaching: Teaching | None = None
        if objective.kind != "flow":
            self.teaching = Teaching.of(config, self.source, where.device, self.dtype)
        self.gallery = opened_gallery(config, self.source, where, self.dtype, self.teaching)
        self.rope = Tables(model, objective, where.device, self.dtype)
        self.blank: dict[Geometry, Tensor] = {}
        if objective.reference_dropout:
            self.blank = blank_sheets(self.data, model, objective, where.device, self.dtype)
        self.sampler = Sampler(config.seed, len(self.data), config.global_batch(where.size))
        self.learner = Learner(
            opened_base(config, self.source, where, self.dtype, self.teaching),
            config,
            where,
            self.rope,
            self.blank,
            lambda rows: self._batches(0, rows)[0],
            self.teaching,
        )
        self.facts = Facts.of(config, self.data, self.held_out, self.learner.memory_note)
        self.step, self.elapsed = self._resume()
        self.saved = self.step
        self._clock = Clock(self.elapsed)
        self.log: Log | None = None

    def run(self, wish: Wish | None = None) -> Path:
        """Train to the last step, or until `wish` says to end."""
        self.wish = wish or self.wish
        if self.where.size == 1:
            leave_between(self.learner.transformer.transformer_blocks, self.wish)
        try:
            self._train()
        except LeftError:
            self._leave()
        path = self.config.output / ADAPTER
        if self.where.main:
            write(path, self._adapter(), self._metadata())
            self._page(done=True)
            if self.log is not None:
                self.log.close()
        self.where.wait()
        return path

    def _train(self) -> None:
        config, main = self.config, self.where.main
        if main:
            self.log = Log(config.output, self.step, tensorboard=config.watch.tensorboard)
            self._say(self.learner.memory_note)
            values = json.dumps(config.model_dump(mode="json"), indent=1) + "\n"
            write_text(config.output / "config.json", values)
            size = sum(one.numel() for one in (*self.learner.parameters, *self.learner.averages))
            require_space(config.output, (config.keep + 1) * size * _BYTES)
            if self.teaching is not None:
                self._say(self.teaching.cost.told(config.steps, config.batch * config.accumulation))
        if self.step == 0:
            self._compare()
        with self._shown() as advance:
            end = config.steps if self._place() < config.steps else self.step
            for batches in feed(self._batches, self.step, end):
                stopping = self._optimise(batches)
                advance(min(int(self._place()), config.steps))
                done = self._place() >= config.steps
                self._watch(done)
                if self.step % config.save_every == 0 or done or stopping:
                    self._save()
                if stopping:
                    self._leave()
                if done:
                    break

    def _leave(self) -> NoReturn:
        """End early; what was done is kept."""
        if self.step == 0:
            self._say("stopped before the first step was done; the same command begins anew")
        else:
            if self.saved != self.step:
                self._save()
            self._say(f"stopped at step {self.step}; the same command goes on from there")
        raise SystemExit(self.wish.code)

    # --- one step

    def _optimise(self, batches: Sequence[Batch]) -> bool:
        """One optimiser step. Returns whether any process was asked to stop."""
        start = time.perf_counter()
        rate = rate_at(self._place(), self.config.optimiser.rate)
        stop, now = self.news(self.step, self.config.steps) or self.wish(), self._clock.read()
        try:
            seen = self.learner.step(batches, rate, number=self.step, stop=stop, elapsed=now)
        except NotFiniteError as error:
            self._stop_numerics(error)
        self.step, self.elapsed = self.step + 1, seen.elapsed
        self._clock.tick()
        if self.log is not None:
            samples = zip(seen.sigmas_G.tolist(), seen.losses_G.tolist(), strict=True)
            loss = float(seen.losses_G.mean())
            self.log(
                "train",
                self.step,
                loss=loss,
                gradient_norm=seen.gradient_norm,
                rate=rate,
                seconds=round(time.perf_counter() - start, 4),
                samples=[[round(sigma, 6), loss] for sigma, loss in samples],
            )
            if _due(self.step, self.config.watch.log_every):
                norm = f"gradient {seen.gradient_norm:.3f}"
                self._say(f"step {self.step:,}  loss {loss:.4f}  {norm}  rate {rate:.2e}")
        return seen.stopping

    def _place(self) -> float:
        return place(self.step, self.config.steps, self.elapsed, self.config.seconds)

    def _batches(self, step: int, rows: int | None = None) -> list[Batch]:
        """This process's share of a step's global batch, one batch of `rows` samples a round."""
        config, where = self.config, self.where
        rows = self.learner.rows if rows is None else rows
        rounds = []
        place = self._student_step(step)
        for turn in range(config.accumulation * config.batch // rows):
            first = (turn * where.size + where.rank) * rows
            slots = range(first, first + rows)
            chosen = [(slot, self.sampler.index(step, slot)) for slot in slots]
            source = partial(generator, config.seed, step)
            batch = replace(make_batch(self.data, chosen, source, config.objective), place=place)
            rounds.append(batch.pinned() if where.device.type == "cuda" else batch)
        return rounds

    def _student_step(self, step: int) -> int:
        """Few-step distillation: the student's step that learns; the same on all processes."""
        source = generator(self.config.seed, step, "student")
        return int(torch.randint(self.config.objective.steps, (), generator=source))

    def _stop_numerics(self, error: NotFiniteError) -> NoReturn:
        names = [self.data.entries[self.sampler.index(self.step, slot)].name for slot in error.slots]
        raise NumericsError(
            f"step {self.step + 1}: {error.what} of {', '.join(names[:5])} is not finite",
            remedy="encode these samples anew, leave them out, or lower optimiser.rate; then run again, to go"
            " on from the last checkpoint",
        ) from error

    # --- what is shown and kept

    def _compare(self) -> None:
        """Before the first step: the held-out loss and the samples that later ones are compared with."""
        if self.config.watch.held_out_every:
            self._hold_out()
        self._draw()
        if self.where.main and self.config.watch.page_every:
            self._page()

    def _watch(self, done: bool) -> None:
        """What is due after a step; everything at the end."""
        watch = self.config.watch
        if _due(self.step, watch.held_out_every) or (done and watch.held_out_every):
            self._hold_out()
        if _due(self.step, watch.sample_every) or done:
            self._draw()
        if self.where.main and _due(self.step, watch.page_every):
            self._page()

    def _hold_out(self) -> None:
        if self.held_out is None:
            return
        with self.learner.averaged():
            loss = self._held_out_loss(self.held_out)
        if self.log is not None:
            self.log("held_out", self.step, loss=loss)
            self._say(f"step {self.step:,}  held-out loss {loss:.4f}")

    def _draw(self) -> None:
        if self.gallery is not None:
            with self.learner.averaged():
                self.gallery.draw(
                    self.learner.transformer, self.config.output, self.step, write=self.where.main
                )

    def _page(self, *, done: bool = False) -> None:
        write_page(self.config.output, self.facts, self.elapsed, done=done)

    @torch.no_grad()
    def _held_out_loss(self, data: Data) -> float:
        """Mean loss of unseen samples. Their noise is the same every time: curves are smooth."""
        losses_N = torch.zeros(len(data), dtype=torch.float64)
        rounds = math.ceil(len(data) / self.where.size)
        for turn in range(rounds):  # the same number on every process: a sharded model runs in step
            index = min(turn * self.where.size + self.where.rank, len(data) - 1)
            source = partial(generator, self.config.seed, "held out")
            batch = make_batch(data, [(index, index)], source, self.config.objective)
            batch = replace(batch, place=turn % self.config.objective.steps)
            loss = float(self.learner.losses(batch)[0])
            losses_N[index] = loss if turn * self.where.size + self.where.rank < len(data) else 0.0
        return float(self.where.sum(losses_N.to(self.where.device)).mean())

    def _save(self) -> None:
        if self.where.main:
            folder = checkpoint.save(
                self.config.output,
                self._state(self.step, self.elapsed),
                self._adapter(),
                [*self.learner.parameters, *self.learner.averages],
                self.learner.optimiser,
                self._metadata(),
                keep=self.config.keep,
            )
            self._say(f"saved {folder}")
        self.saved = self.step
        self.where.wait()

    def _adapter(self) -> dict[str, Tensor]:
        """The tensors of an adapter file with the present values."""
        with self.learner.averaged():
            return attached_state(self.learner.transformer, torch.bfloat16)

    def _metadata(self) -> dict[str, str]:
        """What the adapter file says about itself."""
        base = self.source.checkpoint.config.transformer
        return describe(self.config, base, self.data, self.step, self.sampler.global_batch, self.teaching)

    # --- set-up

    def _resume(self) -> tuple[int, float]:
        """Load the newest checkpoint into the learner; returns (steps done, seconds of training)."""
        if self.where.main:
            checkpoint.sweep(self.config.output)
        self.where.wait()
        folder = checkpoint.latest(self.config.output)
        if folder is None:
            return 0, 0.0
        found = checkpoint.load(
            folder,
            self._state(0, 0.0),
            [*self.learner.parameters, *self.learner.averages],
            self.learner.optimiser,
        )
        self._say(f"going on from {folder}")
        return found.step, found.elapsed

    def _state(self, step: int, elapsed: float) -> checkpoint.State:
        return checkpoint.State(
            step=step,
            elapsed=elapsed,
            seed=self.config.seed,
            config=self.config.fingerprint,
            data=self.data.fingerprint,
            global_batch=self.sampler.global_batch,
        )

    def _say(self, text: str) -> None:
        if self.where.main:
            self.console.print(text, markup=False)

    @contextmanager
    def _shown(self) -> Iterator[Callable[[int], None]]:
        if not self.where.main:
            yield lambda _: None
            return
        with progress("training", self.config.steps, console=self.console) as advance:
            yield advance


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0
