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
from typing import Any, Literal, NamedTuple

from castsheet.errors import FamilyError
from castsheet.ltx.keys import DIT
from castsheet.ltx.releases import LTX_2_3, LTX_2_5, Release

UNKNOWN = "unknown"

# Metadata that may state a family, the most reliable first.
STATING = (
    "model_version",
    "base_model",
    "base_model_version",
    "modelspec.architecture",
    "ss_base_model_version",
)


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
        ff_bias: whether the video stream's feed-forward has biases.
        marker: whether the clip's first latent frame is marked by a learned vector.
        traits: values in the `transformer` config that LTX-2.3 does not have; keys are `fnmatch` patterns.
        mixes: families whose adapters run on its models, though not made for them, and what is known of that.
        encoder: the kind of its text encoder. encoder_remedy: where to get it.
        release: what the released model consists of. licence: what a user must know of its terms.
        remedy: what to do with a checkpoint that is not of this family.
    """

    name: str
    title: str
    stated: str
    signs: tuple[Sign, ...]
    runs: bool = False
    flags: Mapping[str, Any] = field(default_factory=dict)
    implied: frozenset[str] = frozenset()
    ff_bias: bool = True
    marker: bool = False
    traits: Mapping[str, Any] = field(default_factory=dict)
    mixes: Mapping[str, str] = field(default_factory=dict)
    encoder: Literal["gemma3", "gemma4"] = "gemma3"
    encoder_remedy: str = "give --text-encoder with a Gemma-3-12B folder (google/gemma-3-12b-it)"
    release: Release | None = None
    licence: str = ""
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
# What the code computes of every family that runs.
_COMPUTED: Mapping[str, Any] = {
    "apply_gated_attention": True,
    "cross_attention_adaln": True,
    "rope_type": "split",
    "frequencies_precision": "float64",
    "use_middle_indices_grid": True,
    "qk_norm": "rms_norm",
    "activation_fn": "gelu-approximate",
}
_IMPLIED = frozenset({"qk_norm", "activation_fn"})
_LICENCE = (
    "LTX-2.x Community License (2026-08-11): whoever earns 10 million USD a year or more needs a paid"
    " licence; adapters, and models trained on clips, are derivatives and are passed on under the same terms;"
    " clips themselves are yours, and marks of their origin must not be taken out"
)

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
            flags=_COMPUTED,
            implied=_IMPLIED,
            release=LTX_2_3,
            licence=_LICENCE,
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
            runs=True,
            ff_bias=False,
            marker=True,
            mixes={
                "ltx-2.3": "the vendor's desktop app pairs them, its documentation says that an adapter works"
                " with its own model only, and users report that the sheet is hardly followed"
            },
            encoder="gemma4",
            encoder_remedy="give --text-encoder with the packed file"
            " gemma4-12b-with-proj-ltx-2.5-bf16.safetensors; Google's own Gemma-4 is another model",
            # No released file has another value for the last three, which the vendor's code reads too.
            flags={
                **_COMPUTED,
                "ff_bias": False,
                "use_keyframes_abs_pos_embedding": True,
                "audio_ff_bias": True,
                "use_prompt_adaln_single": True,
                "connector_ff_bias": True,
            },
            implied=_IMPLIED
            | {
                "ff_bias",
                "use_keyframes_abs_pos_embedding",
                "audio_ff_bias",
                "use_prompt_adaln_single",
                "connector_ff_bias",
            },
            release=LTX_2_5,
            licence=_LICENCE,
            remedy="use a released LTX-2.5 transformer, such as ltx-2.5-22b-dev-transformer-bf16.safetensors",
        ),
    )
}

# The family of files that do not say, and of everything that Castsheet writes.
DEFAULT = FAMILIES["ltx-2.3"]


def family_of(name: str) -> Family:
    """The entry of the family `name`; `DEFAULT` for a name without an entry."""
    return FAMILIES.get(name, DEFAULT)


class Told(NamedTuple):
    """A family, and what told it: nothing where it is "unknown"."""

    family: str
    by: Literal["header", "tensors", "file name", "nothing"]


def tell_family(stated: Iterable[str], names: Iterable[str], file: str = "") -> Told:
    """The family of a file: by what its header states, else by its tensor names, else by the file's own name.

    Args:
        stated: versions or model names from the header, the most reliable first.
        names: of tensors or adapted layers, with or without the denoiser's prefix.
        file: the file's name, where it may be believed: adapters of two families can be equal in all else.

    Returns:
        A key of `FAMILIES`; "ltx-2.x" for a stated generation without an entry; else "unknown".
    """
    for text in stated:
        if (found := _named(text)) is not None:
            return Told(found, "header")
    bare = [name.removeprefix(DIT) for name in names]
    shown = (one.name for one in reversed(FAMILIES.values()) if any(sign.fits(bare) for sign in one.signs))
    if (found := next(shown, None)) is not None:
        return Told(found, "tensors")
    found = _named(file)
    return Told(UNKNOWN, "nothing") if found is None else Told(found, "file name")


def _named(text: str) -> str | None:
    """The family that a version or a name states."""
    for family in FAMILIES.values():
        if re.search(family.stated, text.lower()):
            return family.name
    other = re.search(_ltx(r"(\d)"), text.lower())
    return None if other is None else f"ltx-2.{other[1] or other[2]}"


def detect_family(stated: Iterable[str], names: Iterable[str]) -> str:
    """Name of the family of a checkpoint, by its header and its tensors; see `tell_family`."""
    return tell_family(stated, names).family


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
    raise FamilyError(f"{path} is {name.upper()}; only {able} run", remedy=DEFAULT.remedy)


def refuse_contradiction(path: Path, stated: str, shown: str) -> None:
    """Refuse a checkpoint whose header states one family and whose tensors are those of another.

    Raises:
        FamilyError: they differ; a family that is unknown differs from none.
    """
    if differ(stated, shown):
        told, found = (FAMILIES[name].title if name in FAMILIES else name for name in (stated, shown))
        raise FamilyError(
            f"{path}: its header says {told}, its tensors are those of {found}",
            remedy="use the file as it was published; a header was copied to another file's tensors",
        )


def differ(adapter: str, model: str) -> bool:
    """Whether an adapter and a model are known to be of different families."""
    return UNKNOWN not in (adapter, model) and adapter != model


def adapter_note(adapter: str, model: str) -> str | None:
    """What is known of a family's adapters on a model of another family; None if nothing is."""
    return family_of(model).mixes.get(adapter) if differ(adapter, model) else None


def refuse_adapter(path: Path, adapter: str, model: str) -> None:
    """Refuse an adapter that says that it belongs to another family, unless the vendor mixes the two.

    Raises:
        FamilyError: the families differ.
    """
    if differ(adapter, model) and adapter_note(adapter, model) is None:
        raise FamilyError(
            f"{path} is an adapter for {adapter}, the model is {model}",
            remedy=f"use the adapter's release for {model}",
        )
