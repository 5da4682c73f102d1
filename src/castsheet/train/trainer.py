"""The training loop: batches in, an adapter out, and a record of what happened.

One optimiser step, on every process alike:
    read this process's slots of the global batch -> losses -> sum of gradients over processes
    -> stop if a loss is not finite -> clip -> set the rate of this step -> AdamW

Legend: B batch, T tokens, G slots of the global batch.
"""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NoReturn

import torch
from rich.console import Console
from torch import Tensor, nn

from castsheet import __version__
from castsheet.device import pick_device
from castsheet.errors import NumericsError
from castsheet.files import write_atomic
from castsheet.ltx.dit import Transformer
from castsheet.ltx.lora import LoRA, attach, attached_state, load_attached, write
from castsheet.ltx.lora_file import DOWNSCALE, MODE
from castsheet.models import Source
from castsheet.progress import progress, stderr_console
from castsheet.train import checkpoint
from castsheet.train.base import DTYPES, blocks_to_recompute, kept_bytes, prepare, store_fp8
from castsheet.train.batches import Batch, Sampler, feed, generator, make_batch
from castsheet.train.conditioning import Tables, blank_sheets
from castsheet.train.config import Config
from castsheet.train.dataset import Dataset, Geometry
from castsheet.train.distributed import GradientSum, World, same_start, shard, terminated, world
from castsheet.train.log import Log
from castsheet.train.objective import flow_losses
from castsheet.train.official import open_data
from castsheet.train.optimiser import make_optimiser, set_rate
from castsheet.train.report import write_page
from castsheet.train.samples import Gallery
from castsheet.train.schedule import rate_at

ADAPTER = "adapter.safetensors"


def train(config: Config, console: Console | None = None) -> Path:
    """Train an adapter, going on from the newest checkpoint in the output folder.

    Returns:
        The finished adapter, `OUTPUT/adapter.safetensors`.

    Raises:
        SettingsError, DatasetError, CheckpointError, AdapterError, DependencyError: before training starts.
        NumericsError: a loss or gradient is not finite; names the sample.
        OutputError: the disk refused; the last good checkpoint stays.
        SystemExit: SIGTERM came; a checkpoint was written.
    """
    with world(pick_device(config.device)) as where, terminated() as stop:
        trainer = Trainer(config, where, console or stderr_console(), stop)
        return trainer.run()


class Trainer:
    """One run on one process.

    Attributes:
        step: optimiser steps done.
    """

    def __init__(self, config: Config, where: World, console: Console, stop: Callable[[], bool]) -> None:
        self.config, self.where, self.console, self.stop = config, where, console, stop
        self.source = Source.open(config.model, config.text_encoder)
        self.data, self.held_out = self._open_data(config.data), None
        if config.held_out is not None:
            self.held_out = self._open_data(config.held_out)
        self.dtype = DTYPES[config.base.weights]
        model, objective = self.source.checkpoint, config.objective
        self.gallery = self._gallery()  # needs the text encoder, so before the large weights come
        self.rope = Tables(model, objective, where.device, self.dtype)
        self.blank: dict[Geometry, Tensor] = {}
        if objective.reference_dropout:
            self.blank = blank_sheets(self.data, model, objective, where.device, self.dtype)
        self.transformer = self._load()
        self.parameters = self._attach()
        self.optimiser = make_optimiser(self.parameters, config.optimiser, announce=where.main)
        self.gradients = GradientSum(self.parameters, where.size)
        self.global_batch = config.batch * config.accumulation * where.size
        self.sampler = Sampler(config.seed, len(self.data), self.global_batch)
        self.step = self._resume()
        base, layers = config.base, self.transformer.config.layers
        prepare(self.transformer, base, blocks_to_recompute(base, layers, self._block_bytes))
        if base.shard and where.size > 1:
            shard(self.transformer, self.parameters, where)
        self.log: Log | None = None

    def run(self) -> Path:
        """Train to the last step."""
        config, main = self.config, self.where.main
        if main:
            self.log = Log(config.output, self.step, tensorboard=config.watch.tensorboard)
            values = json.dumps(config.model_dump(mode="json"), indent=1) + "\n"
            write_atomic(config.output / "config.json", lambda path: _write(path, values))
        with self._shown() as advance:
            for batches in feed(self._batches, self.step, config.steps):
                stopping = self._optimise(batches)
                advance(self.step)
                self._watch()
                if self.step % config.save_every == 0 or self.step == config.steps or stopping:
                    self._save()
                if stopping:
                    self._say(f"stopped at step {self.step}; the same command goes on from there")
                    raise SystemExit(128 + signal.SIGTERM)
        path = config.output / ADAPTER
        if main:
            write(path, attached_state(self.transformer, torch.bfloat16), self._metadata())
            write_page(config.output, config.output.name, config.steps)
            if self.log is not None:
                self.log.close()
        self.where.wait()
        return path

    # --- one step

    def _optimise(self, batches: Sequence[Batch]) -> bool:
        """One optimiser step. Returns whether any process was asked to stop."""
        start = time.perf_counter()
        losses_G = torch.zeros(self.global_batch + 1, dtype=torch.float64)
        sigmas_G = torch.zeros(self.global_batch, dtype=torch.float64)
        for number, batch in enumerate(batches, start=1):
            losses_B = self._losses(batch)
            self.gradients.on = number == len(batches)
            (losses_B.sum() / self.global_batch).backward()
            losses_G[list(batch.slots)] = losses_B.detach().double().cpu()
            sigmas_G[list(batch.slots)] = batch.sigma_B.double()
        self.gradients.finish()
        losses_G[-1] = float(self.stop())
        self._sum(losses_G), self._sum(sigmas_G)
        self._refuse_infinite(losses_G[:-1])
        limit = self.config.optimiser.max_gradient_norm
        norm = float(nn.utils.clip_grad_norm_(self.parameters, limit))
        if not math.isfinite(norm):
            self._stop_numerics("the gradient", range(self.global_batch))
        rate = rate_at(self.step, self.config.optimiser.rate)
        set_rate(self.optimiser, rate)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.step += 1
        if self.log is not None:
            pairs = [
                [round(sigma, 6), loss]
                for sigma, loss in zip(sigmas_G.tolist(), losses_G[:-1].tolist(), strict=True)
            ]
            self.log(
                "train",
                self.step,
                loss=float(losses_G[:-1].mean()),
                gradient_norm=norm,
                rate=rate,
                seconds=round(time.perf_counter() - start, 4),
                samples=pairs,
            )
            if self.config.watch.log_every and self.step % self.config.watch.log_every == 0:
                loss = float(losses_G[:-1].mean())
                self._say(f"step {self.step:,}  loss {loss:.4f}  gradient {norm:.3f}  rate {rate:.2e}")
        return bool(losses_G[-1] > 0)

    def _losses(self, batch: Batch) -> Tensor:
        """Loss of every sample (B,) fp32."""
        device, objective = self.where.device, self.config.objective
        reference_BRC = batch.reference_BRC.to(device)
        if batch.blank_B.any():
            blank_RC = self.blank[batch.geometry].expand_as(reference_BRC[0])
            reference_BRC = torch.where(batch.blank_B.to(device)[:, None, None], blank_RC, reference_BRC)
        geometry = batch.geometry
        return flow_losses(
            self.transformer,
            batch.target_BTC.to(device),
            batch.context_BLD.to(device),
            self.rope(geometry, batch.reference_BRC.shape[1]),
            batch.sigma_B.to(device),
            batch.noise_BTC.to(device),
            reference_BRC=reference_BRC.to(batch.target_BTC.dtype),
            first_frame_tokens=geometry.clip[1] * geometry.clip[2]
            if objective.first_frame_probability
            else 0,
            given_B=batch.given_B.to(device),
            mask_BN=None if batch.mask_BT is None else batch.mask_BT.to(device),
        )

    def _batches(self, step: int) -> list[Batch]:
        """This process's share of a step's global batch, one batch an accumulation."""
        config, where = self.config, self.where
        rounds = []
        for turn in range(config.accumulation):
            first = (turn * where.size + where.rank) * config.batch
            slots = range(first, first + config.batch)
            chosen = [(slot, self.sampler.index(step, slot)) for slot in slots]
            source = partial(generator, config.seed, step)
            rounds.append(make_batch(self.data, chosen, source, config.objective))
        return rounds

    def _refuse_infinite(self, losses_G: Tensor) -> None:
        slots = (~losses_G.isfinite()).nonzero().flatten().tolist()
        if slots:
            self._stop_numerics("the loss", slots)

    def _stop_numerics(self, what: str, slots: Sequence[int]) -> NoReturn:
        names = [self.data.entries[self.sampler.index(self.step, slot)].name for slot in slots]
        raise NumericsError(
            f"step {self.step + 1}: {what} of {', '.join(names[:5])} is not finite",
            remedy="encode these samples anew, leave them out, or lower optimiser.rate; then run again, to go"
            " on from the last checkpoint",
        )

    # --- what is shown and kept

    def _watch(self) -> None:
        watch, main = self.config.watch, self.where.main
        if self.held_out is not None and _due(self.step, watch.held_out_every):
            loss = self._held_out_loss(self.held_out)
            if self.log is not None:
                self.log("held_out", self.step, loss=loss)
                self._say(f"step {self.step:,}  held-out loss {loss:.4f}")
        if self.gallery is not None and _due(self.step, watch.sample_every):
            self.gallery.draw(self.transformer, self.config.output, self.step, write=main)
        if main and _due(self.step, watch.page_every):
            write_page(self.config.output, self.config.output.name, self.config.steps)

    @torch.no_grad()
    def _held_out_loss(self, data: Dataset) -> float:
        """Mean loss of unseen samples; their noise is the same every time, so that curves are smooth."""
        losses_N = torch.zeros(len(data), dtype=torch.float64)
        rounds = math.ceil(len(data) / self.where.size)
        for turn in range(rounds):  # as many on every process: a shared-out model runs in step
            index = min(turn * self.where.size + self.where.rank, len(data) - 1)
            source = partial(generator, self.config.seed, "held out")
            batch = make_batch(data, [(index, index)], source, self.config.objective)
            loss = float(self._losses(batch)[0])
            losses_N[index] = loss if turn * self.where.size + self.where.rank < len(data) else 0.0
        return float(self._sum(losses_N).mean())

    def _save(self) -> None:
        if self.where.main:
            folder = checkpoint.save(
                self.config.output,
                self._state(),
                self.transformer,
                self.parameters,
                self.optimiser,
                self._metadata(),
                keep=self.config.keep,
            )
            self._say(f"saved {folder}")
        self.where.wait()

    def _metadata(self) -> dict[str, str]:
        """What the adapter file says about itself."""
        config, objective = self.config, self.config.objective
        recipe = {
            "preset": config.preset,
            "steps": self.step,
            "samples_a_step": self.global_batch,
            "rank": config.adapter.rank,
            "alpha": config.adapter.alpha,
            "seed": config.seed,
            "rate": [ramp.model_dump() for ramp in config.optimiser.rate],
            "first_frame_probability": objective.first_frame_probability,
        }
        augment = self.data.augment | (
            {"reference_dropout": objective.reference_dropout} if objective.reference_dropout else {}
        )
        return {
            DOWNSCALE: str(objective.reference_downscale_factor),
            "castsheet_version": __version__,
            MODE: objective.reference,
            "castsheet_augment": json.dumps(augment, sort_keys=True),
            "castsheet_recipe": json.dumps(recipe, sort_keys=True),
        }

    # --- set-up

    def _open_data(self, folder: Path) -> Dataset:
        config = self.source.checkpoint.config.transformer
        data = open_data(
            folder,
            self.config.output,
            self.source.checkpoint,
            channels=config.in_channels,
            context_dim=config.context_dim,
            downscale=self.config.objective.reference_downscale_factor,
            where=self.where,
        )
        if self.config.batch > 1:
            data.require_one_geometry()
        if self.config.objective.reference == "still":
            data.require_stills()
        return data

    def _gallery(self) -> Gallery | None:
        watch = self.config.watch
        if not watch.samples or not watch.sample_every:
            return None
        Gallery.refuse_others(self.config.objective)
        if not (self.where.main or self.config.base.shard):
            return None
        return Gallery(watch.samples, self.source, self.where.device, self.dtype)

    def _load(self) -> Transformer:
        """The base; fp8 comes by way of main memory, for its bf16 form may not fit the card."""
        device = torch.device("cpu") if self.config.base.weights == "fp8" else self.where.device
        return self.source.checkpoint.load_transformer(device=device, dtype=self.dtype)

    def _attach(self) -> list[nn.Parameter]:
        adapter = self.config.adapter
        parameters = attach(
            self.transformer,
            adapter.rank,
            adapter.alpha,
            adapter.targets,
            generator=generator(self.config.seed, "adapter"),
        )
        if adapter.start is not None:
            load_attached(self.transformer, LoRA.open(adapter.start))
        if self.config.base.weights == "fp8":
            store_fp8(self.transformer)
        self.transformer.to(self.where.device)
        same_start(parameters, self.where.size)
        return parameters

    def _resume(self) -> int:
        if self.where.main:
            checkpoint.sweep(self.config.output)
        self.where.wait()
        folder = checkpoint.latest(self.config.output)
        if folder is None:
            return 0
        step = checkpoint.load(folder, self._state(0), self.parameters, self.optimiser)
        self._say(f"going on from {folder}")
        return step

    def _state(self, step: int | None = None) -> checkpoint.State:
        return checkpoint.State(
            step=self.step if step is None else step,
            seed=self.config.seed,
            config=self.config.fingerprint,
            data=self.data.fingerprint,
            global_batch=self.global_batch,
        )

    def _block_bytes(self) -> int:
        """What one block keeps for its backward pass, measured on the first batch."""
        block, seen = self.transformer.transformer_blocks[0], []
        hook = block.register_forward_pre_hook(lambda _, given: seen.append(given))
        with torch.no_grad():
            self._losses(self._batches(0)[0])
        hook.remove()
        return kept_bytes(lambda: block(*seen[0]))

    def _sum(self, values: Tensor) -> Tensor:
        """Summed over processes; on the device, where NCCL wants it."""
        return values.copy_(self.where.sum(values.to(self.where.device))) if self.where.size > 1 else values

    def _say(self, text: str) -> None:
        if self.where.main:
            self.console.print(text)

    @contextmanager
    def _shown(self) -> Iterator[Callable[[int], None]]:
        if not self.where.main:
            yield lambda _: None
            return
        with progress("training", self.config.steps, console=self.console) as advance:
            yield advance


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
