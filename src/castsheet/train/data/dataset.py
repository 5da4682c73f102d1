"""Training data on disk: latents and contexts, made once, checked when a run opens them.

    dataset/samples/NAME.safetensors     latents (C,F,H,W); references (K,C,f,h,w), f = 1 for a still sheet;
                                         optionally mask (F,H,W), the loss's weight of each cell
    dataset/contexts/KEY.safetensors     video (L,D), after the connectors; shared by equal captions

A sample's header says fps, the context's key, and which augmentations made the references; K counts variants
of the sheet, the plain one first. A still sheet is one latent frame: repeating it is exact.

Legend: K variants, C channels, F H W latent frames, rows, columns, f h w those of the reference, L D context.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from castsheet.errors import CastsheetError, shown
from castsheet.ltx.header import FLOATS, read_header, save_tensors
from castsheet.machine.files import write_atomic
from castsheet.machine.text import TextReader

VERSION = "1"
_AGAIN = "delete the file and run `castsheet encode` again"


class DatasetError(CastsheetError):
    """A training sample is damaged, or does not fit the model or the other samples."""


@dataclass(frozen=True)
class Geometry:
    """Sizes that samples of one batch must share: latent (frames, rows, columns) of clip and reference."""

    clip: tuple[int, int, int]
    fps: float
    reference: tuple[int, int, int]

    @property
    def tokens(self) -> int:
        """The clip's tokens."""
        return math.prod(self.clip)

    @property
    def downscale(self) -> int:
        """How many times smaller than the clip the reference is; 0 if that is not a whole factor."""
        factors = {a / b for a, b in zip(self.clip[1:], self.reference[1:], strict=True)}
        factor = factors.pop()
        return int(factor) if not factors and factor.is_integer() else 0


@dataclass(frozen=True)
class SampleEntry:
    """A sample's header; `family` is that of the model whose contexts it has, where the header says."""

    path: Path
    geometry: Geometry
    channels: int
    variants: int
    context: Path
    augment: Mapping[str, float]
    family: str | None = None

    @property
    def name(self) -> str:
        """The sample's name in messages."""
        return self.path.stem


@dataclass(frozen=True)
class Sample:
    """A sample's tensors, as its file holds them."""

    latents_CFHW: Tensor
    references_KCfhw: Tensor
    context_LD: Tensor
    mask_FHW: Tensor | None


@dataclass(frozen=True)
class Pick:
    """A sample, with the numbers of one of its references and one of its contexts."""

    index: int
    variant: int
    caption: int


@dataclass(frozen=True)
class Samples:
    """Samples of one geometry, side by side."""

    latents_BCFHW: Tensor
    references_BCfhw: Tensor
    contexts_BLD: Tensor
    mask_BFHW: Tensor | None


class Data(Protocol):
    """What training reads: headers are in memory, tensors are read on demand."""

    @property
    def entries(self) -> Sequence[SampleEntry]: ...

    def __len__(self) -> int: ...

    @property
    def fingerprint(self) -> str: ...

    @property
    def augment(self) -> dict[str, float]: ...

    def captions(self, index: int) -> int:
        """How many contexts a sample has."""

    def stack(self, picks: Sequence[Pick], frames: slice) -> Samples:
        """These samples' tensors; of clips and masks, these latent frames."""


@dataclass(frozen=True)
class Dataset:
    """Samples in order of their names. Headers are in memory, tensors are read on demand."""

    folder: Path
    entries: tuple[SampleEntry, ...]

    @classmethod
    def open(cls, folder: Path, *, channels: int, context_dim: int, downscale: int = 1) -> Dataset:
        """Read and check every sample's header.

        Args:
            channels, context_dim: of the model.
            downscale: the factor that every reference must have.

        Raises:
            DatasetError: no samples, or one is damaged or does not fit; the file is named.
        """
        files = sorted((folder / "samples").glob("*.safetensors"))
        if not files:
            raise DatasetError(f"{folder} holds no samples", remedy="make them with `castsheet encode`")
        entries = tuple(_entry(path) for path in files)
        for entry in entries:
            check(entry, channels, context_dim, downscale, _context_shape(entry))
        return cls(folder, entries)

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def fingerprint(self) -> str:
        """Hash of the samples' names and sizes."""
        described = [(entry.name, str(entry.geometry), entry.variants) for entry in self.entries]
        return hashlib.sha256(json.dumps(described).encode()).hexdigest()[:16]

    @property
    def augment(self) -> dict[str, float]:
        """The augmentations of any sample, with their strongest values."""
        strongest: dict[str, float] = {}
        for entry in self.entries:
            for name, value in entry.augment.items():
                strongest[name] = max(value, strongest.get(name, value))
        return strongest

    def load(self, index: int) -> Sample:
        """A sample's tensors, in the dtype on disk.

        Raises:
            DatasetError: a file is damaged.
        """
        entry = self.entries[index]
        tensors = _tensors(entry.path)
        context = _tensors(entry.context)["video"]
        return Sample(tensors["latents"], tensors["references"], context, tensors.get("mask"))

    def captions(self, index: int) -> int:  # noqa: ARG002 - files have one
        """How many contexts a sample has."""
        return 1

    def stack(self, picks: Sequence[Pick], frames: slice) -> Samples:
        """These samples' tensors; of clips and masks, these latent frames.

        Raises:
            DatasetError: a file is damaged.
        """
        samples = [self.load(pick.index) for pick in picks]
        clips = torch.stack([one.latents_CFHW[:, frames] for one in samples])
        references = [one.references_KCfhw[pick.variant] for one, pick in zip(samples, picks, strict=True)]
        mask = None
        if any(one.mask_FHW is not None for one in samples):
            ones = torch.ones(samples[0].latents_CFHW.shape[1:])
            masks = [ones if one.mask_FHW is None else one.mask_FHW.float() for one in samples]
            mask = torch.stack(masks)[:, frames]
        contexts = torch.stack([one.context_LD for one in samples])
        return Samples(clips, torch.stack(references), contexts, mask)


def require_one_geometry(data: Data) -> None:
    """Refuse samples that do not fit into one batch.

    Raises:
        DatasetError: names two files that differ.
    """
    first = data.entries[0]
    for entry in data.entries:
        if entry.geometry != first.geometry:
            raise DatasetError(
                f"{entry.path} has {entry.geometry}, but {first.path} has {first.geometry}",
                remedy="use batch: 1, or encode all samples at one size and frame rate",
            )


def require_stills(data: Data) -> None:
    """Refuse references that move.

    Raises:
        DatasetError: a reference moves; the message names its file.
    """
    for entry in data.entries:
        if entry.geometry.reference[0] != 1:
            raise DatasetError(
                f"{entry.path}: a moving reference, and objective.reference is still",
                remedy="encode the sheets as pictures, or set objective.reference to looped",
            )


def require_family(data: Data, family: str) -> None:
    """Refuse contexts that were made for another family's model: they have the same shape.

    Raises:
        DatasetError: names the file.
    """
    for entry in data.entries:
        if entry.family not in (None, family):
            raise DatasetError(
                f"{entry.path} has the contexts of {entry.family}, the model is {family}",
                remedy="run `castsheet encode` with the model that is trained",
            )


def write_sample(
    path: Path,
    sample: Mapping[str, Tensor],
    *,
    fps: float,
    context: str,
    augment: Mapping[str, float],
    **notes: str,
) -> None:
    """Write a sample's file, whole or not at all.

    Args:
        sample: `latents`, `references`, perhaps `mask`. A reference that never changes is cut to one frame.
        context: file name of its context. notes: further strings for the header.

    Raises:
        OutputError: the disk refused.
    """
    tensors = dict(sample) | {"references": one_frame(sample["references"])}
    header = {"version": VERSION, "fps": repr(float(fps)), "context": context, "augment": json.dumps(augment)}
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomic(path, lambda temporary: save_tensors(stored, temporary, header | notes))


def one_frame(references_KCfhw: Tensor) -> Tensor:
    """The first latent frame alone if all are equal (a still sheet), else all."""
    first = references_KCfhw[:, :, :1]
    return first if torch.equal(first.expand_as(references_KCfhw), references_KCfhw) else references_KCfhw


def header_of(path: Path) -> dict[str, str]:
    """A sample's header strings; empty if the file is absent or damaged: the sample is then made anew."""
    try:
        return read_header(path, DatasetError).metadata
    except DatasetError:
        return {}


def _entry(path: Path) -> SampleEntry:
    found = read_header(path, DatasetError, _AGAIN)
    header = found.metadata
    shapes = {name: entry.shape for name, entry in found.entries.items()}
    try:
        channels, frames, rows, columns = shapes["latents"]
        variants, of, f, h, w = shapes["references"]
        geometry = Geometry((frames, rows, columns), float(header["fps"]), (f, h, w))
        context, augment = header["context"], read_augment(header["augment"], path)
    except (KeyError, ValueError) as error:
        told = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise DatasetError(f"{path} is not a training sample: {told}", remedy=_AGAIN) from error
    if Path(context).name != context:
        told = f"{path}: its context {shown(context)} is no file of the data set"
        raise DatasetError(told, remedy=_AGAIN)
    mask = shapes.get("mask", geometry.clip)
    if mask != geometry.clip or header.get("version") != VERSION or of != channels:
        raise DatasetError(f"{path} contradicts itself: {shown(shapes)}, {shown(header)}", remedy=_AGAIN)
    if strange := next((one for one in found.entries.values() if one.dtype not in FLOATS), None):
        told = f"{path}: {strange.stored} holds numbers of type {strange.dtype}"
        raise DatasetError(told, remedy=_AGAIN)
    place = path.parents[1] / "contexts" / context
    return SampleEntry(path, geometry, channels, variants, place, augment, header.get("family"))


def read_augment(text: str, path: Path) -> dict[str, float]:
    """The augmentations that a header states, with their values.

    Raises:
        DatasetError: no JSON object of numbers.
    """
    found = TextReader(DatasetError, _AGAIN).parse_json(text, f"{path}, augment")
    if not (isinstance(found, dict) and all(type(value) in (int, float) for value in found.values())):
        raise DatasetError(f"{path}: augment is {shown(found)}, not numbers by name", remedy=_AGAIN)
    return found


def check(
    entry: SampleEntry, channels: int, context_dim: int, downscale: int, context: tuple[int, ...]
) -> None:
    """Refuse a sample that does not fit the model; `context` is the shape of its contexts.

    Raises:
        DatasetError: names the file.
    """
    path, geometry = entry.path, entry.geometry
    if min(*geometry.clip, *geometry.reference, entry.variants) < 1:
        raise DatasetError(f"{path} is empty: {geometry}, {entry.variants} variants", remedy=_AGAIN)
    if entry.channels != channels:
        raise DatasetError(
            f"{path} has latents of {entry.channels} channels, the model has {channels}",
            remedy="encode the data with the model that is trained",
        )
    if not 0 < geometry.fps <= 1000:
        raise DatasetError(f"{path}: {geometry.fps} frames a second", remedy=_AGAIN)
    if geometry.reference[0] not in (1, geometry.clip[0]):
        raise DatasetError(
            f"{path}: the reference has {geometry.reference[0]} latent frames, the clip {geometry.clip[0]}",
            remedy="encode the sheet as a still, or as a video of the clip's length",
        )
    if geometry.downscale != downscale:
        raise DatasetError(
            f"{path}: a reference of {geometry.reference[1:]} cells is not 1/{downscale} of a clip of"
            f" {geometry.clip[1:]}",
            remedy="set objective.reference_downscale_factor to the factor that the data was encoded with",
        )
    if len(context) != 2 or not context[0] or context[1] != context_dim:
        raise DatasetError(
            f"{entry.context}: a context of shape {context}, the model reads width {context_dim}",
            remedy="encode the captions with the connectors of the model that is trained",
        )


def _context_shape(entry: SampleEntry) -> tuple[int, ...]:
    found = read_header(entry.context, DatasetError, _AGAIN).entries.get("video")
    if found is None or found.dtype not in FLOATS:
        raise DatasetError(f"{entry.context}, a context, holds no numbers `video`", remedy=_AGAIN)
    return found.shape


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise DatasetError(f"{path} is damaged: {error}", remedy=_AGAIN) from error
