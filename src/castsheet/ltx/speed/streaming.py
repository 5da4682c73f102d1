"""A denoiser larger than the GPU: blocks wait in pinned host memory and are copied in while others compute.

A block's tensors lie in one run of bytes, and one copy transfers them. A few slots on the device each hold
one block at a time; while block i computes, a second stream fills the next slots. Some blocks can stay on
the device; they are spread evenly, so that every transfer runs beside computation.

`Transformer.forward_passes` takes all passes of a guided step through a block before it asks for the next, so
a step transfers every block once for any number of passes.

Without a GPU the same bookkeeping runs with plain copies.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from castsheet.ltx.model.dit import Transformer
from castsheet.machine.device import working_on

_ALIGNMENT = 256  # bytes; enough for any kernel's loads
PACKERS = 4  # threads


@dataclass(frozen=True)
class Place:
    """The place of one tensor in the bytes of its block."""

    offset: int
    dtype: torch.dtype
    shape: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(frozen=True)
class Packing:
    """A block as one run of bytes. Tensors that share memory (joined projections) share it here too."""

    size: int
    places: tuple[tuple[str, Place], ...]
    pieces: tuple[tuple[str, int, int, int], ...]  # (a tensor in the piece, its start, end and new offset)

    @classmethod
    def of(cls, block: nn.Module) -> Packing:
        """The packing of a block's tensors; blocks of one kind have the same, in any memory."""
        spans = sorted(
            (tensor.untyped_storage().data_ptr(), *_extent(tensor), order, name)
            for order, (name, tensor) in enumerate(_tensors(block))
        )
        # Tensors whose bytes overlap are one piece. Pieces follow the order of the block's names.
        groups: list[list[tuple[int, int, int, int, str]]] = []
        for span in spans:
            reached = max(end for _, _, end, _, _ in groups[-1]) if groups else 0
            if groups and groups[-1][0][0] == span[0] and span[1] < reached:
                groups[-1].append(span)
            else:
                groups.append([span])
        pieces: list[tuple[str, int, int, int]] = []
        bases: dict[str, int] = {}
        size = 0
        for group in sorted(groups, key=lambda group: min(order for _, _, _, order, _ in group)):
            begin, stop = group[0][1], max(end for _, _, end, _, _ in group)
            pieces.append((group[0][4], begin, stop, size))
            bases |= {name: size + start - begin for _, start, _, _, name in group}
            size = -(-(size + stop - begin) // _ALIGNMENT) * _ALIGNMENT
        places = tuple(
            (name, Place(bases[name], tensor.dtype, tuple(tensor.shape), tensor.stride()))
            for name, tensor in _tensors(block)
        )
        return cls(size, places, tuple(pieces))

    def pack(self, block: nn.Module, into: Tensor) -> None:
        """Copy a block's tensors into its bytes."""
        tensors = dict(_tensors(block))
        for name, start, end, base in self.pieces:
            source = torch.empty(0, dtype=torch.uint8, device=tensors[name].device)
            source.set_(tensors[name].untyped_storage(), start, (end - start,), (1,))
            into[base : base + end - start].copy_(source)

    def bind(self, block: nn.Module, raw: Tensor) -> None:
        """Make a block's tensors views of `raw`."""
        for name, place in self.places:
            item = place.dtype.itemsize
            reach = 1 + sum(
                (side - 1) * step for side, step in zip(place.shape, place.stride, strict=True) if side
            )
            flat = raw[place.offset : place.offset + reach * item].view(place.dtype)
            view = flat.as_strided(place.shape, place.stride)
            path, _, leaf = name.rpartition(".")
            holder = block.get_submodule(path)
            if leaf in holder._parameters:
                holder._parameters[leaf] = nn.Parameter(view, requires_grad=False)
            else:
                holder._buffers[leaf] = view

    @property
    def shape(self) -> tuple[Any, ...]:
        """What two blocks must have in common to use one slot in turn."""
        return self.size, self.places


def _tensors(block: nn.Module) -> list[tuple[str, Tensor]]:
    named = [*block.named_parameters(remove_duplicate=False), *block.named_buffers(remove_duplicate=False)]
    return [(name, tensor.detach()) for name, tensor in named]


def _extent(tensor: Tensor) -> tuple[int, int]:
    """The tensor's first byte in its storage, and the byte after its last."""
    start = int(tensor.storage_offset()) * tensor.element_size()
    reach = 1 + sum((side - 1) * step for side, step in zip(tensor.shape, tensor.stride(), strict=True))
    return start, start + int(reach) * tensor.element_size()


class Slot:
    """Memory for one block on the device, and a block whose tensors are views of it."""

    def __init__(self, pattern: nn.Module, packing: Packing, device: torch.device) -> None:
        self.raw = torch.empty(packing.size, dtype=torch.uint8, device=device)
        self.block = copy.deepcopy(pattern)
        packing.bind(self.block, self.raw)
        self.holds: int | None = None
        on_gpu = device.type == "cuda"
        self.filled = torch.cuda.Event() if on_gpu else None
        self.used = torch.cuda.Event() if on_gpu else None


class StreamedBlocks(nn.Module):
    """Takes the place of `Transformer.transformer_blocks`.

    Args:
        blocks: the blocks, on the CPU or the device; each is freed once it is packed.
        device: where they compute.
        resident: how many stay on the device. slots: how many others fit there; 2 or more to overlap.
        on_load: called with a block's number when a copy of the block starts.

    Raises:
        ValueError: fewer than one slot, or blocks that differ in packing.
    """

    def __init__(
        self,
        blocks: nn.ModuleList,
        device: torch.device,
        *,
        resident: int = 0,
        slots: int = 2,
        on_load: Callable[[int], None] | None = None,
    ) -> None:
        super().__init__()
        self.count, self.device, self.on_load = len(blocks), device, on_load
        stay = set(spread(self.count, min(resident, self.count)))
        self.streamed = [index for index in range(self.count) if index not in stay]
        if slots < 1:
            raise ValueError("streaming needs room for one block at least")
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self.resident = nn.ModuleDict({str(index): blocks[index] for index in sorted(stay)})
        move(self.resident, device)
        self.host: dict[int, Tensor] = {}
        self.slots: list[Slot] = []
        if self.streamed:
            self._pack(blocks, slots)
        if self.stream is not None:
            # A computation that is still running may use memory that now belongs to the slots.
            self.stream.wait_stream(torch.cuda.current_stream(device))
        # Registered as modules: compiling and listing must reach the blocks that really run.
        self.rooms = nn.ModuleList([slot.block for slot in self.slots])

    def _pack(self, blocks: nn.ModuleList, slots: int) -> None:
        """Bring the streamed blocks into pinned memory, several at once: one thread moves some 2 GB/s."""
        first = blocks[self.streamed[0]]
        packing, pattern = Packing.of(first), copy.deepcopy(first).to("meta")
        room = min(slots, len(self.streamed))
        self.slots = [Slot(pattern, packing, self.device) for _ in range(room)]

        def packed(index: int) -> Tensor:
            own = Packing.of(blocks[index])
            if own.shape != packing.shape:
                raise ValueError(f"block {index} is not laid out as the others; quantise all blocks alike")
            raw = torch.empty(own.size, dtype=torch.uint8)
            raw = pin(raw, self) if self.device.type == "cuda" else raw
            own.pack(blocks[index], raw)
            blocks[index] = nn.Identity()  # frees the packed block's own tensors
            return raw

        with ThreadPoolExecutor(PACKERS, "castsheet-pack", partial(working_on, self.device)) as pool:
            self.host = dict(zip(self.streamed, pool.map(packed, self.streamed), strict=True))

    def __getitem__(self, index: int) -> Callable[..., Any]:
        if str(index) in self.resident:
            return self.resident[str(index)]
        return partial(self._run, index)

    def __len__(self) -> int:
        return self.count

    def _run(self, index: int, *arguments: Any) -> Any:
        slot = self._holding(index) or self._fetch(index, keep=())
        self._fetch_ahead(index)
        if slot.filled is None or slot.used is None:
            return slot.block(*arguments)
        now = torch.cuda.current_stream(self.device)
        now.wait_event(slot.filled)
        result = slot.block(*arguments)
        slot.used.record(now)
        return result

    def _holding(self, index: int) -> Slot | None:
        return next((slot for slot in self.slots if slot.holds == index), None)

    def _fetch_ahead(self, index: int) -> None:
        """Fill the other slots with the next blocks; after the last come the first, for the next step."""
        here = self.streamed.index(index)
        following = [self.streamed[(here + i) % len(self.streamed)] for i in range(1, len(self.slots))]
        for number, wanted in enumerate(following):
            if self._holding(wanted) is None:
                self._fetch(wanted, keep=(index, *following[:number]))

    def _fetch(self, index: int, keep: tuple[int, ...]) -> Slot:
        """Start copying a block into a slot that holds none of `keep`."""
        slot = next(slot for slot in self.slots if slot.holds is None or slot.holds not in keep)
        if self.on_load is not None:
            self.on_load(index)
        slot.holds = index
        if self.stream is None or slot.filled is None or slot.used is None:
            slot.raw.copy_(self.host[index])
            return slot
        with torch.cuda.stream(self.stream):
            # The slot's former block may still be computing. An event that was never recorded does not wait.
            self.stream.wait_event(slot.used)
            slot.raw.copy_(self.host[index], non_blocking=True)
            slot.filled.record(self.stream)
        return slot


def pin(raw: Tensor, owner: object) -> Tensor:
    """Page-lock host memory as long as `owner` lives: copies from it then need no processor.

    torch rounds its own pinned allocations up to powers of two: a block of 257 MiB would waste nearly as much
    again. Such an allocation is used only if the driver refuses to lock this memory.
    """
    driver: Any = torch.cuda.cudart()
    if int(driver.cudaHostRegister(raw.data_ptr(), raw.nbytes, 0)) != 0:
        return torch.empty(raw.nbytes, dtype=torch.uint8, pin_memory=True)
    weakref.finalize(owner, driver.cudaHostUnregister, raw.data_ptr())
    return raw


def spread(count: int, chosen: int) -> list[int]:
    """`chosen` of `count` indices, spaced as evenly as whole numbers allow."""
    return [index for index in range(count) if (index + 1) * chosen // count > index * chosen // count]


def stream_blocks(
    transformer: Transformer,
    device: torch.device,
    *,
    resident: int = 0,
    slots: int = 2,
    on_load: Callable[[int], None] | None = None,
) -> Transformer:
    """Stream a loaded model's blocks, in place; everything else moves to the device.

    Join projections and quantise before; compile after. The model can no longer be saved or trained.
    """
    transformer.requires_grad_(False)  # like the slots' tensors: compiled code is shared only then
    blocks = transformer.transformer_blocks
    transformer.transformer_blocks = nn.ModuleList()
    transformer.to(device)
    transformer.transformer_blocks = StreamedBlocks(  # type: ignore[assignment]
        blocks, device, resident=resident, slots=slots, on_load=on_load
    )
    return transformer


@torch.no_grad()
def move(module: nn.Module, device: torch.device) -> None:
    """Bring a part to a device, in place: parts that do not fit together can take turns.

    Unlike `module.to` it keeps the memory of tensors shared that share it (joined projections). The slots of
    streamed blocks, and the blocks that wait in host memory, stay where they are.
    """
    streamed = [blocks for blocks in module.modules() if isinstance(blocks, StreamedBlocks)]
    stay = {id(t) for blocks in streamed for t in (*blocks.rooms.parameters(), *blocks.rooms.buffers())}
    moved: dict[int, Tensor] = {}

    def there(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in moved:
            whole = torch.empty(0, dtype=torch.uint8, device=tensor.device).set_(storage)
            moved[storage.data_ptr()] = whole.to(device)
        place = (tensor.storage_offset(), tensor.shape, tensor.stride())
        raw = moved[storage.data_ptr()].untyped_storage()
        return torch.empty(0, dtype=tensor.dtype, device=device).set_(raw, *place)

    for holder in module.modules():
        for name, parameter in holder.named_parameters(recurse=False):
            if parameter.device != device and id(parameter) not in stay:
                kept = parameter.requires_grad
                holder._parameters[name] = nn.Parameter(there(parameter.detach()), requires_grad=kept)
        for name, buffer in holder.named_buffers(recurse=False):
            if buffer.device != device and id(buffer) not in stay:
                holder._buffers[name] = there(buffer)
