"""Which model a file holds: dataclasses read from the checkpoint's own metadata, without defaults.

The `config` entry of an official safetensors header is one JSON object with the parts `transformer`, `vae`,
`audio_vae`, `vocoder`. A missing value is an error: the defaults of other programs differ from the released
file (`av_ca_timestep_scale_multiplier` is 1 there and 1000 in the file).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from castsheet.errors import CheckpointError
from castsheet.ltx.family import DEFAULT, UNKNOWN, check_config, family_of
from castsheet.machine.ranges import real, whole
from castsheet.machine.text import TextReader

MAX_LAYERS, MAX_WIDTH = 1024, 1 << 20  # the released model has 48 layers, 4096 wide
_REMEDY_DAMAGED = "download the checkpoint again, or convert it with its `config` metadata kept"


@dataclass(frozen=True)
class TransformerConfig:
    """Sizes of the denoiser: counts of layers, heads and channels; `max_pos` is (seconds, px, px).

    `family` names the entry of `castsheet.ltx.family.FAMILIES` whose formulas the denoiser follows.
    """

    layers: int
    heads: int
    head_dim: int
    in_channels: int
    out_channels: int
    context_dim: int
    audio: bool = False
    audio_heads: int = 32
    audio_head_dim: int = 64
    audio_in_channels: int = 128
    audio_out_channels: int = 128
    audio_context_dim: int = 2048
    norm_eps: float = 1e-6
    theta: float = 10000.0
    max_pos: tuple[float, ...] = (20, 2048, 2048)
    audio_max_pos: tuple[float, ...] = (20,)
    timestep_scale: float = 1000.0
    cross_timestep_scale: float = 1000.0
    family: str = DEFAULT.name

    @property
    def dim(self) -> int:
        """Width of the video stream."""
        return self.heads * self.head_dim

    @property
    def audio_dim(self) -> int:
        """Width of the audio stream, and of both attentions between the streams."""
        return self.audio_heads * self.audio_head_dim

    @property
    def cross_max_pos(self) -> tuple[float, ...]:
        """Seconds that the temporal RoPE of the attentions between the streams spans."""
        return (max(self.max_pos[0], self.audio_max_pos[0]),)

    @property
    def marker(self) -> bool:
        """Whether the tokens of the clip's first latent frame carry a learned marker."""
        return family_of(self.family).marker

    @property
    def ff_bias(self) -> bool:
        """Whether the layers of the video stream's feed-forward have a bias."""
        return family_of(self.family).ff_bias

    def video_only(self) -> TransformerConfig:
        """The same model without its audio half."""
        return replace(self, audio=False)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any], family: str = UNKNOWN) -> TransformerConfig:
        """Read the official `transformer` dictionary; `family` is what the rest of the file shows.

        Raises:
            CheckpointError: a key is missing or of the wrong type.
            FamilyError: the dictionary describes a family that does not run, or a variant not computed here.
        """
        family = check_config(raw, family).name
        audio = _audio(raw)
        try:
            config = cls(
                layers=whole(raw["num_layers"], 1, MAX_LAYERS),
                heads=_size(raw, "num_attention_heads"),
                head_dim=_size(raw, "attention_head_dim"),
                in_channels=_size(raw, "in_channels"),
                out_channels=_size(raw, "out_channels"),
                context_dim=_size(raw, "cross_attention_dim"),
                norm_eps=real(raw["norm_eps"], 1e-12, 0.1),
                theta=real(raw["positional_embedding_theta"], 2, 1e9),
                max_pos=_spans(raw["positional_embedding_max_pos"]),
                timestep_scale=real(raw["timestep_scale_multiplier"], 1, 1e6),
                family=family,
            )
            if audio:
                config = replace(
                    config,
                    audio=True,
                    audio_heads=_size(raw, "audio_num_attention_heads"),
                    audio_head_dim=_size(raw, "audio_attention_head_dim"),
                    # The official dictionary names only the output; audio goes in as it comes out.
                    audio_in_channels=whole(
                        raw.get("audio_in_channels", raw["audio_out_channels"]), 1, MAX_WIDTH
                    ),
                    audio_out_channels=_size(raw, "audio_out_channels"),
                    audio_context_dim=_size(raw, "audio_cross_attention_dim"),
                    audio_max_pos=_spans(raw["audio_positional_embedding_max_pos"]),
                    cross_timestep_scale=real(raw["av_ca_timestep_scale_multiplier"], 1, 1e6),
                )
        except KeyError as error:
            raise CheckpointError(
                f"the transformer config in the file's header lacks {error.args[0]!r}", remedy=_REMEDY_DAMAGED
            ) from error
        except (TypeError, ValueError) as error:
            raise CheckpointError(
                f"the transformer config in the file's header has a value of the wrong type: {error}",
                remedy=_REMEDY_DAMAGED,
            ) from error
        config._check()
        return config

    def _check(self) -> None:
        sizes = (self.layers, self.heads, self.head_dim, self.in_channels, self.out_channels)
        # Rows of the stream's width modulate the text context, so the context must have that width.
        usable = (
            min(sizes) > 0
            and self.head_dim % 2 == 0
            and len(self.max_pos) == 3
            and self.context_dim == self.dim
        )
        if self.audio:
            usable &= min(self.audio_heads, self.audio_head_dim) > 0 and self.audio_head_dim % 2 == 0
            usable &= len(self.audio_max_pos) == 1 and self.audio_context_dim == self.audio_dim
        if not usable:
            raise CheckpointError(
                f"the transformer config in the file's header has sizes that do not fit together: {self}",
                remedy=_REMEDY_DAMAGED,
            )


@dataclass(frozen=True)
class ModelConfig:
    """The whole `config` metadata of a single-file checkpoint; only the denoiser's part is parsed."""

    transformer: TransformerConfig
    vae: dict[str, Any]
    audio_vae: dict[str, Any] | None
    vocoder: dict[str, Any] | None
    version: str
    raw: dict[str, Any]

    @classmethod
    def from_header(cls, metadata: Mapping[str, str], family: str = UNKNOWN) -> ModelConfig:
        """Read the metadata strings of a safetensors header: `config` and `model_version`, of a `family`.

        Raises:
            CheckpointError: `config` is absent, is not a JSON object, or lacks a part.
            FamilyError: the transformer is of a family that does not run.
        """
        raw = _parse(metadata)
        for name in ("transformer", "vae", "audio_vae", "vocoder"):
            part = raw.get(name)
            if not isinstance(part, dict) and (part is not None or name in ("transformer", "vae")):
                found = "absent" if part is None else "not an object"
                raise CheckpointError(
                    f"part {name!r} of the `config` metadata is {found}",
                    remedy=f"{_REMEDY_DAMAGED}; of a model in several files, put the part's file beside it",
                )
        return cls(
            transformer=TransformerConfig.from_dict(raw["transformer"], family),
            vae=raw["vae"],
            audio_vae=raw.get("audio_vae"),
            vocoder=raw.get("vocoder"),
            version=str(metadata.get("model_version", "unknown")),
            raw=raw,
        )


def _size(raw: Mapping[str, Any], key: str) -> int:
    return whole(raw[key], 1, MAX_WIDTH)


def _spans(values: Any) -> tuple[int, ...]:
    return tuple(whole(value, 1, MAX_WIDTH) for value in values)


def _audio(raw: Mapping[str, Any]) -> bool:
    stated = raw.get("use_audio_video_cross_attention")
    return raw.get("_class_name") == "AVTransformer3DModel" if stated is None else bool(stated)


def _parse(metadata: Mapping[str, str]) -> dict[str, Any]:
    text = metadata.get("config")
    if text is None:
        raise CheckpointError("the file's header has no `config` metadata", remedy=_REMEDY_DAMAGED)
    raw = TextReader(CheckpointError, _REMEDY_DAMAGED).parse_json(text, "the `config` metadata")
    if not isinstance(raw, dict):
        raise CheckpointError("the file's `config` metadata is not a JSON object", remedy=_REMEDY_DAMAGED)
    return raw
