"""A run's folder of checkpoints: each a folder that is whole or absent.

    OUTPUT/checkpoints/step_000250/adapter.safetensors   for users: bf16, official keys
                                   training.safetensors  fp32 factors and the optimiser's moments
                                   state.json            step, seed, fingerprints

There is no random state: every draw of a run is a function of its seed and step (see batches.py).
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.optim import Optimizer

from castsheet.errors import CheckpointError, shown
from castsheet.ltx.adapters.lora_file import write
from castsheet.ltx.header import read_header, save_tensors
from castsheet.machine.marks import Kind
from castsheet.machine.ranges import real, whole
from castsheet.machine.replace import replacing, settle
from castsheet.machine.text import TextReader
from castsheet.train.optimiser import load_optimiser_state, optimiser_state

FOLDER = "checkpoints"
ADAPTER, TRAINING, STATE = "adapter.safetensors", "training.safetensors", "state.json"
RUN = Kind(
    "a training run",
    lambda folder: (
        any(folder.glob(f"{FOLDER}/step_*"))
        or all((folder / n).is_file() for n in ("config.json", "log.jsonl"))
    ),
)
_NAME = re.compile(r"step_(\d{6,})")


@dataclass(frozen=True)
class State:
    """The position of a run, and what must agree if the run is resumed.

    Attributes:
        step: optimiser steps done. config, data: fingerprints. global_batch: samples a step.
        elapsed: seconds of training so far.
    """

    step: int
    seed: int
    config: str
    data: str
    global_batch: int
    elapsed: float = 0.0


def latest(output: Path) -> Path | None:
    """The folder of the newest checkpoint; None if there is none."""
    found = [path for path in (output / FOLDER).glob("step_*") if _NAME.fullmatch(path.name)]
    return max(found, key=_step, default=None)


def save(
    output: Path,
    state: State,
    adapter: Mapping[str, Tensor],
    trained: Sequence[Tensor],
    optimiser: Optimizer,
    metadata: Mapping[str, str],
    *,
    keep: int,
) -> Path:
    """Write a checkpoint, then remove all but the `keep` newest.

    Args:
        adapter: for users. trained: the tensors that `load` fills, always in the same order.

    Raises:
        OutputError: the disk refused; earlier checkpoints stay.
        AdapterError: the adapter holds NaN or infinity.
    """
    moments, numbers = optimiser_state(optimiser)
    tensors = {f"optimiser.{key}": tensor for key, tensor in moments.items()}
    tensors |= {f"adapter.{number}": parameter.detach() for number, parameter in enumerate(trained)}
    tensors = {key: tensor.cpu().contiguous().clone() for key, tensor in tensors.items()}

    name, place = f"step_{state.step:06d}", output / FOLDER
    with replacing(place, place / name) as change:
        folder = change.new(name)
        folder.mkdir()
        write(folder / ADAPTER, adapter, metadata)
        save_tensors(tensors, folder / TRAINING)
        (folder / STATE).write_text(json.dumps({**asdict(state), "numbers": numbers}, indent=1) + "\n")
        # A folder without a state is not one of ours.
        there = {path.parent for path in place.glob(f"step_*/{STATE}") if _step(path.parent) >= 0}
        for old in sorted(there | {place / name}, key=_step)[:-keep]:
            change.drop(old.name)
    return place / name


def load(folder: Path, wanted: State, trained: Sequence[Tensor], optimiser: Optimizer) -> State:
    """Fill adapter and optimiser from a checkpoint; returns the position of the run.

    Args:
        wanted: the state that this run expects; its step and time are not compared.

    Raises:
        CheckpointError: the checkpoint is damaged, or belongs to another run.
    """
    remedy = "choose another output folder, or take back the change of settings or data"
    mend = "delete this folder to go on from the one before"
    raw = TextReader(CheckpointError, mend).json_object(folder / STATE)
    try:
        numbers = raw.pop("numbers")
        found = State(**raw)
        whole(found.step, 0, 1 << 40)
        real(found.elapsed, 0, 1e12)
        if not (isinstance(numbers, dict) and all(type(one) in (int, float) for one in numbers.values())):
            raise ValueError(f"numbers is {shown(numbers)}")
        read_header(folder / TRAINING, CheckpointError, mend)
        tensors = load_file(folder / TRAINING)
        factors = [tensors.pop(f"adapter.{number}") for number in range(len(trained))]
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise CheckpointError(f"{folder} is damaged: {error}", remedy=mend) from error
    progress = ("step", "elapsed")
    differing = [
        name
        for name, value in asdict(wanted).items()
        if name not in progress and value != asdict(found)[name]
    ]
    if differing:
        raise CheckpointError(f"{folder} belongs to another run: other {', '.join(differing)}", remedy=remedy)
    with torch.no_grad():
        for parameter, factor in zip(trained, factors, strict=True):
            if parameter.shape != factor.shape:
                raise CheckpointError(f"{folder} holds an adapter of another shape", remedy=remedy)
            parameter.copy_(factor)
    moments = {key.removeprefix("optimiser."): tensor for key, tensor in tensors.items()}
    load_optimiser_state(optimiser, moments, numbers)
    return found


def sweep(output: Path) -> None:
    """Finish or remove what a killed process left half-written, earlier versions' too."""
    settle(output / FOLDER)
    for folder in (output / FOLDER).glob(".step_*"):
        shutil.rmtree(folder, ignore_errors=True)


def _step(folder: Path) -> int:
    found = _NAME.fullmatch(folder.name)
    return int(found[1]) if found else -1
