"""Tensors of safetensors files on their way to a GPU, read by several threads before they are asked for.

One thread that faults a mapped file in, and copies pageable memory over the bus, moves some 2 GB/s. Several
threads that read into pinned memory keep up with the bus; the copies run while the GPU works.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import torch
from torch import Tensor

from castsheet.errors import CastsheetError
from castsheet.ltx.header import Entry
from castsheet.machine.device import working_on
from castsheet.machine.regular import MIB, Refusal, why_unread

THREADS = 4
AHEAD = 512 * MIB  # of pinned memory that is filled and not yet taken

TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}
"""Types that are read ahead, by the format's names."""


def pays(entries: Iterable[Entry], device: torch.device | str) -> bool:
    """Whether these tensors should be read ahead: for a GPU, and all of known types.

    On a CPU a mapped file is the tensor: nothing is copied at all.
    """
    return torch.device(device).type == "cuda" and all(entry.dtype in TYPES for entry in entries)


def arriving(
    entries: Sequence[Entry], device: torch.device | str, refuse: Refusal, remedy: str
) -> Iterator[Tensor]:
    """The tensors in their order, on the device.

    Args:
        refuse: the error to raise. remedy: what to do about a damaged file.

    Raises:
        CastsheetError, as `refuse`: a file cannot be read, or is shorter than its header says.
    """
    waiting, held = deque[tuple[Entry, Future[Tensor]]](), 0
    device = torch.device(device)
    pool = ThreadPoolExecutor(THREADS, "castsheet-read", partial(working_on, device))
    pinned = device.type == "cuda"

    def taken() -> Tensor:
        entry, future = waiting.popleft()
        numbers = future.result().view(TYPES[entry.dtype]).view(entry.shape)
        return numbers.to(device, non_blocking=True)

    try:
        for entry in entries:
            while waiting and held + entry.size > AHEAD:
                held -= waiting[0][0].size
                yield taken()
            waiting.append((entry, pool.submit(_bytes, entry, pinned, refuse, remedy)))
            held += entry.size
        while waiting:
            yield taken()
    finally:
        pool.shutdown(cancel_futures=True)


def _bytes(entry: Entry, pinned: bool, refuse: Refusal, remedy: str) -> Tensor:
    """A tensor's bytes, uint8 (size,), in host memory."""
    found = _room(entry.size, pinned)
    room, done = found.numpy().data, 0
    try:
        with entry.file.open("rb", buffering=0) as handle:
            handle.seek(entry.start)
            while done < entry.size:
                count = handle.readinto(room[done:])
                if not count:
                    raise _truncated(entry, done, refuse, remedy)
                done += count
    except OSError as error:
        what, mend = why_unread(error)
        raise refuse(f"cannot read {entry.file}: {what}", remedy=mend) from error
    return found


def _room(size: int, pinned: bool) -> Tensor:
    """Host memory; plain memory where the machine pins no more."""
    if pinned:
        try:
            return torch.empty(size, dtype=torch.uint8, pin_memory=True)
        except RuntimeError:
            return torch.empty(size, dtype=torch.uint8)
    return torch.empty(size, dtype=torch.uint8)


def _truncated(entry: Entry, done: int, refuse: Refusal, remedy: str) -> CastsheetError:
    what = f"cannot read {entry.file}: it ends after {done} of the {entry.size} bytes of {entry.stored}"
    return refuse(what, remedy=remedy)
