"""Which parts of a model are on the GPU at which stage: carries out a plan of ltx/speed/memory.py."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from castsheet.errors import SettingsError
from castsheet.loading.source import Source
from castsheet.ltx import keys
from castsheet.ltx.files.checkpoint import Checkpoint
from castsheet.ltx.formats import FORMATS, automatic, format_of
from castsheet.ltx.parts.gemma import EncoderFiles
from castsheet.ltx.speed.attention8 import check_device
from castsheet.ltx.speed.memory import Parts, Plan, parse_budget, plan
from castsheet.ltx.speed.streaming import move
from castsheet.machine.causes import memory_error
from castsheet.machine.device import DTYPES, pick_dtype
from castsheet.settings import Settings

CPU = torch.device("cpu")
ATTENTIONS = ("auto", "fp8")


@dataclass(frozen=True)
class Form:
    """How the denoiser is held in memory.

    `precision` is an argument of `load_transformer`. `resident` counts the blocks that stay on the GPU while
    the others are streamed.
    """

    precision: str = "wide"
    streams: bool = False
    resident: int = 0


class Placement:
    """Moves parts as the plan says. On a CPU there is no plan and nothing moves.

    Args:
        device: where the parts work.
        dtype: what the user asked for: "auto", "fp32", "bf16", or a name in `castsheet.ltx.formats.FORMATS`.
        memory: "auto" or a number of GiB. attention: "auto", or "fp8" for self-attention in fp8.

    Raises:
        SettingsError: a memory limit without a GPU, or fp8 attention on a device that does not compute it.
        DependencyError: fp8 attention's package is not installed.
    """

    def __init__(
        self, device: torch.device, dtype: str = "auto", memory: str = "auto", attention: str = "auto"
    ) -> None:
        if device.type != "cuda" and memory != "auto":
            raise SettingsError(f"memory {memory!r} limits a GPU's memory", remedy="leave it out on the CPU")
        if attention not in ATTENTIONS:
            raise SettingsError(f"attention {attention!r}", remedy=f"choose one of {', '.join(ATTENTIONS)}")
        if attention == "fp8":
            check_device(device)
        self.device, self.dtype, self.memory, self.attention = device, dtype, memory, attention
        self.plan: Plan | None = None
        self._settled: Parts | None = None

    @property
    def text_device(self) -> torch.device:
        """Where the text encoder works."""
        return CPU if self.plan is not None and self.plan.text == "cpu" else self.device

    def settle(self, source: Source, settings: Settings) -> Plan | None:
        """Make the plan for a clip. The last plan is kept while the sizes stay the same.

        Raises:
            SettingsError: no plan fits, or the memory limit is not a number.
        """
        if self.device.type != "cuda":
            return None
        parts = parts_of(source, settings, 4 if self.dtype == "fp32" else 2)
        if parts != self._settled:
            budget = parse_budget(self.memory, free=self._free())
            self.plan = plan(budget, parts, self._precisions(source.checkpoint))
            self._settled = parts
        return self.plan

    def _free(self) -> int:
        """Bytes of GPU memory that this process holds or can still allocate."""
        return torch.cuda.mem_get_info(self.device)[0] + torch.cuda.memory_reserved(self.device)

    def _precisions(self, checkpoint: Checkpoint) -> tuple[str, ...]:
        """What the plan may choose from: what the user or the file says, else by the GPU."""
        chosen = self.dtype if self.dtype in FORMATS else stored_format(checkpoint)
        if chosen is not None:
            return (chosen,)
        capability = torch.cuda.get_device_capability(self.device)
        return automatic(capability) if self.dtype == "auto" else ("plain",)

    def form(self, checkpoint: Checkpoint) -> Form:
        """How the plan holds the denoiser."""
        streams, resident = (False, 0) if self.plan is None else (self.plan.streams, self.plan.resident)
        stored = stored_format(checkpoint) if self.device.type == "cuda" else None
        planned = None if self.plan is None else self.plan.precision
        chosen = self.dtype if self.dtype in FORMATS else stored or planned
        if chosen is not None and chosen == stored and not streams:
            # Blocks that the file leaves in bf16 stay in bf16, but streamed blocks must all have one size.
            return Form("plain", streams, resident)
        return Form(chosen if chosen in FORMATS else "wide", streams, resident)

    def turn(self, part: nn.Module | None, others: Sequence[nn.Module | None]) -> None:
        """Bring `part` to the GPU; None makes room for a part that will be loaded.

        If the plan lets parts take turns, the others leave the GPU.
        """
        if self.plan is None:
            return
        if not self.plan.together:
            self._send_away(others)
        if part is not None:
            # Even if all parts stay: the plan of an earlier, larger clip may have sent this one away.
            self._move(part, self.device)

    def turn_of_text(self, others: Sequence[nn.Module | None]) -> None:
        """Make room for the text encoder: if it works alone on the GPU, the others leave."""
        if self.plan is not None and self.plan.text == "alone":
            self._send_away(others)

    def _send_away(self, parts: Sequence[nn.Module | None]) -> None:
        for part in parts:
            if part is not None:
                self._move(part, CPU)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _move(self, part: nn.Module, device: torch.device) -> None:
        move(part, device)


_SMALLER = "give --memory fewer GiB, so that more is streamed, or make a smaller or shorter clip"


@contextmanager
def enough_memory(remedy: str = _SMALLER) -> Iterator[None]:
    """Inside the block, running out of memory raises an error that says what to do.

    Args:
        remedy: what helps against too little memory of a GPU.

    Raises:
        MemoryLimitError: memory of the GPU, or of the host, ran out.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise memory_error(error, remedy) or error from error
    except (MemoryError, RuntimeError) as error:
        if (told := memory_error(error)) is None:
            raise
        raise told from error


def working_dtype(name: str, device: torch.device) -> torch.dtype:
    """In what a model works that is opened with this precision; in a format, all but the large layers.

    Raises:
        SettingsError: an unknown name.
    """
    if name not in ("auto", *DTYPES, *FORMATS):
        choices = ", ".join(("auto", *DTYPES, *FORMATS))
        raise SettingsError(f"unknown precision {name!r}", remedy=f"choose {choices}")
    return pick_dtype(FORMATS[name].dtype if name in FORMATS else name, device)


def stored_format(checkpoint: Checkpoint) -> str | None:
    """Name of the format in which the file holds its denoiser; None for plain numbers."""
    stored = {
        checkpoint.entries[name].dtype for name in checkpoint.keys if keys.part_of(name) == "transformer"
    }
    return next((found.name for found in map(format_of, sorted(stored)) if found is not None), None)


def parts_of(source: Source, settings: Settings, width: int = 2) -> Parts:
    """Sizes of a model's parts in memory, and of a clip. A plain number takes `width` bytes.

    Raises:
        SettingsError: the VAE cannot make that size or frame count.
        AdapterError: the adapters disagree about the reference's size.
    """
    checkpoint, text_encoder = source.checkpoint, source.text_encoder
    grid, *larger = source.grids(settings)
    reference = grid.tokens if settings.reference == "looped" else grid.frame_tokens
    reference //= source.downscale(settings) ** 2
    language = 0 if text_encoder is None else EncoderFiles.open(text_encoder).parameters
    config = checkpoint.config.transformer
    # The vocoder is always in fp32.
    sound = width * _count(checkpoint, "audio_vae") + 4 * _count(checkpoint, "vocoder")
    return Parts.of(
        config if settings.audio else config.video_only(),
        tokens=max(grid.tokens + reference, *(one.tokens for one in larger), 0),
        text=width * (language + _count(checkpoint, "connectors", audio=settings.audio)),
        vae=width * _count(checkpoint, "vae"),
        pixels=math.prod(settings.size) * settings.frames,
        width=width,
        sound=sound if settings.audio else 0,
        kept_rows=reference * kept_tensors(settings, config.layers),
    )


def kept_tensors(settings: Settings, layers: int) -> int:
    """How many copies of a reference's rows are kept over steps: one for each block that each pass computes.

    The perturbed pass computes only the blocks from the first perturbed one on; it shares the earlier blocks
    with the conditional pass. Rows of a noisy reference change with every step and are never kept.
    """
    if settings.reference_every == 1 or settings.reference_strength < 1:
        return 0
    audio = settings.audio
    unconditional = settings.guidance != 1 or (audio and settings.audio_guidance != 1)
    isolated = audio and settings.modality_scale != 1
    perturbed = layers - min(settings.stg_blocks, default=layers) if settings.stg_scale else 0
    return layers * (1 + unconditional + isolated) + perturbed


def _count(checkpoint: Checkpoint, part: keys.Part, *, audio: bool = True) -> int:
    """How many numbers a part has, with or without its audio half."""
    return sum(
        checkpoint.entries[name].count
        for name in checkpoint.keys
        if keys.part_of(name) == part and (audio or not keys.is_audio(name))
    )
