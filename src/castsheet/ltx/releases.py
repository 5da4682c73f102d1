"""What a released model consists of: its files, where they are, how large its parts are. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Role = Literal["checkpoint", "adapter", "text_encoder", "vae", "audio", "upsampler"]


@dataclass(frozen=True)
class PublishedFile:
    """A file of a repository, or (`file` None) the files of it that match `patterns`.

    Attributes:
        bytes: as published; a download measures them again.
        folder: where a file without a folder of its own in the repository belongs, below the model's folder.
    """

    role: Role
    repo: str
    file: str | None
    bytes: int
    folder: str = ""
    patterns: tuple[str, ...] = ()

    @property
    def page(self) -> str:
        """Where the licence is shown and accepted."""
        return f"https://huggingface.co/{self.repo}"

    @property
    def place(self) -> Path:
        """Where the file lies, or the folder of the files, below the model's folder: as in the repository."""
        return Path(self.folder) / (self.file or "")


@dataclass(frozen=True)
class DenoiserSize:
    """Parameter counts of a denoiser: one block, how many blocks, and all that is outside the blocks."""

    block: int
    layers: int
    rest: int

    @property
    def total(self) -> int:
        """All parameters."""
        return self.layers * self.block + self.rest


@dataclass(frozen=True)
class Sizes:
    """Parameter counts of the released model's parts; times two they are bytes in bf16.

    Attributes:
        video: the denoiser without its audio half. joint: the whole denoiser.
        width: channels of the video stream.
        connectors: the text connectors of the video stream. audio_connectors: those of the audio stream.
        vae: the video VAE, encoder and decoder. audio_vae, vocoder: the parts that make sound.
        text_encoder: the language model; a vision tower is never loaded.
    """

    video: DenoiserSize
    joint: DenoiserSize
    width: int
    connectors: int
    audio_connectors: int
    vae: int
    audio_vae: int
    vocoder: int
    text_encoder: int


@dataclass(frozen=True)
class Variant:
    """One of several denoisers of a family that no program can tell apart.

    Attributes:
        file: in the repository of the family's checkpoint. preset: the recipe that it was made for.
    """

    file: str
    preset: str


@dataclass(frozen=True)
class Release:
    """A family's released model.

    Attributes:
        files: what to download, one for each role. sizes: of the parts.
        optional: what is downloaded only where its role is named.
        variants: denoisers to choose from, by name; without any the file is the one that `files` names.
    """

    files: tuple[PublishedFile, ...]
    sizes: Sizes
    optional: tuple[PublishedFile, ...] = ()
    variants: Mapping[str, Variant] = field(default_factory=dict)


# Parts that both releases have alike; the audio VAE and the vocoder of 2.5 come in a file of their own.
_CONNECTORS = {"connectors": 2_383_253_760, "audio_connectors": 788_973_824}
_DECODERS = {"vae": 726_106_225, "audio_vae": 53_248_402, "vocoder": 129_085_032}

# The sizes of the two Lightricks files are exact; the text encoder's are its shards, rounded.
LTX_2_3 = Release(
    files=(
        PublishedFile("checkpoint", "Lightricks/LTX-2.3", "ltx-2.3-22b-dev.safetensors", 46_149_344_974),
        PublishedFile(
            "adapter",
            "Lightricks/LTX-2.3-22b-IC-LoRA-Ingredients",
            "ltx-2.3-22b-ic-lora-ingredients-0.9.safetensors",
            1_308_778_338,
        ),
        PublishedFile(
            "text_encoder",
            "google/gemma-3-12b-it-qat-q4_0-unquantized",
            None,
            24_400_000_000,
            folder="gemma-3-12b",
            patterns=("*.json", "*.safetensors", "tokenizer.model"),
        ),
    ),
    sizes=Sizes(
        video=DenoiserSize(block=268_812_352, layers=48, rest=221_323_392),
        joint=DenoiserSize(block=386_695_360, layers=48, rest=427_460_864),
        width=4096,
        text_encoder=11_766_034_176,
        **_CONNECTORS,
        **_DECODERS,
    ),
    optional=(
        PublishedFile(
            "upsampler", "Lightricks/LTX-2.3", "ltx-2.3-spatial-upscaler-x2-1.1.safetensors", 996_000_000
        ),
    ),
)

_DEV = "diffusion_models/ltx-2.5-22b-dev-transformer-bf16.safetensors"
_DISTILLED = "diffusion_models/ltx-2.5-22b-distilled-transformer-bf16.safetensors"

# The sizes of the adapter's and of the upsampler's file are exact; the others are rounded, as their publisher
# and users state them.
LTX_2_5 = Release(
    files=(
        PublishedFile("checkpoint", "Lightricks/LTX-2.5", _DISTILLED, 42_020_000_000),
        PublishedFile(
            "adapter",
            "Lightricks/LTX-2.5-22b-IC-LoRA-Ingredients",
            "ltx-2.5-22b-ic-lora-ingredients-0.9.safetensors",
            1_308_787_472,
        ),
        PublishedFile(
            "text_encoder",
            "Lightricks/LTX-2.5",
            "text_encoders/gemma4-12b-with-proj-ltx-2.5-bf16.safetensors",
            26_260_000_000,
        ),
        PublishedFile(
            "vae", "Lightricks/LTX-2.5", "vae/ltx-2.5-video-vae-conv-bf16.safetensors", 1_450_000_000
        ),
        PublishedFile("audio", "Lightricks/LTX-2.5", "vae/ltx-2.5-audio-vae-bf16.safetensors", 360_000_000),
    ),
    sizes=Sizes(
        video=DenoiserSize(block=268_791_872, layers=48, rest=221_327_488),
        joint=DenoiserSize(block=386_674_880, layers=48, rest=427_464_960),
        width=4096,
        text_encoder=11_907_350_320,
        **_CONNECTORS,
        **_DECODERS,
    ),
    optional=(
        PublishedFile(
            "upsampler",
            "Lightricks/LTX-2.5",
            "latent_upscale_models/ltx-2.5-latent-spatial-upscaler-x2-bf16-1.0.safetensors",
            995_778_752,
        ),
    ),
    variants={"dev": Variant(_DEV, "card-2.5"), "distilled": Variant(_DISTILLED, "distilled-2.5")},
)
