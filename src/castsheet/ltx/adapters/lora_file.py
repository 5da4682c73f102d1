"""Adapter files: reading a header, the factors, what a file says about itself, and writing.

The official keys are `diffusion_model.{module}.lora_A.weight` (rank, in) and `.lora_B.weight` (out, rank).
There is no alpha: W += strength * B @ A. Files with `lora_down`, `lora_up` and `.alpha` are read too; their B
is multiplied by alpha / rank.

Legend: R rank, I inputs, O outputs of the adapted layer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

from safetensors import SafetensorError, safe_open
from torch import Tensor

from castsheet.errors import AdapterError
from castsheet.ltx.adapters.distilled import DISTILLED, Distilled
from castsheet.ltx.adapters.kinds import KINDS, Stored, Term, sort_keys
from castsheet.ltx.adapters.mode import MODES, ReferenceMode
from castsheet.ltx.family import DEFAULT, STATING, Told, tell_family
from castsheet.ltx.header import FLOATS, Entry, read_header, save_tensors
from castsheet.machine.files import write_atomic

DOWNSCALE = "reference_downscale_factor"
TEMPORAL = "reference_temporal_scale_factor"
MODE = "reference_mode"
GROUND = "castsheet_trained_on"
MARKER = "keyframe_marker"  # of LTX-2.5: whether it was on in training

Ground = Literal["base", "model"]
"""What an adapter was trained on: the bare base, or the base with the model's own adapters."""

RECIPE = "castsheet_recipe"  # without GROUND: of a run before GROUND was written, when all knew the base only
_PREFIXES = ("base_model.model.", "model.diffusion_model.", "diffusion_model.", "transformer.")
_DAMAGED = "download the adapter again"
MAX_ALPHA = 65_536


@dataclass(frozen=True)
class LoRA:
    """An adapter file. Its header has been read; its factors are read when they are needed.

    Attributes:
        terms: by module name without prefix, such as `transformer_blocks.0.attn1.to_q`.
        metadata: the header's strings.
    """

    path: Path
    terms: Mapping[str, Term]
    metadata: Mapping[str, str]

    @classmethod
    def open(cls, path: str | Path) -> LoRA:
        """Read a file's header.

        Raises:
            AdapterError: not a whole safetensors file, or its keys or shapes are not those of an adapter.
        """
        path = Path(path)
        header = read_header(path, AdapterError, _DAMAGED)
        strange = [
            key
            for key, one in header.entries.items()
            if one.dtype == "C64" or (one.shape and one.dtype not in FLOATS)
        ]
        if strange:
            kind = header.entries[strange[0]].dtype
            raise AdapterError(f"{path} holds numbers of type {kind} in {some(strange)}", remedy=_DAMAGED)
        return cls(path, _terms(path, _stored(path, header.entries)), header.metadata)

    @property
    def rank(self) -> int:
        """The largest rank in the file (nearly all files have one)."""
        return max(term.rank for term in self.terms.values())

    @property
    def family(self) -> str:
        """Name of its family, or "unknown"; see `told`."""
        return self.told.family

    @property
    def told(self) -> Told:
        """Its family by the metadata, else by layers that only one family has, else by the file's name.

        2.3 and 2.5 adapters of the usual layers have the same keys and shapes.
        """
        stated = [self.metadata[key] for key in STATING if key in self.metadata]
        return tell_family(stated, self.terms, self.path.name)

    @property
    def downscale(self) -> int:
        """How many times smaller than the target the reference must be encoded; 1 if the file does not say.

        Raises:
            AdapterError: the metadata's value is not a whole number from 1 to 64.
        """
        return self._factor(DOWNSCALE)

    @property
    def temporal(self) -> int:
        """How many target frames one frame of the reference spans; 1 if the file does not say.

        Raises:
            AdapterError: the metadata's value is not a whole number from 1 to 64.
        """
        return self._factor(TEMPORAL)

    @property
    def mode(self) -> ReferenceMode | None:
        """The reference mode of its training; None if the file does not say.

        Raises:
            AdapterError: the metadata's value is neither "looped" nor "still".
        """
        text = self.metadata.get(MODE)
        if text is not None and text not in MODES:
            raise AdapterError(
                f"{self.path}: {MODE} is {text!r}, not {' or '.join(MODES)}",
                remedy="correct the file's metadata, or use a newer castsheet",
            )
        return text

    @property
    def ground(self) -> Ground | None:
        """What it was trained on; None if the file does not say.

        Raises:
            AdapterError: the metadata's value is neither "base" nor "model".
        """
        text = self.metadata.get(GROUND)
        if text is None:
            return "base" if RECIPE in self.metadata else None
        if text not in get_args(Ground):
            raise AdapterError(
                f"{self.path}: {GROUND} is {text!r}, not {' or '.join(get_args(Ground))}",
                remedy="correct the file's metadata, or use a newer castsheet",
            )
        return "model" if text == "model" else "base"

    @cached_property
    def distilled(self) -> Distilled | None:
        """How the adapter wants to be run, if it was distilled here; None for all others.

        Raises:
            AdapterError: the metadata is not what `castsheet train` writes.
        """
        text = self.metadata.get(DISTILLED)
        return None if text is None else Distilled.read(text, self.path)

    def _factor(self, key: str) -> int:
        text = self.metadata.get(key, "1")
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (1 <= value <= 64 and value == int(value)):
            raise AdapterError(
                f"{self.path}: {key} is {text!r}, not a whole number of at least 1",
                remedy="correct the file's metadata, or ask its author for the factor it was trained with",
            )
        return int(value)

    def factors(self) -> dict[str, tuple[Tensor, ...]]:
        """All terms' factors in fp32 on the CPU; of LoRA (A (R, I), B (O, R)) with alpha / rank in B.

        Raises:
            AdapterError: the file changed or holds NaN or infinity.
        """
        try:
            with safe_open(self.path, framework="pt") as file:

                def tensor(key: str) -> Tensor:
                    return file.get_tensor(key).float()

                factors = {module: term.factors(tensor) for module, term in self.terms.items()}
        except (OSError, SafetensorError) as error:
            raise AdapterError(f"cannot read the adapter {self.path}: {error}", remedy=_DAMAGED) from error
        broken = [name for name, found in factors.items() if not all(one.isfinite().all() for one in found)]
        if broken:
            raise AdapterError(f"{self.path} holds NaN or infinity in {some(broken)}", remedy=_DAMAGED)
        return factors


def write(path: Path, state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Path:
    """Write an adapter file, whole or not at all. The metadata states the reference's factor, 1 unless given.

    Raises:
        AdapterError: the factors hold NaN or infinity.
        OutputError: the file cannot be written.
    """
    broken = [key for key, value in state.items() if not value.isfinite().all()]
    if broken:
        raise AdapterError(
            f"the adapter holds NaN or infinity in {some(broken)}; nothing was written",
            remedy="go back to an earlier checkpoint and train on with a lower learning rate",
        )
    tensors = {key: value.contiguous() for key, value in state.items()}
    strings = {"format": "pt", "base_model": DEFAULT.name, DOWNSCALE: "1", **metadata}
    return write_atomic(path, lambda temporary: save_tensors(tensors, temporary, strings))


def _stored(path: Path, entries: Mapping[str, Entry]) -> dict[str, Stored]:
    """A file's tensors by key; those of one number, such as alphas, are read."""
    single = [key for key, entry in entries.items() if entry.count == 1]
    numbers: dict[str, float] = {}
    try:
        if single:
            with safe_open(path, framework="pt") as file:
                numbers = {key: file.get_tensor(key).double().item() for key in single}
    except (OSError, SafetensorError) as error:
        raise AdapterError(f"cannot read the adapter {path}: {error}", remedy=_DAMAGED) from error
    for key, number in numbers.items():
        if not abs(number) <= MAX_ALPHA:
            raise AdapterError(f"{path}: {key} is {number:g}, beyond {MAX_ALPHA}", remedy=_DAMAGED)
    return {key: Stored(key, entries[key].shape, numbers.get(key)) for key in sorted(entries)}


def _terms(path: Path, stored: Mapping[str, Stored]) -> dict[str, Term]:
    """A file's layers."""
    found, unknown = sort_keys(stored, _bare)
    if unknown:
        raise AdapterError(
            f"{path} has {len(unknown)} keys that are not an adapter's: {some(unknown)}",
            remedy=f"use an adapter of a known kind: {', '.join(KINDS)}",
        )
    terms = {module: term for module, term in found.items() if term is not None}
    broken = [module for module in found if module not in terms]
    if broken or not terms:
        what = f"has incomplete or mis-shaped factors for {some(broken)}" if broken else "holds no adapter"
        raise AdapterError(f"{path} {what}", remedy=_DAMAGED)
    return terms


def _bare(module: str) -> str:
    for prefix in _PREFIXES:
        module = module.removeprefix(prefix)
    return module


def some(names: Sequence[str]) -> str:
    """The first five names, for a message."""
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
