"""Reads tensors from safetensors files one at a time: opens each file once, finds fp8 scales, notices NaN.

For a GPU they are read ahead, see `ltx/ahead.py`.

Legend: I inputs, O outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from castsheet.errors import CheckpointError
from castsheet.ltx.ahead import arriving, pays
from castsheet.ltx.header import Entry

_AGAIN = "download the file again; if you trained it, go back to an earlier step"


class OpenFiles:
    """Opens each file once, when it is first needed: opening a file reads its whole header."""

    def __init__(self, entries: Mapping[str, Entry], stack: ExitStack, device: torch.device | str) -> None:
        self._entries, self._stack, self._device = entries, stack, str(device)
        self._handles: dict[Path, Any] = {}

    def tensor(self, name: str) -> Tensor:
        """A whole tensor, on the device.

        Raises:
            CheckpointError: the file cannot be read.
        """
        return self._read(name, lambda handle, stored: handle.get_tensor(stored))

    def first_row(self, name: str) -> Tensor:
        """The first row of a tensor; a scalar tensor whole.

        Raises:
            CheckpointError: the file cannot be read.
        """
        if not self._entries[name].shape:
            return self.tensor(name)
        return self._read(name, lambda handle, stored: handle.get_slice(stored)[:1])

    def _read(self, name: str, how: Callable[[Any, str], Tensor]) -> Tensor:
        entry = self._entries[name]
        try:
            if entry.file not in self._handles:
                opened = safe_open(entry.file, framework="pt", device=self._device)
                self._handles[entry.file] = self._stack.enter_context(opened)
            return how(self._handles[entry.file], entry.stored)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"cannot read {entry.file}: {error}", remedy=_AGAIN) from error


def read(
    entries: Mapping[str, Entry], names: Iterable[str], device: torch.device | str
) -> Iterator[tuple[str, Tensor, Tensor | None]]:
    """Yields (name, stored tensor, its fp32 scale (1,1) or (O,1) or None), one at a time.

    The names of one file keep their given order, which is the order on disk.

    Raises:
        CheckpointError: a file is unreadable, or a weight has neither one scale nor one for each row.
    """
    with ExitStack() as stack:
        files = OpenFiles(entries, stack, device)
        ordered = sorted(names, key=lambda name: str(entries[name].file))
        wanted = [entries[name] for name in ordered]
        if pays(wanted, device):
            tensors = arriving(wanted, device, CheckpointError, _AGAIN)
        else:
            tensors = (files.tensor(name) for name in ordered)
        for name, tensor in zip(ordered, tensors, strict=True):
            yield name, tensor, _scale(entries, name, tensor, files) if tensor.dtype.itemsize == 1 else None


def _scale(entries: Mapping[str, Entry], name: str, weight: Tensor, files: OpenFiles) -> Tensor | None:
    stem = name.removesuffix(".weight")
    stored = next((one for one in (f"{stem}.weight_scale", f"{stem}.scale_weight") if one in entries), None)
    if stored is None:
        return None
    scale = files.tensor(stored).float().flatten()
    if scale.numel() not in (1, weight.shape[0]) or not torch.isfinite(scale).all():
        raise CheckpointError(
            f"{entries[stored].file}: {stored} holds {scale.numel()} scales for {weight.shape[0]} rows;"
            " they must be finite, and one for the tensor or one a row",
            remedy="use an fp8 file with one scale a tensor or a row, or the bf16 file",
        )
    return scale[:, None]


def widened(tensor: Tensor, scale: Tensor | None) -> Tensor:
    """An fp8 tensor times its scale, in fp32; a tensor of another dtype is returned unchanged."""
    if tensor.dtype.itemsize > 1 or not tensor.is_floating_point():
        return tensor
    wide = tensor.float()
    return wide if scale is None else wide * scale.view(-1, *[1] * (tensor.ndim - 1))


class Spoilt:
    """Collects the names of tensors with NaN or infinity while a model is read, for one message.

    The answers stay on the device until `refuse`: asking for each would make the host wait for it.
    """

    def __init__(self) -> None:
        self._looked: list[tuple[str, Tensor]] = []

    def look(self, name: str, tensor: Tensor) -> None:
        """Look whether the tensor holds NaN or infinity."""
        # e4m3 holds NaN, but few operations know e4m3: such a tensor is converted first.
        wide = tensor.to(torch.bfloat16) if tensor.dtype.itemsize == 1 else tensor
        self._looked.append((name, torch.isfinite(wide).all()))

    def refuse(self, path: Path) -> None:
        """Refuse the file if one of the tensors does.

        Raises:
            CheckpointError: a tensor does; the message gives up to five names.
        """
        if not self._looked:
            return
        whole = torch.stack([one for _, one in self._looked]).tolist()
        names = dict.fromkeys(name for (name, _), good in zip(self._looked, whole, strict=True) if not good)
        if names:
            some = ", ".join(list(names)[:5])
            raise CheckpointError(
                f"{path}: {len(names)} tensors hold NaN or infinity: {some}",
                remedy=_AGAIN,
            )
