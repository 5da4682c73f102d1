"""What of a model is on the GPU when: the plan of ltx/memory.py, made from what is free and carried out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from castsheet.errors import SettingsError
from castsheet.ltx import keys
from castsheet.ltx.files.checkpoint import Checkpoint
from castsheet.ltx.latents import Grid
from castsheet.ltx.model.scaled import unit_of
from castsheet.ltx.speed.attention8 import check_device
from castsheet.ltx.speed.memory import Parts, Plan, parse_budget, plan
from castsheet.ltx.speed.precision import E4M3_NAME, Precision
from castsheet.ltx.speed.streaming import move
from castsheet.settings import Settings

CPU = torch.device("cpu")
ATTENTIONS = ("auto", "fp8")


@dataclass(frozen=True)
class Form:
    """How the denoiser is held.

    `precision` None is the plain loader's; "fp8" quantises; "plain" reads an fp8 file as it is. `resident`
    counts the blocks that stay on the GPU where the others are streamed.
    """

    precision: Precision | None = None
    streams: bool = False
    resident: int = 0


class Placement:
    """Carries a plan out; on the CPU there is one place only.

    Args:
        device: where the parts work.
        dtype: what the user asked for: "auto", "fp32", "bf16" or "fp8".
        memory: "auto" or a number of GiB. attention: "auto", or "fp8" for self-attention in fp8.

    Raises:
        SettingsError: a limit, or fp8 attention, without a GPU that it could be for.
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

    def settle(self, checkpoint: Checkpoint, text_encoder: Path | None, settings: Settings) -> Plan | None:
        """Make the plan for a clip; the last one stays while the sizes do.

        Raises:
            SettingsError: nothing fits, or the limit is not one.
        """
        if self.device.type != "cuda":
            return None
        width = 4 if self.dtype == "fp32" else 2
        parts = parts_of(checkpoint, text_encoder, settings, width)
        if parts != self._settled:
            precision: Literal["auto", "plain", "fp8"] = "auto" if self.dtype == "auto" else "plain"
            if self.dtype == "fp8" or is_fp8(checkpoint):
                precision = "fp8"
            self.plan = plan(
                parse_budget(self.memory, free=self._free()),
                parts,
                fp8=unit_of(self.device) == "fp8",
                precision=precision,
            )
            self._settled = parts
        return self.plan

    def _free(self) -> int:
        """Bytes that this process has or can get."""
        return torch.cuda.mem_get_info(self.device)[0] + torch.cuda.memory_reserved(self.device)

    def form(self, checkpoint: Checkpoint) -> Form:
        """How the denoiser is to be held under the plan."""
        streams, resident = (False, 0) if self.plan is None else (self.plan.streams, self.plan.resident)
        on_gpu = self.device.type == "cuda"
        fp8 = self.dtype == "fp8" or (self.plan is not None and self.plan.precision == "fp8")
        if on_gpu and is_fp8(checkpoint):
            # Blocks that the file leaves in bf16 stay so, unless they must be as large as the others.
            return Form("fp8" if streams else "plain", streams, resident)
        return Form("fp8" if fp8 else None, streams, resident)

    def turn(self, part: nn.Module | None, others: Sequence[nn.Module | None]) -> None:
        """Give a part the GPU, if they take turns: the others leave it."""
        if self.plan is None or self.plan.together:
            return
        for other in others:
            if other is not None:
                move(other, CPU)
        if part is not None:
            move(part, self.device)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


_SMALLER = "give --memory fewer GiB, so that more is streamed, or make a smaller or shorter clip"


@contextmanager
def enough_memory(remedy: str = _SMALLER) -> Iterator[None]:
    """Inside, running out of GPU memory is an error that says what to do.

    Raises:
        SettingsError: it ran out.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise SettingsError(
            f"the GPU's memory ran out: {str(error).splitlines()[0]}",
            remedy=remedy,
        ) from error


def is_fp8(checkpoint: Checkpoint) -> bool:
    """Whether the file's denoiser comes quantised."""
    return any(
        checkpoint.entries[name].dtype == E4M3_NAME
        for name in checkpoint.keys
        if keys.part_of(name) == "transformer"
    )


def parts_of(checkpoint: Checkpoint, text_encoder: Path | None, settings: Settings, width: int = 2) -> Parts:
    """Sizes of a model's parts as they lie in memory, and of a clip; `width` bytes a number outside fp8.

    Raises:
        SettingsError: the VAE cannot make that size or frame count.
    """
    size = {"width": settings.width, "height": settings.height}
    grid = Grid.of(checkpoint.config.vae, **size, frames=settings.frames, fps=settings.fps)
    gemma = [] if text_encoder is None else list(text_encoder.glob("*.safetensors"))
    config = checkpoint.config.transformer
    return Parts.of(
        config if settings.audio else config.video_only(),
        tokens=grid.tokens + (grid.tokens if settings.reference == "looped" else grid.frame_tokens),
        # Text encoders are published in bf16.
        text=sum(file.stat().st_size for file in gemma) * width // 2
        + width * _count(checkpoint, "connectors"),
        vae=width * _count(checkpoint, "vae"),
        pixels=settings.width * settings.height * settings.frames,
        width=width,
    )


def _count(checkpoint: Checkpoint, part: Literal["connectors", "vae"]) -> int:
    """Numbers of a part."""
    return sum(checkpoint.entries[name].count for name in checkpoint.keys if keys.part_of(name) == part)
