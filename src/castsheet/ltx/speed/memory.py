"""What is in GPU memory at which stage: a pure function from free bytes and part sizes to a plan.

A clip is made in stages: text, sheet (VAE encoder), denoising, decoding. If the denoiser and the VAE both fit
on the card, they stay there between the stages; else they take turns. The plan is the first that fits:

    plain weights, parts stay;  plain, parts in turn;  fp8, parts stay;  fp8, parts in turn;
    some blocks streamed from host memory, parts stay;  the same, parts in turn (fp8 where the GPU has it)

"fp8" stands for any format of `ltx/formats.py`. Of the streaming plans, the one with most blocks on the card
is taken. The text encoder is as large as the denoiser and is freed after each use. If it fits, it works
beside the other parts; else alone on the card while they wait in host memory; else on the CPU. If it works
beside them or on the CPU, and all blocks stay on the card, they can be loaded while it works.

Sizes are counted from the model's config. Working memory is estimated by the formulas below: the largest
tensors that are alive at once, and a margin.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch

from castsheet.errors import SettingsError
from castsheet.ltx.family import DEFAULT, Family
from castsheet.ltx.formats import FORMATS
from castsheet.ltx.model.config import TransformerConfig
from castsheet.ltx.model.dit import Transformer

GIB = 2**30
SLOTS = 2
_RESERVE = 0.05  # share of the free memory for the allocator's gaps and for other programs that start later
# Working memory of the official decoder in bf16, in bytes a pixel of the clip. Measured at 768x448x121 on an
# H100: 105, also at 241 frames. The margin is for the allocator's gaps and for other kernels of cuDNN.
DECODE_BYTES = 160
# The same with tiling: one tile, and all frames twice while tiles are joined. Measured in total: 21 a pixel.
TILE_BYTES = 1.5 * GIB
TILED_BYTES = 24
# What is alive while text is encoded and the denoiser is read, beside the weights of both: hidden states of
# all layers of 1,024 tokens, three times; and one matrix of the denoiser as stored and in fp32 with an
# adapter's part. By those sizes 2 GiB; not measured.
AHEAD_BYTES = 2.5 * GIB
_PASSES = 3  # conditional, unconditional, perturbed: each keeps its hidden states between blocks


@dataclass(frozen=True)
class Parts:
    """Sizes of a model and a run; counts are parameters, the rest bytes.

    Attributes:
        block, layers, rest: the denoiser: one block, how many, and what is outside them.
        dim: width of the denoiser. tokens: length of the longest sequence, references included.
        text: text encoder with connectors. vae: the video VAE. sound: audio VAE and vocoder.
        decode: working memory of the VAE without tiling, and `tiled` with it.
        kept: reference rows that are kept over steps (ltx/model/reuse.py).
        width: bytes of a plain number: 2 for bf16, 4 for fp32.
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
    sound: int = 0
    kept: int = 0

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
        sound: int = 0,
        kept_rows: int = 0,
    ) -> Parts:
        """The denoiser's sizes, counted from its config without building it, beside the given sizes.

        Args:
            pixels: of the whole clip, frames counted; they give the VAE's working memory.
            kept_rows: reference rows that are kept over steps, each as wide as the denoiser.
        """
        with torch.device("meta"):
            model = Transformer(replace(config, layers=1))
        block = sum(one.numel() for one in model.transformer_blocks[0].parameters())
        total = sum(one.numel() for one in model.parameters())
        return cls(
            block,
            config.layers,
            total - block,
            config.dim,
            tokens,
            text=text,
            vae=vae,
            decode=pixels * DECODE_BYTES * width // 2,
            tiled=tiled_bytes(pixels, width),
            width=width,
            sound=sound,
            kept=kept_rows * config.dim * width,
        )

    def weights(self, precision: str, blocks: int) -> int:
        """Bytes of the denoiser with this many blocks on the card."""
        number = self.width if precision == "plain" else FORMATS[precision].bytes
        return self.width * self.rest + math.ceil(blocks * self.block * number)

    @property
    def activations(self) -> int:
        """Bytes alive at once while denoising.

        In the feed-forward layer: its input, the four times wider inner tensor before and after GELU (8
        widths), the sum and the output. Besides: every pass's hidden states, and the RoPE tables (1 width).
        """
        widths = 8 + 3 + _PASSES + 1
        return self.tokens * self.dim * self.width * widths


def tiled_bytes(pixels: int, width: int = 2) -> int:
    """Working memory of the VAE in tiles, for a clip of this many pixels, frames counted."""
    return min(pixels * DECODE_BYTES, int(TILE_BYTES) + pixels * TILED_BYTES) * width // 2


def official(
    *,
    family: Family = DEFAULT,
    audio: bool = False,
    width: int = 768,
    height: int = 448,
    frames: int = 121,
    kept_tensors: int = 0,
) -> Parts:
    """A family's released model in bf16, for a clip with a full-length reference.

    Args:
        kept_tensors: how many times the reference's rows are kept over steps.

    Raises:
        ValueError: the family's sizes are not known.
    """
    if family.release is None:
        raise ValueError(f"the sizes of {family.title} are not known")
    sizes = family.release.sizes
    denoiser = sizes.joint if audio else sizes.video
    pixels = width * height * frames
    reference = ((frames - 1) // 8 + 1) * (width // 32) * (height // 32)
    return Parts(
        block=denoiser.block,
        layers=denoiser.layers,
        rest=denoiser.rest,
        dim=sizes.width,
        tokens=2 * reference,
        text=2 * (sizes.text_encoder + sizes.connectors + (sizes.audio_connectors if audio else 0)),
        vae=2 * sizes.vae,
        decode=pixels * DECODE_BYTES,
        tiled=tiled_bytes(pixels),
        sound=2 * sizes.audio_vae + 4 * sizes.vocoder if audio else 0,
        kept=2 * sizes.width * reference * kept_tensors,
    )


TextPlace = Literal["beside", "alone", "cpu"]


@dataclass(frozen=True)
class Plan:
    """Where each part runs.

    Attributes:
        precision: of the denoiser's large layers: "plain", or a name in `castsheet.ltx.formats.FORMATS`.
        resident, layers: blocks that stay on the card while denoising, and all blocks; the rest are streamed.
        together: VAE and denoiser stay on the card between stages and clips; else they take turns there.
        text: where the text encoder works: "beside" the others on the card, "alone" on it, or on the "cpu".
        tiling: whether the VAE decodes in tiles.
        ahead: whether VAE and denoiser are loaded while the text encoder works.
        peak: estimated bytes at the fullest stage. budget: the limit.
        width: bytes of a plain number.
    """

    precision: str
    resident: int
    layers: int
    together: bool
    text: TextPlace
    tiling: bool
    peak: int
    budget: int
    width: int = 2
    ahead: bool = False

    @property
    def rank(self) -> tuple[bool, bool, bool, bool, int]:
        """The order in which plans are preferred; larger is better."""
        whole = not self.streams
        return whole, whole and self.precision == "plain", not self.tiling, self.together, self.resident

    @property
    def streams(self) -> bool:
        return self.resident < self.layers

    def describe(self) -> str:
        """One line for the user."""
        weights = {2: "bf16", 4: "fp32"}[self.width] if self.precision == "plain" else self.precision
        where = "all blocks on the card"
        if self.streams:
            where = f"{self.layers - self.resident} of {self.layers} blocks streamed from host memory"
        order = "denoiser and VAE stay loaded" if self.together else "denoiser and VAE in turn"
        text = {
            "beside": "text encoder beside them",
            "alone": "text encoder alone, for each new prompt",
            "cpu": "text encoder on the CPU",
        }[self.text]
        tiles = ", decoding in tiles" if self.tiling else ""
        text += " while they load" if self.ahead else ""
        size = f"about {self.peak / GIB:.1f} of {self.budget / GIB:.1f} GiB"
        return f"{weights}, {where}, {order}, {text}{tiles}; {size}"


def plan(budget: int, parts: Parts, precisions: Sequence[str] = ("plain",)) -> Plan:
    """The best plan whose peak stays within `budget` bytes.

    Args:
        precisions: what may be chosen, the best first. All are tried before any block is streamed, and then
            the last is streamed.

    Raises:
        SettingsError: nothing fits; the remedy names the smallest budget that would do.
    """
    for precision in precisions:
        for together in (True, False):
            made = _plan(budget, parts, precision, parts.layers, together)
            if made.peak <= budget:
                return made
    last = precisions[-1]
    for together in (True, False):
        for resident in range(parts.layers - SLOTS - 1, -1, -1):
            made = _plan(budget, parts, last, resident, together)
            if made.peak <= budget:
                return made
    least = _plan(0, parts, last, 0, together=False).peak
    smaller = "use reference_every 1, or " if parts.kept else "or "
    raise SettingsError(
        f"{budget / GIB:.1f} GiB of GPU memory are too little for this clip",
        remedy=f"free at least {math.ceil(least / GIB * 10) / 10:.1f} GiB, {smaller}make a smaller or"
        " shorter clip",
    )


def _plan(budget: int, parts: Parts, precision: str, resident: int, together: bool) -> Plan:
    """The plan with these choices and its peak, even if it does not fit."""
    on_card = resident if resident == parts.layers else resident + SLOTS
    denoiser = parts.weights(precision, on_card)
    # The slots of streamed blocks and the small parts that make sound never leave the card.
    slots = parts.weights(precision, on_card - resident) - parts.weights(precision, 0)
    stay = slots + parts.sound
    tiling = stay + parts.vae + parts.decode > budget
    decode = parts.tiled if tiling else parts.decode
    denoise = parts.activations + parts.kept
    if together:
        held = denoiser + parts.sound + parts.vae
        stages = [held + denoise, held + decode]
    else:
        held = stay
        stages = [denoiser + parts.sound + denoise, stay + parts.vae + decode]
    text: TextPlace = "cpu"
    if together and held + parts.text <= budget:
        text = "beside"
        stages.append(held + parts.text)
    elif stay + parts.text <= budget:
        text = "alone"
        stages.append(stay + parts.text)
    loading = held + AHEAD_BYTES + (parts.text if text == "beside" else 0)
    ahead = together and resident == parts.layers and text != "alone" and loading <= budget
    if ahead:
        stages.append(int(loading))
    return Plan(
        precision, resident, parts.layers, together, text, tiling, max(stages), budget, parts.width, ahead
    )


def host_bytes(made: Plan, parts: Parts) -> int:
    """Host memory that a plan needs: streamed blocks, waiting parts, the text encoder on the CPU."""
    streamed = parts.weights(made.precision, made.layers - made.resident) - parts.weights(made.precision, 0)
    waits = not made.together or made.text == "alone"
    waiting = parts.weights(made.precision, made.resident) + parts.vae if waits else 0
    return streamed + waiting + (parts.text if made.text == "cpu" else 0)


def parse_budget(text: str, *, free: int) -> int:
    """`--memory auto|GiB` in bytes; `free` is the card's free memory in bytes.

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
