"""The model families that Castsheet knows: one entry each, and the only place that tells them apart.

`FAMILIES` holds everything about a family that is data: its versions and tensor names, the config values that
the code computes, what its released model consists of and how large that is. To add a family, add an entry;
what is truly new in its formulas goes to `ltx/model/`, behind a field of `TransformerConfig`.

Nothing here needs torch, so that settings, checks and `castsheet doctor` can read it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from castsheet.errors import FamilyError
from castsheet.ltx.keys import DIT

UNKNOWN = "unknown"

Role = Literal["checkpoint", "adapter", "text_encoder"]


@dataclass(frozen=True)
class PublishedFile:
    """A file of a repository; with `file` None, all its files that match `patterns`.

    Attributes:
        bytes: the published size; a download asks for the size anew.
        folder: where the file belongs, below the model's folder.
    """

    role: Role
    repo: str
    file: str | None
    bytes: int
    folder: str = ""
    patterns: tuple[str, ...] = ()

    @property
    def page(self) -> str:
        """The page where the licence is shown and accepted."""
        return f"https://huggingface.co/{self.repo}"


@dataclass(frozen=True)
class DenoiserSize:
    """Parameter counts of a denoiser: one block, the number of blocks, and everything outside the blocks."""

    block: int
    layers: int
    rest: int

    @property
    def total(self) -> int:
        """All parameters."""
        return self.layers * self.block + self.rest


@dataclass(frozen=True)
class Sizes:
    """Parameter counts of the released model's parts; in bf16 a parameter takes two bytes.

    Attributes:
        video: the denoiser without its audio half. joint: the whole denoiser.
        width: channels of the video stream.
        connectors: the text connectors of the video stream. audio_connectors: those of the audio stream.
        vae: the video VAE, encoder and decoder. audio_vae, vocoder: the parts that make sound.
        text_encoder: the whole text encoder as published, with the vision tower that prompts do not use.
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
class Sign:
    """Tensor names that tell a family: every pattern of `present` matches a name, none of `absent` does.

    Patterns are those of `fnmatch`; names carry no prefix (`transformer_blocks.0.ff.net.2.weight`).
    """

    present: tuple[str, ...]
    absent: tuple[str, ...] = ()

    def fits(self, names: Iterable[str]) -> bool:
        """Whether the sign is among these names."""
        every = list(names)

        def found(pattern: str) -> bool:
            return any(fnmatchcase(name, pattern) for name in every)

        return all(map(found, self.present)) and not any(map(found, self.absent))


@dataclass(frozen=True)
class Family:
    """One generation of models whose files fit together.

    Attributes:
        name: as files and sidecars state it. title: for people.
        stated: regular expression for versions and model names that state the family, in lower case.
        signs: tensor names that tell the family of a file that states none; one sign is enough.
        runs: whether Castsheet computes it; False for a family that is recognised in order to be refused.
        flags: values of the `transformer` config that the code computes; other values are refused.
        implied: keys of `flags` that a config may leave out.
        traits: values in the `transformer` config that LTX-2.3 does not have; keys are `fnmatch` patterns.
        files: what to download, one for each role. sizes: of the released model.
        remedy: what to do with a checkpoint that is not of this family.
    """

    name: str
    title: str
    stated: str
    signs: tuple[Sign, ...]
    runs: bool = False
    flags: Mapping[str, Any] = field(default_factory=dict)
    implied: frozenset[str] = frozenset()
    traits: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[PublishedFile, ...] = ()
    sizes: Sizes | None = None
    remedy: str = ""

    def traits_in(self, raw: Mapping[str, Any]) -> list[str]:
        """Keys of a `transformer` config whose values are traits of this family."""
        return sorted(
            key
            for key, value in raw.items()
            for pattern, wanted in self.traits.items()
            if fnmatchcase(key, pattern) and (value == wanted or (wanted is True and bool(value)))
        )


def _ltx(minor: str) -> str:
    """Versions such as "2.3.0", or "ltx" and a version inside a name; "ltx-video-2b" is a size instead."""
    return rf"^v?2\.{minor}(?!\d)|ltx(?:[-_ ]?video)?v?[-_ ]?2\.{minor}(?!\d)"


_FEED_FORWARD = "transformer_blocks.0.ff.net.2"
_CAPTIONS = "caption_projection.*"

# In order of age: where signs of several families are there, the newest one is meant.
FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family(
            name="ltx-2.0",
            title="LTX-2.0",
            stated=rf"{_ltx('0')}|ltx(?:[-_ ]?video)?v?[-_ ]?2(?![\db]|\.\d)",
            # It projects captions inside the denoiser.
            signs=(Sign((_CAPTIONS,)), Sign((f"audio_{_CAPTIONS}",))),
        ),
        Family(
            name="ltx-2.3",
            title="LTX-2.3",
            stated=_ltx("3"),
            # The text modulates by the noise level, and every attention is gated.
            signs=(
                Sign(
                    ("transformer_blocks.0.attn1.to_gate_logits.weight", "prompt_adaln_single.*"),
                    absent=(_CAPTIONS,),
                ),
            ),
            runs=True,
            flags={
                "apply_gated_attention": True,
                "cross_attention_adaln": True,
                "rope_type": "split",
                "frequencies_precision": "float64",
                "use_middle_indices_grid": True,
                "qk_norm": "rms_norm",
                "activation_fn": "gelu-approximate",
            },
            implied=frozenset({"qk_norm", "activation_fn"}),
            # The sizes of the two Lightricks files are exact; the text encoder's are its shards, rounded.
            files=(
                PublishedFile(
                    "checkpoint", "Lightricks/LTX-2.3", "ltx-2.3-22b-dev.safetensors", 46_149_344_974
                ),
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
                connectors=2_383_253_760,
                audio_connectors=788_973_824,
                vae=726_106_225,
                audio_vae=53_248_402,
                vocoder=129_085_032,
                text_encoder=12_187_325_040,
            ),
            remedy="use a checkpoint of the LTX-2.3 family, such as ltx-2.3-22b-dev.safetensors",
        ),
        Family(
            name="ltx-2.5",
            title="LTX-2.5",
            stated=_ltx("5"),
            # It marks keyframes, and its video feed-forward has no bias.
            signs=(
                Sign(("*keyframes*",)),
                Sign((f"{_FEED_FORWARD}.weight",), absent=(f"{_FEED_FORWARD}.bias",)),
            ),
            traits={"*keyframes*": True, "ff_bias": False, "use_prompt_adaln_single": False},
        ),
    )
}

# The family of files that do not say, and of everything that Castsheet writes.
DEFAULT = FAMILIES["ltx-2.3"]


def family_of(name: str) -> Family:
    """The entry of the family `name`; `DEFAULT` for a name without an entry."""
    return FAMILIES.get(name, DEFAULT)


def detect_family(stated: Iterable[str], names: Iterable[str]) -> str:
    """The family of a file: from what its header states, else from its tensor names.

    Args:
        stated: versions or model names from the header, the most reliable first.
        names: of tensors or adapted layers, with or without the denoiser's prefix.

    Returns:
        A key of `FAMILIES`; "ltx-2.x" for a stated generation without an entry; else "unknown".
    """
    for text in stated:
        for family in FAMILIES.values():
            if re.search(family.stated, text.lower()):
                return family.name
        other = re.search(_ltx(r"(\d)"), text.lower())
        if other is not None:
            return f"ltx-2.{other[1] or other[2]}"
    bare = [name.removeprefix(DIT) for name in names]
    shown = (one.name for one in reversed(FAMILIES.values()) if any(sign.fits(bare) for sign in one.signs))
    return next(shown, UNKNOWN)


def check_config(raw: Mapping[str, Any], stated: str = UNKNOWN) -> Family:
    """The family of a `transformer` config, if that family runs.

    Args:
        raw: the dictionary as it stands in the file's header.
        stated: the family that the rest of the file shows; the config's own traits outweigh it.

    Raises:
        FamilyError: the family does not run, or the config has a value that is not computed.
    """
    shown = (one for one in reversed(FAMILIES.values()) if one.traits_in(raw))
    family = next(shown, family_of(stated))
    if not family.runs:
        raise FamilyError(
            f"this checkpoint has traits of {family.title} ({', '.join(family.traits_in(raw))}), which is not"
            " supported yet",
            remedy=DEFAULT.remedy,
        )
    for key, wanted in family.flags.items():
        if (key in raw or key not in family.implied) and raw.get(key) != wanted:
            found = repr(raw[key]) if key in raw else "absent"
            raise FamilyError(
                f"transformer config: {key} is {found}; the {family.title} architecture has {wanted!r}",
                remedy=family.remedy,
            )
    return family


def refuse_checkpoint(path: Path, name: str) -> None:
    """Refuse a checkpoint of a family that does not run. A checkpoint of an unknown family passes.

    Raises:
        FamilyError: the family does not run.
    """
    if name == UNKNOWN or (name in FAMILIES and FAMILIES[name].runs):
        return
    able = " and ".join(family.title for family in FAMILIES.values() if family.runs)
    raise FamilyError(f"{path} is {name.upper()}; only {able} runs", remedy=DEFAULT.remedy)


def differ(adapter: str, model: str) -> bool:
    """Whether an adapter and a model are known to be of different families."""
    return UNKNOWN not in (adapter, model) and adapter != model


def refuse_adapter(path: Path, adapter: str, model: str) -> None:
    """Refuse an adapter that states another family than the model's.

    Raises:
        FamilyError: the families differ.
    """
    if differ(adapter, model):
        raise FamilyError(
            f"{path} is an adapter for {adapter}, the model is {model}",
            remedy=f"use the adapter's release for {model}",
        )
