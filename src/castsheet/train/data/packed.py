"""Many small samples in one file, for toy models: opening a file a sample would take longer than the step.

On a CPU the file is mapped into memory. On a GPU all of it is in the device's memory.

    dataset/packed.safetensors
        latents (S,C,F,H,W)  references (S,K,C,f,h,w)    as in a sample's own file
        contexts (M,L,D)     captions (S,2)              a sample's contexts: from the first on, until before
                                                         the second; one is drawn each time
        weights (A,F,H,W)    weighing (S)                optional: the loss's weight of each cell, and whose

Legend: S samples, K variants, C channels, F H W latent frames, rows, columns, f h w those of the reference,
M contexts, L D context, A kinds of weights.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from castsheet.ltx.header import read_header, save_tensors
from castsheet.machine.files import write_atomic
from castsheet.train.data.dataset import (
    DatasetError,
    Geometry,
    Pick,
    SampleEntry,
    Samples,
    check,
    read_augment,
)

PACKED = "packed.safetensors"
_REMEDY = "write the file anew with `castsheet.train.data.packed.write_packed`"


@dataclass(frozen=True)
class PackedData:
    """Samples of one geometry."""

    path: Path
    tensors: Mapping[str, Tensor]
    entries: tuple[SampleEntry, ...]

    @classmethod
    def open(cls, folder: Path, *, channels: int, context_dim: int, downscale: int = 1) -> PackedData:
        """Map the file and check what it says.

        Raises:
            DatasetError: the file is damaged, contradicts itself, or is for another model.
        """
        path = folder / PACKED
        header = read_header(path, DatasetError, _REMEDY).metadata
        try:
            tensors = load_file(path)
            latents, references = tensors["latents"], tensors["references"]
            count, found, *clip = latents.shape
            *_, f, h, w = references.shape
            geometry = Geometry((clip[0], clip[1], clip[2]), float(header["fps"]), (f, h, w))
            augment = read_augment(header["augment"], path)
            _check_numbers(path, tensors, count)
        except (OSError, SafetensorError, KeyError, ValueError, IndexError, RuntimeError) as error:
            raise DatasetError(f"{path} is no packed data set: {error!r}", remedy=_REMEDY) from error
        entries = tuple(
            SampleEntry(path / f"sample{number:06d}", geometry, found, references.shape[1], path, augment)
            for number in range(count)
        )
        check(entries[0], channels, context_dim, downscale, tuple(tensors["contexts"].shape[1:]))
        return cls(path, tensors, entries)

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def fingerprint(self) -> str:
        """Hash of the tensors' shapes and of the first sample."""
        shapes = {name: tuple(tensor.shape) for name, tensor in sorted(self.tensors.items())}
        first = self.tensors["latents"][0].cpu().contiguous().view(torch.uint8).numpy().tobytes()
        return hashlib.sha256(json.dumps(shapes).encode() + first).hexdigest()[:16]

    @property
    def augment(self) -> dict[str, float]:
        """The augmentations that were on."""
        return dict(self.entries[0].augment)

    def captions(self, index: int) -> int:
        """How many contexts a sample has."""
        return int(self._ends[index] - self._starts[index])

    def stack(self, picks: Sequence[Pick], frames: slice) -> Samples:
        """These samples' tensors; of clips and masks, these latent frames; where the data lies."""
        tensors, device = self.tensors, self.tensors["latents"].device
        contexts = torch.tensor([int(self._starts[pick.index]) + pick.caption for pick in picks])
        index = torch.tensor([pick.index for pick in picks])
        variant = torch.tensor([pick.variant for pick in picks])
        if device.type == "cuda":  # pinned: the host does not wait for the copy
            index, variant, contexts = (
                one.pin_memory().to(device, non_blocking=True) for one in (index, variant, contexts)
            )
        mask = None
        if "weights" in tensors:
            mask = tensors["weights"][:, frames][tensors["weighing"][index]].float()
        return Samples(
            tensors["latents"][:, :, frames][index],
            tensors["references"][index, variant],
            tensors["contexts"][contexts],
            mask,
        )

    def to(self, device: torch.device) -> PackedData:
        """The data set in a device's memory."""
        return replace(self, tensors={name: one.to(device) for name, one in self.tensors.items()})

    @cached_property
    def _starts(self) -> np.ndarray:
        return self.tensors["captions"][:, 0].cpu().numpy()

    @cached_property
    def _ends(self) -> np.ndarray:
        return self.tensors["captions"][:, 1].cpu().numpy()


def _check_numbers(path: Path, tensors: Mapping[str, Tensor], count: int) -> None:
    captions, contexts = tensors["captions"], tensors["contexts"]
    whole = count > 0 and captions.shape == (count, 2) and len(tensors["references"]) == count
    whole = whole and bool((captions[:, 0] < captions[:, 1]).all() and (captions[:, 0] >= 0).all())
    whole = whole and int(captions.max()) <= len(contexts)
    if "weights" in tensors:
        weighing, weights = tensors["weighing"], tensors["weights"]
        whole = whole and weights.shape[1:] == tensors["latents"].shape[2:] and weighing.shape == (count,)
        whole = whole and int(weighing.min()) >= 0 and int(weighing.max()) < len(weights)
    if not whole:
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        raise DatasetError(f"{path} contradicts itself: {shapes}", remedy=_REMEDY)


def write_packed(
    folder: Path,
    latents_SCFHW: Tensor,
    references_SKCfhw: Tensor,
    contexts_MLD: Tensor,
    captions_S2: Tensor,
    *,
    fps: float,
    weights_AFHW: Tensor | None = None,
    weighing_S: Tensor | None = None,
    augment: Mapping[str, float] | None = None,
) -> Path:
    """Write `FOLDER/packed.safetensors`, whole or not at all; see the module for the tensors.

    Raises:
        OutputError: the disk refused.
    """
    tensors = {
        "latents": latents_SCFHW,
        "references": references_SKCfhw,
        "contexts": contexts_MLD,
        "captions": captions_S2,
    }
    if weights_AFHW is not None and weighing_S is not None:
        tensors |= {"weights": weights_AFHW, "weighing": weighing_S}
    header = {"fps": repr(float(fps)), "augment": json.dumps(dict(augment or {}))}
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    path = folder / PACKED
    write_atomic(path, lambda temporary: save_tensors(stored, temporary, header))
    return path
