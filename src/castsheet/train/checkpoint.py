"""A run's folder of checkpoints: each a folder that is whole or absent.

    OUTPUT/checkpoints/step_000250/adapter.safetensors   for users: bf16, official keys
                                   training.safetensors  fp32 factors and the optimiser's moments
                                   state.json            step, seed, fingerprints

There is no random state: every draw of a run is a function of its seed and step (see batches.py).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim import Optimizer

from castsheet.errors import CheckpointError, OutputError, shown
from castsheet.ltx.adapters.lora_file import write
from castsheet.ltx.header import read_header
from castsheet.machine.ranges import real, whole
from castsheet.machine.text import TextReader
from castsheet.train.optimiser import load_optimiser_state, optimiser_state

FOLDER = "checkpoints"
ADAPTER, TRAINING, STATE = "adapter.safetensors", "training.safetensors", "state.json"
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

    def fill(folder: Path) -> None:
        write(folder / ADAPTER, adapter, metadata)
        save_file(tensors, folder / TRAINING)
        (folder / STATE).write_text(json.dumps({**asdict(state), "numbers": numbers}, indent=1) + "\n")

    folder = write_folder(output / FOLDER / f"step_{state.step:06d}", fill)
    for old in sorted((output / FOLDER).glob("step_*"), key=_step)[:-keep]:
        shutil.rmtree(old)
    return folder


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


def write_folder(path: Path, fill: Callable[[Path], None]) -> Path:
    """Make the folder `path` at once: `fill` writes a temporary folder, which is flushed and then renamed.

    Raises:
        OutputError: the disk refused; nothing is left behind.
    """
    aside: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
        fill(aside)
        for file in aside.iterdir():
            _flush(file)
        _flush(aside)
        aside.chmod(0o755)
        if path.exists():
            shutil.rmtree(path)  # the same step of the same run, written before an interruption
        os.replace(aside, path)
        _flush(path.parent)
    except (OSError, SafetensorError) as error:
        raise OutputError(
            f"cannot write {path}: {error}", remedy="free disk space; the last good checkpoint is still there"
        ) from error
    finally:
        if aside is not None:
            shutil.rmtree(aside, ignore_errors=True)
    return path


def sweep(output: Path) -> None:
    """Remove what a killed process left half-written."""
    for folder in (output / FOLDER).glob(".step_*"):
        shutil.rmtree(folder, ignore_errors=True)


def _step(folder: Path) -> int:
    found = _NAME.fullmatch(folder.name)
    return int(found[1]) if found else -1


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
