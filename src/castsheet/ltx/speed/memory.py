"""What is in GPU memory when: a pure function from free bytes and part sizes to a plan.

A clip is made in stages that need not share the card: text, sheet (VAE encoder), denoising, decoding. The
plan takes the first of these that fits, best first:

    plain weights, all parts loaded for good;  plain, parts in turn;  fp8, all;  fp8, in turn;
    some blocks streamed from host memory, as few as the budget allows (fp8 where the GPU has it)

The text encoder is as large as the denoiser: it works on the card if it fits there alone, else on the CPU.
Sizes are counted from the model's config; working memory is estimated by the formulas below, from a margin
over the largest tensors that are alive at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch

from castsheet.errors import SettingsError
from castsheet.ltx.model.config import TransformerConfig
from castsheet.ltx.model.dit import Transformer
from castsheet.ltx.parts.vae import VideoVAE

GIB = 2**30
SLOTS = 2
_RESERVE = 0.05  # of the free memory: the allocator's gaps, and other programs that wake up
# Working memory of the official decoder in bf16: bytes a pixel of the clip, and of one tile of fixed size.
DECODE_BYTES = 284
TILED_BYTES = 3 * GIB
_PASSES = 3  # conditional, unconditional, perturbed: hidden states that are alive between blocks


@dataclass(frozen=True)
class Parts:
    """Sizes of a model and a run; counts are parameters, the rest bytes.

    Attributes:
        block, layers, rest: the denoiser: one block, how many, and what is outside them.
        dim: width of the denoiser. tokens: length of the longest sequence, references included.
        text: text encoder with connectors. vae: the video VAE.
        decode: working memory of the VAE without tiling, and `tiled` with it.
        width: bytes of a number that is not in fp8: 2 for bf16, 4 for fp32.
    """

    block: int
    layers: int
    rest: int
    dim: int
    tokens: int
    text: int = 0
    vae: int = 0
    decode: int = 0
    tiled: int = 0
    width: int = 2

    @classmethod
    def of(
        cls,
        config: TransformerConfig,
        *,
        tokens: int,
        text: int = 0,
        vae: int = 0,
        pixels: int = 0,
        width: int = 2,
    ) -> Parts:
        """The denoiser's sizes, counted from its config without making it; the others' as they are given.

        `pixels` of the whole clip, frames counted, give the VAE's working memory.
        """
        with torch.device("meta"):
            model = Transformer(replace(config, layers=1))
        block = sum(one.numel() for one in model.transformer_blocks[0].parameters())
        total = sum(one.numel() for one in model.parameters())
        decode = pixels * DECODE_BYTES * width // 2
        tiled = min(decode, TILED_BYTES * width // 2)
        sizes = {"text": text, "vae": vae, "decode": decode, "tiled": tiled, "width": width}
        return cls(block, config.layers, total - block, config.dim, tokens, **sizes)

    def weights(self, precision: Literal["plain", "fp8"], blocks: int) -> int:
        """Bytes of the denoiser with this many blocks on the card."""
        return self.width * self.rest + blocks * self.block * (self.width if precision == "plain" else 1)

    @property
    def activations(self) -> int:
        """Bytes alive at once while denoising.

        Inside the feed-forward layer: its input and the four times wider inner tensor, before and after GELU
        (8 widths), the sum and the output; hidden states of every pass; RoPE tables, cosines and sines (1).
        """
        widths = 8 + 3 + _PASSES + 1
        return self.tokens * self.dim * self.width * widths


# LTX-2.3 video only, with Gemma-3-12B, at 768x448x121 with a full-length reference.
FULL = Parts(
    block=268_812_352,
    layers=48,
    rest=221_323_392,
    dim=4096,
    tokens=10752,
    text=12_187_000_000 * 2 + 2_383_000_000 * 2,
    vae=726_105_969 * 2,
    decode=768 * 448 * 121 * DECODE_BYTES,
    tiled=TILED_BYTES,
)


@dataclass(frozen=True)
class Plan:
    """What runs where.

    Attributes:
        precision: of the denoiser's large layers.
        resident, layers: blocks that stay on the card while denoising, of how many; the rest are streamed.
        together: text encoder, VAE and denoiser stay on the card between stages and clips.
        text: where the text encoder works. tiling: whether the VAE decodes in tiles.
        peak: estimated bytes at the fullest stage. budget: what it may be.
        width: bytes of a number that is not in fp8.
    """

    precision: Literal["plain", "fp8"]
    resident: int
    layers: int
    together: bool
    text: Literal["gpu", "cpu"]
    tiling: bool
    peak: int
    budget: int
    width: int = 2

    @property
    def rank(self) -> tuple[bool, bool, int, bool]:
        """Larger is better: the order in which plans are preferred."""
        whole = self.resident == self.layers
        return whole, whole and self.precision == "plain", self.resident, self.together

    @property
    def streams(self) -> bool:
        return self.resident < self.layers

    def describe(self) -> str:
        """One line for the user."""
        weights = "fp8" if self.precision == "fp8" else {2: "bf16", 4: "fp32"}[self.width]
        where = "all blocks on the card"
        if self.streams:
            where = f"{self.layers - self.resident} of {self.layers} blocks streamed from host memory"
        order = "parts stay loaded" if self.together else "parts loaded in turn"
        text = "" if self.text == "gpu" else ", text encoder on the CPU"
        tiles = ", decoding in tiles" if self.tiling else ""
        size = f"about {self.peak / GIB:.1f} of {self.budget / GIB:.1f} GiB"
        return f"{weights}, {where}, {order}{text}{tiles}; {size}"


def plan(
    budget: int, parts: Parts, *, fp8: bool, precision: Literal["auto", "plain", "fp8"] = "auto"
) -> Plan:
    """The best plan that keeps under `budget` bytes.

    Args:
        fp8: whether the GPU multiplies fp8.
        precision: "auto" prefers exact weights where all of them fit, and fp8 to streaming.

    Raises:
        SettingsError: nothing fits; the remedy names the smallest budget that would do.
    """
    kinds: tuple[Literal["plain", "fp8"], ...] = ("plain", "fp8") if fp8 else ("plain",)
    if precision != "auto":
        kinds = (precision,)
    for kind in kinds:
        for together in (True, False):
            made = _plan(budget, parts, kind, parts.layers, together)
            if made.peak <= budget:
                return made
    last = kinds[-1]
    for resident in range(parts.layers - SLOTS - 1, -1, -1):
        made = _plan(budget, parts, last, resident, together=False)
        if made.peak <= budget:
            return made
    least = _plan(budget, parts, last, 0, together=False).peak
    raise SettingsError(
        f"{budget / GIB:.1f} GiB of GPU memory are too little for this clip",
        remedy=f"free at least {math.ceil(least / GIB * 10) / 10:.1f} GiB, or make a smaller or shorter clip",
    )


def _plan(
    budget: int, parts: Parts, precision: Literal["plain", "fp8"], resident: int, together: bool
) -> Plan:
    """The plan with these choices and its peak, whether or not it fits."""
    on_card = resident if resident == parts.layers else resident + SLOTS
    denoiser = parts.weights(precision, on_card)
    if together:
        held = denoiser + parts.text + parts.vae
        peak = held + max(parts.activations, parts.decode)
        return Plan(precision, resident, parts.layers, True, "gpu", False, peak, budget, parts.width)
    # Each stage has the card to itself; the text encoder goes to the CPU when even that is not enough.
    # The slots of streamed blocks stay there.
    slots = parts.weights(precision, on_card - resident) - parts.weights(precision, 0)
    text: Literal["gpu", "cpu"] = "gpu" if slots + parts.text <= budget else "cpu"
    tiling = slots + parts.vae + parts.decode > budget
    decode = parts.vae + (parts.tiled if tiling else parts.decode)
    encode = parts.text if text == "gpu" else 0
    stages = (denoiser + parts.activations, slots + decode, slots + encode)
    return Plan(precision, resident, parts.layers, False, text, tiling, max(stages), budget, parts.width)


def tile_decoding(vae: VideoVAE, tiling: bool = True) -> None:
    """Have the VAE decode in overlapping tiles of space and time (diffusers' own), or whole again.

    Seams are blended; the picture differs slightly from the whole one, so this is for cards that need it.
    """
    if tiling:
        vae.model.enable_tiling()
    else:
        vae.model.disable_tiling()
    vae.model.use_framewise_decoding = tiling


def parse_budget(text: str, *, free: int) -> int:
    """`--memory auto|GiB` in bytes; `free` is what the card has free now.

    Raises:
        SettingsError: not a positive number, or more than is free.
    """
    if text == "auto":
        return int(free * (1 - _RESERVE))
    try:
        gib = float(text.removesuffix("GiB"))
    except ValueError:
        gib = math.nan
    if not (math.isfinite(gib) and gib > 0):
        raise SettingsError(f"memory {text!r}", remedy="choose auto, or a number of GiB such as 12")
    if gib * GIB > free:
        raise SettingsError(
            f"memory {gib:g} GiB, but {free / GIB:.1f} GiB are free on the card",
            remedy="choose auto, or close the programs that hold the rest",
        )
    return int(gib * GIB)
